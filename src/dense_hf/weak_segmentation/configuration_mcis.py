"""MCIS configuration (thesis section 3.3; the defaults are those of the released code)."""

import math
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .configuration_resnet38 import resolve_resnet38
from .weak_bounds import BoundedConfig

VOC_CLASSES = 20
LOSS_REDUCTIONS = ("mean", "sum")
AFFINITIES = ("bilinear", "cosine")
GATES = ("none", "similarity")


@strict
class MCISConfig(BoundedConfig):
    r"""
    Configuration of [`MCISForImageClassification`].

    Args:
        backbone_config (`dict` or `PreTrainedConfig`, *optional*):
            Any transformers or timm backbone, or [`ResNet38Config`] (section 3.4.4); its last feature map is used.
            `None` is the thesis' VGG-16 with output stride 8.
        freeze_backbone_batch_norm (`bool`, defaults to `True`):
            Whether the batch norms of another backbone keep what they were loaded with: five images per step tell
            them little. VGG-16 has none.
        vgg_hidden_sizes (`list[int]`, defaults to `[64, 128, 256, 512]`):
            Channels of the stages of that VGG-16; its fifth stage is as wide as the fourth.
        hidden_size (`int`, defaults to 512): Channels C of the features F, after the three convolutions.
        num_labels (`int`, defaults to 20): Classes K, those of PASCAL VOC.
        use_co_attention (`bool`, defaults to `True`): Whether pairs are compared at all (Table 3.4, first row: not).
        use_contrastive_co_attention (`bool`, defaults to `True`):
            Whether what pairs do not share is classified too (Table 3.4, second row: not).
        shared_class_head (`bool`, defaults to `False`):
            `True` is the thesis: one layer phi makes all class maps. `False` is the released code: a second layer,
            without bias, reads the co-attentive and the contrastive features. On small real sets one layer, with a
            cosine affinity, made better maps of several images than of one; two made worse ones (docs/results.md).
        loss_reduction (`str`, defaults to `"mean"`):
            Over the two images of a pair, in the basic and the co-attention loss. `"sum"` is Eq. 3.1 and 3.5;
            `"mean"`, half of it, is the released code. The contrastive loss (Eq. 3.9) is a sum in both.
        contrastive_start_epoch (`int`, defaults to 2):
            The first epoch, counted from 0, whose loss has the contrastive terms. 0 is the thesis.
        skip_empty_contrastive (`bool`, defaults to `True`):
            Whether the contrastive loss of a side of the batch is left out where no image has a label that its
            partner lacks (released). With `False` (thesis) all its scores are then pushed down.
        flip_view (`bool`, defaults to `True`), scale_views (`list[float]`, defaults to `[0.75, 2.0]`):
            Changed copies of an image that it is paired with, in training and in localisation: its mirror image, and
            itself at other sizes. The thesis does not mention them.
        affinity (`str`, defaults to `"bilinear"`):
            How positions of two images are compared. `"bilinear"` is Eq. 3.2. `"cosine"`, a deviation from the thesis
            and the released code, is the cosine of their features: Eq. 3.2 of features of length 1 with W_P = I.
        affinity_scale (`float`, defaults to 1.0):
            A factor of the affinities before the softmax (Eq. 3.3). A cosine needs 20 to 100.
        feature_scale (`float`, defaults to 1.0):
            A factor of the backbone's features before the three convolutions. Where they are large, the softmax of a
            bilinear affinity is one-hot from the first step on, and training cannot change it: each position copies
            one of the other image (EfficientNet-Lite0: features with a standard deviation of 5, 1.06 of 256 positions
            count). The log of a training has `attended_positions`.
        co_attention_gate (`str`, defaults to `"none"`):
            `"similarity"`, a deviation from Eq. 3.4, multiplies what a position got from the other image by the cosine
            between that and its own features: a position of the background that attends to an object, for want of
            anything better, then has little of the object.
        num_domains (`int`, defaults to 1):
            Sources of images (section 3.3.2). Two images of the same or of different domains have an affinity matrix
            W_P of their own: with 2 domains, there are three.
        equivariance_weight (`float`, defaults to 0.0):
            Of the loss by which the class maps of a smaller copy of an image must be its own, made smaller (section
            3.4.4, see [`equivariance_loss`]). 0, the released code, is without.
        equivariance_scale (`float`, defaults to 0.3): Sides of that copy / those of the image, below 1.
        background_score (`float`, defaults to 0.2):
            What the score of a class must exceed at a pixel, where nothing else says what is background (section
            3.4.4): the default of pipeline, programs and pages for this model. How strong its maps are depends on how
            it was trained, so choose it on a few images.
        single_round_background_score (`float`, *optional*):
            The same for maps of single images (`num_references=0`), which are not as wide. None: `background_score`.
    """

    model_type = "mcis"
    sub_configs_defaults = {
        "backbone_config": SubConfigSpec(config_class=AutoConfig, model_type="timm_backbone", optional=True)
    }
    # all but the logits: gathered over an evaluation, the maps would take gigabytes
    keys_to_ignore_at_inference = [
        "loss_dict",
        "paired_logits",
        "co_attention_logits",
        "paired_co_attention_logits",
        "contrastive_logits",
        "paired_contrastive_logits",
        "activation_maps",
        "paired_activation_maps",
        "co_attention_maps",
        "paired_co_attention_maps",
        "contrastive_maps",
        "paired_contrastive_maps",
        "last_hidden_state",
        "paired_last_hidden_state",
        "hidden_states",
    ]

    backbone_config: dict | PreTrainedConfig | None = None
    freeze_backbone_batch_norm: bool = True
    vgg_hidden_sizes: list[int] | tuple[int, ...] = (64, 128, 256, 512)
    num_channels: int = 3
    hidden_size: int = 512
    use_co_attention: bool = True
    use_contrastive_co_attention: bool = True
    shared_class_head: bool = False
    loss_reduction: str = "mean"
    contrastive_start_epoch: int = 2
    skip_empty_contrastive: bool = True
    flip_view: bool = True
    scale_views: list[float] | tuple[float, ...] = (0.75, 2.0)
    affinity: str = "bilinear"
    affinity_scale: float | int = 1.0
    feature_scale: float | int = 1.0
    co_attention_gate: str = "none"
    num_domains: int = 1
    equivariance_weight: float = 0.0
    equivariance_scale: float = 0.3
    background_score: float = 0.2
    single_round_background_score: float | None = None

    def __post_init__(self, **kwargs):
        self.backbone_config = resolve_resnet38(self.backbone_config)
        if self.id2label is None and kwargs.get("num_labels") is None:
            kwargs["num_labels"] = VOC_CLASSES
        if self.problem_type is None:
            self.problem_type = "multi_label_classification"  # what the image-classification pipeline looks at
        super().__post_init__(**kwargs)

    def to_diff_dict(self) -> dict[str, Any]:
        """As in the parent, but always with the labels: it leaves out two, and their absence means 20 here."""
        return super().to_diff_dict() | {"id2label": self.id2label, "label2id": self.label2id}

    def validate_architecture(self):
        """Part of `@strict`: one error that lists all that cannot work together."""
        problems = []
        if len(self.vgg_hidden_sizes) != 4 or min(self.vgg_hidden_sizes) < 1:
            problems.append(f"vgg_hidden_sizes must be four positive numbers, received {self.vgg_hidden_sizes}")
        if self.loss_reduction not in LOSS_REDUCTIONS:
            problems.append(f"loss_reduction must be one of {LOSS_REDUCTIONS}, received {self.loss_reduction!r}")
        if self.use_contrastive_co_attention and not self.use_co_attention:
            problems.append("use_contrastive_co_attention needs use_co_attention (its gate reads what pairs share)")
        if self.affinity not in AFFINITIES:
            problems.append(f"affinity must be one of {AFFINITIES}, received {self.affinity!r}")
        if self.co_attention_gate not in GATES:
            problems.append(f"co_attention_gate must be one of {GATES}, received {self.co_attention_gate!r}")
        problems += [
            f"{name} must be positive, received {getattr(self, name)}"
            for name in ("affinity_scale", "feature_scale")
            if not getattr(self, name) > 0
        ]
        if any(not scale > 0 for scale in self.scale_views):
            problems.append(f"scale_views must be positive factors, received {self.scale_views}")
        if not 0 <= self.equivariance_weight < math.inf:
            problems.append(f"equivariance_weight must be at least 0, received {self.equivariance_weight}")
        if not 0 < self.equivariance_scale < 1:
            problems.append(f"equivariance_scale must be between 0 and 1, received {self.equivariance_scale}")
        names = {str(name).strip().casefold() for name in (self.id2label or {}).values()}
        if "background" in names:
            problems.append("a class must not be called background, which masks have beside the classes")
        problems += [
            f"{name} must be in [0, 1], received {score}"
            for name in ("background_score", "single_round_background_score")
            if (score := getattr(self, name)) is not None and not 0 <= score <= 1
        ]
        if problems:
            raise ValueError("; ".join(problems))


__all__ = ["MCISConfig"]
