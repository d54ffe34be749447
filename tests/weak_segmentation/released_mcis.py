"""What the authors' released MCIS computed, and the weights and images it computed that with.

The numbers lie in `tests/fixtures/mcis`. `classifier_fullwidth` stores no weights: they are drawn, tensor by tensor in
the order of their names, from one seed. The others have weights of narrow networks, under the authors' names.
"""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from dense_hf.weak_segmentation.convert_mcis import convert_mcis
from dense_hf.weak_segmentation.modeling_mcis import MCISForImageClassification

FIXTURES = Path(__file__).parents[1] / "fixtures" / "mcis"
OUTPUTS = {
    "score1": "logits",
    "score2": "paired_logits",
    "co_score1": "co_attention_logits",
    "co_score2": "paired_co_attention_logits",
    "contrast_score1": "contrastive_logits",
    "contrast_score2": "paired_contrastive_logits",
    "cam1": "activation_maps",
    "cam2": "paired_activation_maps",
    "co_map1": "co_attention_maps",
    "co_map2": "paired_co_attention_maps",
    "contrast_map1": "contrastive_maps",
    "contrast_map2": "paired_contrastive_maps",
}


def golden(name: str) -> dict[str, Tensor]:
    return load_file(FIXTURES / f"{name}.safetensors")


def meta_of(name: str) -> dict:
    return json.loads((FIXTURES / f"{name}.json").read_text())


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with the prefix and a slash, without them."""
    start = f"{prefix}/"
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def model_of(tensors: dict[str, Tensor], **fields) -> MCISForImageClassification:
    """The narrow network of a case."""
    return convert_mcis(part(tensors, "weights"), **fields)


def official_state_dict() -> dict[str, Tensor]:
    """The weights of real size behind `classifier_fullwidth`."""
    draw = np.random.RandomState(meta_of("classifier_fullwidth")["weight_seed"])
    weights = {}
    for name, shape in sorted(meta_of("state_dict")["tensors"].items()):
        values = draw.standard_normal(shape)
        if name.endswith("bias"):
            values *= 0.1
        elif name == "extra_linear_e.weight":
            values *= 0.1 / shape[1]
        elif name in ("extra_gate.weight", "extra_gate_merge.weight", "vgg.extra_last_conv.weight"):
            values *= 1 / np.sqrt(shape[1])
        else:
            values *= np.sqrt(2 / (9 * shape[1]))
        weights[name] = torch.from_numpy(values.astype(np.float32))
    return weights
