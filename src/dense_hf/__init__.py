"""Dense prediction in hard scenes, with transformers.

Importing the package makes the Auto classes of transformers know its models, and `pipeline` its tasks. Nothing else is
imported with it, neither torch nor transformers: public names load on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from . import methods as _methods  # noqa: F401  it makes transformers know the models

__version__ = "0.1.0"

_PUBLIC_NAMES = {
    "AffinityNetConfig": "weak_segmentation.configuration_affinity_net",
    "AffinityNetImageProcessor": "weak_segmentation.image_processing_affinity_net",
    "AffinityNetModel": "weak_segmentation.modeling_affinity_net",
    "AutoModelForObjectCounting": "auto",
    "AutoModelForVideoSemanticSegmentation": "auto",
    "CFFMConfig": "video_segmentation.configuration_cffm",
    "CFFMForVideoSemanticSegmentation": "video_segmentation.modeling_cffm",
    "CFFMImageProcessor": "video_segmentation.image_processing_cffm",
    "CFFMPlusConfig": "video_segmentation.configuration_cffm_plus",
    "CFFMPlusForVideoSemanticSegmentation": "video_segmentation.modeling_cffm_plus",
    "DeepLabLargeFOVConfig": "weak_segmentation.configuration_deeplab_largefov",
    "DeepLabLargeFOVForSemanticSegmentation": "weak_segmentation.modeling_deeplab_largefov",
    "DeepLabLargeFOVImageProcessor": "weak_segmentation.image_processing_deeplab_largefov",
    "InvalidDataError": "errors",
    "IOCFormerConfig": "counting.configuration_iocformer",
    "IOCFormerForObjectCounting": "counting.modeling_iocformer",
    "IOCFormerImageProcessor": "counting.image_processing_iocformer",
    "MRCFAConfig": "video_segmentation.configuration_mrcfa",
    "MRCFAForVideoSemanticSegmentation": "video_segmentation.modeling_mrcfa",
    "MRCFAImageProcessor": "video_segmentation.image_processing_mrcfa",
    "MCISConfig": "weak_segmentation.configuration_mcis",
    "MCISForImageClassification": "weak_segmentation.modeling_mcis",
    "MCISImageProcessor": "weak_segmentation.image_processing_mcis",
    "ObjectCountingPipeline": "pipelines.object_counting",
    "ResNet38Config": "weak_segmentation.configuration_resnet38",
    "VideoSemanticSegmentationPipeline": "pipelines.video_semantic_segmentation",
    "WeaklySupervisedSegmentationPipeline": "pipelines.weakly_supervised_segmentation",
    "convert_original_checkpoint": "convert",
    "data": None,
    "metrics": None,
    "weak_segmentation": None,
}

__all__ = ["__version__", *_PUBLIC_NAMES]

if TYPE_CHECKING:
    from . import data as data
    from . import metrics as metrics
    from . import weak_segmentation as weak_segmentation
    from .auto import AutoModelForObjectCounting as AutoModelForObjectCounting
    from .auto import AutoModelForVideoSemanticSegmentation as AutoModelForVideoSemanticSegmentation
    from .convert import convert_original_checkpoint as convert_original_checkpoint
    from .counting.configuration_iocformer import IOCFormerConfig as IOCFormerConfig
    from .counting.image_processing_iocformer import IOCFormerImageProcessor as IOCFormerImageProcessor
    from .counting.modeling_iocformer import IOCFormerForObjectCounting as IOCFormerForObjectCounting
    from .errors import InvalidDataError as InvalidDataError
    from .pipelines.object_counting import ObjectCountingPipeline as ObjectCountingPipeline
    from .pipelines.video_semantic_segmentation import (
        VideoSemanticSegmentationPipeline as VideoSemanticSegmentationPipeline,
    )
    from .pipelines.weakly_supervised_segmentation import (
        WeaklySupervisedSegmentationPipeline as WeaklySupervisedSegmentationPipeline,
    )
    from .video_segmentation.configuration_cffm import CFFMConfig as CFFMConfig
    from .video_segmentation.configuration_cffm_plus import CFFMPlusConfig as CFFMPlusConfig
    from .video_segmentation.configuration_mrcfa import MRCFAConfig as MRCFAConfig
    from .video_segmentation.image_processing_cffm import CFFMImageProcessor as CFFMImageProcessor
    from .video_segmentation.image_processing_mrcfa import MRCFAImageProcessor as MRCFAImageProcessor
    from .video_segmentation.modeling_cffm import CFFMForVideoSemanticSegmentation as CFFMForVideoSemanticSegmentation
    from .video_segmentation.modeling_cffm_plus import (
        CFFMPlusForVideoSemanticSegmentation as CFFMPlusForVideoSemanticSegmentation,
    )
    from .video_segmentation.modeling_mrcfa import (
        MRCFAForVideoSemanticSegmentation as MRCFAForVideoSemanticSegmentation,
    )
    from .weak_segmentation.configuration_affinity_net import AffinityNetConfig as AffinityNetConfig
    from .weak_segmentation.configuration_deeplab_largefov import DeepLabLargeFOVConfig as DeepLabLargeFOVConfig
    from .weak_segmentation.configuration_mcis import MCISConfig as MCISConfig
    from .weak_segmentation.configuration_resnet38 import ResNet38Config as ResNet38Config
    from .weak_segmentation.image_processing_affinity_net import AffinityNetImageProcessor as AffinityNetImageProcessor
    from .weak_segmentation.image_processing_deeplab_largefov import (
        DeepLabLargeFOVImageProcessor as DeepLabLargeFOVImageProcessor,
    )
    from .weak_segmentation.image_processing_mcis import MCISImageProcessor as MCISImageProcessor
    from .weak_segmentation.modeling_affinity_net import AffinityNetModel as AffinityNetModel
    from .weak_segmentation.modeling_deeplab_largefov import (
        DeepLabLargeFOVForSemanticSegmentation as DeepLabLargeFOVForSemanticSegmentation,
    )
    from .weak_segmentation.modeling_mcis import MCISForImageClassification as MCISForImageClassification


def __getattr__(name: str):
    if name not in _PUBLIC_NAMES:
        raise AttributeError(f"module 'dense_hf' has no attribute '{name}'")
    module = _PUBLIC_NAMES[name]
    if module is None:
        return import_module(f".{name}", __name__)
    return getattr(import_module(f".{module}", __name__), name)


def __dir__():
    return sorted(__all__)
