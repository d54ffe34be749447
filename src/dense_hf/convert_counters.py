"""Reading the authors' checkpoints of MCNN, MAN, DSSI-Net, MPS, LCFCN and P2PNet (thesis Table 2.3).

They share rules, and counting/ has as many files as a folder may have, so they are here. A name that no rule knows
stays, so that loading refuses it.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .counting.configuration_dssinet import STAGE_LENGTHS, DSSINetConfig
from .counting.configuration_lcfcn import LCFCNConfig
from .counting.configuration_man import MANConfig
from .counting.configuration_mcnn import MCNNConfig
from .counting.configuration_mspsnet import BRANCH_STAGES, MSPSNetConfig
from .counting.configuration_p2pnet import P2PNetConfig
from .counting.modeling_dssinet import DSSINetForObjectCounting
from .counting.modeling_lcfcn import LCFCNForObjectCounting
from .counting.modeling_man import MANForObjectCounting
from .counting.modeling_mcnn import MCNNForObjectCounting
from .counting.modeling_mspsnet import MSPSNetForObjectCounting
from .counting.modeling_p2pnet import P2PNetForObjectCounting
from .strict_loading import build_and_load

VGG16_STAGES = (2, 2, 3, 3, 3)
# place of a convolution of VGG-16 in torchvision's list -> its stage
PLACES = {0: 0, 2: 0, 5: 1, 7: 1, 10: 2, 12: 2, 14: 2, 17: 3, 19: 3, 21: 3, 24: 4, 26: 4, 28: 4}
# layers of P2PNet's checkpoints that nothing is computed with
UNUSED_P2PNET = r"(regression|classification)\.conv[34]\..*|fpn\.(P3_[12]|P5_2)\..*|.*num_batches_tracked"
BODY_STARTS = {"1": 0, "2": 13, "3": 23, "4": 33}  # of the parts of P2PNet's VGG16 in torchvision's list


def rename(state_dict: Mapping[str, Tensor], rules: list[tuple[str, Any]]) -> dict[str, Tensor]:
    """Our names: of the first pattern that matches a whole name."""
    renamed = {}
    for name, tensor in state_dict.items():
        for pattern, replacement in rules:
            if match := re.fullmatch(pattern, name):
                name = replacement(match) if callable(replacement) else match.expand(replacement)
                break
        renamed[name] = tensor
    return renamed


def widths(state_dict: Mapping[str, Tensor], prefix: str) -> list[int]:
    """Channels of the convolutions under a prefix, by their places."""
    pattern = re.compile(rf"{re.escape(prefix)}(\d+)\.weight")
    found = {int(m[1]): t.shape[0] for n, t in state_dict.items() if (m := pattern.fullmatch(n)) and t.ndim == 4}
    return [found[place] for place in sorted(found)]


def stages_of(channels: list[int], lengths: tuple[int, ...]) -> list[list[int]]:
    """Channels of convolutions by stages.

    Raises:
        ValueError: there are more or fewer.
    """
    if len(channels) != sum(lengths):
        raise ValueError(f"{sum(lengths)} convolutions of VGG-16. Found: {len(channels)}")
    numbers = iter(channels)
    return [[next(numbers) for _ in range(length)] for length in lengths]


def of_trunk(prefix: str) -> Any:
    """A replacement: place in torchvision's list -> name in a `VGGTrunk`."""
    return lambda match: f"{prefix}stages.{PLACES.get(int(match[1]), '?')}.{match[1]}.{match[2]}"


def convert_mcnn(state_dict: dict[str, Tensor], **overrides: Any) -> MCNNForObjectCounting:
    """MCNN for color images (branch1.0, 3, 6, 8). Errors as in `build_and_load`."""
    return _convert_mcnn(state_dict, (0, 3, 6, 8), "", MCNNConfig, overrides)


def convert_mcnn_gray(state_dict: dict[str, Tensor], **overrides: Any) -> MCNNForObjectCounting:
    """MCNN for gray images (DME.branch1.0.conv). Errors as in `build_and_load`."""
    state_dict = {name.removeprefix("DME."): tensor for name, tensor in state_dict.items()}
    return _convert_mcnn(state_dict, (0, 2, 4, 5), ".conv", MCNNConfig.gray, overrides)


