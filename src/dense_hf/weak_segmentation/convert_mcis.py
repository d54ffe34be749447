"""Reading the authors' MCIS checkpoints.

They hold 37 tensors: VGG-16, three convolutions and two class layers, the affinity and the gate.
"""

import re

from torch import Tensor

from ..strict_loading import build_and_load
from .backbone_mcis import rename_vgg
from .configuration_mcis import MCISConfig
from .modeling_mcis import MCISForImageClassification

# (pattern of a whole official name, our name)
RENAMES = [
    (r"vgg\.extra_convs\.(.*)", r"neck.\1"),
    (r"vgg\.extra_last_conv\.(.*)", r"classifier.\1"),
    (r"extra_linear_e\.(.*)", r"co_attention.affinities.0.\1"),
    (r"extra_gate\.(.*)", r"common_classifier.\1"),
    (r"extra_gate_merge\.(.*)", r"gate.\1"),
]
# the first convolution of each of the first four stages
STAGE_STARTS = (0, 5, 10, 17)


def convert_mcis(state_dict: dict[str, Tensor], **config_overrides) -> MCISForImageClassification:
    """MCIS from the tensors of a released checkpoint. Errors as in `build_and_load`."""
    config = MCISConfig(**(infer_config(state_dict) | config_overrides))
    return build_and_load(MCISForImageClassification, config, rename(state_dict))


def infer_config(state_dict: dict[str, Tensor]) -> dict:
    """Every size that tensor shapes tell, as fields of `MCISConfig`."""
    stages = [state_dict[f"vgg.features.{index}.weight"] for index in STAGE_STARTS]
    num_labels, hidden_size = state_dict["vgg.extra_last_conv.weight"].shape[:2]
    return {
        "num_channels": stages[0].shape[1],
        "vgg_hidden_sizes": [weight.shape[0] for weight in stages],
        "hidden_size": hidden_size,
        "num_labels": num_labels,
    }


def rename(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our names for the authors' tensors; a name that no rule knows stays, so that loading refuses it."""
    converted = {}
    for name, tensor in state_dict.items():
        if match := re.fullmatch(r"vgg\.(features\.\d+\.\w+)", name):
            name = f"backbone.{rename_vgg(match[1])}"
        for pattern, replacement in RENAMES:
            if re.fullmatch(pattern, name):
                name = re.sub(pattern, replacement, name)
                break
        converted[name] = tensor
    return converted
