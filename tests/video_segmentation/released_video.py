"""What the authors' released code computed, and the weights and clips it computed that with.

The numbers lie in `tests/fixtures/cffm` and `tests/fixtures/mrcfa`. Cases that start at pixels store no weights: every
tensor is a function of its official name, its shape and a seed. Cases that start at encoder maps hold weights and
intermediates.
"""

import json
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

FIXTURES = Path(__file__).parents[1] / "fixtures"


def _draw(name: str, seed: int) -> np.random.RandomState:
    return np.random.RandomState((zlib.crc32(name.encode()) ^ (seed * 2654435761)) & 0xFFFFFFFF)


def official_tensor(name: str, shape: list[int], seed: int, method: str = "cffm") -> Tensor:
    """The weight called `name` in the authors' code."""
    draw = _draw(name, seed)
    is_mrcfa = method == "mrcfa"
    if name.endswith("running_var"):
        values = 0.5 + draw.random_sample(shape)
    elif name.endswith("running_mean"):
        values = 0.3 * draw.standard_normal(shape)
    elif "pool_layers" in name and name.endswith("weight"):
        values = (1 + 0.5 * draw.standard_normal(shape)) / np.prod(shape)
    elif "bias_table" in name:
        values = 0.5 * draw.standard_normal(shape)
    elif is_mrcfa and ".hpn." in name and len(shape) == 1:  # norms and biases of the affinity decoder
        values = draw.random_sample(shape)
        values = 0.6 + values if name.endswith("weight") else 0.1 + 0.7 * values
        if "encoder_layer3to2" in name and name.endswith("weight"):
            values = values * 2.5
    elif len(shape) == 1 and name.endswith("weight"):
        values = 1 + 0.2 * draw.standard_normal(shape)
    elif len(shape) <= 1:
        values = 0.1 * draw.standard_normal(shape)
    else:
        gain = 1.3 if is_mrcfa and name.startswith("decode_head") else 1.0
        values = gain * draw.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
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


def meta_of(method: str, name: str) -> dict:
    return json.loads((FIXTURES / method / f"{name}.json").read_text())


def official_state_dict(method: str, name: str) -> dict[str, Tensor]:
    """The checkpoint behind one of the cases that start at pixels."""
    meta = meta_of(method, name)
    shapes = meta["official_state_dict"]
    return {key: official_tensor(key, shape, meta["seed"], method) for key, shape in shapes.items()}


def from_pixels(method: str, name: str) -> SimpleNamespace:
    """`pixels`, `labels`, `golden` and `meta` of one of the cases that start at pixels."""
    meta = meta_of(method, name)
    size = (meta["seed"], meta["batch"], 4, meta["height"], meta["width"])
    golden = load_file(FIXTURES / method / f"{name}.safetensors")
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
