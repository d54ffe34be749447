"""Registration with the Auto classes and pipelines of transformers; `import dense_hf` runs it.

Saved checkpoints carry their code: `register_for_auto_class` makes `save_pretrained` copy the files of a task folder
beside the weights, so `AutoModel.from_pretrained(..., trust_remote_code=True)` works without this package.
"""

from collections import OrderedDict

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForSemanticSegmentation,
    BaseImageProcessor,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.auto_factory import _BaseAutoModelClass, _LazyAutoMapping, auto_class_update
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from .counting.configuration_iocformer import IOCFormerConfig
from .counting.image_processing_iocformer import IOCFormerImageProcessor
from .counting.modeling_iocformer import IOCFormerForObjectCounting
from .pipelines import register_pipelines
from .video_segmentation.configuration_cffm import CFFMConfig
from .video_segmentation.configuration_cffm_plus import CFFMPlusConfig
from .video_segmentation.configuration_mrcfa import MRCFAConfig
from .video_segmentation.image_processing_cffm import CFFMImageProcessor
from .video_segmentation.image_processing_mrcfa import MRCFAImageProcessor
from .video_segmentation.modeling_cffm import CFFMForVideoSemanticSegmentation
from .video_segmentation.modeling_cffm_plus import CFFMPlusForVideoSemanticSegmentation
from .video_segmentation.modeling_mrcfa import MRCFAForVideoSemanticSegmentation
from .weak_segmentation.configuration_affinity_net import AffinityNetConfig
from .weak_segmentation.configuration_deeplab_largefov import DeepLabLargeFOVConfig
from .weak_segmentation.configuration_mcis import MCISConfig
from .weak_segmentation.image_processing_affinity_net import AffinityNetImageProcessor
from .weak_segmentation.image_processing_deeplab_largefov import DeepLabLargeFOVImageProcessor
from .weak_segmentation.image_processing_mcis import MCISImageProcessor
from .weak_segmentation.modeling_affinity_net import AffinityNetModel
from .weak_segmentation.modeling_deeplab_largefov import DeepLabLargeFOVForSemanticSegmentation
from .weak_segmentation.modeling_mcis import MCISForImageClassification


class AutoModelForObjectCounting(_BaseAutoModelClass):
    """Counting models by name: `AutoModelForObjectCounting.from_pretrained("org/iocformer")`."""

    _model_mapping = _LazyAutoMapping(CONFIG_MAPPING_NAMES, OrderedDict())


AutoModelForObjectCounting = auto_class_update(AutoModelForObjectCounting, head_doc="object counting")


class AutoModelForVideoSemanticSegmentation(_BaseAutoModelClass):
    """Video models by name: `AutoModelForVideoSemanticSegmentation.from_pretrained("org/cffm-b1")`."""

    _model_mapping = _LazyAutoMapping(CONFIG_MAPPING_NAMES, OrderedDict())


AutoModelForVideoSemanticSegmentation = auto_class_update(
    AutoModelForVideoSemanticSegmentation, head_doc="video semantic segmentation"
)


class InstalledPipelines:
    """A `custom_pipelines` of a configuration that is written to config.json and not read from there.

    It names the pipeline that travels with a checkpoint, for those who have no dense_hf. Who has it shall get the
    pipeline that is installed: for a copy transformers asks to be trusted, even if it knows the task.
    """

    def __get__(self, config: PreTrainedConfig | None, owner: type[PreTrainedConfig]) -> dict[str, dict]:
        return {}

    def __set__(self, config: PreTrainedConfig, value: dict[str, dict]) -> None:
        config.__dict__["custom_pipelines"] = value


def register() -> None:
    """Make every model, processor and task of this package known to transformers."""
    register_model(IOCFormerConfig, IOCFormerForObjectCounting, IOCFormerImageProcessor, AutoModelForObjectCounting)
    video = (AutoModelForSemanticSegmentation, AutoModelForVideoSemanticSegmentation)
    register_model(CFFMConfig, CFFMForVideoSemanticSegmentation, CFFMImageProcessor, *video)
    register_model(CFFMPlusConfig, CFFMPlusForVideoSemanticSegmentation, CFFMImageProcessor, *video)
    register_model(MRCFAConfig, MRCFAForVideoSemanticSegmentation, MRCFAImageProcessor, *video)
    register_model(MCISConfig, MCISForImageClassification, MCISImageProcessor, AutoModelForImageClassification)
    deeplab = (DeepLabLargeFOVForSemanticSegmentation, DeepLabLargeFOVImageProcessor)
    register_model(DeepLabLargeFOVConfig, *deeplab, AutoModelForSemanticSegmentation)
    register_model(AffinityNetConfig, AffinityNetModel, AffinityNetImageProcessor)
    register_pipelines()


def register_model(
    config: type[PreTrainedConfig],
    model: type[PreTrainedModel],
    processor: type[BaseImageProcessor],
    *auto_classes: type[_BaseAutoModelClass],
) -> None:
    """A model with its configuration and processor: `AutoModel` finds it, and so do the Auto classes of its tasks."""
    AutoConfig.register(config.model_type, config)
    for auto_class in (AutoModel, *auto_classes):
        auto_class.register(config, model)
    # one processor serves as both of the backends that transformers tells apart
    backends: dict[str, type] = {"torchvision": processor, "pil": processor}
    AutoImageProcessor.register(config, image_processor_classes=backends)
    config.custom_pipelines = InstalledPipelines()  # ty: ignore[missing-attribute]
    config.register_for_auto_class()
    model.register_for_auto_class("AutoModel")
    processor.register_for_auto_class()


register()
