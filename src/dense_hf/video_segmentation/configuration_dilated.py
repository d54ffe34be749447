"""Configurations of the compared systems with a dilated ResNet: PSPNet, OCRNet, TCB, NetWarp (Tables 4.1 and 5.6).

The defaults are those of the code released with VSPW: ResNet-101, a stem of three convolutions, output stride 8.
"""

from itertools import pairwise
from typing import ClassVar

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .video_bounds import BoundedConfig

RESNET_101 = {"backbone": "resnet101s", "features_only": True, "out_indices": [3, 4], "output_stride": 8}
HEADS = ("ppm", "ocr")


@strict
class DilatedVideoConfig(BoundedConfig):
    r"""
    Fields of every model that segments video with a dilated backbone.

    Args:
        backbone_config (`dict` or `PreTrainedConfig`, *optional*):
            Any transformers or timm backbone; its last two maps are used. Defaults to timm's ResNet-101 with a deep
            stem and output stride 8.
        hidden_size (`int`, defaults to 512): Channels of the head.
        classifier_dropout_prob (`float`, defaults to 0.1): Channels dropped before the classifiers.
        auxiliary_loss_weight (`float`, defaults to 0.4): Weight of the loss on what the last but one map says.
        loss_upsampling (`str`, defaults to `"log_probabilities"`):
            What is enlarged to the size of the labels: `"log_probabilities"` (released code; enlarged they are not
            normalised any more) or `"logits"`.
        semantic_loss_ignore_index (`int`, defaults to 255): Label of pixels that no loss looks at.
    """

    sub_configs_defaults = {
        "backbone_config": SubConfigSpec(
            config_class=AutoConfig, model_type="timm_backbone", init_kwargs=dict(RESNET_101)
        ),
    }
    keys_to_ignore_at_inference = ["loss_dict", "auxiliary_logits", "hidden_states"]
    head: ClassVar[str]
    frame_offsets: ClassVar[tuple[int, ...]] = ()

    backbone_config: dict | PreTrainedConfig | None = None
    hidden_size: int = 512
    classifier_dropout_prob: float | int = 0.1
    auxiliary_loss_weight: float | int = 0.4
    loss_upsampling: str = "log_probabilities"
    semantic_loss_ignore_index: int = 255

    @property
    def num_reference_frames(self) -> int:
        """How many frames besides the target a whole clip has."""
        return len(self.frame_offsets)

    def find_problems(self) -> list[str]:
        """What cannot work, one sentence each; models add their own."""
        problems = []
        if self.loss_upsampling not in ("log_probabilities", "logits"):
            problems.append(
                f"loss_upsampling must be 'log_probabilities' or 'logits', received {self.loss_upsampling!r}"
            )
        if self.head not in HEADS:
            problems.append(f"head must be 'ppm' or 'ocr', received {self.head!r}")
        if not 1 <= len(sizes := list(getattr(self, "pool_sizes", [1]))) <= 16 or min(sizes) < 1:
            problems.append(f"pool_sizes must be 1 to 16 numbers from 1 on, received {sizes}")
        return problems

    def validate_architecture(self):
        """Part of `@strict`: one error that lists all that cannot work together."""
        if problems := self.find_problems():
            raise ValueError("; ".join(problems))


@strict
class PSPNetVideoConfig(DilatedVideoConfig):
    r"""
    Configuration of [`PSPNetForVideoSemanticSegmentation`]: the fields of [`DilatedVideoConfig`] and

    Args:
        pool_sizes (`list[int]`, defaults to `(1, 2, 3, 6)`): Cells a side of the pyramid's poolings.
    """

    model_type = "pspnet_video"
    head: ClassVar[str] = "ppm"

    pool_sizes: list[int] | tuple[int, ...] = (1, 2, 3, 6)


@strict
class OCRNetVideoConfig(DilatedVideoConfig):
    r"""
    Configuration of [`OCRNetForVideoSemanticSegmentation`]: the fields of [`DilatedVideoConfig`] and

    Args:
        key_size (`int`, defaults to 256): Channels of queries, keys and values between pixels and classes.
    """

    model_type = "ocrnet_video"
    head: ClassVar[str] = "ocr"

    key_size: int = 256
    classifier_dropout_prob: float | int = 0.05


