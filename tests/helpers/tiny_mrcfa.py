"""An MRCFA small enough for tests: one block a stage, 32 features, 5 labels, the affinity decoder of MiT-B1."""

import torch
from tiny_video import TINY_ENCODER, random_clip, random_labels

from dense_hf.video_segmentation.configuration_mrcfa import MRCFAConfig
from dense_hf.video_segmentation.modeling_mrcfa import MRCFAForVideoSemanticSegmentation

__all__ = ["TINY_ENCODER", "random_clip", "random_labels", "tiny_config", "tiny_model"]


def tiny_config(**fields) -> MRCFAConfig:
    defaults = {
        "encoder_config": TINY_ENCODER,
        "decoder_hidden_size": 32,
        "num_labels": 5,
        "affinity_depth": 2,
        "affinity_width": 2,
        "affinity_kernel_sizes": [3, 3, 5],
    }
    return MRCFAConfig(**(defaults | fields))


def tiny_model(seed: int = 0, **fields) -> MRCFAForVideoSemanticSegmentation:
    """In eval mode, with norms of the decoders and batch norm statistics that differ from those of a new model."""
    torch.manual_seed(seed)
    model = MRCFAForVideoSemanticSegmentation(tiny_config(**fields)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "encoder." in name:
                parameter.mul_(10)  # features that differ from frame to frame
            elif parameter.ndim > 1 and "values" in name:
                parameter.mul_(3)  # and references that matter
            elif ".norm." in name and "mining" in name:
                parameter.uniform_(0.5, 2)
        model.decoder.batch_norm.running_mean.normal_(std=0.1)
        model.decoder.batch_norm.running_var.uniform_(0.5, 2)
    return model
