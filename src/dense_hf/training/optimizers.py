"""The optimizers and schedules of the released recipes, where the stock Trainer offers none that is equal.

Chapter 2 (section 2.5.1): Adam with L2 weight decay in one group, a rate that drops at given epochs. Chapter 3
(sections 3.3.3 and 3.4.4): SGD whose rate depends on the parameter, in steps or by the poly rule.
All else is in `calendar_trainer.py`.
"""

import json
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from .calendar_trainer import CalendarArguments, CalendarTrainer


@dataclass
class RecipeArguments(CalendarArguments):
    """`CalendarArguments` whose defaults are the released recipe of IOCFormer.

    Raises:
        ValueError: Values that cannot work; the message lists all.
    """

    recipe: ClassVar[str] = "Adam, milestones"

    per_device_train_batch_size: int = field(default=8, metadata={"help": "Images per process and step."})
    learning_rate: float = field(default=1e-5, metadata={"help": "Of all parameters (CLTR: 1e-4)."})
    weight_decay: float = field(default=5e-4, metadata={"help": "L2 penalty inside Adam, on all parameters."})
    num_train_epochs: float = field(default=1500, metadata={"help": "Passes over the training set."})
    seed: int = field(default=1, metadata={"help": "Decides initial weights, order, augmentation and dropout."})
    lr_milestones: list[float] = field(
        default_factory=lambda: [1200.0], metadata={"help": "Epochs after which the learning rate drops."}
    )
    lr_decay: float = field(default=0.1, metadata={"help": "Factor of the learning rate at each milestone."})
    lr_factors: dict[str, float] | str | None = field(
        default=None,
        metadata={
            "help": "Factors of the learning rate for parameters whose names begin so, as JSON: "
            '{"backbone.": 0.1}. The longest beginning counts. Default: one rate for all (released).'
        },
    )
    eval_strategy: IntervalStrategy | str = field(default="epoch", metadata={"help": "epoch: by the calendar."})
    eval_start_epoch: int = field(default=1200, metadata={"help": "No evaluation after fewer epochs than this."})
    eval_every_epochs: int = field(default=20, metadata={"help": "Epochs from one evaluation to the next."})
    save_strategy: SaveStrategy | str = field(default="epoch", metadata={"help": "epoch: by the calendar."})
    save_every_epochs: int = field(default=20, metadata={"help": "Epochs from one checkpoint to the next."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "End with the weights of the best epoch."})
    metric_for_best_model: str | None = field(default="mae", metadata={"help": "What best means."})
    greater_is_better: bool | None = field(default=False, metadata={"help": "Whether more is better."})

    def find_problems(self) -> list[str]:
        """As in the parent, and what milestones and factors add. `lr_factors` is a dictionary afterwards."""
        problems = super().find_problems()
        if not self.lr_decay > 0:
            problems.append(f"lr_decay must be positive, received {self.lr_decay}")
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


class RecipeTrainer(CalendarTrainer):
    """[`CalendarTrainer`] with the optimizer and the schedule of [`RecipeArguments`]."""

    args: RecipeArguments  # ty: ignore[incompatible-mutable-override]  as in transformers

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """`torch.optim.Adam`, a group per factor of the rate; weight decay is L2 inside Adam, not AdamW (released).

        Raises:
            ValueError: A factor is for parameters that do not exist.
        """
        if self.optimizer is None:
            trained: Any = self.model if model is None else model
            factors: Any = self.args.lr_factors or {}  # a dictionary since `RecipeArguments.find_problems`
            self.optimizer = torch.optim.Adam(
                parameter_groups(trained, self.args.learning_rate, factors),
                betas=(self.args.adam_beta1, self.args.adam_beta2),
                eps=self.args.adam_epsilon,
                weight_decay=self.args.weight_decay,
            )
        return self.optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """The learning rate drops after the milestone epochs; a step of the schedule is a step of the optimizer.

        Before that it may rise from near zero over `warmup_steps` (0 is released).
        """
        if self.lr_scheduler is None:
            scheduled: Any = self.optimizer if optimizer is None else optimizer
            milestones = sorted(round(epoch * self.steps_per_epoch) for epoch in self.args.lr_milestones)
            warmup = self.args.get_warmup_steps(num_training_steps)

            def factor(step: int) -> float:
                return self.args.lr_decay ** bisect_right(milestones, step) * min(1.0, (step + 1) / (warmup + 1))

            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(scheduled, factor)
            self._created_lr_scheduler = True
        return self.lr_scheduler


