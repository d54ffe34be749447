"""MAN configuration (a baseline of thesis Table 2.3)."""

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .counting_bounds import CounterConfig


@strict
class MANConfig(CounterConfig):
    r"""
    Configuration of [`MANForObjectCounting`]: attention that looks at learned regions, and a density map.

    Args:
        backbone_config (`dict` or `PreTrainedConfig`, *optional*):
            Any transformers or timm backbone; its last feature map is used. Defaults to timm's VGG19 with its last
            pool, stride 32. The attention layers have as many channels.
        freeze_backbone_batch_norm (`bool`, defaults to `False`):
            Whether batch norm of the backbone uses stored statistics and is not trained.
        num_frozen_backbone_stages (`int`, defaults to 0): How many leading parts of the backbone are not trained.
        encoder_layers (`int`, defaults to 4): Attention layers.
        encoder_attention_heads (`int`, defaults to 2): Their heads.
        encoder_ffn_dim (`int`, defaults to 2048): Width of their feed-forward networks.
        dropout (`float`, defaults to 0.1): In these layers.
        density_stride (`int`, defaults to 16): Pixels of a side of a cell of the map.
        head_channels (`list[int]`, defaults to `[256, 128]`): Of each 3x3 convolution of the head.
        sigma (`float`, defaults to 8): Of the Bayesian loss, in pixels.
        background_ratio (`float`, *optional*, defaults to 0.15): Its background; `None`: it has none.
        trim (`float`, defaults to 0.9): Share of the points that are learned from, those with the smallest errors.
        consistency_coefficient (`float`, defaults to 1): Weight of how alike the regions of one image shall be.
        processor_settings (`dict`, *optional*): Settings of the [`CounterImageProcessor`] that fits the method.
    """

    model_type = "man"
    sub_configs_defaults = {
        "backbone_config": SubConfigSpec(
            config_class=AutoConfig,
            model_type="timm_backbone",
            init_kwargs={"backbone": "vgg19", "features_only": True, "out_indices": [5]},
        ),
    }
    keys_to_ignore_at_inference = ["loss_dict"]

    backbone_config: dict | PreTrainedConfig | None = None
    freeze_backbone_batch_norm: bool = False
    num_frozen_backbone_stages: int = 0
    num_channels: int = 3
    encoder_layers: int = 4
    encoder_attention_heads: int = 2
    encoder_ffn_dim: int = 2048
    dropout: float | int = 0.1
    density_stride: int = 16
    head_channels: list[int] | tuple[int, ...] = (256, 128)
    sigma: float | int = 8
    background_ratio: float | int | None = 0.15
    trim: float | int = 0.9
    consistency_coefficient: float | int = 1
    processor_settings: dict | None = None

    def __post_init__(self, **kwargs):
        if self.processor_settings is None:
            # as the released code prepares images, and the parts that it counts large ones in
            self.processor_settings = {"min_short_side": 512, "max_short_side": 2048, "max_part_side": 3584}
        self.head_channels = list(self.head_channels)
        super().__post_init__(**kwargs)

    @property
    def regression_branch(self) -> bool:
        """Whether the model has points, as a program asks any counter; this one has a density map only."""
        return False

    def validate_architecture(self):
        """Part of `@strict`: one error that lists all that cannot work together."""
        problems = []
        if not self.head_channels or min(self.head_channels) < 1:
            problems.append(f"head_channels must be one or more positive numbers, received {self.head_channels}")
        if self.density_stride < 1:
            problems.append(f"density_stride must be at least 1, received {self.density_stride}")
        if not 0 < self.trim <= 1:
            problems.append(f"trim must be above 0 and at most 1, received {self.trim}")
        if problems:
            raise ValueError("; ".join(problems))


__all__ = ["MANConfig"]
