"""Reading the authors' MRCFA checkpoints (`backbone.*`, `decode_head.*`)."""

import re

from torch import Tensor

from .convert_segformer import DECODER_RENAMES, count, infer_encoder_config, merged, rename, rename_model, with_prefix
from .strict_loading import build_and_load
from .video_segmentation.configuration_mrcfa import MRCFAConfig
from .video_segmentation.configuration_video import MIX_TRANSFORMERS
from .video_segmentation.modeling_mrcfa import MRCFAForVideoSemanticSegmentation

# official number of a scale -> ours. Queries and keys count from the finest, refinements by the encoder's map
SCALES = {"queries": {"3": 0, "2": 1, "1": 2}, "refinements": {"4": 0, "3": 1, "2": 2}}
DECODER = r"hypercorre_module\.hpn\.encoder_layer"
PROJECTION = r"hypercorre_module\.([qk])([123])\.(.*)"
REFINEMENT = DECODER + r"([234])\.(\d+)\.(conv2\.)?(weight|bias)"
AGGREGATION = DECODER + r"([43])to([32])\.(\d+)\.(conv2\.)?(weight|bias)"
CLASSIFIER = r"deco(\d+)\.smalldecoder\.1\.(weight|bias)"
HEAD_RENAMES = [
    *DECODER_RENAMES,
    (r"sr3\.(.*)", r"mining.reductions.0.\1"),
    (r"sr2\.(.*)", r"mining.reductions.1.\1"),
    (r"sr1_feat\.(.*)", r"mining.values.\1"),
]
# in every checkpoint, in no forward: a classifier from a base class, and counters
UNUSED = r"conv_seg\..*|.*\.num_batches_tracked"


def convert_mrcfa(state_dict: dict[str, Tensor], **config_overrides) -> MRCFAForVideoSemanticSegmentation:
    """MRCFA from the tensors of a released checkpoint.

    The shapes do not tell `token_selection_ratio` (default: 0.8 with MiT-B0, else 0.5, as released), `importance` and
    `importance_topk` (default: 5), nor the offsets of the reference frames: three are (9, 6, 3), other numbers go on
    in threes. Nor do they tell `num_scales`: the authors' ablations with fewer scales have weights for all three, and
    those beyond an override are left out. `encoder_config` may be a dictionary of what the shapes do not tell.

    Raises:
        ValueError: if tensors are missing, unexpected or of another shape.
        KeyError: if a tensor is missing that tells a size.
    """
    config = MRCFAConfig(**merged(infer_config(state_dict), config_overrides))
    return build_and_load(MRCFAForVideoSemanticSegmentation, config, rename_checkpoint(state_dict, config.num_scales))


def infer_config(state_dict: dict[str, Tensor]) -> dict:
    """Every size that tensor shapes tell, as fields of `MRCFAConfig`."""
    head = with_prefix(state_dict, "decode_head.")
    encoder_config = infer_encoder_config(with_prefix(state_dict, "backbone."))
    num_references = count(head, CLASSIFIER) - 1
    kernels = {
        name.removeprefix("hypercorre_module.hpn.encoder_layer"): tensor.shape
        for name, tensor in head.items()
        if re.match(DECODER, name) and name.endswith("conv2.weight")
    }
    first = [kernels[f"{n}.0.conv2.weight"] for n in (4, 3, 2) if f"{n}.0.conv2.weight" in kernels]
    block = "4" if first else "4to3"  # of an ablation without refinement only the aggregation is left
    depth = count(head, DECODER + block + r"\.(\d+)\.conv2\.")
    last = kernels[f"{block}.{3 * (depth - 1)}.conv2.weight"]
    decoder = {"affinity_kernel_sizes": [shape[-1] for shape in first]} if first else {}
    is_smallest = all(encoder_config[name] == value for name, value in MIX_TRANSFORMERS["b0"].items())
    return decoder | {
        "encoder_config": encoder_config,
        "num_labels": len(head["linear_pred.weight"]),
        "decoder_hidden_size": len(head["linear_c1.proj.weight"]),
        "frame_offsets": [3 * n for n in range(num_references, 0, -1)],
        "token_selection_ratio": 0.8 if is_smallest else 0.5,
        "reference_stride": 8 * head["sr1_feat.weight"].shape[-1],
        "use_sar": bool(first),
        "use_maa": "4to3.0.conv2.weight" in kernels,
        "affinity_depth": depth,
        "affinity_width": last[0],
        "affinity_convolution": f"{len(last) - 2}d",
    }


def rename_checkpoint(state_dict: dict[str, Tensor], num_scales: int = 3) -> dict[str, Tensor]:
    """Our names for the authors' tensors; a name that no rule knows stays, so that loading refuses it."""
    converted = {}
    head = with_prefix(state_dict, "decode_head.")
    last = count(head, CLASSIFIER)
    for name, tensor in head.items():
        if re.fullmatch(UNUSED, name):
            continue
        renamed = _rename_affinity(name) or _rename_classifier(name, last) or rename(name, HEAD_RENAMES)
        if not _beyond(renamed, num_scales):
            converted[f"decode_head.{name}" if renamed == name else renamed] = tensor
    return rename_model(state_dict, converted)


def _rename_affinity(name: str) -> str | None:
    """Names of what makes and refines affinities; each layer of the authors counts as three modules."""
    if match := re.fullmatch(PROJECTION, name):
        kind = {"q": "queries", "k": "keys"}[match[1]]
        return f"mining.{kind}.{SCALES['queries'][match[2]]}.{match[3]}"
    if match := re.fullmatch(REFINEMENT, name):
        block = f"refinements.{SCALES['refinements'][match[1]]}"
    elif match := re.fullmatch(AGGREGATION, name):
        block = f"aggregations.{SCALES['refinements'][match[1]]}"
    else:
        return None
    *_, place, convolution, parameter = match.groups()
    kind = "convolution" if convolution else "norm"
    return f"mining.decoder.{block}.layers.{int(place) // 3}.{kind}.{parameter}"


def _rename_classifier(name: str, last: int) -> str | None:
    """The last of the classifiers at 1/8 is that of the merged features, those before it belong to the references."""
    if match := re.fullmatch(CLASSIFIER, name):
        number = int(match[1])
        return f"classifier.{match[2]}" if number == last else f"auxiliary_classifiers.{number - 1}.{match[2]}"
    return None


def _beyond(name: str, num_scales: int) -> bool:
    """Whether a tensor belongs to a scale that is not used."""
    match = re.match(r"mining\.(?:decoder\.)?(queries|keys|reductions|refinements|aggregations)\.(\d)\.", name)
    if not match:
        return False
    return int(match[2]) + (match[1] in ("reductions", "aggregations")) >= num_scales
