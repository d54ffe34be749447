"""The refinement of maps by AffinityNet as a part of a YAML file (see `options.py`) and a command line.

refinement:
  labels: {}        # fields of CertainLabels: what it learns from      scripts/train_affinity.py
  model: {}         # fields of AffinityNetConfig, and backbone_weights
  data: {}          # pixels and augmentation
  training: {}      # fields of AffinityArguments
  walk: {}          # fields of RandomWalk                              scripts/refine_maps.py
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from transformers.trainer_utils import SaveStrategy
from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ...data.extra_sources import ExtraSources
from ...data.weak_source import WeakSource
from ...options import field_names, parse_training_run, pixel_problems
from ...weak_segmentation.affinity_labels import CertainLabels
from ...weak_segmentation.configuration_affinity_net import AffinityNetConfig
from ...weak_segmentation.random_walk import RandomWalk
from ..optimizers import SGDArguments
from .dataset import AffinityAugmentation

PART = "refinement"


@dataclass
class AffinityModelArguments:
    """Where weights come from. What describes the model are fields of `AffinityNetConfig`, in the file."""

    backbone_weights: str | None = field(
        default=None,
        metadata={
            "help": "ImageNet weights of the backbone: a .safetensors or .pth file with the state dict of a PyTorch "
            "conversion of ResNet-38, of torchvision's vgg16 or of the timm network of backbone_config. Default: "
            "random."
        },
    )


@dataclass
class AffinityDataArguments:
    """The images, their maps, and what becomes of pixels.

    Raises:
        ValueError: values that cannot work; the message lists all.
    """

    data_dir: str | None = field(
        default=None, metadata={"help": "PASCAL VOC 2012, or a folder with images/ and labels.csv."}
    )
    maps: str | None = field(default=None, metadata={"help": "A folder of localisation maps of all training images."})
    dataset_name: str | None = field(default=None, metadata={"help": "For the model card. Default: the folder's."})
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
        if self.image_cache_size < 0:
            problems.append(f"image_cache_size must be at least 0, received {self.image_cache_size}")
        if problems:
            raise ValueError("; ".join(problems))


@dataclass
class AffinityArguments(SGDArguments):
    """`SGDArguments` whose defaults are the released recipe of AffinityNet: 8 epochs of batches of 8 crops.

    Without momentum: the released optimizer hands its weight decay to SGD as momentum, 5e-4, which is next to none,
    and its learning rate is meant for that.

    Raises:
        ValueError: Values that cannot work; the message lists all.
    """

    recipe: ClassVar[str] = "SGD, lr_schedule"

    per_device_train_batch_size: int = field(default=8, metadata={"help": "Crops per process and step."})
    learning_rate: float = field(default=0.1, metadata={"help": "Of the backbone."})
    head_lr_factor: float = field(default=10.0, metadata={"help": "Of the learning rate, for all but the backbone."})
    momentum: float = field(default=0.0, metadata={"help": "Of SGD."})
    num_train_epochs: float = field(default=8, metadata={"help": "Passes over the training set."})
    save_strategy: SaveStrategy | str = field(default="epoch", metadata={"help": "epoch: by the calendar."})

    def find_problems(self) -> list[str]:
        """As in the parent, and what this recipe adds."""
        problems = super().find_problems()
        if not self.head_lr_factor > 0:
            problems.append(f"head_lr_factor must be positive, received {self.head_lr_factor}")
        if self.eval_strategy != "no":
            problems.append(f"eval_strategy must be no: there is nothing to judge by, received {self.eval_strategy}")
        return problems

    def lr_factor(self, name: str) -> float:
        """The factor of the learning rate of a parameter, by its name."""
        return 1.0 if name.startswith("backbone.") else self.head_lr_factor


# `AffinityNetConfig` inherits some hundred fields that describe files and outputs; a run decides its own ones only
MODEL_KEYS = list(AffinityNetConfig.__annotations__)
KNOWN_KEYS = {
    "labels": field_names(CertainLabels),
    "model": [*MODEL_KEYS, *field_names(AffinityModelArguments)],
    "data": field_names(AffinityDataArguments, ExtraSources, AffinityAugmentation),
    "training": field_names(AffinityArguments),
    "walk": field_names(RandomWalk),
}


@dataclass
class AffinityRun:
    """All that is known about a run before data and weights are read; `sections` is what the file said."""

    config: AffinityNetConfig
    model: AffinityModelArguments
    data: AffinityDataArguments
    augmentation: AffinityAugmentation
    labels: CertainLabels
    training: AffinityArguments
    sources: list[WeakSource]
    sections: dict[str, dict[str, Any]]


def parse_affinity_run(manual: str | None = None, arguments: Sequence[str] | None = None) -> AffinityRun:
    """Read `--config FILE` and the options after it, which win over the file.

    Args:
        manual: What `--help` begins with.
        arguments: The command line; default is that of the process.

    Raises:
        InvalidDataError: The file has unknown keys or values that the model cannot have.
        ValueError: Values that cannot work.
        SystemExit: Options that do not exist or have values of the wrong type, as argparse does.
    """
    data_classes = [AffinityDataArguments, ExtraSources, AffinityAugmentation]
    classes = [AffinityModelArguments, *data_classes, CertainLabels, AffinityArguments]
    parsed = parse_training_run(classes, KNOWN_KEYS, MODEL_KEYS, manual, arguments, PART, other_sections=["walk"])
    model, data, extra, augmentation, labels, training = parsed.values
    for name in ("data_dir", "maps"):
        if getattr(data, name) is None:
            raise ValueError(f"{name} must name a folder. Received: none")
    config = parsed.make_config(AffinityNetConfig)
    return AffinityRun(config, model, data, augmentation, labels, training, extra.sources, parsed.sections)
