"""The options of a training run of a counter, and the released recipe of IOCFormer (thesis section 2.5.1)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from ...options import option, refuse_ignored
from ..calendar_trainer import CalendarArguments
from ..optimizers import milestone_factor, warmup_factor
from ..run_options import ImageArguments, ModelArguments, TrainingRun, parse_run
from .augmentation import CountingAugmentation


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
class CountingDataArguments(ImageArguments):
    """The images and how they are cut into tiles."""

    least = {"samples_per_image": 1, "image_cache_size": 0, "tile_overlap": 0}

    data_dir: str | None = option(None, "A folder in the layout of IOCfish5K.")
    samples_per_image: int = option(1, "Crops of each image in an epoch.")
    tile_overlap: int | None = option(
        None, "Pixels that tiles share in evaluation. Default: as model_name_or_path, else 0 (released)."
    )
    threshold: float = option(0.35, "Least score that counts.")

    def find_problems(self) -> list[str]:
        """As in the parent, and what counting adds."""
        problems = super().find_problems()
        if not 0 <= self.threshold <= 1:
            problems.append(f"threshold must be in [0, 1], received {self.threshold}")
        return problems

    def processor_options(self) -> dict[str, Any]:
        """As in the parent, with the overlap of tiles."""
        overlap = {} if self.tile_overlap is None else {"tile_overlap": self.tile_overlap}
        return super().processor_options() | overlap


@dataclass
class CountingTrainingArguments(CalendarArguments):
    """`CalendarArguments` whose defaults are the released recipe of IOCFormer: Adam, a rate that drops at epochs."""

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
    metric_for_best_model: str | None = option("mae", "What best means.")
    greater_is_better: bool | None = option(False, "Whether more is better.")

    positive = (*CalendarArguments.positive, "lr_decay")

    def find_problems(self) -> list[str]:
        """As in the parent, and what milestones and factors add. `lr_factors` is a dictionary afterwards."""
        problems = super().find_problems()
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
        """`torch.optim.Adam`; weight decay is L2 inside Adam, not AdamW (released)."""
        betas = (self.adam_beta1, self.adam_beta2)
        return torch.optim.Adam(groups, betas=betas, eps=self.adam_epsilon, weight_decay=self.weight_decay)

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
    refuse_ignored(run.typed, {"eval_start_epoch": by_steps, "eval_every_epochs": by_steps})
    return run
