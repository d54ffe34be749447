"""The recipe of the MCIS classifier (thesis section 3.3.3; factors, momentum and calendar: released code).

B pairs of a process, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from accelerate.utils import gather_object
from torch import Tensor, nn
from transformers.trainer_utils import SaveStrategy

from ...inference.class_scores import evaluate_classification
from ...weak_segmentation.loss_mcis import sigmoid_cross_entropy
from ..optimizers import SGDArguments, SGDTrainer

if TYPE_CHECKING:
    from ...weak_segmentation.image_processing_mcis import MCISImageProcessor

# The terms of the loss that a batch may do without, and the scores they are of
CONTRASTIVE_TERMS = {
    "loss_contrastive": "contrastive_logits",
    "loss_paired_contrastive": "paired_contrastive_logits",
}
RELEASED_MILESTONES = (5.0, 10.0)  # the other schedules have none


@dataclass
class MCISArguments(SGDArguments):
    """`SGDArguments` whose defaults are the released recipe: 15 epochs of batches of 5 pairs on one GPU.

    The published maps are those of the released `epoch_10`, which is after 11 epochs: `num_train_epochs=11`.

    Raises:
        ValueError: Values that cannot work; the message lists all.
    """

    recipe: ClassVar[str] = "SGD, lr_schedule"

    per_device_train_batch_size: int = field(default=5, metadata={"help": "Pairs per process and step."})
    learning_rate: float = field(default=1e-3, metadata={"help": "Of the weights of the backbone."})
    head_lr_factor: float = field(
        default=10.0, metadata={"help": "Of the learning rate, for all but the backbone (thesis: 1)."}
    )
    bias_lr_factor: float = field(
        default=2.0, metadata={"help": "Of the learning rate, for biases, those of the head as well (thesis: 1)."}
    )
    nesterov: bool = field(default=True, metadata={"help": "Whether the momentum is Nesterov's."})
    num_train_epochs: float = field(
        default=15, metadata={"help": "Passes over the training set; the published maps are made after 11."}
    )
    lr_schedule: str = field(
        default="steps",
        metadata={"help": "steps: times lr_decay after each of lr_milestones; poly: (1 - step / steps)^lr_power."},
    )
    lr_milestones: list[float] = field(
        default_factory=list,
        metadata={"help": "Epochs after which the learning rate drops, with steps. Default: 5 10."},
    )
    save_strategy: SaveStrategy | str = field(default="epoch", metadata={"help": "epoch: by the calendar."})
    metric_for_best_model: str | None = field(
        default="mean_average_precision", metadata={"help": "What best means, with load_best_model_at_end."}
    )
    greater_is_better: bool | None = field(default=True, metadata={"help": "Whether more is better."})

    def __post_init__(self):
        if self.lr_schedule == "steps" and not self.lr_milestones:
            self.lr_milestones = list(RELEASED_MILESTONES)
        super().__post_init__()

    def find_problems(self) -> list[str]:
        """As in the parent, and what this recipe adds."""
        return super().find_problems() + [
            f"{name} must be positive, received {getattr(self, name)}"
            for name in ("head_lr_factor", "bias_lr_factor")
            if not getattr(self, name) > 0
        ]

    def lr_factor(self, name: str) -> float:
        """The factor of the learning rate of a parameter, by its name."""
        head = 1.0 if name.startswith("backbone.") else self.head_lr_factor
        return head * (self.bias_lr_factor if name.endswith(".bias") else 1.0)


class MCISTrainer(SGDTrainer):
    """Trains MCIS on pairs, logs every term of its loss, and evaluates it as a classifier of single images.

    Several processes take the steps of one with the whole batch, see `compute_loss`.

    Args:
        processor: prepares images; it is saved beside the model.
        kwargs: as for [`SGDTrainer`]; `eval_dataset` is a list of `WeakImage`.
    """

    args: MCISArguments  # ty: ignore[incompatible-mutable-override]  as in transformers

    def __init__(self, *, processor: "MCISImageProcessor", **kwargs: Any):
        self.processor = processor
        args: MCISArguments = kwargs["args"]
        self._terms: dict[str, list[Tensor]] = {}  # of the loss, since the last line of the log
        self._contrast_was_used = False
        super().__init__(processing_class=processor, lr_factor=args.lr_factor, **kwargs)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The model's own loss, whose terms are kept for the log.

        The model leaves a contrastive term out where no image *of its batch* has a label of its own. With several
        processes, the batch is that of all of them: if one process needs the term, the others add it, too.
        """
        outputs = model(**inputs)
        loss, terms = outputs.loss, dict(outputs.loss_dict)
        if self.args.world_size > 1:
            loss = self._agree_on_contrast(outputs, loss, terms)
        for name, value in terms.items():
            self._terms.setdefault(name, []).append(value.detach())
        return (loss, outputs) if return_outputs else loss

    def _agree_on_contrast(self, outputs: Any, loss: Tensor, terms: dict[str, Tensor]) -> Tensor:
        """The loss with the terms that another process has; they are also added to `terms`."""
        used = torch.tensor([name in terms for name in CONTRASTIVE_TERMS], dtype=torch.float32, device=loss.device)
        used = self.accelerator.reduce(used, "sum") > 0
        self._contrast_was_used |= bool(used.any())
        for (name, logits_name), is_used in zip(CONTRASTIVE_TERMS.items(), used.tolist()):
            logits = outputs.get(logits_name)
            if logits is None or name in terms:
                continue
            if is_used:
                terms[name] = sigmoid_cross_entropy(logits, torch.zeros_like(logits, dtype=torch.float32))
                loss = loss + terms[name]
            else:
                loss = loss + 0 * logits.sum()  # a process that waits for the gradients of the gate gets them
        return loss

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """As in the parent. A gate that no process has trained stays as it is, without weight decay, as released."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        if self.args.world_size > 1 and self.accelerator.sync_gradients:
            unwrapped: Any = self.accelerator.unwrap_model(model)
            if not self._contrast_was_used and unwrapped.config.use_contrastive_co_attention:
                unwrapped.gate.weight.grad = None
            self._contrast_was_used = False
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As in the parent; beside the loss stand the means of its terms over the steps that had them.

        Raises:
            FloatingPointError: a term is not a finite number any more. The stock Trainer would log a loss of 0 then.
        """
        if "loss" in logs:
            sums = [(name, float(torch.stack(values).sum()), len(values)) for name, values in self._terms.items()]
            self._terms = {}
            gathered = gather_object(sums)
            for name in sorted({name for name, _, _ in gathered}):
                mine = [(total, count) for other, total, count in gathered if other == name]
                logs[name] = sum(total for total, _ in mine) / sum(count for _, count in mine)
                if not isfinite(logs[name]):
                    raise FloatingPointError(
                        f"{name} must stay finite; a lower learning_rate or more warmup_steps may help. Received: "
                        f"{logs[name]} up to step {self.state.global_step}"
                    )
        super().log(logs, start_time)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Classify every image once, whatever the number of processes; all of them get the same numbers.

        Args:
            eval_dataset: list of `WeakImage`; default is that of the trainer.
            ignore_keys: Not used here.
            metric_key_prefix: Start of every key of the result.

        Returns:
            `{prefix}_loss` (the basic one, as in the released validation), `{prefix}_mean_average_precision` and
            `{prefix}_num_images`.
        """
        images: Sequence[Any] = self.eval_dataset if eval_dataset is None else eval_dataset  # ty: ignore[invalid-assignment]
        with self.accelerator.autocast():
            values = evaluate_classification(
                self.accelerator.unwrap_model(self.model),
                self.processor,
                images,
                batch_size=self.args.eval_batch_size,
                progress=not self.args.disable_tqdm,
                description=metric_key_prefix,
            )
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in values.items()}
        self.log(dict(metrics))  # adds the epoch
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics
