"""DeepLab-LargeFOV configuration (thesis section 3.3.3; the defaults are those of the released prototxt).

With `head="deeplabv3"` the defaults are those of the DeepLabV3 paper instead, see [`DeepLabV3Head`].
"""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .weak_bounds import BoundedConfig

VOC_LABELS = 21  # the classes of PASCAL VOC and background
OUTPUT_STRIDES = (8, 16, 32)


@strict
class DeepLabLargeFOVConfig(BoundedConfig):
    r"""
    Configuration of [`DeepLabLargeFOVForSemanticSegmentation`].

    Args:
        head (`str`, defaults to `"largefov"`):
            `"largefov"` is the thesis' segmenter; `"deeplabv3"` that of the LID challenge (section 3.4.4), which the
            thesis names and the released code does not have. It decides what `None` means below.
        backbone_config (`dict` or `PreTrainedConfig`, *optional*):
            Any transformers or timm backbone; its last feature map is used. `None` is ResNet-101 (the fields
            `resnet_...`, `downsample_in_bottleneck` and `multi_grid` describe only that one).
        resnet_embedding_size (`int`, defaults to 64): Channels of its first convolution.
        resnet_hidden_sizes (`list[int]`, defaults to `[256, 512, 1024, 2048]`), resnet_depths (`list[int]`,
            defaults to `[3, 4, 23, 3]`): Channels and bottlenecks of its four stages.
        downsample_in_bottleneck (`bool`, defaults to `True`):
            Where a stage that halves does so: in the first 1x1 convolution (released, as Caffe's ResNet), or with
            `False` in the 3x3 convolution, as the ImageNet weights of torchvision need it.
        multi_grid (`list[int]`, *optional*):
            One factor per bottleneck of the last stage, for its dilation. Defaults to 1s, or, for `"deeplabv3"` with
            three bottlenecks, to 1, 2, 4.
        output_stride (`int`, *optional*):
            Image size / feature size: 8, 16 or 32; what does not halve dilates. Of a `backbone_config` this must be
            its own. Defaults to 8, or to 16 for `"deeplabv3"`.
        freeze_backbone_batch_norm (`bool`, *optional*):
            Whether the backbone's batch norms keep their statistics, scales and offsets in training. Defaults to
            `True` (released), or to `False` for `"deeplabv3"`.
        head_hidden_size (`int`, *optional*): Channels of the head. Defaults to 1024, or to 256 for `"deeplabv3"`.
        atrous_rates (`list[int]`, *optional*):
            Dilations of the head's 3x3 convolutions; `"largefov"` has one. Defaults to 12; for `"deeplabv3"` to
            6, 12, 18 at output stride 16, and in proportion at others.
        num_labels (`int`, defaults to 21): Classes K, background included: those of PASCAL VOC.
        semantic_loss_ignore_index (`int`, defaults to 255): Label of pixels that the loss leaves out.
    """

    model_type = "deeplab_largefov"
    sub_configs_defaults = {
        "backbone_config": SubConfigSpec(config_class=AutoConfig, model_type="timm_backbone", optional=True)
    }
    attribute_map = {"hidden_size": "head_hidden_size"}
    keys_to_ignore_at_inference = ["hidden_states"]

    head: str = "largefov"
    backbone_config: dict | PreTrainedConfig | None = None
    num_channels: int = 3
    resnet_embedding_size: int = 64
    resnet_hidden_sizes: list[int] | tuple[int, ...] = (256, 512, 1024, 2048)
    resnet_depths: list[int] | tuple[int, ...] = (3, 4, 23, 3)
    downsample_in_bottleneck: bool = True
    multi_grid: list[int] | tuple[int, ...] | None = None
    output_stride: int | None = None
    freeze_backbone_batch_norm: bool | None = None
    head_hidden_size: int | None = None
    atrous_rates: list[int] | tuple[int, ...] | None = None
    semantic_loss_ignore_index: int = 255

    def __post_init__(self, **kwargs):
        if self.id2label is None and kwargs.get("num_labels") is None:
            kwargs["num_labels"] = VOC_LABELS
        largefov = self.head == "largefov"
        if self.output_stride is None:
            self.output_stride = 8 if largefov else 16
        if self.freeze_backbone_batch_norm is None:
            self.freeze_backbone_batch_norm = largefov
        if self.head_hidden_size is None:
            self.head_hidden_size = 1024 if largefov else 256
        if self.multi_grid is None:
            blocks = self.resnet_depths[-1] if self.resnet_depths else 0
            self.multi_grid = [1] * blocks if largefov or blocks != 3 else [1, 2, 4]
        if self.atrous_rates is None:
            self.atrous_rates = [12] if largefov else [96 * i // max(self.output_stride, 1) for i in (1, 2, 3)]
        super().__post_init__(**kwargs)

    def to_diff_dict(self) -> dict[str, Any]:
        """As in the parent, but always with the labels: it leaves out two, and their absence means 21 here."""
        return super().to_diff_dict() | {"id2label": self.id2label, "label2id": self.label2id}

    def validate_architecture(self):
        """Part of `@strict`: one error that lists all that cannot work together."""
        problems = []
        if self.head not in ("largefov", "deeplabv3"):
            problems.append(f"head must be 'largefov' or 'deeplabv3', received {self.head!r}")
        for name in ("resnet_hidden_sizes", "resnet_depths"):
            values = getattr(self, name)
            if len(values) != 4 or min(values) < 1:
                problems.append(f"{name} must be four positive numbers, received {values}")
        if any(size % 4 for size in self.resnet_hidden_sizes):
            problems.append(f"resnet_hidden_sizes must be multiples of 4, received {self.resnet_hidden_sizes}")
        if self.output_stride is not None and self.output_stride not in OUTPUT_STRIDES:
            problems.append(f"output_stride must be one of {OUTPUT_STRIDES}, received {self.output_stride}")
        if self.multi_grid is not None and (
            len(self.multi_grid) != self.resnet_depths[-1] or min(self.multi_grid, default=0) < 1
        ):
            problems.append(
                f"multi_grid must be {self.resnet_depths[-1]} positive numbers, one per bottleneck of the last stage, "
                f"received {self.multi_grid}"
            )
        rates = self.atrous_rates
        if rates is not None and (min(rates, default=0) < 1 or (self.head == "largefov" and len(rates) != 1)):
            expected = "one positive number" if self.head == "largefov" else "positive numbers"
            problems.append(f"atrous_rates must be {expected}, received {rates}")
        if problems:
            raise ValueError("; ".join(problems))


__all__ = ["DeepLabLargeFOVConfig"]
