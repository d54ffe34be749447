"""Reading the authors' checkpoints of CFFM (`backbone.*`, `decode_head.*`) and of CFFM++, which have a branch more."""

import re
from math import isqrt

from torch import Tensor

from .convert_segformer import DECODER_RENAMES, count, infer_encoder_config, merged, rename, rename_model, with_prefix
from .strict_loading import build_and_load
from .video_segmentation.configuration_cffm import CFFMConfig, CFFMPlusConfig
from .video_segmentation.modeling_cffm import CFFMForVideoSemanticSegmentation
from .video_segmentation.modeling_cffm_plus import CFFMPlusForVideoSemanticSegmentation

BLOCK = r"decoder_focal\.blocks\.(\d+)"
HEAD_RENAMES = [
    *DECODER_RENAMES,
    (r"linear_pred2\.(.*)", r"classifier.\1"),
    (BLOCK + r"\.norm1\.(.*)", r"mining_layers.\1.layernorm_before.\2"),
    (BLOCK + r"\.norm2\.(.*)", r"mining_layers.\1.layernorm_after.\2"),
    (BLOCK + r"\.mlp\.fc1\.(.*)", r"mining_layers.\1.mlp_in.\2"),
    (BLOCK + r"\.mlp\.fc2\.(.*)", r"mining_layers.\1.mlp_out.\2"),
    (BLOCK + r"\.attn\.proj\.(.*)", r"mining_layers.\1.output.\2"),
    (BLOCK + r"\.pool_layers\.0\.(.*)", r"mining_layers.\1.target_pooling.\2"),
    (BLOCK + r"\.pool_layers_clips\.(\d+)\.(.*)", r"mining_layers.\1.reference_pooling.\2.\3"),
    (BLOCK + r"\.attn\.relative_position_bias_table", r"mining_layers.\1.position_bias.window"),
    (BLOCK + r"\.attn\.relative_position_bias_table_to_neighbors", r"mining_layers.\1.position_bias.surroundings"),
    (BLOCK + r"\.attn\.relative_position_bias_table_to_windows\.0", r"mining_layers.\1.position_bias.pooled.0"),
]
QUERY_KEY_VALUE = BLOCK + r"\.attn\.qkv\.(weight|bias)"
CLIP_TABLE = BLOCK + r"\.attn\.relative_position_bias_table_to_windows_clips\.(\d+)"
# in every checkpoint, in no forward: a classifier from a base class, and indices that sizes tell
UNUSED = r"conv_seg\..*|.*\.(relative_position_index.*|valid_ind_rolled|num_batches_tracked)"
# of the branch: `decoder_swin` and `linear_pred3`
BRANCH_BLOCK = r"decode_head\.decoder_swin\.blocks\.0"
BRANCH_RENAMES = [
    (r"decode_head\.linear_pred3\.(.*)", r"prototype_classifier.\1"),
    (BRANCH_BLOCK + r"\.norm1\.(.*)", r"prototype_attention.layernorm_before.\1"),
    (BRANCH_BLOCK + r"\.norm2\.(.*)", r"prototype_attention.layernorm_after.\1"),
    (BRANCH_BLOCK + r"\.attn\.qkv_cluster\.(.*)", r"prototype_attention.key_value.\1"),
    (BRANCH_BLOCK + r"\.attn\.proj_cluster\.(.*)", r"prototype_attention.output.\1"),
    (BRANCH_BLOCK + r"\.mlp\.fc1\.(.*)", r"prototype_attention.mlp_in.\1"),
    (BRANCH_BLOCK + r"\.mlp\.fc2\.(.*)", r"prototype_attention.mlp_out.\1"),
]
BRANCH_QUERY_KEY_VALUE = BRANCH_BLOCK + r"\.attn\.qkv\.(weight|bias)"
# left over from the self-attention that the block was made of; together with the key and value of `qkv`, which have
# no use either, 198,728 parameters (E = 256) that ours is smaller by
BRANCH_UNUSED = BRANCH_BLOCK + r"\.attn\.(proj\.(weight|bias)|relative_position_bias_table|relative_position_index)"


def convert_cffm(state_dict: dict[str, Tensor], **config_overrides) -> CFFMForVideoSemanticSegmentation:
    """CFFM from the tensors of a released checkpoint.

    `encoder_config` may be a dictionary of what the shapes do not tell, such as `num_attention_heads`. The offsets of
    the reference frames they do not tell either: three are (9, 6, 3), other numbers go on in threes.

    Raises:
        ValueError: if tensors are missing, unexpected or of another shape.
        KeyError: if a tensor is missing that tells a size.
    """
    config = CFFMConfig(**merged(infer_config(state_dict), config_overrides))
    return build_and_load(CFFMForVideoSemanticSegmentation, config, rename_checkpoint(state_dict))


