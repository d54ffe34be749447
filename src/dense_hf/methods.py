"""The models of the package, one row each: what scripts, trainers, cards, the program and transformers ask about one.

A new model needs its files and a row, no other change: here, or from outside of the package by `add_method`. Classes
stand as text, "module:class" (a module of this package if it begins with a dot), and are imported when somebody asks
for them: this file imports nothing that takes time, and a row may name what is above it, its training arguments.
"""

from typing import TYPE_CHECKING, Any

from .method_row import AFFINITY, COUNTING, SEGMENTATION, VIDEO, WEAK, Method
from .method_variants import (
    cffm_title,
    clip_config,
    deeplab_title,
    density_title,
    iocformer_title,
    segformer_config,
)
from .registration import announce_config, announce_model

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_AUTO = "transformers.models.auto.modeling_auto"
_VIDEO_AUTO = (f"{_AUTO}:AutoModelForSemanticSegmentation", ".auto:AutoModelForVideoSemanticSegmentation")


def _counter(name: str, title: str, classes: str, **fields: Any) -> Method:
    """The row of a baseline of Table 2.3; its classes begin with `classes`."""
    return Method(
        name,
        title,
        COUNTING,
        config=f".counting.configuration_{name}:{classes}Config",
        model=f".counting.modeling_{name}:{classes}ForObjectCounting",
        processor=".counting.image_processing_counter:CounterImageProcessor",
        training=".training.counting.options:CountingTrainingArguments",
        auto_classes=(".auto:AutoModelForObjectCounting",),
        **fields,
    )


def _dilated(name: str, title: str, classes: str, modeling: str, **fields: Any) -> Method:
    """The row of a compared system of Tables 4.1 and 5.6 with a dilated ResNet; its classes begin with `classes`."""
    return Method(
        name,
        title,
        VIDEO,
        config=f".video_segmentation.configuration_dilated:{classes}Config",
        model=f".video_segmentation.{modeling}:{classes.removesuffix('Video')}ForVideoSemanticSegmentation",
        processor=".video_segmentation.image_processing_clip:DilatedVideoImageProcessor",
        training=".training.video.dilated:DilatedTrainingArguments",
        auto_classes=_VIDEO_AUTO,
        encoder="encoder",
        **fields,
    )


