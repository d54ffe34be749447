"""Reading the checkpoints of the code released with VSPW: PSPNet, OCRNet, TCB, NetWarp and ETC (Tables 4.1 and 5.6).

PSPNet and OCRNet come as two files, which `convert_original_checkpoint` reads as one, given their folder. ETC is a
loss: its checkpoints are a PSPNet and an OCRNet. A name that no rule knows stays, so that loading refuses it.
"""

import re
from typing import Any

import torch
from torch import Tensor

from .strict_loading import build_and_load
from .video_segmentation.configuration_dilated import (
    RESNET_101,
    NetWarpConfig,
    OCRNetVideoConfig,
    PSPNetVideoConfig,
    TCBConfig,
)
from .video_segmentation.modeling_dilated import (
    OCRNetForVideoSemanticSegmentation,
    PSPNetForVideoSemanticSegmentation,
)
from .video_segmentation.modeling_netwarp import NetWarpForVideoSemanticSegmentation
from .video_segmentation.modeling_tcb import TCBForVideoSemanticSegmentation

RESNETS = {6: "resnet50s", 23: "resnet101s", 36: "resnet152s"}  # by the blocks of the third stage
STEM = {"conv1": "conv1.0", "bn1": "conv1.1", "conv2": "conv1.3", "bn2": "conv1.4", "conv3": "conv1.6", "bn3": "bn1"}
# what no forward computes with: the flow network, which is not trained, and counters
UNUSED = r"raft\..*|.*num_batches_tracked"
CONTEXT_BLOCK = r"(?:decoder\.)?spatial_ocr_head\.object_context_block\."
RULES: list[tuple[str, Any]] = [
    # the pyramid; where it begins with the pooling, layers are one further
    (r"decoder\.ppm\.(\d+)\.1\.(.*)", r"head.branches.\1.conv.\2"),
    (r"decoder\.ppm\.(\d+)\.2\.(.*)", r"head.branches.\1.norm.\2"),
    (r"ppm_conv\.ppm\.(\d+)\.0\.(.*)", r"head.branches.\1.conv.\2"),
    (r"ppm_conv\.ppm\.(\d+)\.1\.(.*)", r"head.branches.\1.norm.\2"),
    (r"(?:decoder\.|ppm_conv\.)?conv_last_\.0\.(.*)", r"head.output.layer.conv.\1"),
    (r"(?:decoder\.|ppm_conv\.)?conv_last_\.1\.(.*)", r"head.output.layer.norm.\1"),
    (r"(?:decoder\.|ppm_conv\.)?conv_last_\.4\.(.*)", r"head.output.classifier.\1"),
    (r"pspweight_conv\.0\.weight", r"frame_weight.weight"),
    (r"(?:decoder\.cbr_deepsup|deepsup|(?:decoder\.)?dsn_head)\.0\.(.*)", r"auxiliary_head.layer.conv.\1"),
    (r"(?:decoder\.cbr_deepsup|deepsup|(?:decoder\.)?dsn_head)\.1\.(.*)", r"auxiliary_head.layer.norm.\1"),
    (r"(?:decoder\.conv_last_deepsup_|deepsup\.4|(?:decoder\.)?dsn_head\.4)\.(.*)", r"auxiliary_head.classifier.\1"),
    # contexts of classes
    (r"(?:decoder\.)?conv_3x3\.0\.(.*)", r"head.layer.conv.\1"),
    (r"(?:decoder\.)?conv_3x3\.1\.(.*)", r"head.layer.norm.\1"),
    *(
        (CONTEXT_BLOCK + rf"{theirs}\.{number}\.(.*)", rf"head.{ours}.{layer}.\1")
        for theirs, ours in (("f_pixel", "query"), ("f_object", "key"))
        for number, layer in ((0, "0.conv"), (1, "0.norm"), (3, "1.conv"), (4, "1.norm"))
    ),
    *(
        (CONTEXT_BLOCK + rf"{theirs}\.{number}\.(.*)", rf"head.{ours}.{layer}.\1")
        for theirs, ours in (("f_down", "value"), ("f_up", "up"))
        for number, layer in ((0, "conv"), (1, "norm"))
    ),
    (r"(?:decoder\.)?spatial_ocr_head\.conv_bn_dropout\.0\.(.*)", r"head.fuse.conv.\1"),
    (r"(?:decoder\.)?spatial_ocr_head\.conv_bn_dropout\.1\.(.*)", r"head.fuse.norm.\1"),
    (r"(?:decoder\.)?(?:head|conv_last_)\.(weight|bias)", r"head.classifier.\1"),
    # the flow
    (r"flowcnn\.conv4\.0\.(.*)", r"flow_correction.output.conv.\1"),
    (r"flowcnn\.conv4\.1\.(.*)", r"flow_correction.output.norm.\1"),
    (r"flowcnn\.conv(\d)\.0\.(.*)", lambda m: f"flow_correction.layers.{int(m[1]) - 1}.conv.{m[2]}"),
    (r"flowcnn\.conv(\d)\.1\.(.*)", lambda m: f"flow_correction.layers.{int(m[1]) - 1}.norm.{m[2]}"),
]


