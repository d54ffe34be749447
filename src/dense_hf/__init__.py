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
    "CFFMImageProcessor": "video_segmentation.image_processing_clip",
    "CFFMPlusConfig": "video_segmentation.configuration_cffm",
    "CFFMPlusForVideoSemanticSegmentation": "video_segmentation.modeling_cffm_plus",
    "CounterImageProcessor": "counting.image_processing_counter",
    "DeepLabLargeFOVConfig": "weak_segmentation.configuration_deeplab_largefov",
    "DeepLabLargeFOVForSemanticSegmentation": "weak_segmentation.modeling_deeplab_largefov",
    "DeepLabLargeFOVImageProcessor": "weak_segmentation.image_processing_deeplab_largefov",
    "DeepLabV3PlusForVideoSemanticSegmentation": "video_segmentation.modeling_deeplabv3plus",
    "DeepLabV3PlusVideoConfig": "video_segmentation.configuration_deeplabv3plus",
    "DensityCounterConfig": "counting.configuration_density_counter",
    "DensityCounterForObjectCounting": "counting.modeling_density_counter",
    "DilatedVideoImageProcessor": "video_segmentation.image_processing_clip",
    "DSSINetConfig": "counting.configuration_dssinet",
    "DSSINetForObjectCounting": "counting.modeling_dssinet",
    "InvalidDataError": "errors",
    "IOCFormerConfig": "counting.configuration_iocformer",
    "IOCFormerForObjectCounting": "counting.modeling_iocformer",
    "IOCFormerImageProcessor": "counting.image_processing_iocformer",
    "LCFCNConfig": "counting.configuration_lcfcn",
    "LCFCNForObjectCounting": "counting.modeling_lcfcn",
    "MANConfig": "counting.configuration_man",
    "MANForObjectCounting": "counting.modeling_man",
    "MCISConfig": "weak_segmentation.configuration_mcis",
    "MCISForImageClassification": "weak_segmentation.modeling_mcis",
    "MCISImageProcessor": "weak_segmentation.image_processing_mcis",
    "MCNNConfig": "counting.configuration_mcnn",
    "MCNNForObjectCounting": "counting.modeling_mcnn",
    "MRCFAConfig": "video_segmentation.configuration_mrcfa",
    "MRCFAForVideoSemanticSegmentation": "video_segmentation.modeling_mrcfa",
    "MRCFAImageProcessor": "video_segmentation.image_processing_clip",
    "MSPSNetConfig": "counting.configuration_mspsnet",
    "MSPSNetForObjectCounting": "counting.modeling_mspsnet",
    "NetWarpConfig": "video_segmentation.configuration_dilated",
    "NetWarpForVideoSemanticSegmentation": "video_segmentation.modeling_netwarp",
    "ObjectCountingPipeline": "pipelines.object_counting",
    "OCRNetForVideoSemanticSegmentation": "video_segmentation.modeling_dilated",
    "OCRNetVideoConfig": "video_segmentation.configuration_dilated",
    "P2PNetConfig": "counting.configuration_p2pnet",
    "P2PNetForObjectCounting": "counting.modeling_p2pnet",
    "PSPNetForVideoSemanticSegmentation": "video_segmentation.modeling_dilated",
    "PSPNetVideoConfig": "video_segmentation.configuration_dilated",
    "ResNet38Config": "weak_segmentation.configuration_resnet38",
    "TCBConfig": "video_segmentation.configuration_dilated",
    "TCBForVideoSemanticSegmentation": "video_segmentation.modeling_tcb",
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
    from .counting.configuration_density_counter import DensityCounterConfig as DensityCounterConfig
    from .counting.configuration_dssinet import DSSINetConfig as DSSINetConfig
    from .counting.configuration_iocformer import IOCFormerConfig as IOCFormerConfig
    from .counting.configuration_lcfcn import LCFCNConfig as LCFCNConfig
    from .counting.configuration_man import MANConfig as MANConfig
    from .counting.configuration_mcnn import MCNNConfig as MCNNConfig
    from .counting.configuration_mspsnet import MSPSNetConfig as MSPSNetConfig
    from .counting.configuration_p2pnet import P2PNetConfig as P2PNetConfig
    from .counting.image_processing_counter import CounterImageProcessor as CounterImageProcessor
    from .counting.image_processing_iocformer import IOCFormerImageProcessor as IOCFormerImageProcessor
    from .counting.modeling_density_counter import DensityCounterForObjectCounting as DensityCounterForObjectCounting
    from .counting.modeling_dssinet import DSSINetForObjectCounting as DSSINetForObjectCounting
    from .counting.modeling_iocformer import IOCFormerForObjectCounting as IOCFormerForObjectCounting
    from .counting.modeling_lcfcn import LCFCNForObjectCounting as LCFCNForObjectCounting
    from .counting.modeling_man import MANForObjectCounting as MANForObjectCounting
    from .counting.modeling_mcnn import MCNNForObjectCounting as MCNNForObjectCounting
    from .counting.modeling_mspsnet import MSPSNetForObjectCounting as MSPSNetForObjectCounting
    from .counting.modeling_p2pnet import P2PNetForObjectCounting as P2PNetForObjectCounting
    from .errors import InvalidDataError as InvalidDataError
    from .pipelines.object_counting import ObjectCountingPipeline as ObjectCountingPipeline
    from .pipelines.video_semantic_segmentation import (
        VideoSemanticSegmentationPipeline as VideoSemanticSegmentationPipeline,
    )
    from .pipelines.weakly_supervised_segmentation import (
        WeaklySupervisedSegmentationPipeline as WeaklySupervisedSegmentationPipeline,
    )
    from .video_segmentation.configuration_cffm import CFFMConfig as CFFMConfig
    from .video_segmentation.configuration_cffm import CFFMPlusConfig as CFFMPlusConfig
    from .video_segmentation.configuration_deeplabv3plus import DeepLabV3PlusVideoConfig as DeepLabV3PlusVideoConfig
    from .video_segmentation.configuration_dilated import NetWarpConfig as NetWarpConfig
    from .video_segmentation.configuration_dilated import OCRNetVideoConfig as OCRNetVideoConfig
    from .video_segmentation.configuration_dilated import PSPNetVideoConfig as PSPNetVideoConfig
    from .video_segmentation.configuration_dilated import TCBConfig as TCBConfig
    from .video_segmentation.configuration_mrcfa import MRCFAConfig as MRCFAConfig
    from .video_segmentation.image_processing_clip import CFFMImageProcessor as CFFMImageProcessor
    from .video_segmentation.image_processing_clip import DilatedVideoImageProcessor as DilatedVideoImageProcessor
    from .video_segmentation.image_processing_clip import MRCFAImageProcessor as MRCFAImageProcessor
    from .video_segmentation.modeling_cffm import CFFMForVideoSemanticSegmentation as CFFMForVideoSemanticSegmentation
    from .video_segmentation.modeling_cffm_plus import (
        CFFMPlusForVideoSemanticSegmentation as CFFMPlusForVideoSemanticSegmentation,
    )
    from .video_segmentation.modeling_deeplabv3plus import (
        DeepLabV3PlusForVideoSemanticSegmentation as DeepLabV3PlusForVideoSemanticSegmentation,
    )
    from .video_segmentation.modeling_dilated import (
        OCRNetForVideoSemanticSegmentation as OCRNetForVideoSemanticSegmentation,
    )
    from .video_segmentation.modeling_dilated import (
        PSPNetForVideoSemanticSegmentation as PSPNetForVideoSemanticSegmentation,
    )
    from .video_segmentation.modeling_mrcfa import (
        MRCFAForVideoSemanticSegmentation as MRCFAForVideoSemanticSegmentation,
    )
    from .video_segmentation.modeling_netwarp import (
        NetWarpForVideoSemanticSegmentation as NetWarpForVideoSemanticSegmentation,
    )
    from .video_segmentation.modeling_tcb import TCBForVideoSemanticSegmentation as TCBForVideoSemanticSegmentation
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
