"""Configuration of a toy that finds classes in images."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class ToyClassifierConfig(PreTrainedConfig):
    model_type = "toy_classifier"

    width: int = 4


__all__ = ["ToyClassifierConfig"]