_ROWS = (
    Method(
        "iocformer",
        "IOCFormer",
        COUNTING,
        config=".counting.configuration_iocformer:IOCFormerConfig",
        model=".counting.modeling_iocformer:IOCFormerForObjectCounting",
        processor=".counting.image_processing_iocformer:IOCFormerImageProcessor",
        training=".training.counting.options:CountingTrainingArguments",
        auto_classes=(".auto:AutoModelForObjectCounting",),
        converters={
            "iocformer": ".convert_iocformer:convert_iocformer",
            "cltr": ".convert_iocformer:convert_cltr",
        },
        variant_title=iocformer_title,
    ),
    _counter(
        "density_counter",
        "Density counter",
        "DensityCounter",
        converters={
            method: f".convert_density_counter:convert_{method}"
            for method in ("csrnet", "can", "can_commissarma", "bl", "noisycc", "dmcount", "gl", "kdmg")
        },
        variant_title=density_title,
    ),
    _counter(
        "mcnn",
        "MCNN",
        "MCNN",
        encoder="columns",
        converters={
            "mcnn": ".convert_counters:convert_mcnn",
            "mcnn_gray": ".convert_counters:convert_mcnn_gray",
        },
    ),
    _counter(
        "man",
        "MAN",
        "MAN",
        converters={"man": ".convert_counters:convert_man"},
    ),
    _counter(
        "dssinet",
        "DSSI-Net",
        "DSSINet",
        trunk="torchvision:vgg16",
        converters={"dssinet": ".convert_counters:convert_dssinet"},
    ),
    _counter(
        "mspsnet",
        "MPS",
        "MSPSNet",
        encoder="backbones",
        trunk="torchvision:vgg16",
        converters={"mps": ".convert_counters:convert_mps"},
    ),
    _counter(
        "lcfcn",
        "LCFCN",
        "LCFCN",
        trunk="torchvision:vgg16",
        converters={"lcfcn": ".convert_counters:convert_lcfcn"},
        limits=("Objects that touch become one blob, and are counted once.",),
    ),
    _counter(
        "p2pnet",
        "P2PNet",
        "P2PNet",
        converters={"p2pnet": ".convert_counters:convert_p2pnet"},
        limits=(
            "As released, the offsets of its points are not trained (`compat`): points lie beside what they count.",
        ),
    ),
    Method(
        "mcis",
        "MCIS",
        WEAK,
        config=".weak_segmentation.configuration_mcis:MCISConfig",
        model=".weak_segmentation.modeling_mcis:MCISForImageClassification",
        processor=".weak_segmentation.image_processing_mcis:MCISImageProcessor",
        training=".training.classifier.options:MCISTrainingArguments",
        auto_classes=(f"{_AUTO}:AutoModelForImageClassification",),
        trunk="torchvision:vgg16",
        converters={"mcis": ".weak_segmentation.convert_mcis:convert_mcis"},
        limits=(
            "The method is of 2020. Its published result, 66.2 mIoU on PASCAL VOC 2012 val, is about 12 points behind "
            "today's best methods for image-level labels.",
        ),
    ),
    Method(
        "deeplab_largefov",
        "DeepLab-LargeFOV",
        SEGMENTATION,
        config=".weak_segmentation.configuration_deeplab_largefov:DeepLabLargeFOVConfig",
        model=".weak_segmentation.modeling_deeplab_largefov:DeepLabLargeFOVForSemanticSegmentation",
        processor=".weak_segmentation.image_processing_deeplab_largefov:DeepLabLargeFOVImageProcessor",
        training=".training.segmenter.options:SegmenterTrainingArguments",
        fixed_fields=("semantic_loss_ignore_index",),  # 255 stands in the label maps
        trunk="torchvision:resnet101",
        auto_classes=(f"{_AUTO}:AutoModelForSemanticSegmentation",),
        variant_title=deeplab_title,
    ),
    Method(
        "affinity_net",
        "AffinityNet",
        AFFINITY,
        config=".weak_segmentation.configuration_affinity_net:AffinityNetConfig",
        model=".weak_segmentation.modeling_affinity_net:AffinityNetModel",
        processor=".weak_segmentation.image_processing_affinity_net:AffinityNetImageProcessor",
        training=".training.affinity.options:AffinityTrainingArguments",
        trunk="torchvision:vgg16",
    ),
    Method(
        "cffm",
        "CFFM",
        VIDEO,
        config=".video_segmentation.configuration_cffm:CFFMConfig",
        model=".video_segmentation.modeling_cffm:CFFMForVideoSemanticSegmentation",
        processor=".video_segmentation.image_processing_clip:CFFMImageProcessor",
        training=".training.video.options:VideoTrainingArguments",
        auto_classes=_VIDEO_AUTO,
        encoder="encoder",
        trunk="mix_transformer",
        converters={"cffm": ".convert_cffm:convert_cffm"},
        variant_title=cffm_title,
        thesis_config=clip_config,
    ),
    Method(
        "cffm_plus",
        "CFFM++",
        VIDEO,
        config=".video_segmentation.configuration_cffm:CFFMPlusConfig",
        model=".video_segmentation.modeling_cffm_plus:CFFMPlusForVideoSemanticSegmentation",
        processor=".video_segmentation.image_processing_clip:CFFMImageProcessor",
        training=".training.video.cffm_plus:CFFMPlusTrainingArguments",
        auto_classes=_VIDEO_AUTO,
        encoder="encoder",
        trunk="mix_transformer",
        converters={"cffm_plus": ".convert_cffm:convert_cffm_plus"},
        thesis_config=clip_config,
    ),
    Method(
        "mrcfa",
        "MRCFA",
        VIDEO,
        config=".video_segmentation.configuration_mrcfa:MRCFAConfig",
        model=".video_segmentation.modeling_mrcfa:MRCFAForVideoSemanticSegmentation",
        processor=".video_segmentation.image_processing_clip:MRCFAImageProcessor",
        training=".training.video.options:VideoTrainingArguments",
        auto_classes=_VIDEO_AUTO,
        encoder="encoder",
        trunk="mix_transformer",
        converters={"mrcfa": ".convert_mrcfa:convert_mrcfa"},
        thesis_config=clip_config,
    ),
    Method(
        "segformer",
        "SegFormer",
        VIDEO,
        config="transformers:SegformerConfig",
        model="transformers:SegformerForSemanticSegmentation",
        processor="transformers:SegformerImageProcessor",
        training=".training.video.options:VideoTrainingArguments",
        encoder="segformer",
        trunk="mix_transformer",
        # the Mix Transformer alone, as trained on ImageNet
        converters={"segformer": ".convert_segformer:convert_segformer"},
        thesis_config=segformer_config,
        # of the whole clip, as released: the baseline of the tables learned from the same clips as CFFM and MRCFA
        frame_offsets=(9, 6, 3),
    ),
    Method(
        "upernet",
        "UperNet of transformers",
        VIDEO,
        config="transformers:UperNetConfig",
        model="transformers:UperNetForSemanticSegmentation",
        processor="transformers:SegformerImageProcessor",
        training=".training.video.dilated:DilatedTrainingArguments",
        frame_offsets=(9, 6, 3),
        limits=("It is transformers' UperNet, not the network of Tables 4.1 and 5.6, whose decoder is another.",),
    ),
    Method(
        "deeplabv3plus_video",
        "DeepLabv3+ of segmentation_models_pytorch",
        VIDEO,
        config=".video_segmentation.configuration_deeplabv3plus:DeepLabV3PlusVideoConfig",
        model=".video_segmentation.modeling_deeplabv3plus:DeepLabV3PlusForVideoSemanticSegmentation",
        processor=".video_segmentation.image_processing_clip:DilatedVideoImageProcessor",
        training=".training.video.dilated:DilatedTrainingArguments",
        auto_classes=_VIDEO_AUTO,
        encoder="encoder",
        frame_offsets=(9, 6, 3),
        requirements=("segmentation-models-pytorch>=0.6,<0.7",),
        limits=(
            "It is the DeepLabv3+ of segmentation_models_pytorch, not the network of Tables 4.1 and 5.6.",
            "Its code needs that library: pip install 'dense_hf[segmentation-models]'.",
        ),
    ),
    _dilated(
        "pspnet_video",
        "PSPNet",
        "PSPNetVideo",
        "modeling_dilated",
        converters=dict.fromkeys(("pspnet", "etc_psp"), ".convert_video_baselines:convert_pspnet"),
        frame_offsets=(9, 6, 3),
    ),
    _dilated(
        "ocrnet_video",
        "OCRNet",
        "OCRNetVideo",
        "modeling_dilated",
        converters=dict.fromkeys(("ocrnet", "etc_ocr"), ".convert_video_baselines:convert_ocrnet"),
        frame_offsets=(9, 6, 3),
    ),
    _dilated(
        "tcb",
        "TCB",
        "TCB",
        "modeling_tcb",
        converters=dict.fromkeys(("tcb_ppm", "tcb_ocr"), ".convert_video_baselines:convert_tcb"),
        limits=(
            "The published numbers were made with reference frames from the future (`compat='vspw'`), which a stream "
            "does not have.",
        ),
    ),
    _dilated(
        "netwarp",
        "NetWarp",
        "NetWarp",
        "modeling_netwarp",
        converters=dict.fromkeys(("netwarp_psp", "netwarp_ocr"), ".convert_video_baselines:convert_netwarp"),
        limits=(
            "It needs an optical flow of every frame, by default that of torchvision's RAFT, which is downloaded; "
            "`flow='dis'` is OpenCV's, `pip install 'dense_hf[flow]'`.",
        ),
    ),
)

# model types that only serve as the backbone of another model
_BACKBONE_CONFIGS = {"resnet38": ".weak_segmentation.configuration_resnet38:ResNet38Config"}

_known: dict[str, Method] = {}


def methods(task: str | None = None) -> dict[str, Method]:
    """The rows by name, all or those of a task, added ones among them."""
    return {name: row for name, row in _known.items() if task in (None, row.task)}


def method_of(model: "str | PreTrainedConfig | type[PreTrainedConfig]", task: str | None = None) -> Method:
    """The row of a model.

    Args:
        model: its name, its config or the class of its config.
        task: the row must be of this task.

    Raises:
        ValueError: for a model that has no row, or one of another task; the message lists those that would do.
    """
    name = model if isinstance(model, str) else model.model_type
    found = methods(task)
    if name not in found:
        raise ValueError(f"The model must be one of {', '.join(found)}. Received: {name}")
    return found[name]


def add_method(row: Method) -> None:
    """Make a model known, to this package and to the Auto classes of transformers.

    Raises:
        ValueError: if the name of the model, or of one of the architectures it converts, is taken.
    """
    taken = [name for name in (row.name,) if name in _known or name in _BACKBONE_CONFIGS]
    taken += [name for name in row.converters if name in converters()]
    if taken:
        raise ValueError(f"A new model needs names of its own. Received: {', '.join(taken)}")
    _known[row.name] = row
    if not row.is_of_transformers:
        announce_model(row.name, row.config, row.model, row.processor, row.auto_classes, row.task)


def converters() -> dict[str, str]:
    """Architecture of the authors' code -> "module:function" that reads its checkpoints."""
    return {name: function for row in _known.values() for name, function in row.converters.items()}


def frame_offsets(config: "PreTrainedConfig") -> tuple[int, ...]:
    """How many frames before the target the other frames of a training clip are."""
    found = getattr(config, "frame_offsets", None) or method_of(config).frame_offsets
    if found is None:
        raise ValueError(f"{config.model_type} takes no clips: neither its config nor its row has frame_offsets")
    return tuple(found)


for _row in _ROWS:
    add_method(_row)
for _model_type, _config in _BACKBONE_CONFIGS.items():
    announce_config(_model_type, _config)
