"""MSPSNet configuration (MPS, a baseline of thesis Table 2.3)."""

from huggingface_hub.dataclasses import strict

from .counting_bounds import CounterConfig

# stages of VGG-16 of the three branches, whose maps have 1/8, 1/4 and 1/2 of the sides
BRANCH_STAGES = (4, 3, 2)


@strict
class MSPSNetConfig(CounterConfig):
    r"""
    Configuration of [`MSPSNetForObjectCounting`], the network of MPS: three branches that learn from dots.

    Args:
        num_channels (`int`, defaults to 3): Of the image.
        stage_channels (`list[list[int]]`, defaults to those of VGG-16):
            Of the convolutions of its first four stages; the branches have four, three and two of them.
        branch_channels (`list[list[int]]`): Of the dilated convolutions of each branch; all end with one width.
        initializer_range (`float`, defaults to 0.01): Convolutions start from N(0, this) and biases of 0.
        compat (`bool`, defaults to `True`):
            An image without points is trained as if it had one in its top left corner (released). `False`: as empty.
        processor_settings (`dict`, *optional*): Settings of the [`CounterImageProcessor`] that fits the method.
    """

    model_type = "mspsnet"
    keys_to_ignore_at_inference = ["loss_dict", "auxiliary_outputs"]

    num_channels: int = 3
    stage_channels: list[list[int]] | tuple[tuple[int, ...], ...] = (
        (64, 64),
        (128, 128),
        (256, 256, 256),
        (512, 512, 512),
    )
    branch_channels: list[list[int]] | tuple[tuple[int, ...], ...] = (
        (512, 512, 512, 256, 128, 64),
        (256, 256, 256, 256, 128, 128, 128, 64),
        (128, 128, 128, 64, 64),
    )
    initializer_range: float = 0.01
    compat: bool = True
    processor_settings: dict | None = None

    def __post_init__(self, **kwargs):
        if self.processor_settings is None:
            self.processor_settings = {"size_divisor": 16}
        self.stage_channels = [list(stage) for stage in self.stage_channels]
        self.branch_channels = [list(branch) for branch in self.branch_channels]
        super().__post_init__(**kwargs)

    @property
    def regression_branch(self) -> bool:
        """Whether the model has points, as a program asks any counter; this one has density maps only."""
        return False

    def validate_architecture(self):
        """Part of `@strict`: one error that lists all that cannot work together."""
        problems = []
        if len(self.stage_channels) != BRANCH_STAGES[0]:
            problems.append(f"stage_channels must have {BRANCH_STAGES[0]} stages, received {self.stage_channels}")
        if len(self.branch_channels) != len(BRANCH_STAGES):
            problems.append(
                f"branch_channels must have {len(BRANCH_STAGES)} branches, received {self.branch_channels}"
            )
        for name in ("stage_channels", "branch_channels"):
            if not all(part and min(part) >= 1 for part in getattr(self, name)):
                problems.append(f"{name} must be positive numbers, received {getattr(self, name)}")
        if not problems and len({branch[-1] for branch in self.branch_channels}) > 1:
            problems.append(f"branch_channels must end with one number, received {self.branch_channels}")
        if problems:
            raise ValueError("; ".join(problems))


__all__ = ["MSPSNetConfig"]
