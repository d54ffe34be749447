"""What the code released with VSPW computed: PSPNet, OCRNet, TCB, NetWarp and the loss of ETC, all from pixels."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from released_video import FIXTURES, _draw, clip, labels, official_tensor
from safetensors.torch import load_file
from torch import Tensor

FOLDER = FIXTURES / "dilated"


def eight(side: int) -> int:
    """The next multiple of 8."""
    return -(-side // 8) * 8


def array(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """Normally distributed numbers that belong to a name."""
    return torch.from_numpy(_draw(name, seed).standard_normal(shape).astype(np.float32))


def official_state_dict(meta: dict) -> dict[str, Tensor]:
    """The checkpoint of a case: some weights larger or smaller, and biases by which all classes occur."""

    def tensor(key: str, shape: list[int]) -> Tensor:
        if key in meta["bias_override"]:
            return torch.tensor(meta["bias_override"][key])
        factors = [factor for pattern, factor in meta["weight_scale"] if re.search(pattern, key)]
        return official_tensor(key, shape, meta["seed"], "vspw") * (factors[0] if factors else 1)

    return {key: tensor(key, shape) for key, shape in meta["official_state_dict"].items()}


def given_flow(meta: dict) -> Tensor:
    """[B, 2, H, W], from the current to the previous frame."""
    batch, height, width = meta["batch"], eight(meta["height"]), eight(meta["width"])
    blocks = torch.kron(3 * array("flow", (batch, 2, 8, 8), meta["seed"]), torch.ones(1, 1, height // 8, width // 8))
    flow = blocks + 0.5 * array("flow_noise", (batch, 2, height, width), meta["seed"])
    return flow[..., : meta["height"], : meta["width"]]


def case(name: str, folder: Path = FOLDER) -> SimpleNamespace:
    """`meta`, `pixels` [B, T, 3, H, W], `labels` [B, T, H, W] and `golden` of a case."""
    meta = json.loads((folder / f"{name}.json").read_text())
    size = (meta["seed"], meta["batch"], meta["frames"], eight(meta["height"]), eight(meta["width"]))
    cut = (..., slice(meta["height"]), slice(meta["width"]))
    return SimpleNamespace(
        meta=meta,
        pixels=clip(*size)[cut],
        labels=labels(*size, meta["num_labels"])[cut],
        golden=load_file(folder / f"{name}.safetensors"),
    )
