"""What the authors' released CFFM computed, and the weights and clips it computed that with.

The numbers lie in `tests/fixtures/cffm`. `cffm_*` start at pixels and store no weights: every tensor is a function of
its official name, its shape and a seed. `head_*` start at encoder maps and hold weights, intermediates and gradients.
"""

import json
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from dense_hf.video_segmentation.configuration_cffm import CFFMConfig
from dense_hf.video_segmentation.convert_cffm import rename_checkpoint
from dense_hf.video_segmentation.modeling_cffm import CFFMForVideoSemanticSegmentation

FIXTURES = Path(__file__).parents[1] / "fixtures" / "cffm"


def _draw(name: str, seed: int) -> np.random.RandomState:
    return np.random.RandomState((zlib.crc32(name.encode()) ^ (seed * 2654435761)) & 0xFFFFFFFF)


def official_tensor(name: str, shape: list[int], seed: int) -> Tensor:
    """The weight called `name` in the authors' code."""
    draw = _draw(name, seed)
    if name.endswith("running_var"):
        values = 0.5 + draw.random_sample(shape)
    elif name.endswith("running_mean"):
        values = 0.3 * draw.standard_normal(shape)
    elif "pool_layers" in name and name.endswith("weight"):
        values = (1 + 0.5 * draw.standard_normal(shape)) / np.prod(shape)
    elif "bias_table" in name:
        values = 0.5 * draw.standard_normal(shape)
    elif len(shape) == 1 and name.endswith("weight"):
        values = 1 + 0.2 * draw.standard_normal(shape)
    elif len(shape) <= 1:
        values = 0.1 * draw.standard_normal(shape)
    else:
        values = draw.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(values, np.float32))


def clip(seed: int, batch: int, frames: int, height: int, width: int) -> Tensor:
    """[batch, frames, 3, height, width]: a blocky scene that all frames share, blocks and noise of each frame."""

    def blocks(name: str, count: int) -> np.ndarray:
        small = _draw(name, seed).standard_normal((batch, count, 3, 8, 8)).astype(np.float32)
        return np.kron(small, np.ones((1, 1, 1, height // 8, width // 8), np.float32))

    noise = _draw("noise", seed).standard_normal((batch, frames, 3, height, width)).astype(np.float32)
    pixels = blocks("scene", 1) * 1.2 + blocks("motion", frames) * 0.5 + 0.3 * noise
    return torch.from_numpy(pixels.astype(np.float32))


def labels(seed: int, batch: int, frames: int, height: int, width: int, num_classes: int) -> Tensor:
    """[batch, frames, height, width], uint8, some of it 255."""
    draw = _draw("labels", seed)
    small = draw.randint(0, num_classes, (batch, frames, height // 8, width // 8))
    small[draw.random_sample(small.shape) < 0.08] = 255
    return torch.from_numpy(np.kron(small, np.ones((1, 1, 8, 8), np.int64)).astype(np.uint8))


def meta_of(name: str) -> dict:
    return json.loads((FIXTURES / f"{name}.json").read_text())


def official_state_dict(name: str) -> dict[str, Tensor]:
    """The checkpoint behind one of the `cffm_*` cases."""
    meta = meta_of(name)
    return {key: official_tensor(key, shape, meta["seed"]) for key, shape in meta["official_state_dict"].items()}


def from_pixels(name: str) -> SimpleNamespace:
    """`pixels`, `labels`, `golden` and `meta` of one of the `cffm_*` cases."""
    meta = meta_of(name)
    size = (meta["seed"], meta["batch"], 4, meta["height"], meta["width"])
    golden = load_file(FIXTURES / f"{name}.safetensors")
    return SimpleNamespace(pixels=clip(*size), labels=labels(*size, meta["num_labels"]), golden=golden, meta=meta)


class FeaturesGoIn(nn.Module):
    """An encoder that gives the maps [B * T, C_i, h_i, w_i] it was made with, or those of the last frames."""

    def __init__(self, maps: list[Tensor], num_frames: int):
        super().__init__()
        self.maps, self.num_frames = maps, num_frames

    def forward(self, frames: Tensor, **kwargs) -> SimpleNamespace:
        used = frames.shape[0] * self.num_frames // self.maps[0].shape[0]
        cut = [features.unflatten(0, (-1, self.num_frames))[:, -used:].flatten(0, 1) for features in self.maps]
        return SimpleNamespace(hidden_states=tuple(cut), attentions=None)


def from_features(name: str) -> SimpleNamespace:
    """`model`, `pixels` (only their shape matters), `labels`, `golden` and `meta` of one of the `head_*` cases."""
    meta, golden = meta_of(name), load_file(FIXTURES / f"{name}.safetensors")
    config = CFFMConfig(
        encoder_config={"hidden_sizes": meta["in_channels"], "num_attention_heads": [1, 1, 1, 1]},
        decoder_hidden_size=meta["embed_dim"],
        num_mining_layers=meta["depths"],
        num_labels=meta["num_classes"],
    )
    model = CFFMForVideoSemanticSegmentation(config).eval()
    ours = rename_checkpoint({f"decode_head.{k[2:]}": v for k, v in golden.items() if k.startswith("w.")})
    left_over = model.load_state_dict(ours, strict=False)
    assert not left_over.unexpected_keys
    assert all(key.startswith("encoder.") or key.endswith("tracked") for key in left_over.missing_keys)
    maps = [golden[f"in.c{n}"].requires_grad_(n in (1, 4)) for n in range(1, 5)]
    model.encoder = FeaturesGoIn(maps, meta["num_clips"])
    targets = golden["in.labels"].squeeze(2)
    pixels = torch.zeros(*targets.shape[:2], 3, *targets.shape[2:])
    return SimpleNamespace(model=model, pixels=pixels, labels=targets, golden=golden, meta=meta, maps=maps)
