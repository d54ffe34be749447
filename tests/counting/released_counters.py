"""What the released code of the counters of Table 2.3 computed, and the weights it computed that with.

The numbers lie in `tests/fixtures/counting`. Weights are not stored: every tensor is a function of its official name,
its shape and a seed.
"""

import json
import re
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

FIXTURES = Path(__file__).parents[1] / "fixtures" / "counting"


def golden(name: str) -> tuple[dict, dict[str, Tensor]]:
    """The settings of a case, and its numbers."""
    (path,) = FIXTURES.glob(f"*/count_{name}.json")
    return json.loads(path.read_text(encoding="utf-8")), load_file(path.with_suffix(".safetensors"))


def draw(name: str, shape, seed: int, uniform: bool = False) -> np.ndarray:
    """Numbers that are a function of a name and a seed."""
    state = np.random.RandomState((zlib.crc32(name.encode()) ^ (seed * 2654435761)) & 0xFFFFFFFF)
    return np.asarray(state.random_sample(shape) if uniform else state.standard_normal(shape))


def official_state_dict(meta: dict) -> dict[str, Tensor]:
    """The tensors of a checkpoint of the authors' code."""
    found = {}
    for name, shape in meta["official_state_dict"].items():
        if name.endswith("running_var"):
            values = 0.5 + draw(name, shape, meta["seed"], uniform=True)
        elif name.endswith("running_mean"):
            values = 0.3 * draw(name, shape, meta["seed"])
        elif len(shape) == 1 and name.endswith("weight"):
            values = 1 + 0.2 * draw(name, shape, meta["seed"])
        elif len(shape) <= 1:
            values = 0.1 * draw(name, shape, meta["seed"])
        else:
            values = draw(name, shape, meta["seed"]) / np.sqrt(np.prod(shape[1:]))
        factors = [factor for pattern, factor in meta["weight_scale"] if re.search(pattern, name)]
        factor = factors[0] if factors else 2**0.5 if len(shape) >= 2 else 1.0
        found[name] = torch.from_numpy(np.asarray(values, np.float32)) * np.float32(factor)
    return found


def pixels(meta: dict) -> Tensor:
    """Normalized pixels [B, c, H, W]: blocks and noise."""
    seed, batch, height, width = (meta[name] for name in ("seed", "batch", "height", "width"))
    rows, columns = (-(-side // 8) for side in (height, width))
    blocks = np.float32(1.2) * draw("scene", (batch, 1, 3, 8, 8), seed).astype(np.float32)
    blocks = blocks + np.float32(0.5) * draw("motion", (batch, 1, 3, 8, 8), seed).astype(np.float32)
    noise = draw("noise", (batch, 1, 3, rows * 8, columns * 8), seed).astype(np.float32)
    values = np.kron(blocks, np.ones((1, 1, 1, rows, columns), np.float32)) + np.float32(0.3) * noise
    return torch.from_numpy(values[:, 0, : meta["in_channels"], :height, :width].copy())


def points_of(numbers: dict[str, Tensor], name: str = "points") -> list[Tensor]:
    """points0, points1, ... of a case."""
    return [numbers[key] for key in sorted(numbers, key=len) if re.fullmatch(rf"{name}\d+", key)]


def check_gradients(model: nn.Module, names: dict[str, str], gradients: dict[str, list[float]]) -> None:
    """Each gradient has the sum and the norm of the released one, but for 1e-4 of the norm.

    Args:
        model: after a backward pass in float64. In float32 the last digits depend on the library of convolutions; a
            ReLU of a number next to zero then lets through what it held back, and gradients of deep trunks move by
            up to 2e-3 (measured).
        names: ours to theirs.
        gradients: [sum, norm] by their names.
    """
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            continue
        total, norm = gradients[names[name]]
        # in float32, as the released norms: of two million numbers that is off by up to 3e-4 (measured)
        assert abs(float(parameter.grad.float().norm()) - norm) <= 1e-4 * norm + 1e-8, name
        root = parameter.numel() ** 0.5  # a sum of many numbers is as exact as its norm
        assert abs(float(parameter.grad.sum()) - total) <= 1e-4 * norm * root + 1e-8, name
