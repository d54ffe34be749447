"""Configuration of the density counters of Table 2.3: CSRNet, CAN, BL, NoisyCC, DM-Count, GL and KDMG."""

from copy import deepcopy
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .counting_bounds import DENSITY_LOSSES, CounterConfig

NECKS = (None, "context", "context_shared")
UPSAMPLINGS = (None, "nearest", "bilinear")
OUTPUT_ACTIVATIONS = (None, "abs", "relu")


def timm_backbone(name: str, out_index: int) -> dict[str, Any]:
    """A randomly initialized network of timm, up to one of its feature maps."""
    return {"model_type": "timm_backbone", "backbone": name, "features_only": True, "out_indices": [out_index]}


_DILATED: dict[str, Any] = {
    "backbone_config": timm_backbone("vgg16", 3),  # up to conv4_3, stride 8
    "upsample": None,
    "head_channels": [512, 512, 512, 256, 128, 64],
    "head_dilation": 2,
    "output_activation": None,
    "initializer_range": 0.01,
    "loss_type": "sum_of_squares",
    "processor_settings": {},
}
_LIMITS = {"min_short_side": 512, "max_short_side": 2048}  # to which the released code resizes every image
_NEAREST = {"upsample": "nearest", "output_activation": "abs"}
METHODS: dict[str, dict[str, Any]] = {
    "csrnet": _DILATED,
    # the released test adds up the four quarters of an image
    "can": {
        **_DILATED,
        "neck": "context_shared",
        "head_norm": True,
        "processor_settings": {"parts_per_side": 2},
        "loss_options": {"sigma": 15.0},
    },
    "can_commissarma": {
        **_DILATED,
        "neck": "context",
        "processor_settings": {"size_divisor": 8, "resize_to_multiple": True},
        "loss_options": {"resize": "bilinear", "dots": "points"},
    },
    "bl": {},
    "noisycc": {**_NEAREST, "loss_type": "noisy_annotation", "initializer_range": 0.01},
    "dmcount": {"output_activation": "relu", "loss_type": "distribution_matching"},
    "gl": {**_NEAREST, "loss_type": "generalized", "initializer_range": 0.01},
    "kdmg": {**_NEAREST, "loss_type": "kernel_generation", "generated_kernel_size": 5},
}


@strict
class DensityCounterConfig(CounterConfig):
    r"""
    Configuration of [`DensityCounterForObjectCounting`]: a backbone, perhaps a neck, and a head that makes a density
    map, whose sum is the count. Seven of the methods of Table 2.3 differ in these fields, see `from_method`; the
    defaults are those of BL.

    Args:
        backbone_config (`dict` or `PreTrainedConfig`, *optional*):
            Any transformers or timm backbone; its last feature map is used. Defaults to timm's VGG19 with stride 16.
        freeze_backbone_batch_norm (`bool`, defaults to `False`):
            Whether batch norm of the backbone uses stored statistics and is not trained.
        num_frozen_backbone_stages (`int`, defaults to 0): How many leading parts of the backbone are not trained.
        neck (`str`, *optional*):
            `"context"` or `"context_shared"`: the two forms of CAN's context, see `ContextNeck`.
        upsample (`str`, *optional*, defaults to `"bilinear"`):
            How features are enlarged by 2 before the head: `"nearest"` or `"bilinear"`; `None`: not at all.
        head_channels (`list[int]`, defaults to `[256, 128]`): Of each 3x3 convolution of the head.
        head_dilation (`int`, defaults to 1): Of these convolutions.
        head_norm (`bool`, defaults to `False`): Whether a batch norm follows each.
        output_activation (`str`, *optional*, defaults to `"abs"`): Of the map: `"abs"`, `"relu"` or none.
        initializer_range (`float`, *optional*):
            Neck and head start from N(0, this) and biases of 0; by default as PyTorch starts convolutions.
        loss_type (`str`, defaults to `"bayesian"`): The loss, a function of `dense_hf.counting.density_losses`.
        loss_options (`dict`, *optional*): Its options, where they are not its defaults.
        generated_kernel_size (`int`, *optional*):
            Side in cells of the kernels that a second network generates for the loss "kernel_generation" (KDMG: 5).
            Without it there is no such network, and the model can count but not learn by that loss.
        generated_kernel_softmax (`bool`, defaults to `False`): Whether generated kernels are a softmax.
        processor_settings (`dict`, *optional*): Settings of the [`CounterImageProcessor`] that fits the method.
    """

    model_type = "density_counter"
    sub_configs_defaults = {
        "backbone_config": SubConfigSpec(
            config_class=AutoConfig,
            model_type="timm_backbone",
            init_kwargs={"backbone": "vgg19", "features_only": True, "out_indices": [4]},
        ),
    }
    counts_classes = True
    keys_to_ignore_at_inference = ["loss_dict"]

    backbone_config: dict | PreTrainedConfig | None = None
    freeze_backbone_batch_norm: bool = False
    num_frozen_backbone_stages: int = 0
    num_channels: int = 3
    neck: str | None = None
    upsample: str | None = "bilinear"
    head_channels: list[int] | tuple[int, ...] = (256, 128)
    head_dilation: int = 1
    head_norm: bool = False
    output_activation: str | None = "abs"
    initializer_range: float | None = None
    loss_type: str = "bayesian"
    loss_options: dict | None = None
    generated_kernel_size: int | None = None
    generated_kernel_softmax: bool = False
    processor_settings: dict | None = None

    def __post_init__(self, **kwargs):
        if self.processor_settings is None:
            self.processor_settings = dict(_LIMITS)
        self.loss_options = self.loss_options or {}
        self.head_channels = list(self.head_channels)
        super().__post_init__(**kwargs)

    @property
    def regression_branch(self) -> bool:
        """Whether the model has points, as a program asks any counter; this one has a density map only."""
        return False

    @classmethod
    def from_method(cls, name: str, **fields: Any) -> "DensityCounterConfig":
        """The configuration of a method of Table 2.3, as released.

        Args:
            name: "csrnet", "can" (the authors'), "can_commissarma" (the reimplementation that trains with SGD), "bl",
                "noisycc", "dmcount", "gl" or "kdmg".
            fields: they win over those of the method.

        Raises:
            ValueError: for another name.
        """
        if name not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}. Received: {name!r}")
        return cls(**(deepcopy(METHODS[name]) | fields))

    def validate_architecture(self):
        """Part of `@strict`: one error that lists all that cannot work together."""
        known = {
            "neck": NECKS,
            "upsample": UPSAMPLINGS,
            "output_activation": OUTPUT_ACTIVATIONS,
            "loss_type": DENSITY_LOSSES,
        }
        problems = [
            f"{name} must be one of {values}, received {getattr(self, name)!r}"
            for name, values in known.items()
            if getattr(self, name) not in values
        ]
        if self.loss_type in ("distribution_matching", "generalized") and self.output_activation is None:
            problems.append(f"loss_type {self.loss_type!r} moves mass, which an output_activation must make positive")
        if self.generated_kernel_size is not None and self.loss_type != "kernel_generation":
            problems.append(f"generated_kernel_size is for loss_type 'kernel_generation', received {self.loss_type!r}")
        if not self.head_channels or min(self.head_channels) < 1:
            problems.append(f"head_channels must be one or more positive numbers, received {self.head_channels}")
        if problems:
            raise ValueError("; ".join(problems))


__all__ = ["DensityCounterConfig"]
