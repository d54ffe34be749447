"""A training run of a segmenter: the part `segmenter` of a YAML file (see `options.py`) and a command line."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ...data.extra_sources import ExtraSources
from ...data.weak_source import WeakSource
from ...options import field_names, parse_training_run, pixel_problems
from ...weak_segmentation.configuration_deeplab_largefov import DeepLabLargeFOVConfig
from ...weak_segmentation.image_processing_deeplab_largefov import DeepLabLargeFOVImageProcessor
from ...weak_segmentation.multi_scale_segmenter import STRIDE, WINDOW
from .augmentation import SegmenterAugmentation
from .trainer import SegmenterTrainingArguments

PART = "segmenter"


@dataclass
class SegmenterModelArguments:
    """Where weights come from. What describes the model are fields of `DeepLabLargeFOVConfig`, in the file."""

    backbone_weights: str | None = field(
        default=None,
        metadata={
            "help": "ImageNet weights of the backbone: a .safetensors or .pth file with the state dict of "
            "torchvision's resnet101 (set downsample_in_bottleneck: false) or of the timm network of backbone_config, "
            "or package:efficientnet-lite0. Default: random."
        },
    )
    model_name_or_path: str | None = field(
        default=None,
        metadata={
            "help": "A trained segmenter to go on from, a folder or a name on the Hub. Its class layer starts anew if "
            "the data has another number of classes."
        },
    )

    def __post_init__(self):
        if self.model_name_or_path is not None and self.backbone_weights is not None:
            raise ValueError(
                "model_name_or_path has its own backbone; leave out backbone_weights. Received: "
                f"{self.model_name_or_path}, {self.backbone_weights}"
            )


@dataclass
class SegmenterDataArguments:
    """The images, their labels, and what becomes of pixels.

    Raises:
        ValueError: Values that cannot work.
    """

    data_dir: str | None = field(
        default=None, metadata={"help": "A folder in the layout of PASCAL VOC, or TRAIN/{images/,labels.csv}."}
    )
    pseudo_labels: str | None = field(
        default=None,
        metadata={
            "help": "A folder with label maps NAME.png: 0 background, class + 1, 255 ignored. A folder of masks that "
            "people have drawn has the same format: the fully supervised upper bound."
        },
    )
    drawn_labels: bool | None = field(
        default=None,
        metadata={
            "help": "For the model card: whether people have drawn the labels. Default: only if they are the masks in "
            "data_dir."
        },
    )
    label_source: str | None = field(
        default=None, metadata={"help": "For the model card: what made the labels. Default: the name of their folder."}
    )
    dataset_name: str | None = field(default=None, metadata={"help": "For the model card. Default: the folder's."})
    eval_split: str = field(default="val", metadata={"help": "Images with masks, if there is an eval_strategy."})
    eval_window: int = field(default=WINDOW, metadata={"help": "Side of the squares that are evaluated, in pixels."})
    eval_stride: int = field(default=STRIDE, metadata={"help": "From one of them to the next, in pixels."})
    image_cache_size: int = field(
        default=0, metadata={"help": "Decoded images kept in memory per loader process; for few or small images."}
    )
    do_flip_channel_order: bool | None = field(
        default=None,
        metadata={
            "help": "Whether channels become blue, green, red. Default: as model_name_or_path, else true (Caffe)."
        },
    )
    do_rescale: bool | None = field(
        default=None,
        metadata={"help": "Whether pixels are divided by 255. Default: as model_name_or_path, else false (Caffe)."},
    )
    image_mean: list[float] | None = field(
        default=None, metadata={"help": "Of the backbone's weights. Default: as model_name_or_path, else Caffe's."}
    )
    image_std: list[float] | None = field(
        default=None, metadata={"help": "Of the backbone's weights. Default: as model_name_or_path, else 1 1 1."}
    )

    def __post_init__(self):
        problems = pixel_problems(self.image_mean or (0, 0, 0), self.image_std or (1, 1, 1))
        if self.image_cache_size < 0:
            problems.append(f"image_cache_size must be at least 0, received {self.image_cache_size}")
        if not 1 <= self.eval_stride <= self.eval_window:
            problems.append(
                f"eval_stride must be from 1 to eval_window={self.eval_window}, received {self.eval_stride}"
            )
        if problems:
            raise ValueError("; ".join(problems))


# `DeepLabLargeFOVConfig` inherits some hundred fields that describe files and outputs; 255 stands in the label maps
MODEL_KEYS = [key for key in DeepLabLargeFOVConfig.__annotations__ if key != "semantic_loss_ignore_index"]
PIXEL_KEYS = ("do_flip_channel_order", "do_rescale", "image_mean", "image_std")
KNOWN_KEYS = {
    "model": [*MODEL_KEYS, *field_names(SegmenterModelArguments)],
    "data": field_names(SegmenterDataArguments, ExtraSources, SegmenterAugmentation),
    "training": field_names(SegmenterTrainingArguments),
}


@dataclass
class SegmenterRun:
    """All that is known about a run before data and weights are read; `sections` is what the file said."""

    config: DeepLabLargeFOVConfig
    model: SegmenterModelArguments
    data: SegmenterDataArguments
    augmentation: SegmenterAugmentation
    training: SegmenterTrainingArguments
    sources: list[WeakSource]
    sections: dict[str, dict[str, Any]]


def parse_segmenter_run(manual: str | None = None, arguments: Sequence[str] | None = None) -> SegmenterRun:
    """Read `--config FILE` and the options after it, which win over the file.

    Args:
        manual: what `--help` says before it lists the options.
        arguments: the command line; default is that of the process.

    Raises:
        InvalidDataError: The file has unknown keys or values that the model cannot have.
        ValueError: Values that cannot work.
        SystemExit: Options that do not exist or have values of the wrong type, as argparse does.
    """
    data_classes = [SegmenterDataArguments, ExtraSources, SegmenterAugmentation]
    classes = [SegmenterModelArguments, *data_classes, SegmenterTrainingArguments]
    parsed = parse_training_run(classes, KNOWN_KEYS, MODEL_KEYS, manual, arguments, PART)
    model, data, extra, augmentation, training = parsed.values
    for name in ("data_dir", "pseudo_labels"):
        if getattr(data, name) is None:
            raise ValueError(f"{name} must name a folder. Received: none")
    config = parsed.make_config(DeepLabLargeFOVConfig, model.model_name_or_path)
    return SegmenterRun(config, model, data, augmentation, training, extra.sources, parsed.sections)


def build_segmenter_processor(run: SegmenterRun) -> DeepLabLargeFOVImageProcessor:
    """What becomes of pixels, the same in training and inference."""
    options = {key: getattr(run.data, key) for key in PIXEL_KEYS if getattr(run.data, key) is not None}
    if run.model.model_name_or_path is not None:
        return DeepLabLargeFOVImageProcessor.from_pretrained(run.model.model_name_or_path, **options)
    return DeepLabLargeFOVImageProcessor(**options)
