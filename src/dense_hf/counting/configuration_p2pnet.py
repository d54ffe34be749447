"""P2PNet configuration (a baseline of thesis Table 2.3)."""

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .counting_bounds import CounterConfig


@strict
class P2PNetConfig(CounterConfig):
    r"""
    Configuration of [`P2PNetForObjectCounting`]: proposals of points on a grid, and how sure each is.

    Args:
        backbone_config (`dict` or `PreTrainedConfig`, *optional*):
            Any transformers or timm backbone; its last two feature maps are used. Defaults to timm's VGG16 with batch
            norm, with strides 8 and 16.
        freeze_backbone_batch_norm (`bool`, defaults to `False`):
            Whether batch norm of the backbone uses stored statistics and is not trained.
        num_frozen_backbone_stages (`int`, defaults to 0): How many leading parts of the backbone are not trained.
        hidden_size (`int`, defaults to 256): Channels of the pyramid and the heads.
        anchor_rows, anchor_columns (`int`, default to 2): Proposals in a cell of the finer map.
        offset_scale (`float`, defaults to 100): Pixels that 1 in the output of the regression means.
        size_divisor (`int`, defaults to 128): Sides are filled up with 0 to multiples of this.
        count_padding (`bool`, defaults to `False`):
            Whether proposals in what was filled up count. They do in the released validation; its program for single
            images shrinks them to multiples instead. Without padding there is no difference.
        class_cost, point_cost (`float`, default to 1 and 0.05): Weights of the matching cost, of a pixel of distance.
        background_coefficient (`float`, defaults to 0.5): Of proposals without a point, in the cross entropy.
        point_loss_coefficient (`float`, defaults to 2e-4): Of the squared distances, if they are trained on.
        compat (`bool`, defaults to `True`):
            The released code computes the loss of the points and leaves it out of the sum, so that offsets keep their
            random start. `False` trains on it.
        processor_settings (`dict`, *optional*): Settings of the [`CounterImageProcessor`] that fits the method.
    """

    model_type = "p2pnet"
    sub_configs_defaults = {
        "backbone_config": SubConfigSpec(
            config_class=AutoConfig,
            model_type="timm_backbone",
            init_kwargs={"backbone": "vgg16_bn", "features_only": True, "out_indices": [3, 4]},
        ),
    }
    counts_classes = True
    keys_to_ignore_at_inference = ["loss_dict"]

    backbone_config: dict | PreTrainedConfig | None = None
    freeze_backbone_batch_norm: bool = False
    num_frozen_backbone_stages: int = 0
    num_channels: int = 3
    hidden_size: int = 256
    anchor_rows: int = 2
    anchor_columns: int = 2
    offset_scale: float | int = 100
    size_divisor: int = 128
    count_padding: bool = False
    class_cost: float | int = 1
    point_cost: float | int = 0.05
    background_coefficient: float | int = 0.5
    point_loss_coefficient: float | int = 2e-4
    compat: bool = True
    processor_settings: dict | None = None

    def __post_init__(self, **kwargs):
        self.processor_settings = self.processor_settings or {}
        super().__post_init__(**kwargs)

    @property
    def regression_branch(self) -> bool:
        """Whether the model has points, as a program asks any counter."""
        return True

    def validate_architecture(self):
        """Part of `@strict`."""
        if min(self.anchor_rows, self.anchor_columns, self.size_divisor) < 1:
            raise ValueError(
                "anchor_rows, anchor_columns and size_divisor must be at least 1. "
                f"Received: {self.anchor_rows}, {self.anchor_columns}, {self.size_divisor}"
            )


__all__ = ["P2PNetConfig"]
