"""The counters of Table 2.3 that have networks of their own, small enough for tests."""

from typing import Any

import torch
from transformers import PreTrainedModel

from dense_hf.methods import method_of


def _resnet(*out_indices: int) -> dict[str, Any]:
    return {
        "model_type": "timm_backbone",
        "backbone": "test_resnet",
        "features_only": True,
        "out_indices": list(out_indices),
    }


STAGES = [[4, 4], [6, 6], [8, 8, 8], [8, 8, 8], [8, 8, 8]]
TINY_COUNTERS: dict[str, dict[str, Any]] = {
    "mcnn": {
        "column_channels": [[4, 6, 4, 3], [4, 6, 4, 3]],
        "column_kernels": [[5, 3, 3, 3], [3, 3, 3, 3]],
        "initializer_range": 0.1,
    },
    "man": {
        "backbone_config": _resnet(4),
        "encoder_layers": 2,
        "encoder_ffn_dim": 16,
        "head_channels": [8, 4],
        "processor_settings": {"max_part_side": 96},
    },
    "dssinet": {
        "stage_channels": STAGES[:4],
        "head_channels": 4,
        "initializer_range": 0.1,
        "processor_settings": {"size_divisor": 32, "resize_to_multiple": True},
    },
    "mspsnet": {
        "stage_channels": STAGES[:4],
        "branch_channels": [[8, 4], [8, 4], [6, 4]],
        "initializer_range": 0.1,
    },
    "lcfcn": {"stage_channels": STAGES, "fc_channels": 8},
    "p2pnet": {"backbone_config": _resnet(2, 3), "hidden_size": 8, "size_divisor": 32},
}


def tiny_counter_config(name: str, **fields: Any) -> Any:
    return method_of(name).config_class(**(TINY_COUNTERS[name] | fields))


def tiny_counter(name: str, seed: int = 0, **fields: Any) -> PreTrainedModel:
    torch.manual_seed(seed)
    return method_of(name).model_class(tiny_counter_config(name, **fields)).eval()
