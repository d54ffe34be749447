"""A DeepLab small enough for tests: a ResNet of 4 to 16 channels, 5 classes."""

import torch

from dense_hf.weak_segmentation.configuration_deeplab_largefov import DeepLabLargeFOVConfig
from dense_hf.weak_segmentation.modeling_deeplab_largefov import DeepLabLargeFOVForSemanticSegmentation

SIZES = {
    "resnet_embedding_size": 4,
    "resnet_hidden_sizes": [8, 8, 16, 16],
    "resnet_depths": [1, 2, 2, 3],
    "head_hidden_size": 8,
    "num_labels": 5,
}


def tiny_segmenter_config(**fields) -> DeepLabLargeFOVConfig:
    return DeepLabLargeFOVConfig(**(SIZES | fields))


def tiny_segmenter(seed: int = 0, **fields) -> DeepLabLargeFOVForSemanticSegmentation:
    """In eval mode, with logits that differ from place to place."""
    torch.manual_seed(seed)
    model = DeepLabLargeFOVForSemanticSegmentation(tiny_segmenter_config(**fields)).eval()
    with torch.no_grad():
        model.classifier.weight.normal_()
    return model
