"""The Trainer of transformers with the optimizer, schedule and calendar of the thesis' released recipes.

What differs from the stock Trainer, and why:
- Adam with L2 weight decay in one group and a learning rate that drops at given epochs (the stock offers neither).
- Evaluation and saving by a calendar of epochs: every n epochs from a first one on, and after the last.
- The order of samples is a pure function of (seed, epoch), see `epoch_sampler.py`.
- A checkpoint's state file is written after all processes have written theirs, so its presence means completeness.
"""

import json
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import DefaultFlowCallback, Trainer, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from .epoch_sampler import EpochSampler, StartEpoch

# What the recipe decides itself. A value for one of these would be ignored in silence, so it is an error.
_FIXED = ("lr_scheduler_type", "lr_scheduler_kwargs", "optim", "optim_args", "train_sampling_strategy")


@dataclass
class RecipeArguments(TrainingArguments):
    """`TrainingArguments` whose defaults are the released recipe of IOCFormer, with a calendar of epochs.

    With `eval_strategy="epoch"` and `save_strategy="epoch"` (the defaults) the calendar below decides; "steps" and
    "no" mean what they always mean. A checkpoint is saved at every evaluation, so the best one always exists.

    Raises:
        ValueError: Values that cannot work; the message lists all of the calendar's.
    """

    per_device_train_batch_size: int = field(default=8, metadata={"help": "Images per process and step."})
    learning_rate: float = field(default=1e-5, metadata={"help": "Of all parameters (CLTR: 1e-4)."})
    weight_decay: float = field(default=5e-4, metadata={"help": "L2 penalty inside Adam, on all parameters."})
    num_train_epochs: float = field(default=1500, metadata={"help": "Passes over the training set."})
    max_grad_norm: float = field(default=0.0, metadata={"help": "Gradient clipping; 0 is off (released)."})
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
    save_total_limit: int | None = field(
        default=2, metadata={"help": "Checkpoints that are kept; the best and the last always are."}
    )
    load_best_model_at_end: bool = field(default=True, metadata={"help": "End with the weights of the best epoch."})
    metric_for_best_model: str | None = field(default="mae", metadata={"help": "What best means."})
    greater_is_better: bool | None = field(default=False, metadata={"help": "Whether more is better."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "Data sets here have no columns."})
    ddp_find_unused_parameters: bool | None = field(
        default=False, metadata={"help": "All parameters are used in every step; looking for others costs time."}
    )
    label_names: list[str] | None = field(default_factory=lambda: ["labels"], metadata={"help": "For the Trainer."})
    logging_steps: float = field(default=50, metadata={"help": "Steps from one line of the log to the next."})

    def __post_init__(self):
        problems = [
            f"{name} must be at least {least}, received {getattr(self, name)}"
            for name, least in (
                ("per_device_train_batch_size", 1),
                ("per_device_eval_batch_size", 1),
                ("gradient_accumulation_steps", 1),
                ("eval_start_epoch", 0),
                ("eval_every_epochs", 1),
                ("save_every_epochs", 1),
            )
            if getattr(self, name) < least
        ]
        problems += [
            f"{name} must be positive, received {getattr(self, name)}"
            for name in ("learning_rate", "num_train_epochs", "lr_decay")
            if not getattr(self, name) > 0
        ]
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
        fields = RecipeArguments.__dataclass_fields__
        problems += [
            f"{name} is fixed by the recipe (Adam, milestones), received {getattr(self, name)}"
            for name in _FIXED
            if getattr(self, name) != fields[name].default
        ]
        if problems:
            raise ValueError("; ".join(problems))
        # Without this, `torchrun` on a machine without a GPU starts independent runs instead of one (accelerate 1.15).
        self.use_cpu |= not torch.accelerator.is_available()
        # The stock check wants equal strategies, so that the best weights are on disk. Here every evaluation is
        # followed by a checkpoint (see CalendarFlow), whatever the strategy of saving.
        load_best, self.load_best_model_at_end = self.load_best_model_at_end, False
        super().__post_init__()
        self.load_best_model_at_end = load_best


class CalendarFlow(DefaultFlowCallback):
    """The stock flow, but "epoch" means the calendar of [`RecipeArguments`].

    All is decided when the last *step* of an epoch ends, not when the epoch ends: evaluation then comes before the
    checkpoint of the same step, and a run resumed from it neither repeats nor skips an evaluation.
    """

    def __init__(self, steps_per_epoch: int):
        self.steps_per_epoch = steps_per_epoch

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Log, evaluate and save."""
        control = super().on_step_end(args, state, control, **kwargs)
        if not isinstance(args, RecipeArguments):
            raise ValueError(f"CalendarFlow needs RecipeArguments. Received: {type(args).__name__}")
        epoch, rest = divmod(state.global_step, self.steps_per_epoch)
        is_last = state.global_step >= state.max_steps
        if rest == 0 or is_last:
            if args.eval_strategy == IntervalStrategy.EPOCH:
                is_due = epoch >= args.eval_start_epoch and epoch % args.eval_every_epochs == 0
                control.should_evaluate |= (rest == 0 and is_due) or is_last
            if args.save_strategy == SaveStrategy.EPOCH:
                control.should_save |= (rest == 0 and epoch % args.save_every_epochs == 0) or is_last
            control.should_log |= args.logging_strategy == IntervalStrategy.EPOCH
        if control.should_evaluate and args.save_strategy not in (SaveStrategy.NO, SaveStrategy.BEST):
            control.should_save = True
        return control

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Nothing: the last step of the epoch did it."""
        return control


class RecipeTrainer(Trainer):
    """Trainer for data sets that are indexed by (epoch, index), see [`EpochSampler`].

    Args:
        train_samples: Samples of an epoch.
        kwargs: As for `Trainer`; `args` must be [`RecipeArguments`].
    """

    args: RecipeArguments

    def __init__(self, *, train_samples: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        args = self.args
        global_batch = args.train_batch_size * args.world_size * args.gradient_accumulation_steps
        self.epoch_sampler = EpochSampler(train_samples, args.seed, multiple_of=global_batch)
        self.steps_per_epoch = len(self.epoch_sampler) // global_batch
        self.pop_callback(DefaultFlowCallback)
        # first in the list, as the stock one: progress bars and loggers see its decisions
        self.callback_handler.callbacks.insert(0, CalendarFlow(self.steps_per_epoch))
        self.add_callback(StartEpoch(self.epoch_sampler))

    def get_train_dataloader(self) -> DataLoader:
        """The stock loader, without its draws from the global generator.

        It draws a seed for its workers whenever an iterator starts, but not when persistent ones go on, so the random
        numbers that dropout sees would depend on the number and kind of workers (measured).
        """
        loader: Any = super().get_train_dataloader()
        loader.base_dataloader.generator = torch.Generator()
        return loader

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        return self.epoch_sampler

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """`torch.optim.Adam`, a group per factor of the rate; weight decay is L2 inside Adam, not AdamW (released).

        Raises:
            ValueError: A factor is for parameters that do not exist.
        """
        if self.optimizer is None:
            trained: Any = self.model if model is None else model
            factors: Any = self.args.lr_factors or {}  # a dictionary since `RecipeArguments.__post_init__`
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

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        # process 0 writes trainer_state.json next, and then deletes old checkpoints: not before all have arrived
        self.accelerator.wait_for_everyone()


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
