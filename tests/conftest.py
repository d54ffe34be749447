"""Shared by all tests: a small counting model of random weights, for tests of what surrounds a model."""

import numpy as np
import pytest
import torch
from PIL import Image

from dense_hf.counting.configuration_iocformer import IOCFormerConfig
from dense_hf.counting.image_processing_iocformer import IOCFormerImageProcessor
from dense_hf.counting.modeling_iocformer import IOCFormerForObjectCounting


def noise_picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """An RGB image of random pixels."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def save_small_counter(folder, **changes) -> str:
    """Save a model with tiles of 64 pixels that finds something in about half of its 12 queries."""
    torch.manual_seed(0)
    config = {
        "backbone_config": {"model_type": "timm_backbone", "backbone": "resnet10t", "out_indices": [3]},
        "num_queries": 12,
        "d_model": 32,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "density_hidden_size": 8,
        "tile_size": 64,
    }
    model = IOCFormerForObjectCounting(IOCFormerConfig(**{**config, **changes})).eval()
    processor = IOCFormerImageProcessor(tile_size=64)
    with torch.no_grad():
        if model.config.density_branch:
            model.density_branch.density_head.bias.fill_(0.2)
        if model.config.regression_branch:
            torch.nn.init.normal_(model.class_head.weight)
            logits = model(processor(noise_picture(150, 100), return_tensors="pt")["pixel_values"]).logits
            spread = logits.std(dim=(0, 1)) / 2
            model.class_head.weight /= spread[:, None]
            model.class_head.bias.copy_((model.class_head.bias - logits.mean(dim=(0, 1))) / spread - 1)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def pytest_configure(config: pytest.Config) -> None:
    """Marks that the common tests of transformers bring along."""
    for mark in (
        "accelerate_tests",
        "flash_attn_test",
        "flash_attn_3_test",
        "flash_attn_4_test",
        "generate",
        "torch_compile_test",
    ):
        config.addinivalue_line("markers", f"{mark}: set by transformers")


@pytest.fixture(scope="session")
def noise():
    """`noise(width, height, seed=0)`: an image of random pixels."""
    return noise_picture


@pytest.fixture(scope="session")
def save_counter():
    """`save_counter(folder, **config)`: saves a small counting model, returns the folder."""
    return save_small_counter


@pytest.fixture(scope="session")
def counter_checkpoint(tmp_path_factory):
    """A folder with a small counting model and its processor. Not to be changed."""
    return save_small_counter(tmp_path_factory.mktemp("checkpoint"))
