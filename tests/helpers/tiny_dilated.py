"""PSPNet, OCRNet, TCB and NetWarp small enough for tests: four residual blocks at stride 8, 16 channels, 5 labels."""

import json
from copy import deepcopy
from functools import lru_cache
from typing import Any

import torch

from dense_hf.methods import method_of

BACKBONE = {
    "model_type": "timm_backbone",
    "backbone": "test_resnet",
    "features_only": True,
    "out_indices": [3, 4],
    "output_stride": 8,
}
HEADS = {"tcb_ppm": ("tcb", "ppm"), "tcb_ocr": ("tcb", "ocr"), "netwarp": ("netwarp", "ppm")}


def tiny_config(name: str, **fields: Any) -> Any:
    """`name`: a model type, or one of `HEADS`."""
    method, head = HEADS.get(name, (name, None))
    defaults = {"backbone_config": BACKBONE, "hidden_size": 16, "num_labels": 5}
    defaults |= {} if method == "pspnet_video" else {"key_size": 8}
    defaults |= {} if method == "ocrnet_video" else {"pool_sizes": [1, 2]}
    return method_of(method).config_class(**(defaults | ({"head": head} if head else {}) | fields))


def shift_right(current: torch.Tensor, previous: torch.Tensor) -> torch.Tensor:
    """A flow: everything was 5 pixels further right before."""
    flow = torch.zeros(len(current), 2, *current.shape[-2:])
    flow[:, 0] = 5
    return flow


def tiny_model(name: str, seed: int = 0, **fields: Any) -> Any:
    """In eval mode, with norms that have seen something and other frames that matter; each call gives another copy."""
    return deepcopy(_made(name, seed, json.dumps(fields, sort_keys=True)))


@lru_cache(maxsize=8)
def _made(name: str, seed: int, fields: str) -> Any:
    torch.manual_seed(seed)
    config = tiny_config(name, **json.loads(fields))
    model = method_of(config).model_class(config).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 2)
        if config.model_type == "netwarp":
            model.feature_weights[1] = 0.5
            model.mixed_weights[1] = 0.5
            model.flow = shift_right
    return model
