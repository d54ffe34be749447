"""The options of a training run of a counter, and the released recipe of IOCFormer (thesis section 2.5.1).

The recipes of the baselines of Table 2.3 are files of `scripts/configs/counting`.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from ...counting.image_processing_iocformer import COUNT_BY
from ...inference.point_source_options import PointSourceArguments
from ...options import option, refuse_ignored
from ..calendar_trainer import CalendarArguments
from ..optimizers import in_one_pass, milestone_factor, warmup_factor
from ..run_options import ImageArguments, ModelArguments, TrainingRun, parse_run
from .augmentation import CountingAugmentation
from .crops import CropRule


@dataclass
class CountingModelArguments(ModelArguments):
    """Where weights come from before training. What describes the model are fields of its configuration."""

    of_a_new_model = ("backbone_weights", "start_at_mean_density")

    start_at_mean_density: bool = option(
        False,
        "Start the density branch as the constant that is right on average over the training images. The "
        "released code starts it from random weights.",
    )


@dataclass
class CountingDataArguments(PointSourceArguments, ImageArguments):
    """The images and how they are cut into tiles."""

    least = {"samples_per_image": 1, "image_cache_size": 0, "tile_overlap": 0, "crop_size": 1, "crop_multiple": 1}

    data_dir: str | None = option(None, "A folder in the layout of IOCfish5K, or annotations of any format.")
    class_names: list[str] | None = option(
        None,
        "Classes that are counted apart, by their names in the annotations. Default: as model_name_or_path, else all "
        "points are alike.",
    )
    samples_per_image: int = option(1, "Crops of each image in an epoch.")
    tile_overlap: int | None = option(
        None, "Pixels that tiles share in evaluation. Default: as model_name_or_path, else 0 (released)."
    )
    threshold: float | None = option(
        None, "Least score that counts. Default: as model_name_or_path, else the processor's (IOCFormer: 0.35)."
    )
    choose_threshold: bool = option(
        False, "At the end, take the threshold that counts best on the training images. For few images."
    )
    count_by: str | None = option(
        None,
        "What says how many points there are: threshold (released), or density, the sum of the density branch, which "
        "needs no threshold (a deviation). Default: as model_name_or_path, else threshold.",
    )
    distances: list[float] = option(
        [], "Also report the F1 of points that may be so many pixels from the annotated ones."
    )
    crop_size: int | None = option(
        None, "Side of the squares that a counter without tiles learns from. Default: crop_share decides."
    )
    crop_share: float = option(1.0, "Share of the sides of an image that such a crop has; 1 is the whole image.")
    corner_crops: bool = option(
        False, "The first four of samples_per_image such crops of an image are its corners (DSSI-Net)."
    )
    crop_multiple: int = option(1, "What the sides of such a crop are multiples of.")
    fixed_crops: bool = option(
        False, "All epochs show the crops of the first one, samples_per_image of each image. For few images."
    )
    feature_cache: bool = option(
        False,
        "Keep in memory what a backbone that is not trained sees in each of the fixed_crops: the same training in "
        "less time (num_frozen_backbone_stages, freeze_backbone_batch_norm).",
    )
    least_visible: float | None = option(
        None,
        "Share of a point's box that such a crop must show to have the point (released with BL: 0.3); points outside "
        "of a crop may be kept. Default: points inside are.",
    )

    def find_problems(self) -> list[str]:
        """As in the parent, and what counting adds."""
        problems = super().find_problems()
        if self.class_names is not None and not len(set(self.class_names)) == len(self.class_names) > 1:
            problems.append(f"class_names must be two names or more, all different, received {self.class_names}")
        for name in ("threshold", "crop_share", "least_visible"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                problems.append(f"{name} must be in [0, 1], received {value}")
        if self.threshold is not None and self.choose_threshold:
            problems.append(f"threshold must not be given with choose_threshold, received {self.threshold}")
        if self.count_by not in (None, *COUNT_BY):
            problems.append(f"count_by must be one of {', '.join(COUNT_BY)}, received {self.count_by}")
        if self.count_by == "density" and (self.choose_threshold or self.threshold is not None):
            given = "choose_threshold" if self.choose_threshold else f"a threshold of {self.threshold}"
            problems.append(f"count_by=density needs no threshold, received {given}")
        if not all(distance > 0 for distance in self.distances) or len(set(self.distances)) < len(self.distances):
            problems.append(f"distances must be positive and all different, received {self.distances}")
        if self.feature_cache and not self.fixed_crops:
            problems.append("feature_cache needs fixed_crops: other crops have other features")
        if self.corner_crops and self.samples_per_image < 4:
            problems.append(f"corner_crops needs samples_per_image of 4 or more, received {self.samples_per_image}")
        if self.crop_share == 0:
            problems.append("crop_share must be above 0, received 0")
        if self.crop_size is not None and self.crop_share != 1:
            problems.append(f"crop_share would be ignored beside crop_size, received {self.crop_share}")
        return problems

    def crop_rule(self) -> CropRule:
        """What of an image a counter without tiles learns from."""
        return CropRule(self.crop_size, self.crop_share, self.crop_multiple, self.least_visible, self.corner_crops)

    def processor_options(self) -> dict[str, Any]:
        """As in the parent, with the overlap of tiles and which points count."""
        own = {"tile_overlap": self.tile_overlap, "threshold": self.threshold, "count_by": self.count_by}
        return super().processor_options() | {name: value for name, value in own.items() if value is not None}


OPTIMIZERS = ("adam", "sgd")
# numbers that some of the released recipes choose the best epoch by, of those that are measured
SELECTIONS: dict[str, Callable[[dict[str, float]], float]] = {
    "mae_plus_mse": lambda values: values["mae"] + values["mse"],
    "mae_plus_2_mse": lambda values: values["mae"] + 2 * values["mse"],
}


@dataclass
class CountingTrainingArguments(CalendarArguments):
    """`CalendarArguments` whose defaults are the released recipe of IOCFormer: Adam, a rate that drops at epochs."""

    optimizer: str = option("adam", "adam, or sgd (CSRNet, MCNN, one form of CAN).")
    momentum: float = option(0.95, "Of SGD.")

    per_device_train_batch_size: int = option(8, "Images per process and step.")
    learning_rate: float = option(1e-5, "Of all parameters (CLTR: 1e-4).")
    weight_decay: float = option(5e-4, "L2 penalty inside Adam, on all parameters.")
    num_train_epochs: float = option(1500, "Passes over the training set.")
    lr_milestones: list[float] = option([1200.0], "Epochs after which the learning rate drops.")
    lr_decay: float = option(0.1, "Factor of the learning rate at each milestone.")
    lr_factors: dict[str, float] | str | None = option(
        None,
        "Factors of the learning rate for parameters whose names begin so, as JSON: "
        '{"backbone.": 0.1}. The longest beginning counts. Default: one rate for all (released).',
    )
    eval_strategy: IntervalStrategy | str = option("epoch", "epoch: by the calendar.")
    eval_start_epoch: int = option(1200, "No evaluation after fewer epochs than this.")
    eval_every_epochs: int = option(20, "Epochs from one evaluation to the next.")
    save_strategy: SaveStrategy | str = option("epoch", "epoch: by the calendar.")
    save_every_epochs: int = option(20, "Epochs from one checkpoint to the next.")
    load_best_model_at_end: bool = option(True, "End with the weights of the best epoch.")
    metric_for_best_model: str | None = option(
        "mae", "What best means: mae, mse, nae, mae_plus_mse or mae_plus_2_mse."
    )
    greater_is_better: bool | None = option(False, "Whether more is better.")

    positive = (*CalendarArguments.positive, "lr_decay")

    def find_problems(self) -> list[str]:
        """As in the parent, and what milestones and factors add. `lr_factors` is a dictionary afterwards."""
        problems = super().find_problems()
        if self.optimizer not in OPTIMIZERS:
            problems.append(f"optimizer must be one of {', '.join(OPTIMIZERS)}, received {self.optimizer!r}")
        if not 0 <= self.momentum < 1:
            problems.append(f"momentum must be in [0, 1), received {self.momentum}")
        try:
            self.lr_factors = (
                dict(json.loads(self.lr_factors)) if isinstance(self.lr_factors, str) else self.lr_factors
            )
        except ValueError as error:
            problems.append(f"lr_factors must be a JSON object, received {self.lr_factors!r} ({error})")
        else:
            factors = self.lr_factors or {}
            if not all(isinstance(factor, int | float) and factor >= 0 for factor in factors.values()):
                problems.append(f"lr_factors must be at least 0, received {factors}")
        return problems

    def parameter_options(self, name: str, in_encoder: bool) -> dict[str, float]:
        """The rate of a parameter; weight decay is the same for all."""
        factors: Any = self.lr_factors or {}  # a dictionary since `find_problems`
        beginning = max((known for known in factors if name.startswith(known)), key=len, default=None)
        return {"lr": self.learning_rate * (1.0 if beginning is None else factors[beginning])}

    def check_parameters(self, names: Sequence[str]) -> None:
        """Nothing, if there is a trained parameter for each of `lr_factors`.

        Raises:
            ValueError: there is none for some.
        """
        factors: Any = self.lr_factors or {}
        if absent := [known for known in factors if not any(name.startswith(known) for name in names)]:
            raise ValueError(f"lr_factors names no trained parameter with {', '.join(map(repr, absent))}")

    def make_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Adam or SGD; weight decay is L2 inside of it, not that of AdamW (released)."""
        if self.optimizer == "sgd":
            return torch.optim.SGD(groups, momentum=self.momentum, weight_decay=self.weight_decay)
        return torch.optim.Adam(
            groups,
            betas=(self.adam_beta1, self.adam_beta2),
            eps=self.adam_epsilon,
            weight_decay=self.weight_decay,
            fused=in_one_pass(groups),
        )

    def lr_factor_at(self, step: int, num_steps: int, steps_per_epoch: int) -> float:
        """The rate drops after the milestone epochs; before, it may rise over `warmup_steps` (0 is released)."""
        milestones = [round(epoch * steps_per_epoch) for epoch in self.lr_milestones]
        return milestone_factor(step, milestones, self.lr_decay) * warmup_factor(
            step, self.get_warmup_steps(num_steps)
        )


def parse_counting_run(method: str, manual: str | None = None, arguments: Sequence[str] | None = None) -> TrainingRun:
    """Read `--config FILE` and the options after it, which win over the file. See `run_options.parse_run`."""
    classes = (CountingModelArguments, CountingDataArguments, CountingAugmentation)
    run = parse_run(method, *classes, manual=manual, arguments=arguments)
    by_steps = "evaluation is not by the calendar of epochs" if run.training.eval_strategy != "epoch" else None
    adam = "the optimizer is Adam" if run.training.optimizer == "adam" else None
    refuse_ignored(run.typed, {"eval_start_epoch": by_steps, "eval_every_epochs": by_steps, "momentum": adam})
    return run