def infer_config(state_dict: dict[str, Tensor]) -> dict:
    """Every size that tensor shapes tell, as fields of `CFFMConfig`."""
    head = with_prefix(state_dict, "decode_head.")
    table = head["decoder_focal.blocks.0.attn.relative_position_bias_table"]
    window_size = (isqrt(len(table)) + 1) // 2
    num_references = count(head, r"decoder_focal\.blocks\.0\.pool_layers_clips\.(\d+)\.")
    poolings = [_pooling(head, f"pool_layers_clips.{n}", window_size) for n in range(num_references)]
    fields = [_taps(head, f"windows_clips.{n}", window_size) * p for n, p in enumerate(poolings)]
    target_pooling = _pooling(head, "pool_layers.0", window_size)
    return {
        "encoder_config": infer_encoder_config(with_prefix(state_dict, "backbone.")),
        "num_labels": len(head["linear_pred.weight"]),
        "decoder_hidden_size": len(head["linear_c1.proj.weight"]),
        "frame_offsets": [3 * n for n in range(num_references, 0, -1)],
        "window_size": window_size,
        "num_mining_layers": count(head, BLOCK),
        "num_attention_heads": table.shape[1],
        "reference_pooling": poolings,
        "reference_receptive_fields": fields,
        "target_pooling": target_pooling,
        "target_receptive_field": _taps(head, "windows.0", window_size) * target_pooling,
    }


def _pooling(head: dict[str, Tensor], name: str, window_size: int) -> int:
    """p of a pooled source: the cells of a window have the side that the FC's inputs tell."""
    cells = window_size // isqrt(head[f"decoder_focal.blocks.0.{name}.weight"].shape[1])
    # several p round to the same cells; the thesis' are the largest whole numbers not above `window_size / cells`,
    # but for two cells a window, where it says 4
    return -(-window_size // cells) if cells == 2 else window_size // cells


def _taps(head: dict[str, Tensor], name: str, window_size: int) -> int:
    """Tokens a side of a pooled source, from the size of its table of biases."""
    table = head[f"decoder_focal.blocks.0.attn.relative_position_bias_table_to_{name}"]
    return isqrt(table.shape[1]) - window_size + 1


def rename_checkpoint(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our names and layouts for the authors' tensors; a name that no rule knows stays, so that loading refuses it."""
    converted = {}
    for name, tensor in with_prefix(state_dict, "decode_head.").items():
        if re.fullmatch(UNUSED, name):
            continue
        if match := re.fullmatch(QUERY_KEY_VALUE, name):
            query, key_value = tensor.split([len(tensor) // 3, 2 * (len(tensor) // 3)])
            converted[f"mining_layers.{match[1]}.query.{match[2]}"] = query.clone()
            converted[f"mining_layers.{match[1]}.key_value.{match[2]}"] = key_value.clone()
        elif match := re.fullmatch(CLIP_TABLE, name):
            converted[f"mining_layers.{match[1]}.position_bias.pooled.{int(match[2]) + 1}"] = tensor
        else:
            renamed = rename(name, HEAD_RENAMES)
            converted[f"decode_head.{name}" if renamed == name else renamed] = _as_ours(renamed, tensor)
    return rename_model(state_dict, converted)


def _as_ours(name: str, tensor: Tensor) -> Tensor:
    """Tables with the heads first."""
    if name.endswith("position_bias.window"):
        return tensor.T.contiguous()
    return tensor[0] if name.endswith("position_bias.surroundings") else tensor


def convert_cffm_plus(state_dict: dict[str, Tensor], **config_overrides) -> CFFMPlusForVideoSemanticSegmentation:
    """CFFM++ from the tensors of a released checkpoint; what is said of `convert_cffm` holds here."""
    config = CFFMPlusConfig(**merged(infer_config(state_dict), config_overrides))
    return build_and_load(CFFMPlusForVideoSemanticSegmentation, config, rename_plus_checkpoint(state_dict))


def rename_plus_checkpoint(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our names and layouts for the authors' tensors; a name that no rule knows stays, so that loading refuses it."""
    branch, cffm = {}, {}
    for name, tensor in state_dict.items():
        if match := re.fullmatch(BRANCH_QUERY_KEY_VALUE, name):
            branch[f"prototype_attention.query.{match[1]}"] = tensor[: len(tensor) // 3].clone()
        elif (renamed := rename(name, BRANCH_RENAMES)) != name:
            branch[renamed] = tensor
        elif not re.fullmatch(BRANCH_UNUSED, name):
            cffm[name] = tensor
    return branch | rename_checkpoint(cffm)
