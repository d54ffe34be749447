"""Reading the authors' checkpoints of the density counters: CSRNet, CAN, BL, NoisyCC, DM-Count, GL and KDMG.

Their trunks are torchvision's VGG16 or VGG19, whose layers timm counts alike, so only beginnings of names differ.
"""

import re
from typing import Any

from torch import Tensor

from .counting.configuration_density_counter import DensityCounterConfig, timm_backbone
from .counting.modeling_density_counter import DensityCounterForObjectCounting
from .strict_loading import build_and_load

# torchvision's number of the last convolution -> a network of timm, and its feature map that ends after it
TRUNKS = {21: ("vgg16", 3), 34: ("vgg19", 4)}
CONTEXT_OF_SIZE = {"1": 0, "2": 1, "3": 2, "6": 3}  # conv6_1 is the fourth scale, of 6 x 6 fields
RENAMES = [
    (r"(?:features|frontend)\.(\d+)\.(.*)", r"backbone._backbone.features_\1.\2"),
    (r"reg_layer\.0\.(.*)", r"head.convs.0.\1"),
    (r"reg_layer\.2\.(.*)", r"head.convs.1.\1"),
    (r"(?:reg_layer\.4|density_layer\.0|output_layer)\.(.*)", r"head.output.\1"),
    (r"context\.scales\.(\d)\.1\.weight", r"neck.scale_convs.\1.weight"),
    (r"context\.weight_net\.(.*)", r"neck.weight_convs.0.\1"),
    (r"context\.bottleneck\.(.*)", r"neck.bottleneck.\1"),
    (r"adapt\.(.*)", r"kernel_generator.\1"),
]


def rename(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our names for the authors' tensors; a name that no rule knows stays, so that loading refuses it."""
    has_norms = "backend.1.running_mean" in state_dict
    converted = {}
    for name, tensor in state_dict.items():
        if match := re.fullmatch(r"backend\.(\d+)\.(.*)", name):
            layer, kind = divmod(int(match[1]), 3 if has_norms else 2)
            name = f"head.{'norms' if kind else 'convs'}.{layer}.{match[2]}"
        elif match := re.fullmatch(r"conv([1236])_([12])\.weight", name):
            part = "scale_convs" if match[2] == "1" else "weight_convs"
            name = f"neck.{part}.{CONTEXT_OF_SIZE[match[1]]}.weight"
        else:
            for pattern, replacement in RENAMES:
                if re.fullmatch(pattern, name):
                    name = re.sub(pattern, replacement, name)
                    break
        converted[name] = tensor
    return converted


def infer_config(method: str, converted: dict[str, Tensor]) -> dict[str, Any]:
    """What tensor shapes tell, as fields of `DensityCounterConfig`, and what a method's name says."""
    numbers = [
        int(match[1]) for name in converted if (match := re.match(r"backbone\._backbone\.features_(\d+)", name))
    ]
    if max(numbers, default=0) not in TRUNKS:
        received = f"The last layer is {max(numbers)}" if numbers else "There is none"
        raise ValueError(f"a trunk of torchvision's VGG16 up to layer 21, or of its VGG19 up to 34. {received}")
    backbone, feature_map = TRUNKS[max(numbers)]
    widths = {}
    for name, tensor in converted.items():
        if match := re.fullmatch(r"head\.convs\.(\d+)\.weight", name):
            widths[int(match[1])] = tensor.shape[0]
    fields: dict[str, Any] = {
        "backbone_config": timm_backbone(backbone, feature_map),
        "head_channels": [widths[index] for index in sorted(widths)],
    }
    if (output := converted.get("head.output.weight")) is not None:
        fields["num_labels"] = output.shape[0]
    if method == "kdmg":
        if backbone == "vgg16":  # the released code has CSRNet, too, with an absolute value
            fields |= {"upsample": None, "head_dilation": 2}
        kernels = converted.get("kernel_generator.12.weight")
        fields["generated_kernel_size"] = None if kernels is None else round(kernels.shape[0] ** 0.5)
    return fields


def _convert(method: str, state_dict: dict[str, Tensor], overrides: dict[str, Any]) -> DensityCounterForObjectCounting:
    converted = rename(state_dict)
    config = DensityCounterConfig.from_method(method, **(infer_config(method, converted) | overrides))
    return build_and_load(DensityCounterForObjectCounting, config, converted)


def convert_csrnet(state_dict: dict[str, Tensor], **config_overrides: Any) -> DensityCounterForObjectCounting:
    """CSRNet from the tensors of a released checkpoint. Errors as in `build_and_load`."""
    return _convert("csrnet", state_dict, config_overrides)


def convert_can(state_dict: dict[str, Tensor], **config_overrides: Any) -> DensityCounterForObjectCounting:
    """CAN, as its authors have it, from the tensors of a released checkpoint. Errors as in `build_and_load`."""
    return _convert("can", state_dict, config_overrides)


def convert_can_commissarma(state_dict: dict[str, Tensor], **config_overrides: Any) -> DensityCounterForObjectCounting:
    """CAN of the reimplementation that trains with SGD. Errors as in `build_and_load`."""
    return _convert("can_commissarma", state_dict, config_overrides)


def convert_bl(state_dict: dict[str, Tensor], **config_overrides: Any) -> DensityCounterForObjectCounting:
    """BL from the tensors of a released checkpoint. Errors as in `build_and_load`."""
    return _convert("bl", state_dict, config_overrides)


def convert_noisycc(state_dict: dict[str, Tensor], **config_overrides: Any) -> DensityCounterForObjectCounting:
    """NoisyCC from the tensors of a released checkpoint. Errors as in `build_and_load`."""
    return _convert("noisycc", state_dict, config_overrides)


def convert_dmcount(state_dict: dict[str, Tensor], **config_overrides: Any) -> DensityCounterForObjectCounting:
    """DM-Count from the tensors of a released checkpoint. Errors as in `build_and_load`."""
    return _convert("dmcount", state_dict, config_overrides)


def convert_gl(state_dict: dict[str, Tensor], **config_overrides: Any) -> DensityCounterForObjectCounting:
    """GL from the tensors of a released checkpoint. Errors as in `build_and_load`."""
    return _convert("gl", state_dict, config_overrides)


def convert_kdmg(state_dict: dict[str, Tensor], **config_overrides: Any) -> DensityCounterForObjectCounting:
    """KDMG, with its generator if the file has that. Errors as in `build_and_load`."""
    return _convert("kdmg", state_dict, config_overrides)
