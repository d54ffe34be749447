"""AffinityNet configuration (thesis section 3.4.4, [143]; the defaults are those of that paper's network)."""

from dataclasses import field

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .configuration_resnet38 import ResNet38Config, resolve_resnet38
from .weak_bounds import BoundedConfig

NUM_LEVELS = 3


@strict
class AffinityNetConfig(BoundedConfig):
    r"""
    Configuration of [`AffinityNetModel`].

    Args:
        backbone_config (`dict` or `PreTrainedConfig`, *optional*, defaults to [`ResNet38Config`]):
            Any transformers or timm backbone with at least three feature maps, of which the last three are used.
            `None` is the VGG-16 of [`MCISConfig`].
        freeze_backbone_batch_norm (`bool`, defaults to `True`):
            Whether the backbone's batch norms keep what they were loaded with.
        vgg_hidden_sizes (`list[int]`, defaults to `[64, 128, 256, 512]`): Channels of the stages of that VGG-16.
        projection_sizes (`list[int]`, defaults to `[64, 128, 256]`):
            Channels that each of the three feature maps is reduced to.
        radius (`int`, defaults to 5): Cells that are less than this apart are compared.
        feature_stride (`int`, defaults to 8):
            Image size / grid of cells. Feature maps of other sizes are resampled to this grid.
    """

    model_type = "affinity_net"
    sub_configs_defaults = {
        "backbone_config": SubConfigSpec(config_class=AutoConfig, model_type="timm_backbone", optional=True)
    }
    keys_to_ignore_at_inference = ["loss_dict", "hidden_states"]

    backbone_config: dict | PreTrainedConfig | None = field(default_factory=ResNet38Config)
    freeze_backbone_batch_norm: bool = True
    vgg_hidden_sizes: list[int] | tuple[int, ...] = (64, 128, 256, 512)
    num_channels: int = 3
    projection_sizes: list[int] | tuple[int, ...] = (64, 128, 256)
    radius: int = 5
    feature_stride: int = 8

    def __post_init__(self, **kwargs):
        self.backbone_config = resolve_resnet38(self.backbone_config)
        super().__post_init__(**kwargs)

    @property
    def hidden_size(self) -> int:
        """Channels of the features that are compared."""
        return sum(self.projection_sizes)

    def validate_architecture(self):
        """Part of `@strict`: one error that lists all that cannot work together."""
        problems = []
        for name, count in (("vgg_hidden_sizes", 4), ("projection_sizes", NUM_LEVELS)):
            values = getattr(self, name)
            if len(values) != count or min(values) < 1:
                problems.append(f"{name} must be {count} positive numbers, received {values}")
        if problems:
            raise ValueError("; ".join(problems))


__all__ = ["AffinityNetConfig"]
