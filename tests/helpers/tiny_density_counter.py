"""A density counter small enough for tests: a ResNet of timm with 4 narrow stages, stride 8 or 16."""

import torch
from torch import Tensor

from dense_hf.counting.configuration_density_counter import DensityCounterConfig
from dense_hf.counting.modeling_density_counter import DensityCounterForObjectCounting

TINY_DENSITY_COUNTER = {
    "backbone_config": {
        "model_type": "timm_backbone",
        "backbone": "test_resnet",
        "features_only": True,
        "out_indices": [3],
    },
    "head_channels": [8, 4],
    "processor_settings": {},
}


def tiny_density_config(method: str = "bl", **fields) -> DensityCounterConfig:
    """The configuration of a method with a tiny network; its map has cells of 8 pixels."""
    config = DensityCounterConfig.from_method(method)
    out_index = 2 if config.upsample is None else 3
    backbone = {**TINY_DENSITY_COUNTER["backbone_config"], "out_indices": [out_index]}
    return DensityCounterConfig.from_method(method, **{**TINY_DENSITY_COUNTER, "backbone_config": backbone, **fields})


def tiny_density_model(method: str = "bl", seed: int = 0, **fields) -> DensityCounterForObjectCounting:
    torch.manual_seed(seed)
    return DensityCounterForObjectCounting(tiny_density_config(method, **fields)).eval()


def random_points(counts: tuple[int, ...] = (5, 0), columns: int = 4, seed: int = 0) -> Tensor:
    """Labels [B, max(counts, 1), columns], padded."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.full((len(counts), max(1, *counts), columns), -100.0)
    for index, count in enumerate(counts):
        labels[index, :count] = torch.rand(count, columns, generator=generator)
    return labels
