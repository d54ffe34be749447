"""The options of a training run of a segmenter, and the released recipe (thesis section 3.3.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from ...options import option, refuse_ignored
from ...weak_segmentation.multi_scale_segmenter import STRIDE, WINDOW
from ..run_options import ImageArguments, ModelArguments, TrainingRun, parse_run
from ..sgd_arguments import SGDArguments
from .augmentation import SegmenterAugmentation

PART = "segmenter"
CLASS_BIAS = "classifier.bias"


@dataclass
class SegmenterDataArguments(ImageArguments):
    """The images, their labels, and what becomes of pixels."""

    data_dir: str | None = option(None, "A folder in the layout of PASCAL VOC, or TRAIN/{images/,labels.csv}.")
    pseudo_labels: str | None = option(
        None,
        "A folder with label maps NAME.png: 0 background, class + 1, 255 ignored. A folder of masks that "
        "people have drawn has the same format: the fully supervised upper bound.",
    )
    drawn_labels: bool | None = option(
        None,
        "For the model card: whether people have drawn the labels. Default: only if they are the masks in data_dir.",
    )
    label_source: str | None = option(
        None, "For the model card: what made the labels. Default: the name of their folder."
    )
    eval_split: str = option("val", "Images with masks, if there is an eval_strategy.")
    eval_window: int = option(WINDOW, "Side of the squares that are evaluated, in pixels.")
    eval_stride: int = option(STRIDE, "From one of them to the next, in pixels.")
    do_flip_channel_order: bool | None = option(
        None, "Whether channels become blue, green, red. Default: as model_name_or_path, else true (Caffe)."
    )
    do_rescale: bool | None = option(
        None, "Whether pixels are divided by 255. Default: as model_name_or_path, else false (Caffe)."
    )

    def find_problems(self) -> list[str]:
        """As in the parent, and what an evaluation in windows adds."""
        problems = super().find_problems()
        if not 1 <= self.eval_stride <= self.eval_window:
            problems.append(
                f"eval_stride must be from 1 to eval_window={self.eval_window}, received {self.eval_stride}"
            )
        return problems

    def processor_options(self) -> dict[str, Any]:
        """As in the parent, with how pixels are ordered and scaled."""
        names = ("do_flip_channel_order", "do_rescale")
        return super().processor_options() | {
            name: value for name in names if (value := getattr(self, name)) is not None
        }


@dataclass
class SegmenterTrainingArguments(SGDArguments):
    """`SGDArguments` whose defaults are the released recipe: 16,000 steps of 10 images.

    The released code takes images one by one and accumulates ten; the loss is a mean over images, so any product of
    batch size, accumulation steps and processes that is 10 does the same (up to rounding).
    """

    per_device_train_batch_size: int = option(10, "Images per process and step; 10 in all is released.")
    learning_rate: float = option(1e-3, "Of the backbone.")
    class_bias_lr_factor: float = option(20.0, "Of the learning rate, for the bias of the class layer.")
    max_steps: int = option(16_000, "Steps of the run; -1: num_train_epochs decides.")
    save_strategy: SaveStrategy | str = option("steps", "epoch: by the calendar.")
    save_steps: float = option(1000, "Steps from one checkpoint to the next.")
    eval_strategy: IntervalStrategy | str = option(
        "no",
        "Whether images with masks are segmented, single-scale and without a CRF. no: never (released); "
        "steps: every eval_steps; epoch: by the calendar; at the end, too, unless it is no.",
    )
    metric_for_best_model: str | None = option("mean_iou", "What best means.")

    positive = (*SGDArguments.positive, "class_bias_lr_factor")

    def parameter_options(self, name: str, in_encoder: bool) -> dict[str, float]:
        """As in the parent; the bias of the class layer has a rate of its own (released: 1, 10 and 20)."""
        if name == CLASS_BIAS:
            return {"lr": self.learning_rate * self.class_bias_lr_factor}
        return super().parameter_options(name, in_encoder)


def parse_segmenter_run(
    manual: str | None = None, arguments: Sequence[str] | None = None, method: str = "deeplab_largefov"
) -> TrainingRun:
    """Read the part `segmenter` of `--config FILE` and the options after it. See `run_options.parse_run`."""
    classes = (ModelArguments, SegmenterDataArguments, SegmenterAugmentation)
    run = parse_run(method, *classes, manual=manual, arguments=arguments, part=PART)
    for name in ("data_dir", "pseudo_labels"):
        if getattr(run.data, name) is None:
            raise ValueError(f"{name} must name a folder. Received: none")
    unused = "nothing is evaluated: --eval_strategy is no" if run.training.eval_strategy == "no" else None
    refuse_ignored(run.typed, dict.fromkeys(("eval_split", "eval_window", "eval_stride"), unused))
    return run
