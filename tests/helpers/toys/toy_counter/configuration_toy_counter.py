"""Configuration of a toy that counts."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class ToyCounterConfig(PreTrainedConfig):
    model_type = "toy_counter"

    width: int = 4
    tile_size: int = 64


__all__ = ["ToyCounterConfig"]