def _convert_mcnn(
    state_dict: dict[str, Tensor], places: tuple[int, ...], conv: str, config_class: Any, overrides: dict[str, Any]
) -> MCNNForObjectCounting:
    shapes = [[state_dict[f"branch{i}.{place}{conv}.weight"].shape for place in places] for i in (1, 2, 3)]
    fields: dict[str, Any] = {
        "num_channels": shapes[0][0][1],
        "column_channels": [[shape[0] for shape in column] for column in shapes],
        "column_kernels": [[shape[2] for shape in column] for column in shapes],
    }

    def of_column(match: re.Match) -> str:
        place = int(match[2])
        known = f"convs.{places.index(place)}" if place in places else f"?{place}"
        return f"columns.{int(match[1]) - 1}.{known}.{match[3]}"

    conv = re.escape(conv)
    rules = [(rf"branch(\d)\.(\d+){conv}\.(.*)", of_column), (rf"fuse\.0{conv}\.(.*)", r"output.\1")]
    return build_and_load(MCNNForObjectCounting, config_class(**(fields | overrides)), rename(state_dict, rules))


def convert_man(state_dict: dict[str, Tensor], **overrides: Any) -> MANForObjectCounting:
    """MAN. The number of heads (2) is not in the file. Errors as in `build_and_load`."""
    fields: dict[str, Any] = {
        "encoder_layers": len({m[1] for name in state_dict if (m := re.match(r"encoder\.layers\.(\d+)\.", name))}),
        "encoder_ffn_dim": state_dict["encoder.layers.0.linear1.weight"].shape[0],
        "head_channels": [state_dict[f"reg_layer_0.{place}.weight"].shape[0] for place in (0, 2)],
    }
    rules: list[tuple[str, Any]] = [
        (r"features\.(\d+\..*)", r"backbone._backbone.features_\1"),
        (r"encoder\.layers\.(\d+)\.self_attn\.in_proj_(.*)", r"layers.\1.attention.in_proj.\2"),
        (r"encoder\.layers\.(\d+)\.self_attn\.out_proj\.(.*)", r"layers.\1.attention.out_proj.\2"),
        (r"encoder\.layers\.(\d+)\.linear([12])\.(.*)", r"layers.\1.fc\2.\3"),
        (r"encoder\.layers\.(\d+)\.norm1\.(.*)", r"layers.\1.attention_norm.\2"),
        (r"encoder\.layers\.(\d+)\.norm2\.(.*)", r"layers.\1.final_norm.\2"),
        (r"reg_layer_0\.0\.(.*)", r"head.convs.0.\1"),
        (r"reg_layer_0\.2\.(.*)", r"head.convs.1.\1"),
        (r"reg_layer_0\.4\.(.*)", r"head.output.\1"),
    ]
    return build_and_load(MANForObjectCounting, MANConfig(**(fields | overrides)), rename(state_dict, rules))


def convert_dssinet(state_dict: dict[str, Tensor], **overrides: Any) -> DSSINetForObjectCounting:
    """DSSI-Net of any widths, also the pruned one. Errors as in `build_and_load`."""
    trunk = "front_end.features."
    fields: dict[str, Any] = {
        "stage_channels": stages_of(widths(state_dict, trunk), STAGE_LENGTHS),
        "head_channels": state_dict["decoder1.0.conv.weight"].shape[0],
    }
    places = [place for place, stage in PLACES.items() if stage < len(STAGE_LENGTHS)]
    order = [(stage, i) for stage, length in enumerate(STAGE_LENGTHS) for i in range(length)]
    slopes = {place + 1: f"slopes.{stage}.{i}" for place, (stage, i) in zip(places, order)}
    rules: list[tuple[str, Any]] = [
        (r"front_end\.features\.(\d+)\.(.*)", of_trunk("backbone.")),
        (r"front_end\.features\.relu(\d+)\.(.*)", lambda m: f"{slopes.get(int(m[1]), '?')}.{m[2]}"),
        (
            r"passing(\d)\.w_0_(\d)_(\d)_0\.0\.conv\.(.*)",
            lambda m: f"passing.{int(m[1]) - 1}.messages.{m[2]}_to_{m[3]}.{m[4]}",
        ),
        (r"passing(\d)\.prelu\.(.*)", lambda m: f"passing.{int(m[1]) - 1}.activation.{m[2]}"),
        (r"decoder(\d)\.([01])\.conv\.(.*)", lambda m: f"heads.{int(m[1]) - 1}.{2 * int(m[2])}.{m[3]}"),
        (r"passing_weight(\d)\.conv\.(.*)", lambda m: f"refinements.{int(m[1]) - 1}.{m[2]}"),
        (r"prelu\.(.*)", r"activation.\1"),
    ]
    state_dict = {name.removeprefix("model."): tensor for name, tensor in state_dict.items()}
    return build_and_load(DSSINetForObjectCounting, DSSINetConfig(**(fields | overrides)), rename(state_dict, rules))


