"""Configuration of the DeepLabv3+ of segmentation_models_pytorch, which is no row of the thesis' tables."""

import re
from typing import ClassVar

from huggingface_hub.dataclasses import strict

from .video_bounds import BoundedConfig

ENCODER_NAME = r"[A-Za-z0-9][\w.-]*"  # neither an address nor a path: timm would open both
OF_TIMM = "tu-"  # how names of timm's networks begin in segmentation_models_pytorch


@strict
class DeepLabV3PlusVideoConfig(BoundedConfig):
    r"""
    Configuration of [`DeepLabV3PlusForVideoSemanticSegmentation`]. Names and defaults are those of
    `segmentation_models_pytorch.DeepLabV3Plus`.

    Args:
        encoder_name (`str`, defaults to `"resnet34"`):
            An encoder of segmentation_models_pytorch, or `"tu-"` and the name of a network of timm. It must be one
            that can be dilated. Its weights are random until they are loaded, never downloaded. Files of the
            library name their licences: that of the encoders `mit_b*` is NVIDIA's, not for commercial use.
        encoder_output_stride (`int`, defaults to 16): Pixels of a frame to one of the encoder's last map, 8 or 16.
        decoder_channels (`int`, defaults to 256): Channels of the atrous poolings and of the decoder.
        decoder_atrous_rates (`list[int]`, defaults to `(12, 24, 36)`): Dilations of the three atrous convolutions.
        decoder_aspp_dropout (`float`, defaults to 0.5): Values dropped behind the atrous poolings.
        semantic_loss_ignore_index (`int`, defaults to 255): Label of pixels that the loss does not look at.
    """

    model_type = "deeplabv3plus_video"
    attribute_map = {"hidden_size": "decoder_channels"}
    keys_to_ignore_at_inference = ["loss_dict", "hidden_states"]
    frame_offsets: ClassVar[tuple[int, ...]] = ()
    num_reference_frames: ClassVar[int] = 0

    encoder_name: str = "resnet34"
    encoder_output_stride: int = 16
    decoder_channels: int = 256
    decoder_atrous_rates: list[int] | tuple[int, ...] = (12, 24, 36)
    decoder_aspp_dropout: float | int = 0.5
    semantic_loss_ignore_index: int = 255

    @property
    def encoder_architecture(self) -> str | None:
        """The network of timm that its encoder is; None if it is one of segmentation_models_pytorch itself."""
        return self.encoder_name.removeprefix(OF_TIMM) if self.encoder_name.startswith(OF_TIMM) else None

    def validate_architecture(self):
        """Part of `@strict`: one error that lists all that cannot work together."""
        problems = []
        if not re.fullmatch(ENCODER_NAME, self.encoder_name):
            problems.append(f"encoder_name must be the name of an encoder, received {self.encoder_name!r:.100}")
        if self.encoder_output_stride not in (8, 16):
            problems.append(f"encoder_output_stride must be 8 or 16, received {self.encoder_output_stride}")
        if self.decoder_channels < 1:
            problems.append(f"decoder_channels must be at least 1, received {self.decoder_channels}")
        rates = list(self.decoder_atrous_rates)
        if len(rates) != 3 or min(rates) < 1:
            problems.append(f"decoder_atrous_rates must be three numbers from 1 on, received {rates}")
        if problems:
            raise ValueError("; ".join(problems))


__all__ = ["DeepLabV3PlusVideoConfig"]
