"""Configuration of a toy that segments video."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class ToyVideoConfig(PreTrainedConfig):
    model_type = "toy_video"

    width: int = 4
    frame_offsets: list[int] | tuple[int, ...] = (2,)


__all__ = ["ToyVideoConfig"]