def convert_mps(state_dict: dict[str, Tensor], **overrides: Any) -> MSPSNetForObjectCounting:
    """MSPSNet. Errors as in `build_and_load`."""
    suffixes = ("", "_1", "_2")
    fields: dict[str, Any] = {
        "stage_channels": stages_of(widths(state_dict, "backend."), VGG16_STAGES[: BRANCH_STAGES[0]]),
        "branch_channels": [widths(state_dict, f"frontend{suffix}.") for suffix in suffixes],
    }
    rules: list[tuple[str, Any]] = []
    for index, suffix in enumerate(suffixes):
        rules += [
            (rf"backend{suffix}\.(\d+)\.(.*)", of_trunk(f"backbones.{index}.")),
            (rf"frontend{suffix}\.(\d+)\.(.*)", lambda m, i=index: f"branches.{i}.convs.{int(m[1]) // 2}.{m[2]}"),
            (rf"output_layer_{index}\.conv\.(.*)", rf"branches.{index}.output.\1"),
            (rf"down_fuse_{index}\.(\d+)\.(.*)", lambda m, i=index: f"branches.{i}.halvings.{int(m[1]) // 2}.{m[2]}"),
        ]
    rules.append((r"output_layer_3\.conv\.(.*)", r"output.\1"))
    return build_and_load(MSPSNetForObjectCounting, MSPSNetConfig(**(fields | overrides)), rename(state_dict, rules))


def convert_lcfcn(state_dict: dict[str, Tensor], **overrides: Any) -> LCFCNForObjectCounting:
    """LCFCN with FCN8-VGG16. Errors as in `build_and_load`."""
    names = [f"conv{stage}_{i}" for stage, length in enumerate(VGG16_STAGES, 1) for i in range(1, length + 1)]
    fields: dict[str, Any] = {
        "stage_channels": stages_of([state_dict[f"{name}.weight"].shape[0] for name in names], VGG16_STAGES),
        "fc_channels": state_dict["fc6.weight"].shape[0],
    }
    ours = {name: f"backbone.stages.{stage}.{place}" for name, (place, stage) in zip(names, PLACES.items())}
    ours |= {
        "scoring_layer": "score",
        "score_pool4": "score_fourth",
        "score_pool3": "score_third",
        "upscore2": "upsample",
        "upscore_pool4": "upsample_fourth",
        "upscore8": "upsample_third",
    }
    state_dict = {name.removeprefix("model_base."): tensor for name, tensor in state_dict.items()}
    rules = [(r"(\w+)\.(.*)", lambda m: f"{ours.get(m[1], m[1])}.{m[2]}")]
    return build_and_load(LCFCNForObjectCounting, LCFCNConfig(**(fields | overrides)), rename(state_dict, rules))


def convert_p2pnet(state_dict: dict[str, Tensor], **overrides: Any) -> P2PNetForObjectCounting:
    """P2PNet. How proposals of a cell are arranged is not in the file: 2 x 2. Errors as in `build_and_load`."""
    fields: dict[str, Any] = {"hidden_size": state_dict["fpn.P4_1.weight"].shape[0]}
    outputs = [state_dict.get(f"{head}.output.bias") for head in ("regression", "classification")]
    if outputs[0] is not None and outputs[1] is not None:  # two numbers of a place, one of "no object" and each class
        fields["num_labels"] = max(1, 2 * len(outputs[1]) // len(outputs[0]) - 1)
    state_dict = {name: tensor for name, tensor in state_dict.items() if not re.fullmatch(UNUSED_P2PNET, name)}
    heads = {"regression": "regression_head", "classification": "class_head"}
    rules: list[tuple[str, Any]] = [
        (
            r"backbone\.body([1-4])\.(\d+)\.(.*)",
            lambda m: f"backbone._backbone.features_{BODY_STARTS[m[1]] + int(m[2])}.{m[3]}",
        ),
        (r"(regression|classification)\.conv([12])\.(.*)", lambda m: f"{heads[m[1]]}.convs.{int(m[2]) - 1}.{m[3]}"),
        (r"(regression|classification)\.output\.(.*)", lambda m: f"{heads[m[1]]}.output.{m[2]}"),
        (r"fpn\.P5_1\.(.*)", r"lateral_coarse.\1"),
        (r"fpn\.P4_1\.(.*)", r"lateral_fine.\1"),
        (r"fpn\.P4_2\.(.*)", r"smooth.\1"),
    ]
    return build_and_load(P2PNetForObjectCounting, P2PNetConfig(**(fields | overrides)), rename(state_dict, rules))
