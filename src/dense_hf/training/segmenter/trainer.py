"""The released recipe of the segmenter (thesis section 3.3.3), and its evaluation during training."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from ...inference.label_maps import evaluate_segmentation
from ...weak_segmentation.multi_scale_segmenter import MultiScaleSegmenter
from ..batch_norm import share_statistics, with_synchronized_norms
from ..optimizers import SGDArguments, SGDTrainer

HEAD = ("head.", "classifier.")
CLASS_BIAS = "classifier.bias"


@dataclass
class SegmenterTrainingArguments(SGDArguments):
    """`SGDArguments` whose defaults are the released recipe: 16,000 steps of 10 images.

    The released code takes images one by one and accumulates ten; the loss is a mean over images, so any product of
    batch size, accumulation steps and processes that is 10 does the same (up to rounding).

    Raises:
        ValueError: Values that cannot work; the message lists all.
    """

    per_device_train_batch_size: int = field(
        default=10, metadata={"help": "Images per process and step; 10 in all is released."}
    )
    learning_rate: float = field(default=1e-3, metadata={"help": "Of the backbone."})
    head_lr_factor: float = field(default=10.0, metadata={"help": "Of the learning rate, for all but the backbone."})
    class_bias_lr_factor: float = field(
        default=20.0, metadata={"help": "Of the learning rate, for the bias of the class layer."}
    )
    max_steps: int = field(default=16_000, metadata={"help": "Steps of the run; -1: num_train_epochs decides."})
    save_strategy: SaveStrategy | str = field(default="steps", metadata={"help": "epoch: by the calendar."})
    save_steps: float = field(default=1000, metadata={"help": "Steps from one checkpoint to the next."})
    eval_strategy: IntervalStrategy | str = field(
        default="no",
        metadata={
            "help": "Whether images with masks are segmented, single-scale and without a CRF. no: never (released); "
            "steps: every eval_steps; epoch: by the calendar; at the end, too, unless it is no."
        },
    )
    metric_for_best_model: str | None = field(default="mean_iou", metadata={"help": "What best means."})
    greater_is_better: bool | None = field(default=True, metadata={"help": "Whether more is better."})

    def find_problems(self) -> list[str]:
        """As in the parent, and what this recipe adds."""
        problems = super().find_problems()
        for name in ("head_lr_factor", "class_bias_lr_factor"):
            if not getattr(self, name) > 0:
                problems.append(f"{name} must be positive, received {getattr(self, name)}")
        unset = {name: field.default for name, field in type(self).__dataclass_fields__.items()}
        if self.num_train_epochs != unset["num_train_epochs"] and self.max_steps == unset["max_steps"]:
            problems.append(
                f"num_train_epochs needs max_steps=-1 (else {self.max_steps} steps decide), received "
                f"num_train_epochs={self.num_train_epochs:g}"
            )
        return problems


def segmenter_lr_factor(head: float, class_bias: float) -> Callable[[str], float]:
    """The factor of the learning rate of a parameter by its name: released are 1, 10 and 20."""

    def factor(name: str) -> float:
        if name == CLASS_BIAS:
            return class_bias
        return head if name.startswith(HEAD) else 1.0

    return factor


class SegmenterTrainer(SGDTrainer):
    """[`SGDTrainer`] whose `evaluate` segments images with masks at their own size.

    Args:
        processor: Normalises images; it is saved beside the model.
        eval_window, eval_stride: As for `MultiScaleSegmenter`.
        kwargs: As for [`SGDTrainer`]; `eval_dataset` is a `WeakFolder` with masks.
    """

    args: SegmenterTrainingArguments  # ty: ignore[incompatible-mutable-override]  as in transformers

    def __init__(self, *, processor: Callable[..., Any], eval_window: int, eval_stride: int, **kwargs: Any):
        args: SegmenterTrainingArguments = kwargs["args"]
        self.processor = processor
        self.eval_window, self.eval_stride = eval_window, eval_stride
        kwargs["model"] = with_synchronized_norms(kwargs["model"], args.world_size, args.device.type)
        kwargs["lr_factor"] = segmenter_lr_factor(args.head_lr_factor, args.class_bias_lr_factor)
        super().__init__(processing_class=processor, **kwargs)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, Any]:
        """Segment every image once, whatever the number of processes; all of them get the same numbers.

        They are those of `evaluate_segmentation.py --scales 1 --no_flip --no_crf`.

        Args:
            eval_dataset: A `WeakFolder` with masks; default is that of the trainer.
            ignore_keys: Not used here.
            metric_key_prefix: Start of every key of the result.

        Returns:
            `{prefix}_mean_iou` and what else `evaluate_segmentation` computes. Numbers of single classes are not
            logged.
        """
        folder: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        model = self.accelerator.unwrap_model(self.model)
        share_statistics(model, self.args.world_size)
        segmenter = MultiScaleSegmenter(
            model,
            self.processor,
            scales=(1.0,),
            window=self.eval_window,
            stride=self.eval_stride,
            flip=False,
            batch_size=self.args.eval_batch_size,
        )
        with self.accelerator.autocast():
            values = evaluate_segmentation(
                segmenter, folder, progress=not self.args.disable_tqdm, description=metric_key_prefix
            )
        metrics = {f"{metric_key_prefix}_{key}": value for key, value in values.items()}
        scalars = {key: value for key, value in metrics.items() if not isinstance(value, dict)}
        self.log(dict(scalars))  # adds the epoch
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, scalars)
        return metrics
