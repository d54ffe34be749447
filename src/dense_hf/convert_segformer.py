"""Reading what the authors' video models and the files of SegFormer share: Mix Transformer and per-frame decoder."""

import re

from torch import Tensor
from transformers import SegformerConfig, SegformerModel

from .strict_loading import build_and_load
from .video_segmentation.frame_encoder import set_layer_norm_eps

# (pattern of a whole official name, our name); official stages count from 1
ENCODER_RENAMES = [
    (r"patch_embed(\d)\.proj\.(.*)", r"stages.\1.patch_embeddings.proj.\2"),
    (r"patch_embed(\d)\.norm\.(.*)", r"stages.\1.patch_embeddings.layer_norm.\2"),
    (r"block(\d)\.(\d+)\.norm1\.(.*)", r"stages.\1.blocks.\2.layernorm_before.\3"),
    (r"block(\d)\.(\d+)\.norm2\.(.*)", r"stages.\1.blocks.\2.layernorm_after.\3"),
    (r"block(\d)\.(\d+)\.attn\.q\.(.*)", r"stages.\1.blocks.\2.attention.q_proj.\3"),
    (r"block(\d)\.(\d+)\.attn\.proj\.(.*)", r"stages.\1.blocks.\2.attention.o_proj.\3"),
    (r"block(\d)\.(\d+)\.attn\.sr\.(.*)", r"stages.\1.blocks.\2.attention.sequence_reduction.sequence_reduction.\3"),
    (r"block(\d)\.(\d+)\.attn\.norm\.(.*)", r"stages.\1.blocks.\2.attention.sequence_reduction.layer_norm.\3"),
    (r"block(\d)\.(\d+)\.mlp\.(.*)", r"stages.\1.blocks.\2.mlp.\3"),
    (r"norm(\d)\.(.*)", r"stages.\1.layer_norm.\2"),
]
KEY_VALUE = r"block(\d)\.(\d+)\.attn\.kv\.(weight|bias)"
DECODER_RENAMES = [
    (r"linear_c(\d)\.proj\.(.*)", r"decoder.projections.\1.\2"),
    (r"linear_fuse\.conv\.weight", r"decoder.fuse.weight"),
    (r"linear_fuse\.bn\.(.*)", r"decoder.batch_norm.\1"),
    (r"linear_pred\.(.*)", r"decoder.classifier.\1"),
]
NUM_STAGES = 4


def convert_segformer(state_dict: dict[str, Tensor], **config_overrides) -> SegformerModel:
    """The encoder from a Mix Transformer trained on ImageNet (`mit_b0.pth`, ...); its classifier is left out.

    Norms get the epsilons of the released code. `SegformerModel.from_pretrained` would not give them, the video models
    of this package do.

    Raises:
        ValueError: if tensors are missing, unexpected or of another shape.
        KeyError: if a tensor is missing that tells a size.
    """
    tensors = {name.removeprefix("backbone."): tensor for name, tensor in state_dict.items()}
    config = SegformerConfig(**(infer_encoder_config(tensors) | config_overrides))
    renamed = rename_encoder({n: t for n, t in tensors.items() if not n.startswith("head.")})
    model = build_and_load(SegformerModel, config, renamed)
    set_layer_norm_eps(model)
    return model


def infer_encoder_config(encoder: dict[str, Tensor]) -> dict:
    """Every size that the shapes of official encoder tensors (`patch_embed1.proj.weight`, ...) tell.

    Numbers of heads they do not tell; every released Mix Transformer has 1, 2, 5 and 8.
    """
    embeddings = [encoder[f"patch_embed{n}.proj.weight"] for n in range(1, NUM_STAGES + 1)]
    reductions = [encoder.get(f"block{n}.0.attn.sr.weight") for n in range(1, NUM_STAGES + 1)]
    inner = [encoder[f"block{n}.0.mlp.fc1.weight"] for n in range(1, NUM_STAGES + 1)]
    return {
        "num_channels": embeddings[0].shape[1],
        "hidden_sizes": [tensor.shape[0] for tensor in embeddings],
        "patch_sizes": [tensor.shape[-1] for tensor in embeddings],
        "depths": [count(encoder, rf"block{n}\.(\d+)\.") for n in range(1, NUM_STAGES + 1)],
        "sr_ratios": [1 if tensor is None else tensor.shape[-1] for tensor in reductions],
        "mlp_ratios": [tensor.shape[0] // tensor.shape[1] for tensor in inner],
        "num_attention_heads": [1, 2, 5, 8],
    }


def merged(inferred: dict, overrides: dict) -> dict:
    """Fields of a configuration; those of `encoder_config` are overridden one by one, too, if it is a dictionary."""
    if isinstance(overrides.get("encoder_config"), dict):
        overrides = overrides | {"encoder_config": inferred["encoder_config"] | overrides["encoder_config"]}
    return inferred | overrides


def rename_encoder(encoder: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of `SegformerModel` for official encoder tensors; a name that no rule knows stays, to be refused."""
    converted = {}
    for name, tensor in encoder.items():
        if match := re.fullmatch(KEY_VALUE, name):
            stem = f"stages.{int(match[1]) - 1}.blocks.{match[2]}.attention"
            for letter, part in zip("kv", tensor.chunk(2)):
                converted[f"{stem}.{letter}_proj.{match[3]}"] = part.clone()
        else:
            converted[rename(name, ENCODER_RENAMES)] = tensor
    return converted


def rename_model(state_dict: dict[str, Tensor], head: dict[str, Tensor]) -> dict[str, Tensor]:
    """All tensors of a video model by our names; `head` has its own so. What is of no part stays, to be refused."""
    encoder = rename_encoder(with_prefix(state_dict, "backbone."))
    rest = {name: t for name, t in state_dict.items() if not name.startswith(("backbone.", "decode_head."))}
    return {f"encoder.{name}": tensor for name, tensor in encoder.items()} | head | rest


def rename(name: str, rules: list[tuple[str, str]]) -> str:
    """The name by the first rule that fits, its first number, which counts stages, lowered by one."""
    for pattern, replacement in rules:
        if match := re.fullmatch(pattern, name):
            renamed = match.expand(replacement)
            return re.sub(r"(stages|projections)\.(\d)", lambda m: f"{m[1]}.{int(m[2]) - 1}", renamed, count=1)
    return name


def count(state_dict: dict[str, Tensor], pattern: str) -> int:
    """How many different values the group of the pattern takes at the beginning of names."""
    return len({match[1] for name in state_dict if (match := re.match(pattern, name))})


def with_prefix(state_dict: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin so, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in state_dict.items() if name.startswith(prefix)}