@strict
class ClipHeadConfig(DilatedVideoConfig):
    r"""
    What TCB and NetWarp have in common, the choice of the head.

    Args:
        head (`str`, defaults to `"ppm"`): The head of PSPNet (`"ppm"`) or of OCRNet (`"ocr"`).
        pool_sizes (`list[int]`, defaults to `(1, 2, 3, 6)`): As for PSPNet.
        key_size (`int`, defaults to 256): As for OCRNet.
        compat (`str`, *optional*): `"vspw"` repeats what the released code does otherwise than it says.
    """

    head: str = "ppm"  # ty: ignore[incompatible-attribute-override]  a field here
    pool_sizes: list[int] | tuple[int, ...] = (1, 2, 3, 6)
    key_size: int = 256
    classifier_dropout_prob: float | int | None = None  # ty: ignore[incompatible-attribute-override]  set below
    compat: str | None = None

    def __post_init__(self, **kwargs):
        if self.classifier_dropout_prob is None:
            self.classifier_dropout_prob = 0.1 if self.head == "ppm" else 0.05
        super().__post_init__(**kwargs)

    def find_problems(self) -> list[str]:
        """As in the parent, and whether `compat` is known."""
        problems = super().find_problems()
        if self.compat not in (None, "vspw"):
            problems.append(f"compat must be None or 'vspw', received {self.compat!r}")
        return problems


@strict
class TCBConfig(ClipHeadConfig):
    r"""
    Configuration of [`TCBForVideoSemanticSegmentation`]: the fields of [`ClipHeadConfig`] and

    Args:
        frame_offsets (`list[int]`, defaults to `(9, 6, 3)`):
            How many frames before the target the reference frames are, oldest first. With `compat="vspw"` they are as
            many frames *after* it, as in the released code, unless the video ends; see [`released_references`].
        memory (`str`, defaults to `"none"`):
            What is averaged besides the frames of the clip: `"anchor"`, what the first whole clip of the video left
            behind (what the released memory does), or `"rolling"`, the latest clips (what it is meant to do).
        memory_size (`int`, defaults to 8): Frames kept; each clip adds its own, and the oldest leave first.
        frame_weights (`str`, *optional*):
            Learned weights of the frames' poolings, with the PPM head: `"released"`, each frame with the weight of the
            next one in the clip and all divided by their number, or `"aligned"`, a weighted mean.
    """

    model_type = "tcb"

    frame_offsets: list[int] | tuple[int, ...] = (9, 6, 3)  # ty: ignore[incompatible-attribute-override]  a field here
    memory: str = "none"
    memory_size: int = 8
    frame_weights: str | None = None

    def find_problems(self) -> list[str]:
        """As in the parent, and what TCB adds."""
        problems = super().find_problems()
        offsets = list(self.frame_offsets)
        if not 1 <= len(offsets) <= 32 or min(offsets) < 1 or any(a <= b for a, b in pairwise(offsets)):
            problems.append(f"frame_offsets must be positive and fall, at most 32, received {offsets}")
        if self.memory not in ("none", "anchor", "rolling"):
            problems.append(f"memory must be 'none', 'anchor' or 'rolling', received {self.memory!r}")
        if self.frame_weights not in (None, "released", "aligned"):
            problems.append(f"frame_weights must be None, 'released' or 'aligned', received {self.frame_weights!r}")
        elif self.frame_weights is not None and (self.head != "ppm" or self.memory != "none"):
            problems.append(
                f"frame_weights are for head='ppm' and memory='none', received {self.head!r} and {self.memory!r}"
            )
        return problems


@strict
class NetWarpConfig(ClipHeadConfig):
    r"""
    Configuration of [`NetWarpForVideoSemanticSegmentation`]: the fields of [`ClipHeadConfig`]. With `compat="vspw"`
    features are warped as released: by a flow in pixels of the frame, not of the features, and half a pixel off.

    Args:
        flow_hidden_sizes (`list[int]`, defaults to `(16, 32)`): Channels of the layers that correct the flow.
        flow (`str`, defaults to `"raft"`):
            Where the optical flow of two frames comes from: `"raft"`, torchvision's RAFT as in the tables, whose
            weights are downloaded, or `"dis"`, OpenCV's Dense Inverse Search as by the authors of NetWarp.
    """

    model_type = "netwarp"
    frame_offsets: ClassVar[tuple[int, ...]] = (1,)

    flow_hidden_sizes: list[int] | tuple[int, ...] = (16, 32)
    flow: str = "raft"

    def find_problems(self) -> list[str]:
        """As in the parent; the correction has at least one layer of its own."""
        problems = super().find_problems()
        if not 1 <= len(self.flow_hidden_sizes) <= 16 or min(self.flow_hidden_sizes) < 1:
            problems.append(f"flow_hidden_sizes must be 1 to 16 numbers from 1 on, received {self.flow_hidden_sizes}")
        if self.flow not in ("raft", "dis"):
            problems.append(f"flow must be 'raft' or 'dis', received {self.flow!r}")
        return problems


__all__ = ["NetWarpConfig", "OCRNetVideoConfig", "PSPNetVideoConfig", "TCBConfig"]
