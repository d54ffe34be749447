"""Reading the authors' IOCFormer and CLTR checkpoints.

The released networks predict (row, column, distance); ours (x, y, distance). The rows of the two layers that make
these numbers are swapped once, here, and nothing in the model has to know.
"""

import re

from torch import Tensor

from .counting.configuration_iocformer import IOCFormerConfig
from .counting.modeling_iocformer import IOCFormerForObjectCounting
from .strict_loading import build_and_load

# (pattern of a whole official name, our name)
RENAMES = [
    (r"backbone\.0\.body\.(.*)", r"backbone._backbone.\1"),
    (r"input_proj\.(.*)", r"input_projection.\1"),
    (r"query_embed\.(.*)", r"query_position_embeddings.\1"),
    (r"class_embed\.(.*)", r"class_head.\1"),
    (r"(?:point|bbox)_embed\.(.*)", r"point_head.\1"),  # old CLTR files say bbox
    (r"dm_decoder\.reg_layer\.0\.(.*)", r"density_branch.upsampled_conv.\1"),
    (r"dm_decoder\.reg_layer\.2\.(.*)", r"density_branch.conv.\1"),
    (r"dm_decoder\.reg_layer2\.(.*)", r"density_branch.projection.\1"),
    (r"dm_decoder\.density_layer\.(.*)", r"density_branch.density_head.\1"),
    (r"transformer\.encoder\.layers_density\.(.*)", r"encoder.density_blocks.\1"),
    (r"transformer\.encoder\.norm_density\.(.*)", r"encoder.density_layernorm.\1"),
    (r"transformer\.((?:en|de)coder\.layers\.\d+)\.linear([12])\.(.*)", r"\1.mlp.fc\2.\3"),
    (r"transformer\.((?:en|de)coder\.layers\.\d+)\.norm1\.(.*)", r"\1.self_attn_layer_norm.\2"),
    (r"transformer\.(encoder\.layers\.\d+)\.norm2\.(.*)", r"\1.final_layer_norm.\2"),
    (r"transformer\.(decoder\.layers\.\d+)\.norm2\.(.*)", r"\1.encoder_attn_layer_norm.\2"),
    (r"transformer\.(decoder\.layers\.\d+)\.norm3\.(.*)", r"\1.final_layer_norm.\2"),
    (r"transformer\.((?:en|de)coder\.layers\.\d+\.self_attn)\.out_proj\.(.*)", r"\1.o_proj.\2"),
    (r"transformer\.(decoder\.layers\.\d+)\.cross_attn\.out_proj\.(.*)", r"\1.encoder_attn.o_proj.\2"),
    (r"transformer\.(decoder\.layers\.\d+)\.sa_([qk])(content|pos)_proj\.(.*)", r"\1.self_attn.\2_\3_proj.\4"),
    (r"transformer\.(decoder\.layers\.\d+)\.sa_v_proj\.(.*)", r"\1.self_attn.v_proj.\2"),
    (r"transformer\.(decoder\.layers\.\d+)\.ca_qpos_sine_proj\.(.*)", r"\1.encoder_attn.q_pos_sine_proj.\2"),
    (r"transformer\.(decoder\.layers\.\d+)\.ca_([qk])(content|pos)_proj\.(.*)", r"\1.encoder_attn.\2_\3_proj.\4"),
    (r"transformer\.(decoder\.layers\.\d+)\.ca_v_proj\.(.*)", r"\1.encoder_attn.v_proj.\2"),
    (r"transformer\.decoder\.norm\.(.*)", r"decoder.layernorm.\1"),
    (r"transformer\.(decoder\.(?:query_scale|ref_point_head)\..*)", r"\1"),
]
SWAPPED = ("decoder.ref_point_head.layers.1.", "point_head.layers.2.")  # prefixes of the layers whose rows are (y, x)

# number of blocks per stage of the ResNets that torchvision has, with and without bottlenecks
RESNETS: dict[tuple[tuple[int, ...], bool], str] = {
    ((2, 2, 2, 2), False): "resnet18",
    ((3, 4, 6, 3), False): "resnet34",
    ((3, 4, 6, 3), True): "resnet50",
    ((3, 4, 23, 3), True): "resnet101",
    ((3, 8, 36, 3), True): "resnet152",
}


def convert_iocformer(state_dict: dict[str, Tensor], **config_overrides) -> IOCFormerForObjectCounting:
    """IOCFormer from the tensors of a released checkpoint. Errors as in `build_and_load`."""
    if not any(name.startswith("dm_decoder.") for name in state_dict):
        raise ValueError("an IOCFormer checkpoint (dm_decoder.*); without a density branch it is 'cltr'")
    # an IOCFormer with output stride 32 has the same tensors; the released one is dilated
    return _convert(state_dict, output_stride=16, config_overrides=config_overrides)


