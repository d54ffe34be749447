"""Masks from image-level labels: MCIS (thesis, chapter 3). Public names load on first use."""

from importlib import import_module
from typing import TYPE_CHECKING

_PUBLIC_NAMES = {
    "AffinityNetConfig": "configuration_affinity_net",
    "AffinityNetImageProcessor": "image_processing_affinity_net",
    "AffinityNetModel": "modeling_affinity_net",
    "CertainLabels": "affinity_labels",
    "DenseCRF": "dense_crf",
    "DeepLabLargeFOVConfig": "configuration_deeplab_largefov",
    "DeepLabLargeFOVForSemanticSegmentation": "modeling_deeplab_largefov",
    "DeepLabLargeFOVImageProcessor": "image_processing_deeplab_largefov",
    "FeatureCache": "feature_cache",
    "ImageGroup": "image_group",
    "LocalizationSettings": "localization",
    "Localizer": "localization",
    "MCISConfig": "configuration_mcis",
    "MCISForImageClassification": "modeling_mcis",
    "MCISImageProcessor": "image_processing_mcis",
    "MultiScaleSegmenter": "multi_scale_segmenter",
    "PseudoLabelSettings": "pseudo_labels",
    "RandomWalk": "random_walk",
    "ResNet38Config": "configuration_resnet38",
    "aggregate_maps": "pseudo_labels",
    "equivariance_loss": "equivariance_mcis",
    "find_classes": "group_segmentation",
    "make_pseudo_label": "pseudo_labels",
    "resize_map": "pseudo_labels",
    "segment_group": "group_segmentation",
}

__all__ = [*_PUBLIC_NAMES]

if TYPE_CHECKING:
    from .affinity_labels import CertainLabels as CertainLabels
    from .configuration_affinity_net import AffinityNetConfig as AffinityNetConfig
    from .configuration_deeplab_largefov import DeepLabLargeFOVConfig as DeepLabLargeFOVConfig
    from .configuration_mcis import MCISConfig as MCISConfig
    from .configuration_resnet38 import ResNet38Config as ResNet38Config
    from .dense_crf import DenseCRF as DenseCRF
    from .equivariance_mcis import equivariance_loss as equivariance_loss
    from .feature_cache import FeatureCache as FeatureCache
    from .group_segmentation import find_classes as find_classes
    from .group_segmentation import segment_group as segment_group
    from .image_group import ImageGroup as ImageGroup
    from .image_processing_affinity_net import AffinityNetImageProcessor as AffinityNetImageProcessor
    from .image_processing_deeplab_largefov import DeepLabLargeFOVImageProcessor as DeepLabLargeFOVImageProcessor
    from .image_processing_mcis import MCISImageProcessor as MCISImageProcessor
    from .localization import LocalizationSettings as LocalizationSettings
    from .localization import Localizer as Localizer
    from .modeling_affinity_net import AffinityNetModel as AffinityNetModel
    from .modeling_deeplab_largefov import (
        DeepLabLargeFOVForSemanticSegmentation as DeepLabLargeFOVForSemanticSegmentation,
    )
    from .modeling_mcis import MCISForImageClassification as MCISForImageClassification
    from .multi_scale_segmenter import MultiScaleSegmenter as MultiScaleSegmenter
    from .pseudo_labels import PseudoLabelSettings as PseudoLabelSettings
    from .pseudo_labels import aggregate_maps as aggregate_maps
    from .pseudo_labels import make_pseudo_label as make_pseudo_label
    from .pseudo_labels import resize_map as resize_map
    from .random_walk import RandomWalk as RandomWalk


def __getattr__(name: str):
    if name not in _PUBLIC_NAMES:
        raise AttributeError(f"module 'dense_hf.weak_segmentation' has no attribute '{name}'")
    return getattr(import_module(f".{_PUBLIC_NAMES[name]}", __name__), name)


def __dir__():
    return sorted(__all__)
