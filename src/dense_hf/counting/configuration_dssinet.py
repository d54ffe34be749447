"""DSSI-Net configuration (a baseline of thesis Table 2.3)."""

from typing import Any

from huggingface_hub.dataclasses import strict

from .counting_bounds import CounterConfig

# convolutions of the four stages of VGG-16, and their channels in the pruned network of the released training script
STAGE_LENGTHS = (2, 2, 3, 3)
PRUNED_CHANNELS = ((24, 22), (41, 51), (108, 89, 111), (184, 276, 228))
TARGETS = ("adaptive", "fixed")


@strict
class DSSINetConfig(CounterConfig):
    r"""
    Configuration of [`DSSINetForObjectCounting`]: VGG-16 on three sizes of the image, whose features send messages.

    Args:
        num_channels (`int`, defaults to 3): Of the image.
        stage_channels (`list[list[int]]`, defaults to those of VGG-16):
            Of the convolutions of its four stages; `DSSINetConfig.pruned()` has those of the released training script.
        head_channels (`int`, defaults to 128): Of the convolution of each of the five heads.
        num_rounds (`int`, defaults to 2): How often messages are sent.
        initializer_range (`float`, defaults to 0.01):
            Convolutions start from N(0, this) and biases of 0. The released code has 1e-6, which nothing is learned
            from without the weights of ImageNet.
        target (`str`, defaults to `"adaptive"`):
            What the map learns: Gaussians as wide as points are apart, or `"fixed"`, of 4 pixels.
        processor_settings (`dict`, *optional*): Settings of the [`CounterImageProcessor`] that fits the method.
    """

    model_type = "dssinet"
    keys_to_ignore_at_inference = ["loss_dict"]

    num_channels: int = 3
    stage_channels: list[list[int]] | tuple[tuple[int, ...], ...] = (
        (64, 64),
        (128, 128),
        (256, 256, 256),
        (512, 512, 512),
    )
    head_channels: int = 128
    num_rounds: int = 2
    initializer_range: float = 0.01
    target: str = "adaptive"
    processor_settings: dict | None = None

    def __post_init__(self, **kwargs):
        if self.processor_settings is None:
            # as the released code prepares images
            self.processor_settings = {"size_divisor": 32, "resize_to_multiple": True, "min_short_side": 320}
        self.stage_channels = [list(stage) for stage in self.stage_channels]
        super().__post_init__(**kwargs)

    @classmethod
    def pruned(cls, **fields: Any) -> "DSSINetConfig":
        """The widths of the released training script.

        Args:
            fields: they win over those of the form.
        """
        of_form: dict[str, Any] = {"stage_channels": PRUNED_CHANNELS}
        return cls(**(of_form | fields))

    @property
    def regression_branch(self) -> bool:
        """Whether the model has points, as a program asks any counter; this one has a density map only."""
        return False

    def validate_architecture(self):
        """Part of `@strict`: one error that lists all that cannot work together."""
        problems = []
        lengths = tuple(len(stage) for stage in self.stage_channels)
        if lengths != STAGE_LENGTHS or min(map(min, self.stage_channels)) < 1:
            problems.append(
                f"stage_channels must be {STAGE_LENGTHS} positive numbers for the stages, "
                f"received {self.stage_channels}"
            )
        if self.target not in TARGETS:
            problems.append(f"target must be one of {TARGETS}, received {self.target!r}")
        if problems:
            raise ValueError("; ".join(problems))


__all__ = ["DSSINetConfig"]
