"""The recipe of chapter 3 (thesis sections 3.3.3 and 3.4.4): SGD whose rate depends on the parameter."""

from dataclasses import dataclass
from typing import Any

import torch

from ..options import option
from .calendar_trainer import CalendarArguments
from .optimizers import milestone_factor, poly_factor, warmup_factor

LR_SCHEDULES = ("steps", "poly", "constant")


@dataclass
class SGDArguments(CalendarArguments):
    """`CalendarArguments` of chapter 3 (sections 3.3.3 and 3.4.4): SGD, whose rate drops in steps or by the poly rule.

    The rate may rise from near zero over `warmup_steps` (0 is released). Everything but the encoder is the head, whose
    rate is `head_lr_factor` times that of the encoder.
    """

    head_lr_factor: float = option(10.0, "Of the learning rate, for all but the backbone.")
    momentum: float = option(0.9, "Of SGD.")
    nesterov: bool = option(False, "Whether the momentum is Nesterov's.")
    weight_decay: float = option(5e-4, "L2 penalty inside SGD, on all parameters.")
    lr_schedule: str = option(
        "poly", "steps: times lr_decay after each of lr_milestones; poly: (1 - step / steps)^lr_power; constant."
    )
    lr_milestones: list[float] = option([], "Epochs after which the learning rate drops, with steps.")
    lr_decay: float = option(0.1, "Factor of the learning rate at each milestone.")
    lr_power: float = option(0.9, "Of poly.")

    positive = (*CalendarArguments.positive, "lr_decay", "lr_power", "head_lr_factor")

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
        return problems

    def parameter_options(self, name: str, in_encoder: bool) -> dict[str, float]:
        """The rate of a parameter; weight decay is the same for all."""
        return {"lr": self.learning_rate * (1.0 if in_encoder else self.head_lr_factor)}

    def make_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """`torch.optim.SGD`."""
        return torch.optim.SGD(groups, momentum=self.momentum, nesterov=self.nesterov, weight_decay=self.weight_decay)

    def lr_factor_at(self, step: int, num_steps: int, steps_per_epoch: int) -> float:
        """The factor of `lr_schedule`, with the warm-up."""
        warmup = warmup_factor(step, self.get_warmup_steps(num_steps))
        if self.lr_schedule == "poly":
            return warmup * poly_factor(step, num_steps, self.lr_power)
        # a constant rate is one without milestones
        milestones = [round(epoch * steps_per_epoch) for epoch in self.lr_milestones]
        return warmup * milestone_factor(step, milestones, self.lr_decay)
