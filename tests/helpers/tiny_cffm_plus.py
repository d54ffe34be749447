"""A CFFM++ small enough for tests, on top of the tiny CFFM."""

import torch
from tiny_cffm import tiny_model
from torch import Tensor

from dense_hf.video_segmentation.modeling_cffm_plus import CFFMPlusForVideoSemanticSegmentation


def tiny_plus(seed: int = 0, **fields) -> CFFMPlusForVideoSemanticSegmentation:
    """In eval mode; prototypes matter more than in a new model."""
    cffm = tiny_model(seed, **fields)
    model = CFFMPlusForVideoSemanticSegmentation.from_cffm(cffm, num_prototypes=6, num_prototype_frames=4)
    with torch.no_grad():
        for name, parameter in model.prototype_attention.named_parameters():
            if parameter.ndim > 1 and "mlp" not in name:
                parameter.mul_(3)
    return model


def random_prototypes(batch_size: int = 2, count: int = 6, width: int = 32, seed: int = 0) -> Tensor:
    """[B, P, E]."""
    return torch.randn(batch_size, count, width, generator=torch.Generator().manual_seed(seed))
