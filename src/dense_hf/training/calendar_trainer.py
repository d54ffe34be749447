"""The Trainer of transformers with a calendar of epochs, and with runs that can be stopped and resumed bit for bit.

What differs from the stock Trainer, and why:
- Evaluation and saving by a calendar of epochs: every n epochs from a first one on, and after the last.
- The order of samples is a pure function of (seed, epoch), see `epoch_sampler.py`.
- A checkpoint is read as `from_pretrained` reads it. The stock Trainer knows no old names of tensors, but those are
  what `save_pretrained` writes for SegFormer: it went on with an encoder of new random weights, and a warning.
- A checkpoint's state file is written after all processes have written theirs, so its presence means completeness.
- Optimizer and learning rates are those of a recipe, which is a class of training arguments (`optimizers.py`).
- Every term of a loss reaches the log under its name, and one that is not finite any more ends the run.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar

import torch
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import DefaultFlowCallback, Trainer, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, IntervalStrategy, SaveStrategy

from ..data.files import one_kind_of_write_error, written_together
from ..options import option
from .batch_norm import share_statistics
from .epoch_sampler import EpochSampler, StartEpoch
from .optimizers import parameter_groups
from .resuming import checkpoint_problem, lock_output

# What a recipe decides itself. A value for one of these would be ignored in silence, so it is an error.
_FIXED = ("lr_scheduler_type", "lr_scheduler_kwargs", "optim", "optim_args", "train_sampling_strategy")


@dataclass
class CalendarArguments(TrainingArguments):
    """`TrainingArguments` with a calendar of epochs, and what a recipe decides: optimizer and learning rates.

    With `eval_strategy="epoch"` and `save_strategy="epoch"` the calendar below decides; "steps" and "no" mean what
    they always mean. A checkpoint is saved at every evaluation, so the best one always exists.

    Raises:
        ValueError: Values that cannot work; the message lists all that `find_problems` names.
    """

    max_grad_norm: float = option(0.0, "Gradient clipping; 0 is off (released).")
    eval_start_epoch: int = option(0, "No evaluation after fewer epochs than this.")
    eval_every_epochs: int = option(1, "Epochs from one evaluation to the next.")
    save_every_epochs: int = option(1, "Epochs from one checkpoint to the next.")
    save_total_limit: int | None = option(2, "Checkpoints that are kept; the best and the last always are.")
    metric_for_best_model: str | None = option(None, "What best means.")
    greater_is_better: bool | None = option(None, "Whether more is better. Default: unless its name ends in loss.")
    remove_unused_columns: bool = option(False, "Data sets here have no columns.")
    ddp_find_unused_parameters: bool | None = option(
        False, "All parameters are used in every step; looking for others costs time."
    )
    label_names: list[str] | None = option(["labels"], "For the Trainer.")
    logging_steps: float = option(50, "Steps from one line of the log to the next.")
    seed: int = option(1, "Decides initial weights, order, augmentation and dropout.")

    positive: ClassVar[tuple[str, ...]] = ("learning_rate", "num_train_epochs")  # options that must be

    def find_problems(self) -> list[str]:
        """What cannot work, one sentence each; recipes add their own."""
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
            for name in self.positive
            if not getattr(self, name) > 0
        ]
        problems += [
            f"{name} must be a finite number, received {value}"
            for name, value in vars(self).items()
            if isinstance(value, float) and not isfinite(value)
        ]
        fields: dict[str, Any] = type(self).__dataclass_fields__
        by_steps = fields["max_steps"].default > 0 and self.max_steps == fields["max_steps"].default
        if by_steps and self.num_train_epochs != fields["num_train_epochs"].default:
            problems.append(
                f"num_train_epochs needs max_steps=-1 (else {self.max_steps} steps decide), received "
                f"num_train_epochs={self.num_train_epochs:g}"
            )
        return problems + [
            f"{name} is fixed by the recipe, received {getattr(self, name)}"
            for name in _FIXED
            if getattr(self, name) != fields[name].default
        ]

    def __post_init__(self):
        if problems := self.find_problems():
            raise ValueError("; ".join(problems))
        # Without this, `torchrun` on a machine without a GPU starts independent runs instead of one (accelerate 1.15).
        self.use_cpu |= not torch.accelerator.is_available()
        # The stock check wants equal strategies, so that the best weights are on disk. Here every evaluation is
        # followed by a checkpoint (see CalendarFlow), whatever the strategy of saving.
        load_best, self.load_best_model_at_end = self.load_best_model_at_end, False
        super().__post_init__()
        self.load_best_model_at_end = load_best

    def parameter_options(self, name: str, in_encoder: bool) -> dict[str, float]:
        """`lr` and what else the optimizer is told of a parameter, by its name; a recipe may tell parameters apart."""
        return {"lr": self.learning_rate}

    def check_parameters(self, names: Sequence[str]) -> None:
        """Nothing, if what the recipe says of single parameters is about those that are trained.

        Raises:
            ValueError: it is not.
        """

    def make_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """The optimizer of the recipe."""
        return torch.optim.AdamW(groups, weight_decay=self.weight_decay)

    def lr_factor_at(self, step: int, num_steps: int, steps_per_epoch: int) -> float:
        """What all learning rates are multiplied by in a step, counted from 0."""
        return 1.0

    def __getstate__(self) -> dict[str, Any]:
        """Without the token: the Trainer pickles its arguments as training_args.bin and uploads that."""
        return {**self.__dict__, "hub_token": None}


class CalendarFlow(DefaultFlowCallback):
    """The stock flow, but "epoch" means the calendar of [`CalendarArguments`].

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
        if not isinstance(args, CalendarArguments):
            raise ValueError(f"CalendarFlow needs CalendarArguments. Received: {type(args).__name__}")
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


