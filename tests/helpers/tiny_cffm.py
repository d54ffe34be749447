"""A CFFM small enough for tests: one block a stage, 32 features, 5 labels."""

import torch
from tiny_video import TINY_ENCODER, random_clip, random_labels

from dense_hf.video_segmentation.configuration_cffm import CFFMConfig
from dense_hf.video_segmentation.modeling_cffm import CFFMForVideoSemanticSegmentation
from dense_hf.video_segmentation.position_bias_cffm import ContextPositionBias

__all__ = ["TINY_ENCODER", "random_clip", "random_labels", "tiny_config", "tiny_model"]


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
