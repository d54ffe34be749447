"""What the authors' released code computed, and the weights it computed that with.

The numbers lie in `tests/fixtures/iocformer`. Weights are not stored: every tensor is a function of its official name,
its shape and a seed.
"""

import json
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from dense_hf.convert_iocformer import rename
from dense_hf.counting import modeling_iocformer
from dense_hf.counting.configuration_iocformer import IOCFormerConfig
from dense_hf.counting.modeling_iocformer import IOCFormerForObjectCounting
from dense_hf.strict_loading import load_strictly

FIXTURES = Path(__file__).parents[1] / "fixtures" / "iocformer"
CONTENT_PROJECTIONS = ("in_proj_weight", "content_proj", "qpos_proj", "kpos_proj", "qpos_sine_proj")


def _generator(name: str, seed: int) -> np.random.RandomState:
    return np.random.RandomState((zlib.crc32(name.encode()) ^ (seed * 2654435761)) & 0xFFFFFFFF)


def official_tensor(name: str, shape: list[int], seed: int) -> Tensor:
    """The weight called `name` in the authors' code."""
    draw = _generator(name, seed)
    if name.endswith("running_var"):
        values = 0.5 + draw.random_sample(shape)
    elif name.endswith("running_mean"):
        values = 0.1 * draw.standard_normal(shape)
    elif name == "class_embed.bias":
        values = np.linspace(-3.0, -0.9, shape[0]) + 0.1 * draw.standard_normal(shape)
    elif name == "query_embed.weight":
        values = draw.standard_normal(shape)
    elif name == "dm_decoder.density_layer.bias":
        values = np.full(shape, 0.05)
    elif len(shape) == 1 and name.endswith("weight"):
        base = 0.3 if ".bn3." in name else 1.0
        values = base + 0.1 * base * draw.standard_normal(shape)
    elif len(shape) <= 1:
        values = 0.05 * draw.standard_normal(shape)
    else:
        values = _gain(name, shape) * draw.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
    if name == "input_proj.weight":
        values = values - values.mean(axis=1, keepdims=True)
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def _gain(name: str, shape: list[int]) -> float:
    fixed = {
        "input_proj.weight": 0.3,
        "class_embed.weight": 3.0,
        "point_embed.layers.2.weight": 2.0,
        "dm_decoder.density_layer.weight": 0.3,
    }
    if name in fixed:
        return fixed[name]
    if name.endswith(("out_proj.weight", "linear2.weight")):
        return 0.25 if "encoder" in name else 0.8
    if any(part in name for part in CONTENT_PROJECTIONS):
        return 2.5
    return np.sqrt(2.0) if len(shape) == 4 else 1.5


def pixels(batch_size: int, seed: int, size: int = 256) -> Tensor:
    """Blocks and noise, so that random features differ from token to token."""
    blocks = _generator("blocks", seed).standard_normal((batch_size, 3, 8, 8)).astype(np.float32)
    noise = _generator("pixels", seed).standard_normal((batch_size, 3, size, size)).astype(np.float32)
    coarse = np.kron(blocks * 1.5, np.ones((1, 1, size // 8, size // 8), np.float32))
    return torch.from_numpy((coarse + 0.3 * noise).astype(np.float32))


def labels(golden: dict[str, Tensor], counts: list[int]) -> Tensor:
    """[B, N, 3] in our order (x, y, distance); the released code has (row, column, distance)."""
    padded = torch.full((len(counts), max(counts), 3), -100.0)
    for index, count in enumerate(counts):
        padded[index, :count] = golden[f"target{index}.points"][:, [1, 0, 2]]
    return padded


def official_state_dict(meta: dict, listing: str) -> dict[str, Tensor]:
    """All tensors of a released checkpoint of real size."""
    shapes = json.loads((FIXTURES / f"{listing}_state_dict.json").read_text())["state_dict"]
    tensors = {name: official_tensor(name, shape, meta["seed"]) for name, (shape, _) in shapes.items()}
    tensors["class_embed.bias"] = torch.tensor(meta["class_embed_bias_override"])
    return tensors


class FeaturesGoIn(nn.Module):
    """A backbone whose input is already the feature map."""

    channels = (48,)

    def forward(self, features: Tensor) -> SimpleNamespace:
        return SimpleNamespace(feature_maps=[features])


def small_case(name: str, monkeypatch) -> SimpleNamespace:
    """A small released network behind the backbone: `model`, `meta`, `golden`, `labels`."""
    meta = json.loads((FIXTURES / f"{name}.json").read_text())
    golden = load_file(FIXTURES / f"{name}.golden.safetensors")
    fusion = {"merge3": "released", "": "none"}.get(flag := meta["config"].get("transformer_flag", ""), flag)
    monkeypatch.setattr(modeling_iocformer, "build_backbone", lambda config: FeaturesGoIn())
    config = IOCFormerConfig(
        d_model=32,
        encoder_layers=2,
        decoder_layers=3,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        num_queries=24,
        density_branch=meta["family"] == "ioc",
        density_fusion=fusion,
    )
    model = IOCFormerForObjectCounting(config).eval()
    shapes = json.loads((FIXTURES / "small_shapes.json").read_text())[name]
    official = {key: official_tensor(key, shape, meta["seed"]) for key, shape in shapes.items()}
    official["class_embed.bias"] = torch.tensor(meta["class_embed_bias_override"])
    ours = rename(official)
    if not config.uses_density_fusion:
        ours = {key: tensor for key, tensor in ours.items() if not key.startswith("density_branch.projection.")}
    load_strictly(model, ours)
    return SimpleNamespace(model=model, meta=meta, golden=golden, labels=labels(golden, meta["targets_counts"]))
