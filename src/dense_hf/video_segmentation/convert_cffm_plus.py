"""Reading the authors' CFFM++ checkpoints: those of CFFM with `decoder_swin` and `linear_pred3`."""

import re

from torch import Tensor

from ..strict_loading import build_and_load
from .configuration_cffm_plus import CFFMPlusConfig
from .convert_cffm import infer_config, rename_checkpoint
from .convert_segformer import merged, rename
from .modeling_cffm_plus import CFFMPlusForVideoSemanticSegmentation

BLOCK = r"decode_head\.decoder_swin\.blocks\.0"
BRANCH_RENAMES = [
    (r"decode_head\.linear_pred3\.(.*)", r"prototype_classifier.\1"),
    (BLOCK + r"\.norm1\.(.*)", r"prototype_attention.layernorm_before.\1"),
    (BLOCK + r"\.norm2\.(.*)", r"prototype_attention.layernorm_after.\1"),
    (BLOCK + r"\.attn\.qkv_cluster\.(.*)", r"prototype_attention.key_value.\1"),
    (BLOCK + r"\.attn\.proj_cluster\.(.*)", r"prototype_attention.output.\1"),
    (BLOCK + r"\.mlp\.fc1\.(.*)", r"prototype_attention.mlp_in.\1"),
    (BLOCK + r"\.mlp\.fc2\.(.*)", r"prototype_attention.mlp_out.\1"),
]
QUERY_KEY_VALUE = BLOCK + r"\.attn\.qkv\.(weight|bias)"
# left over from the self-attention that the block was made of; together with the key and value of `qkv`, which have
# no use either, 198,728 parameters (E = 256) that ours is smaller by
UNUSED = BLOCK + r"\.attn\.(proj\.(weight|bias)|relative_position_bias_table|relative_position_index)"


def convert_cffm_plus(state_dict: dict[str, Tensor], **config_overrides) -> CFFMPlusForVideoSemanticSegmentation:
    """CFFM++ from the tensors of a released checkpoint; what is said of `convert_cffm` holds here."""
    config = CFFMPlusConfig(**merged(infer_config(state_dict), config_overrides))
    return build_and_load(CFFMPlusForVideoSemanticSegmentation, config, rename_plus_checkpoint(state_dict))


def rename_plus_checkpoint(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our names and layouts for the authors' tensors; a name that no rule knows stays, so that loading refuses it."""
    branch, cffm = {}, {}
    for name, tensor in state_dict.items():
        if match := re.fullmatch(QUERY_KEY_VALUE, name):
            branch[f"prototype_attention.query.{match[1]}"] = tensor[: len(tensor) // 3].clone()
        elif (renamed := rename(name, BRANCH_RENAMES)) != name:
            branch[renamed] = tensor
        elif not re.fullmatch(UNUSED, name):
            cffm[name] = tensor
    return branch | rename_checkpoint(cffm)
