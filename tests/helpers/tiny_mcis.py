"""An MCIS small enough for tests: a VGG-16 of 4 to 16 channels, 5 classes; and pictures."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dense_hf.weak_segmentation.configuration_mcis import MCISConfig
from dense_hf.weak_segmentation.modeling_mcis import MCISForImageClassification


def tiny_config(**fields) -> MCISConfig:
    return MCISConfig(**({"vgg_hidden_sizes": [4, 6, 8, 16], "hidden_size": 16, "num_labels": 5} | fields))


def tiny_model(seed: int = 0, **fields) -> MCISForImageClassification:
    """In eval mode, with features that differ from place to place, and logits of a few units."""
    torch.manual_seed(seed)
    model = MCISForImageClassification(tiny_config(**fields)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") and "backbone" in name:
                parameter.uniform_(0, 0.2)
        features = model.extract_features(random_pixels())
        last = model.neck[-2]  # its output is rectified, so it scales with the weights
        last.weight /= features.std()
        last.bias /= features.std()
        model.classifier.weight /= 2
    return model


def random_pixels(batch_size: int = 2, size: tuple[int, int] = (64, 64), seed: int = 0) -> Tensor:
    return torch.randn(batch_size, 3, *size, generator=torch.Generator().manual_seed(seed))


def random_labels(batch_size: int = 2, num_labels: int = 5, seed: int = 0) -> Tensor:
    """0 or 1, the first class always there."""
    labels = torch.rand(batch_size, num_labels, generator=torch.Generator().manual_seed(seed)) < 0.5
    labels[:, 0] = True
    return labels.float()


def picture(seed: int, width: int = 70, height: int = 50) -> Image.Image:
    """Blocks of random colours."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.NEAREST)
