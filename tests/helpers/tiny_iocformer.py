"""A model small enough for tests: 32-pixel tiles, 12 queries, a ResNet of timm with 4 narrow stages."""

import torch
from torch import Tensor

from dense_hf.counting.configuration_iocformer import IOCFormerConfig
from dense_hf.counting.modeling_iocformer import IOCFormerForObjectCounting


def tiny_config(**fields) -> IOCFormerConfig:
    defaults = {
        "backbone_config": {
            "model_type": "timm_backbone",
            "backbone": "test_resnet",
            "features_only": True,
            "out_indices": [4],
            "output_stride": 16,
        },
        "num_queries": 12,
        "d_model": 16,
        "encoder_layers": 2,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "decoder_layers": 2,
        "decoder_attention_heads": 2,
        "decoder_ffn_dim": 32,
        "density_hidden_size": 8,
        "tile_size": 32,
    }
    return IOCFormerConfig(**(defaults | fields))


def tiny_model(seed: int = 0, **fields) -> IOCFormerForObjectCounting:
    torch.manual_seed(seed)
    return IOCFormerForObjectCounting(tiny_config(**fields)).eval()


def random_labels(counts: tuple[int, ...] = (3, 1), seed: int = 0) -> Tensor:
    """[B, max(counts), 3], padded."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.full((len(counts), max(counts), 3), -100.0)
    for index, count in enumerate(counts):
        labels[index, :count] = torch.rand(count, 3, generator=generator)
    return labels
