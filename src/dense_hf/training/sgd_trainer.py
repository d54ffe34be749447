"""The optimizer and the schedules of chapter 3: SGD whose rate depends on the parameter, in steps or by the poly rule.

Used by the classifier (section 3.3.3), its challenge version and the segmenters (sections 3.3.3 and 3.4.4).
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn

from .calendar_trainer import CalendarArguments, CalendarTrainer

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
