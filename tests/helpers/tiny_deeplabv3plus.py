"""DeepLabv3+ of segmentation_models_pytorch small enough for tests: a small network of timm, 16 channels, 5 labels."""

from copy import deepcopy
from functools import cache
from typing import Any

import torch

from dense_hf import DeepLabV3PlusForVideoSemanticSegmentation, DeepLabV3PlusVideoConfig

TINY = {"encoder_name": "tu-test_efficientnet", "decoder_channels": 16, "decoder_atrous_rates": [1, 2, 3]}


def tiny_config(**fields: Any) -> DeepLabV3PlusVideoConfig:
    """Of the tiny model; the fields win."""
    return DeepLabV3PlusVideoConfig(**(TINY | {"num_labels": 5} | fields))


def tiny_model() -> DeepLabV3PlusForVideoSemanticSegmentation:
    """In eval mode, with norms that have seen something; each call gives another copy."""
    return deepcopy(_made())


@cache
def _made() -> DeepLabV3PlusForVideoSemanticSegmentation:
    torch.manual_seed(0)
    model = DeepLabV3PlusForVideoSemanticSegmentation(tiny_config()).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    return model
