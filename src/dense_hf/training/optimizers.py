"""Optimizer groups and learning rates of the released recipes, where the stock Trainer offers none that is equal.

A recipe is the training arguments of a method (see `CalendarArguments`): which rate and weight decay a parameter has,
which optimizer they go to, and the factor of all rates at a step. The functions here are what recipes are made of.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

WARMUP_START = 1e-6  # factor of the learning rate in the first step of `linear_factor` (released)


def parameter_groups(
    model: nn.Module, encoder: str, options_of: Callable[[str, bool], Mapping[str, float]]
) -> list[dict[str, Any]]:
    """The trained parameters as optimizer groups, one per set of options, in order of the model.

    Args:
        model: what is trained; parameters with `requires_grad=False` stay as they are.
        encoder: name of the module that is the encoder; all else is the head.
        options_of: `lr` and what else the optimizer takes, of a parameter by its name and whether it is the encoder's.
    """
    groups: dict[tuple, dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            options = options_of(name, name.startswith(f"{encoder}."))
            groups.setdefault(tuple(sorted(options.items())), {"params": [], **options})["params"].append(parameter)
    return list(groups.values())


def in_one_pass(groups: Sequence[Mapping[str, Any]]) -> bool:
    """Whether Adam has one kernel read and write each number once (`fused`).

    Only on a CPU, where the default takes five times as long (52 million parameters, one thread): on a GPU the default
    updates many tensors at once.
    """
    return all(parameter.device.type == "cpu" for group in groups for parameter in group["params"])


def milestone_factor(step: int, milestones: Sequence[int], decay: float) -> float:
    """`decay` to the power of the milestones that are over."""
    return decay ** bisect_right(sorted(milestones), step)


def poly_factor(step: int, num_steps: int, power: float) -> float:
    """(1 - i / n)^power in step i (from 0) of n."""
    return max(0.0, 1 - step / num_steps) ** power


def warmup_factor(step: int, warmup_steps: int) -> float:
    """Rises from near zero to 1 over the first w steps: (i + 1) / (w + 1) in step i (from 0)."""
    return min(1.0, (step + 1) / (warmup_steps + 1))


def linear_factor(step: int, num_steps: int, warmup_steps: int) -> float:
    """Step i (from 0) of n: 1 - i / n, and in the first w steps 1 - (1 - i / w) (1 - 1e-6) of that (released)."""
    warmup = 1 - (1 - step / warmup_steps) * (1 - WARMUP_START) if step < warmup_steps else 1.0
    return warmup * max(0.0, 1 - step / num_steps)
