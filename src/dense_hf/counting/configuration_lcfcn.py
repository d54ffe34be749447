"""LCFCN configuration (a baseline of thesis Table 2.3)."""

from huggingface_hub.dataclasses import strict

from .counting_bounds import CounterConfig

STAGE_LENGTHS = (2, 2, 3, 3, 3)  # convolutions of the stages of VGG-16


@strict
class LCFCNConfig(CounterConfig):
    r"""
    Configuration of [`LCFCNForObjectCounting`]: a fully convolutional VGG-16 that paints a blob on each object.

    Args:
        num_channels (`int`, defaults to 3): Of the image.
        stage_channels (`list[list[int]]`, defaults to those of VGG-16): Of the convolutions of its five stages.
        fc_channels (`int`, defaults to 4096): Of the two layers that are fully connected in VGG-16.
        dropout (`float`, defaults to 0.5): Behind each of these.
        processor_settings (`dict`, *optional*): Settings of the [`CounterImageProcessor`] that fits the method.
    """

    model_type = "lcfcn"
    keys_to_ignore_at_inference = ["loss_dict"]

    num_channels: int = 3
    stage_channels: list[list[int]] | tuple[tuple[int, ...], ...] = (
        (64, 64),
        (128, 128),
        (256, 256, 256),
        (512, 512, 512),
        (512, 512, 512),
    )
    fc_channels: int = 4096
    dropout: float | int = 0.5
    processor_settings: dict | None = None

    def __post_init__(self, **kwargs):
        self.processor_settings = self.processor_settings or {}
        self.stage_channels = [list(stage) for stage in self.stage_channels]
        super().__post_init__(**kwargs)

    @property
    def regression_branch(self) -> bool:
        """Whether the model has points, as a program asks any counter: one in each blob."""
        return True

    def validate_architecture(self):
        """Part of `@strict`."""
        lengths = tuple(len(stage) for stage in self.stage_channels)
        if lengths != STAGE_LENGTHS or min(map(min, self.stage_channels)) < 1:
            raise ValueError(
                f"stage_channels must be {STAGE_LENGTHS} positive numbers for the stages. "
                f"Received: {self.stage_channels}"
            )


__all__ = ["LCFCNConfig"]