def parameter_groups(
    model: torch.nn.Module, learning_rate: float, factors: Mapping[str, float]
) -> list[dict[str, Any]]:
    """The trained parameters as optimizer groups, one per factor of the learning rate, in order of the model.

    Args:
        model: What is trained.
        learning_rate: For parameters without a factor.
        factors: Beginning of parameter names to a factor; the longest one that fits counts.

    Raises:
        ValueError: No parameter begins with a name in `factors`.
    """
    groups: dict[str, list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        fitting = [beginning for beginning in factors if name.startswith(beginning)]
        if parameter.requires_grad:
            groups.setdefault(max(fitting, key=len, default=""), []).append(parameter)
    if absent := [beginning for beginning in factors if beginning not in groups]:
        raise ValueError(f"lr_factors names no trained parameter with {', '.join(map(repr, absent))}")
    return [
        {"params": parameters, "lr": learning_rate * factors.get(beginning, 1.0)}
        for beginning, parameters in groups.items()
    ]


LR_SCHEDULES = ("steps", "poly", "constant")


@dataclass
class SGDArguments(CalendarArguments):
    """`CalendarArguments` for SGD. The defaults are for subclasses to choose, these are those of plain SGD.

    Raises:
        ValueError: Values that cannot work; the message lists all.
    """

    recipe: ClassVar[str] = "SGD, lr_schedule"

    momentum: float = field(default=0.9, metadata={"help": "Of SGD."})
    nesterov: bool = field(default=False, metadata={"help": "Whether the momentum is Nesterov's."})
    weight_decay: float = field(default=5e-4, metadata={"help": "L2 penalty inside SGD, on all parameters."})
    lr_schedule: str = field(
        default="poly",
        metadata={"help": "steps: times lr_decay after each of lr_milestones; poly: (1 - step / steps)^lr_power."},
    )
    lr_milestones: list[float] = field(
        default_factory=list, metadata={"help": "Epochs after which the learning rate drops, with steps."}
    )
    lr_decay: float = field(default=0.1, metadata={"help": "Factor of the learning rate at each milestone."})
    lr_power: float = field(default=0.9, metadata={"help": "Of poly."})
    seed: int = field(default=1, metadata={"help": "Decides initial weights, order, augmentation and dropout."})

    def find_problems(self) -> list[str]:
        """As in the parent, and what this optimizer adds."""
        problems = super().find_problems()
        if self.lr_schedule not in LR_SCHEDULES:
            problems.append(f"lr_schedule must be one of {LR_SCHEDULES}, received {self.lr_schedule!r}")
        default: Any = type(self).__dataclass_fields__["lr_milestones"].default_factory  # those of a recipe
        if self.lr_milestones != default() and self.lr_schedule != "steps":
            problems.append(f"lr_milestones are for lr_schedule='steps', received {self.lr_milestones}")
        if not 0 <= self.momentum < 1:
            problems.append(f"momentum must be at least 0 and below 1, received {self.momentum}")
        if self.nesterov and not self.momentum:
            problems.append("nesterov needs a momentum, received 0")
        for name in ("lr_decay", "lr_power"):
            if not getattr(self, name) > 0:
                problems.append(f"{name} must be positive, received {getattr(self, name)}")
        return problems


class SGDTrainer(CalendarTrainer):
    """[`CalendarTrainer`] with the optimizer and the schedule of [`SGDArguments`].

    Args:
        lr_factor: the factor of the learning rate of a parameter, by its name. Defaults to 1 for all.
        kwargs: as for [`CalendarTrainer`].
    """

    args: SGDArguments  # ty: ignore[incompatible-mutable-override]  as in transformers

    def __init__(self, *, lr_factor: Callable[[str], float] | None = None, **kwargs: Any):
        self.lr_factor = lr_factor or (lambda name: 1.0)
        super().__init__(**kwargs)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """`torch.optim.SGD` with a group per factor of the rate, in order of the model."""
        if self.optimizer is None:
            trained: Any = self.model if model is None else model
            groups: dict[float, list[nn.Parameter]] = {}
            for name, parameter in trained.named_parameters():
                if parameter.requires_grad:
                    groups.setdefault(self.lr_factor(name), []).append(parameter)
            self.optimizer = torch.optim.SGD(
                [
                    {"params": parameters, "lr": self.args.learning_rate * factor}
                    for factor, parameters in groups.items()
                ],
                momentum=self.args.momentum,
                nesterov=self.args.nesterov,
                weight_decay=self.args.weight_decay,
            )
        return self.optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """The factor of `lr_schedule` (see [`SGDArguments`]), which may rise from near zero over `warmup_steps`."""
        if self.lr_scheduler is None:
            scheduled: Any = self.optimizer if optimizer is None else optimizer
            milestones = sorted(round(epoch * self.steps_per_epoch) for epoch in self.args.lr_milestones)
            warmup = self.args.get_warmup_steps(num_training_steps)

            def factor(step: int) -> float:
                warm = min(1.0, (step + 1) / (warmup + 1))
                if self.args.lr_schedule == "poly":
                    return warm * max(0.0, 1 - step / num_training_steps) ** self.args.lr_power
                return warm * self.args.lr_decay ** bisect_right(milestones, step)

            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(scheduled, factor)
            self._created_lr_scheduler = True
        return self.lr_scheduler
