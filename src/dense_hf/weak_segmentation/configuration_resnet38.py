"""ResNet-38 configuration: the backbone of the challenge's classifier (thesis section 3.4.4)."""

from typing import Any

from huggingface_hub.dataclasses import strict

from .weak_bounds import BoundedConfig


@strict
class ResNet38Config(BoundedConfig):
    r"""
    Configuration of [`ResNet38`], the model A1 of Wu, Shen and van den Hengel, "Wider or Deeper: Revisiting the ResNet
    Model for Visual Recognition" (2016), with output stride 8.

    It is a `backbone_config` of [`MCISConfig`] and [`AffinityNetConfig`], where `{"model_type": "resnet38"}` names it,
    too.

    Args:
        num_channels (`int`, defaults to 3): Of the image.
        width (`int`, defaults to 64):
            Channels of the first convolution; those of all others are multiples of it, 4096 in the end.
        dropout (`list[float]`, defaults to `[0.3, 0.5]`):
            Share of the channels that the bottlenecks leave out in training, in front of their later convolutions.
    """

    model_type = "resnet38"

    num_channels: int = 3
    width: int = 64
    dropout: list[float] | tuple[float, ...] = (0.3, 0.5)

    def validate_architecture(self):
        """Part of `@strict`: what cannot work."""
        if len(self.dropout) != 2 or not all(0 <= share < 1 for share in self.dropout):
            raise ValueError(f"dropout must be two numbers from 0 to below 1, received {self.dropout}")


def resolve_resnet38(backbone_config: Any) -> Any:
    """A [`ResNet38Config`] for a `dict` of that model type; all else as it is.

    The type is not among those of transformers, except where this package is installed, which it need not be if a
    checkpoint is loaded with the code beside it.
    """
    if isinstance(backbone_config, dict) and backbone_config.get("model_type") == ResNet38Config.model_type:
        return ResNet38Config.from_dict(backbone_config)
    return backbone_config


__all__ = ["ResNet38Config"]