class CalendarTrainer(Trainer):
    """Trainer for data sets that are indexed by (epoch, index), see [`EpochSampler`].

    Args:
        encoder: Name of the model's encoder; the other parameters are "the head".
        judge: `judge(model, data, description)` gives the numbers of an evaluation, the same in all processes;
            `description` is what progress bars say. Without it there is no evaluation.
        write_card: Writes the model card into the folder that it is given; without it the stock card is written.
        kwargs: As for `Trainer`; `args` must be [`CalendarArguments`].
    """

    args: CalendarArguments

    def __init__(
        self,
        *,
        encoder: str = "backbone",
        judge: Callable[[Any, Any, str], dict[str, Any]] | None = None,
        write_card: Callable[[Path], None] | None = None,
        **kwargs: Any,
    ):
        self.encoder = encoder
        self.judge = judge
        self.write_card = write_card
        self._terms: dict[str, list[Tensor]] = {}  # of the loss, since the last line of the log
        self._losses: list[tuple[int, Tensor]] = []  # of each step, since they were last looked at
        super().__init__(**kwargs)
        # forward takes any keyword in some models, which the stock Trainer reads as "divides the loss by itself"
        self.model_accepts_loss_kwargs = False
        args = self.args
        global_batch = args.train_batch_size * args.world_size * args.gradient_accumulation_steps
        train_samples = 1 if self.train_dataset is None else len(self.train_dataset)  # ty: ignore[invalid-argument-type]
        self.epoch_sampler = EpochSampler(train_samples, args.seed, multiple_of=global_batch)
        self.steps_per_epoch = len(self.epoch_sampler) // global_batch
        self.pop_callback(DefaultFlowCallback)
        # first in the list, as the stock one: progress bars and loggers see its decisions
        self.callback_handler.callbacks.insert(0, CalendarFlow(self.steps_per_epoch))
        self.add_callback(StartEpoch(self.epoch_sampler))

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The loss that `loss_of` gives, whose terms are kept for the next line of the log."""
        loss, terms, outputs = self.loss_of(model, inputs)
        for name, value in terms.items():
            self._terms.setdefault(name, []).append(value.detach())
        return (loss, outputs) if return_outputs else loss

    def loss_of(self, model: nn.Module, inputs: dict[str, Any]) -> tuple[Tensor, Mapping[str, Tensor], Any]:
        """The loss of a batch, its terms by name, and the outputs of the model; here the model's own loss."""
        outputs = model(**inputs)
        return outputs["loss"], outputs.get("loss_dict") or {}, outputs

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """As in the parent; the loss is remembered, so that one that is not finite ends the run (`require_finite`)."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        self._losses.append((self.state.global_step + 1, loss))
        return loss

    def require_finite(self) -> None:
        """Nothing, if the losses since the last call are finite in all processes, and so are the weights.

        It is called where numbers are read from the device anyway: before a line of the log, a checkpoint and an
        evaluation, so that a run neither waits for them in each step nor keeps a broken checkpoint as its last.

        Raises:
            FloatingPointError: in all processes; with the first step, the terms of its loss and the learning rate.
        """
        losses, self._losses = self._losses, []
        bad = next((step for step, loss in losses if not torch.isfinite(loss).all()), None)
        mine = [] if bad is None else [(bad, self._terms_in_words())]
        model: Any = self.model
        if bad is None and not all(torch.isfinite(value).all() for value in model.parameters()):
            mine = [(self.state.global_step, "the weights have become NaN or infinite")]
        if found := sorted(gather_object(mine)):
            step, what = found[0]
            rate = max((group["lr"] for group in self.optimizer.param_groups), default=0) if self.optimizer else 0
            raise FloatingPointError(
                "The loss must stay finite; a lower learning_rate or more warmup_steps may help. The last checkpoint "
                f"is as it was. Received: step {step}, {what}, learning rate {rate:g}"
            )

    def _terms_in_words(self) -> str:
        """The terms of the loss in the first step since the last line of the log in which one is not finite."""
        rows = zip(*([float(value) for value in values] for values in self._terms.values()))
        row = next((row for row in rows if not all(map(isfinite, row))), ())
        return ", ".join(f"{name} {value:g}" for name, value in zip(self._terms, row)) or "a loss that is not finite"

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As in the parent; beside the loss stand the means of its terms over the steps that had them.

        Raises:
            FloatingPointError: see `require_finite`. The stock Trainer would log a loss of 0 then.
        """
        if "loss" in logs:
            self.require_finite()
            sums = [(name, float(torch.stack(values).sum()), len(values)) for name, values in self._terms.items()]
            self._terms = {}
            gathered = gather_object(sums)
            for name in sorted({name for name, _, _ in gathered}):
                mine = [(total, count) for other, total, count in gathered if other == name]
                logs[name] = sum(total for total, _ in mine) / sum(count for _, count in mine)
        super().log(logs, start_time)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """As in the parent, but not of a model that is broken, and nothing is left of one that could not be written.

        Raises:
            OSError: a full disk. Older checkpoints are removed after the new one is complete, so they are still there.
                Or what follows a complete checkpoint failed, the removal of older ones or an upload.
        """
        self.require_finite()
        folder = Path(str(self.args.output_dir), f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}")
        try:
            with one_kind_of_write_error(folder):
                super()._save_checkpoint(*args, **kwargs)
        except OSError as error:
            if checkpoint_problem(folder) is None:
                raise
            if self.args.should_save:
                shutil.rmtree(folder, ignore_errors=True)
            kept = "Earlier checkpoints are as they were; resume_from_checkpoint=auto goes on from the last one"
            raise OSError(f"The checkpoint of step {self.state.global_step} is not saved: {error}. {kept}") from error

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """As in the parent, but all files or, on a full disk, none."""
        if not self.args.should_save:
            return super()._save(output_dir, state_dict)
        with written_together(output_dir or str(self.args.output_dir)) as folder:
            super()._save(str(folder), state_dict)

    def save_model(self, *args: Any, **kwargs: Any) -> None:
        """As in the parent, but not of a model that is broken."""
        self.require_finite()
        super().save_model(*args, **kwargs)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, Any]:
        """Judge every item once, whatever the number of processes; all of them get the same numbers.

        Args:
            eval_dataset: What `judge` takes; default is that of the trainer.
            ignore_keys: Not used here.
            metric_key_prefix: Start of every key of the result.

        Returns:
            What `judge` computes, with the prefix; numbers of single classes and lists are not logged.

        Raises:
            ValueError: The trainer has no `judge`.
        """
        if self.judge is None:
            raise ValueError("evaluate needs a trainer with a `judge`. Received: None")
        self.require_finite()
        model: Any = self.accelerator.unwrap_model(self.model)
        share_statistics(model, self.args.world_size)
        with self.accelerator.autocast():
            values = self.judge(model, self.eval_dataset if eval_dataset is None else eval_dataset, metric_key_prefix)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in values.items()}
        scalars = {key: value for key, value in metrics.items() if not isinstance(value, dict | list)}
        self.log(dict(scalars))  # adds the epoch
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, scalars)
        return metrics

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The recipe's optimizer, with a group for each set of options that its parameters have."""
        if self.optimizer is None:
            trained: Any = self.model if model is None else model
            self.args.check_parameters([name for name, value in trained.named_parameters() if value.requires_grad])
            groups = parameter_groups(trained, self.encoder, self.args.parameter_options)
            self.optimizer = self.args.make_optimizer(groups)
        return self.optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """The recipe's factor of all learning rates; a step of the schedule is a step of the optimizer."""
        if self.lr_scheduler is None:
            scheduled: Any = self.optimizer if optimizer is None else optimizer
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                scheduled, lambda step: self.args.lr_factor_at(step, num_training_steps, self.steps_per_epoch)
            )
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As in the parent, in a folder that no other training writes into.

        Raises:
            ValueError: one does.
        """
        lock_output(str(self.args.output_dir))
        return super().train(*args, **kwargs)

    @property
    def step_of_weights(self) -> int:
        """The step that the model's weights are of after training: the best one only if it was loaded at the end."""
        best = self.state.best_global_step if self.args.load_best_model_at_end else None
        return self.state.global_step if best is None else best

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

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Nothing if a run that had come to its end in the middle of an epoch is resumed; stock is one more step."""
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **kwargs)
        else:
            self.control.should_training_stop = True

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_weights(self.model, resume_from_checkpoint)

    def _load_best_model(self) -> None:
        load_weights(self.model, str(self.state.best_model_checkpoint))

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Our card instead of the stock one, which would say little and be written over ours by a push."""
        if self.write_card is None:
            super().create_model_card(*args, **kwargs)
        elif self.is_world_process_zero():
            self.write_card(Path(str(self.args.output_dir)))

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        # process 0 writes trainer_state.json next, and then deletes old checkpoints: not before all have arrived
        self.accelerator.wait_for_everyone()


def load_weights(model: Any, folder: str) -> None:
    """Load what `model.save_pretrained(folder)` has written.

    Raises:
        ValueError: tensors are missing, unexpected or of another shape.
    """
    loaded: Any = type(model).from_pretrained(folder, config=model.config, output_loading_info=True)
    problems = {name: sorted(map(str, keys)) for name, keys in loaded[1].items() if name != "error_msgs" and keys}
    if problems:
        raise ValueError(f"{folder} must have all tensors of the model and no others. Received: {problems}")
    model.load_state_dict(loaded[0].state_dict())