def convert_pspnet(state_dict: dict[str, Tensor], **config_overrides: Any) -> PSPNetForVideoSemanticSegmentation:
    """PSPNet from the tensors of a released checkpoint, one of ETC too; errors as in `build_and_load`."""
    return _convert(PSPNetForVideoSemanticSegmentation, PSPNetVideoConfig, state_dict, config_overrides)


def convert_ocrnet(state_dict: dict[str, Tensor], **config_overrides: Any) -> OCRNetForVideoSemanticSegmentation:
    """OCRNet, see `convert_pspnet`."""
    return _convert(OCRNetForVideoSemanticSegmentation, OCRNetVideoConfig, state_dict, config_overrides)


def convert_tcb(state_dict: dict[str, Tensor], **config_overrides: Any) -> TCBForVideoSemanticSegmentation:
    """TCB with either head. Whether it has a memory no checkpoint tells: st-ocr and st-ocr-mem are the same one."""
    return _convert(TCBForVideoSemanticSegmentation, TCBConfig, state_dict, config_overrides)


def convert_netwarp(state_dict: dict[str, Tensor], **config_overrides: Any) -> NetWarpForVideoSemanticSegmentation:
    """NetWarp with either head; it was trained with the released warp (`compat="vspw"`)."""
    overrides = {"compat": "vspw"} | config_overrides
    return _convert(NetWarpForVideoSemanticSegmentation, NetWarpConfig, state_dict, overrides)


def rename_checkpoint(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our names and layouts for the authors' tensors."""
    # ETC and NetWarp build the end of the pyramid head twice, and use the outer one
    unused = UNUSED + (r"|decoder\.conv_last_\..*" if "conv_last_.4.weight" in state_dict else "")
    renamed = {}
    for name, tensor in state_dict.items():
        if name.startswith("encoder."):
            renamed[_encoder_name(name)] = tensor
        elif not re.fullmatch(unused, name):
            renamed[_rename(name)] = tensor
    for ours, theirs in (("feature_weights", "w0"), ("mixed_weights", "w1")):
        if f"{theirs}_0" in renamed and f"{theirs}_1" in renamed:
            renamed[ours] = torch.stack([renamed.pop(f"{theirs}_0"), renamed.pop(f"{theirs}_1")])
    return {name: tensor for name, tensor in renamed.items() if not name.endswith("num_batches_tracked")}


def infer_config(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Every size that shapes of renamed tensors tell, as fields of any of the configurations."""
    blocks = {name.split(".")[3] for name in tensors if name.startswith("encoder._backbone.layer3.")}
    if len(blocks) not in RESNETS:
        raise ValueError(f"a ResNet of 50, 101 or 152 layers; received one with {len(blocks)} blocks in layer3")
    fields: dict[str, Any] = {
        "backbone_config": {"model_type": "timm_backbone", **RESNET_101, "backbone": RESNETS[len(blocks)]},
        "num_labels": len(tensors["auxiliary_head.classifier.weight"]),
        "hidden_size": len(tensors["auxiliary_head.layer.conv.weight"]),
        "head": "ppm" if "head.branches.0.conv.weight" in tensors else "ocr",
    }
    if fields["head"] == "ocr":
        fields["key_size"] = len(tensors["head.value.conv.weight"])
    if "frame_weight.weight" in tensors:
        fields["frame_weights"] = "released"
    return fields


def _convert(model_class: Any, config_class: Any, state_dict: dict[str, Tensor], overrides: dict[str, Any]) -> Any:
    tensors = rename_checkpoint(state_dict)
    fields = infer_config(tensors)
    head = getattr(config_class, "head", None)
    if "head" not in config_class.__dataclass_fields__ and fields.pop("head") != head:
        raise ValueError(f"a checkpoint with the head of {model_class.__name__}")
    return build_and_load(model_class, config_class(**(fields | overrides)), tensors)


def _rename(name: str) -> str:
    for pattern, replacement in RULES:
        if match := re.fullmatch(pattern, name):
            return replacement(match) if callable(replacement) else match.expand(replacement)
    return name


def _encoder_name(name: str) -> str:
    inner = name.removeprefix("encoder.")
    first, _, rest = inner.partition(".")
    return f"encoder._backbone.{STEM.get(first, first)}.{rest}"
