"""A CFFM small enough for tests: one block a stage, 32 features, 5 labels."""

import torch
from torch import Tensor

from dense_hf.video_segmentation.configuration_cffm import CFFMConfig
from dense_hf.video_segmentation.modeling_cffm import CFFMForVideoSemanticSegmentation
from dense_hf.video_segmentation.position_bias_cffm import ContextPositionBias

TINY_ENCODER = {
    "hidden_sizes": [8, 8, 16, 16],
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 1, 2, 2],
    "mlp_ratios": [2, 2, 2, 2],
}


def tiny_config(**fields) -> CFFMConfig:
    defaults = {
        "encoder_config": TINY_ENCODER,
        "decoder_hidden_size": 32,
        "num_mining_layers": 2,
        "num_attention_heads": 4,
        "num_labels": 5,
    }
    return CFFMConfig(**(defaults | fields))


def tiny_model(seed: int = 0, **fields) -> CFFMForVideoSemanticSegmentation:
    """In eval mode, with position biases and batch norm statistics that differ from those of a new model."""
    torch.manual_seed(seed)
    model = CFFMForVideoSemanticSegmentation(tiny_config(**fields)).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, ContextPositionBias):
                for table in module.parameters():
                    table.normal_()
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "encoder." in name:
                parameter.mul_(10)  # features that differ from frame to frame
            elif parameter.ndim > 1 and ("key_value" in name or "output" in name):
                parameter.mul_(3)  # and references that matter
        model.decoder.batch_norm.running_mean.normal_(std=0.1)
        model.decoder.batch_norm.running_var.uniform_(0.5, 2)
    return model


def random_clip(num_frames: int = 4, size: tuple[int, int] = (64, 96), batch_size: int = 2, seed: int = 0) -> Tensor:
    """[B, T, 3, height, width]."""
    return torch.randn(batch_size, num_frames, 3, *size, generator=torch.Generator().manual_seed(seed))


def random_labels(clip: Tensor, num_labels: int = 5, seed: int = 0) -> Tensor:
    """[B, T, height, width], some of it 255."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, num_labels + 1, (*clip.shape[:2], *clip.shape[-2:]), generator=generator)
    return labels.masked_fill(labels == num_labels, 255)
