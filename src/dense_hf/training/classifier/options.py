"""The options of a training run of MCIS, and the released recipe (thesis section 3.3.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers.trainer_utils import SaveStrategy

from ...methods import method_of
from ...options import option
from ..run_options import ImageArguments, ModelArguments, TrainingRun, parse_run, section_keys
from ..sgd_arguments import SGDArguments
from .augmentation import WeakAugmentation

PART = "classifier"
RELEASED_MILESTONES = (5.0, 10.0)  # the other schedules have none


@dataclass
class MCISModelArguments(ModelArguments):
    """Where weights come from before training. What describes the model are fields of `MCISConfig`, in the file."""

    freeze_backbone: bool = option(
        False, "Keep the backbone as it is, statistics of batch norms too: for a few hundred images."
    )


@dataclass
class MCISDataArguments(ImageArguments):
    """The images and how they become pixels."""

    least = {"image_size": 16, "image_cache_size": 0}

    data_dir: str | None = option(
        None, "PASCAL VOC 2012, or a folder with train/images and train/labels.csv, or with these alone."
    )
    license: str | None = option(None, "Of the trained weights, for the model card: apache-2.0, cc-by-4.0, ...")
    eval_split: str = option("val", "Judged by --eval_strategy and at the end, if the folder has it.")
    image_size: int | None = option(
        None, "Side of the square that images are resized to. Default: as model_name_or_path, else 256 (released)."
    )

    def processor_options(self) -> dict[str, Any]:
        """As in the parent, with the size of images."""
        size = {} if self.image_size is None else {"size": {"height": self.image_size, "width": self.image_size}}
        return super().processor_options() | size


@dataclass
class MCISTrainingArguments(SGDArguments):
    """`SGDArguments` whose defaults are the released recipe: 15 epochs of batches of 5 pairs on one GPU.

    The published maps are those of the released `epoch_10`, which is after 11 epochs: `num_train_epochs=11`.
    """

    per_device_train_batch_size: int = option(5, "Pairs per process and step.")
    learning_rate: float = option(1e-3, "Of the weights of the backbone.")
    head_lr_factor: float = option(10.0, "Of the learning rate, for all but the backbone (thesis: 1).")
    bias_lr_factor: float = option(2.0, "Of the learning rate, for biases, those of the head as well (thesis: 1).")
    nesterov: bool = option(True, "Whether the momentum is Nesterov's.")
    num_train_epochs: float = option(15, "Passes over the training set; the published maps are made after 11.")
    lr_schedule: str = option(
        "steps", "steps: times lr_decay after each of lr_milestones; poly: (1 - step / steps)^lr_power."
    )
    lr_milestones: list[float] = option([], "Epochs after which the learning rate drops, with steps. Default: 5 10.")
    save_strategy: SaveStrategy | str = option("epoch", "epoch: by the calendar.")
    metric_for_best_model: str | None = option(
        "mean_average_precision", "What best means, with load_best_model_at_end."
    )

    positive = (*SGDArguments.positive, "bias_lr_factor")

    def __post_init__(self):
        if self.lr_schedule == "steps" and not self.lr_milestones:
            self.lr_milestones = list(RELEASED_MILESTONES)
        super().__post_init__()

    def parameter_options(self, name: str, in_encoder: bool) -> dict[str, float]:
        """As in the parent, with a rate of its own for biases."""
        factor = self.bias_lr_factor if name.endswith(".bias") else 1.0
        return {"lr": super().parameter_options(name, in_encoder)["lr"] * factor}


def known_keys() -> dict[str, list[str]]:
    """Section to its keys, for scripts/run_weak_pipeline.py, which reads them ahead of all steps."""
    return section_keys(method_of("mcis"), MCISModelArguments, MCISDataArguments, WeakAugmentation, PART)


def parse_mcis_run(
    manual: str | None = None, arguments: Sequence[str] | None = None, method: str = "mcis"
) -> TrainingRun:
    """Read the part `classifier` of `--config FILE` and the options after it. See `run_options.parse_run`."""
    classes = (MCISModelArguments, MCISDataArguments, WeakAugmentation)
    return parse_run(method, *classes, manual=manual, arguments=arguments, part=PART)