def convert_cltr(state_dict: dict[str, Tensor], **config_overrides) -> IOCFormerForObjectCounting:
    """CLTR from the tensors of a released checkpoint. Errors as in `build_and_load`."""
    if any(name.startswith("dm_decoder.") for name in state_dict):
        raise ValueError("a CLTR checkpoint; with a density branch (dm_decoder.*) it is 'iocformer'")
    return _convert(state_dict, output_stride=32, config_overrides=config_overrides)


def _convert(state_dict: dict[str, Tensor], output_stride: int, config_overrides: dict) -> IOCFormerForObjectCounting:
    config = IOCFormerConfig(**(infer_config(state_dict, output_stride) | config_overrides))
    converted = rename(state_dict)
    if not config.uses_density_fusion:  # the released code keeps an unused projection when it does not fuse
        converted = {name: t for name, t in converted.items() if not name.startswith("density_branch.projection.")}
    return build_and_load(IOCFormerForObjectCounting, config, converted)


def infer_config(state_dict: dict[str, Tensor], output_stride: int) -> dict:
    """Every size that tensor shapes tell, as fields of `IOCFormerConfig`. Numbers of heads they do not tell."""
    d_model = state_dict["input_proj.weight"].shape[0]
    has_density_branch = any(name.startswith("dm_decoder.") for name in state_dict)
    fields = {
        "backbone_config": {
            "model_type": "timm_backbone",
            "backbone": _resnet_name(state_dict),
            "features_only": True,
            "out_indices": [4],
            "output_stride": output_stride,
        },
        "num_labels": state_dict["class_embed.weight"].shape[0] - 1,  # channel 0 is no object
        "num_queries": state_dict["query_embed.weight"].shape[0],
        "d_model": d_model,
        "encoder_layers": _count(state_dict, r"transformer\.encoder\.layers\.(\d+)\."),
        "decoder_layers": _count(state_dict, r"transformer\.decoder\.layers\.(\d+)\."),
        "encoder_ffn_dim": state_dict["transformer.encoder.layers.0.linear1.weight"].shape[0],
        "decoder_ffn_dim": state_dict["transformer.decoder.layers.0.linear1.weight"].shape[0],
        "density_branch": has_density_branch,
    }
    if has_density_branch:
        fields["density_hidden_size"] = state_dict["dm_decoder.density_layer.weight"].shape[1]
        fields["density_fusion"] = _density_fusion(state_dict)
    return fields


def rename(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our names and layouts for the authors' tensors; a name that no rule knows stays, so that loading refuses it."""
    converted = {}
    for name, tensor in state_dict.items():
        if name.endswith("num_batches_tracked"):
            continue
        if match := re.fullmatch(r"transformer\.(encoder\.layers\.\d+\.self_attn)\.in_proj_(weight|bias)", name):
            for letter, part in zip("qkv", tensor.chunk(3)):
                converted[f"{match[1]}.{letter}_proj.{match[2]}"] = part.clone()
            continue
        for pattern, replacement in RENAMES:
            if re.fullmatch(pattern, name):
                name = re.sub(pattern, replacement, name)
                break
        if name.startswith(SWAPPED):
            tensor = tensor[[1, 0, *range(2, len(tensor))]]
        converted[name] = tensor
    return converted


def _count(state_dict: dict[str, Tensor], pattern: str) -> int:
    return len({match[1] for name in state_dict if (match := re.match(pattern, name))})


def _density_fusion(state_dict: dict[str, Tensor]) -> str:
    blocks = _count(state_dict, r"transformer\.encoder\.layers_density\.(\d+)\.")
    if blocks == 0:
        return "none"
    # "merge" and "merge2" have the same tensors: the later one, unless the caller says density_fusion="merge"
    return "released" if "transformer.encoder.norm_density.weight" in state_dict else "merge2"


def _resnet_name(state_dict: dict[str, Tensor]) -> str:
    blocks = tuple(_count(state_dict, rf"backbone\.0\.body\.layer{stage}\.(\d+)\.") for stage in range(1, 5))
    bottleneck = "backbone.0.body.layer1.0.conv3.weight" in state_dict
    if (blocks, bottleneck) not in RESNETS:
        raise ValueError(f"a ResNet under backbone.0.body. Blocks per stage found: {blocks}")
    return RESNETS[blocks, bottleneck]
