"""MCNN configuration (a baseline of thesis Table 2.3)."""

from typing import Any

from huggingface_hub.dataclasses import strict

from .counting_bounds import CounterConfig

OUTPUT_ACTIVATIONS = (None, "relu")
TARGETS = ("adaptive", "fixed")
COLUMN_LENGTH = 4
# gray pixels from 0 to 255, as `MCNNConfig.gray`; the colored form of the defaults is not normalized either
_RAW_PIXELS = {"do_rescale": False, "do_normalize": False}


@strict
class MCNNConfig(CounterConfig):
    r"""
    Configuration of [`MCNNForObjectCounting`]: three columns of convolutions with different kernels.

    The defaults are those of the reimplementation with color and SGD, the likely row of the table, whose map may be
    negative; `MCNNConfig.gray()` is the one with gray images and Adam.

    Args:
        num_channels (`int`, defaults to 3): Of the image, with values from 0 to 255.
        column_channels (`list[list[int]]`): Of the four convolutions of each column.
        column_kernels (`list[list[int]]`): Their kernels, odd.
        output_activation (`str`, *optional*): Of the map: `"relu"` or none.
        initializer_range (`float`, defaults to 0.01): Convolutions start from N(0, this) and biases of 0.
        target (`str`, defaults to `"adaptive"`):
            What the map learns: Gaussians as wide as points are apart, or `"fixed"`, of 4 pixels.
        loss_reduction (`str`, defaults to `"sum"`): Of the squared errors: `"sum"`, or `"mean"` over cells and batch.
        processor_settings (`dict`, *optional*): Settings of the [`CounterImageProcessor`] that fits the method.
    """

    model_type = "mcnn"
    keys_to_ignore_at_inference = ["loss_dict"]

    num_channels: int = 3
    column_channels: list[list[int]] | tuple[tuple[int, ...], ...] = (
        (16, 32, 16, 8),
        (20, 40, 20, 10),
        (24, 48, 24, 12),
    )
    column_kernels: list[list[int]] | tuple[tuple[int, ...], ...] = ((9, 7, 7, 7), (7, 5, 5, 5), (5, 3, 3, 3))
    output_activation: str | None = None
    initializer_range: float = 0.01
    target: str = "adaptive"
    loss_reduction: str = "sum"
    processor_settings: dict | None = None

    def __post_init__(self, **kwargs):
        if self.processor_settings is None:
            self.processor_settings = {**_RAW_PIXELS, "size_divisor": 4, "resize_to_multiple": True}
        self.column_channels = [list(column) for column in self.column_channels]
        self.column_kernels = [list(column) for column in self.column_kernels]
        super().__post_init__(**kwargs)

    @classmethod
    def gray(cls, **fields: Any) -> "MCNNConfig":
        """The form with gray images, whose map is not negative.

        Args:
            fields: they win over those of the form.
        """
        settings = {**_RAW_PIXELS, "size_divisor": 4, "resize_to_multiple": True, "do_grayscale": True}
        of_form: dict[str, Any] = {
            "num_channels": 1,
            "output_activation": "relu",
            "target": "fixed",
            "loss_reduction": "mean",
            "processor_settings": settings,
        }
        return cls(**(of_form | fields))

    @property
    def regression_branch(self) -> bool:
        """Whether the model has points, as a program asks any counter; this one has a density map only."""
        return False

    def validate_architecture(self):
        """Part of `@strict`: one error that lists all that cannot work together."""
        problems = []
        channels, kernels = self.column_channels, self.column_kernels
        shapes = [len(column) for column in (*channels, *kernels)]
        if not channels or len(channels) != len(kernels) or set(shapes) != {COLUMN_LENGTH}:
            problems.append(
                f"column_channels and column_kernels must have as many columns, of {COLUMN_LENGTH} numbers each, "
                f"received {channels} and {kernels}"
            )
        elif min(map(min, channels)) < 1 or any(kernel % 2 != 1 for column in kernels for kernel in column):
            problems.append(f"channels must be positive and kernels odd, received {channels} and {kernels}")
        for name, known in (
            ("output_activation", OUTPUT_ACTIVATIONS),
            ("target", TARGETS),
            ("loss_reduction", ("sum", "mean")),
        ):
            if getattr(self, name) not in known:
                problems.append(f"{name} must be one of {known}, received {getattr(self, name)!r}")
        if problems:
            raise ValueError("; ".join(problems))


__all__ = ["MCNNConfig"]
