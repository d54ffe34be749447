"""The released training recipe of CFFM and MRCFA (thesis sections 4.4.1 and 5.4.1; groups and warm-up: released code).

B clips, T frames of a clip, K labels, h x w logits, H x W crops.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import SegformerForSemanticSegmentation
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from ...data.videos import Video, VideoSet
from ...inference.video_label_maps import evaluate_videos
from ...video_segmentation.clip_loss import mean_cross_entropy
from ...video_segmentation.image_processing_clip import ClipImageProcessor
from ..batch_norm import share_statistics, with_synchronized_norms
from ..calendar_trainer import CalendarArguments, CalendarTrainer

WARMUP_START = 1e-6  # factor of the learning rate in the first step (released)


@dataclass
class VideoTrainingArguments(CalendarArguments):
    """`CalendarArguments` whose defaults are the released recipe of CFFM and MRCFA: 160,000 steps of 8 clips.

    Raises:
        ValueError: Values that cannot work; the message lists all.
    """

    recipe: ClassVar[str] = "AdamW, linear decay after a warm-up"

    per_device_train_batch_size: int = field(
        default=8, metadata={"help": "Clips per process and step; 8 in all is released (4 GPUs with 2)."}
    )
    learning_rate: float = field(default=6e-5, metadata={"help": "Of the encoder."})
    head_lr_factor: float = field(default=10.0, metadata={"help": "Of the learning rate, for all but the encoder."})
    weight_decay: float = field(
        default=0.01, metadata={"help": "Of AdamW, for all but the norms of the encoder (those of the head have it)."}
    )
    max_steps: int = field(default=160_000, metadata={"help": "Steps of the run; -1: num_train_epochs decides."})
    warmup_steps: float = field(default=1500, metadata={"help": "Steps in which the learning rate rises from zero."})
    seed: int = field(default=1, metadata={"help": "Decides initial weights, order, augmentation and dropout."})
    eval_strategy: IntervalStrategy | str = field(
        default="no",
        metadata={"help": "steps: every eval_steps; epoch: by the calendar; the end is always evaluated."},
    )
    save_strategy: SaveStrategy | str = field(default="steps", metadata={"help": "epoch: by the calendar."})
    save_steps: float = field(default=4000, metadata={"help": "Steps from one checkpoint to the next."})
    metric_for_best_model: str | None = field(default="mean_iou", metadata={"help": "What best means."})
    greater_is_better: bool | None = field(default=True, metadata={"help": "Whether more is better."})

    def find_problems(self) -> list[str]:
        """As in the parent, and what this recipe adds."""
        problems = super().find_problems()
        if not self.head_lr_factor > 0:
            problems.append(f"head_lr_factor must be positive, received {self.head_lr_factor}")
        if self.warmup_steps < 0 or 0 < self.max_steps <= self.warmup_steps:
            problems.append(
                f"warmup_steps must be at least 0 and less than max_steps={self.max_steps}, received "
                f"{self.warmup_steps:g}"
            )
        return problems


class VideoTrainer(CalendarTrainer):
    """Trains a model on clips, and evaluates it video by video.

    A model takes the tensors of a sample by name and returns a `loss`. SegFormer is given the frames of all clips, and
    the loss of the thesis' baseline. Parameters with `requires_grad=False` stay as they are.

    Args:
        encoder: name of the model's encoder; the other parameters are "the head".
        processor: prepares frames when videos are evaluated; it is saved beside the model.
        videos: where frames and masks are; `eval_dataset` is a list of its videos.
        protocol: see `evaluate_videos`.
        extra_inputs: of a video, as in `VideoTrainingSet`; `model.new_session(**extra_inputs)` gets them, each with a
            batch dimension of 1.
        kwargs: as for [`CalendarTrainer`].
    """

    args: VideoTrainingArguments  # ty: ignore[incompatible-mutable-override]  as in transformers

    def __init__(
        self,
        *,
        encoder: str,
        processor: ClipImageProcessor,
        videos: VideoSet,
        protocol: str = "released",
        extra_inputs: Callable[[Video], Mapping[str, Tensor]] | None = None,
        **kwargs: Any,
    ):
        self.encoder = encoder
        self.processor = processor
        self.videos = videos
        self.protocol = protocol
        self.extra_inputs = extra_inputs
        args: VideoTrainingArguments = kwargs["args"]
        kwargs["model"] = with_synchronized_norms(kwargs["model"], args.world_size, args.device.type)
        kwargs.setdefault("processing_class", processor)
        super().__init__(**kwargs)
        # Segformer's forward takes any keyword, which the stock Trainer reads as "divides the loss by itself"
        self.model_accepts_loss_kwargs = False

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The model's own loss; for SegFormer the mean cross-entropy of all frames of all clips, ignored pixels in the
        denominator, as the other models judge single frames."""
        unwrapped: Any = self.accelerator.unwrap_model(model)
        if not isinstance(unwrapped, SegformerForSemanticSegmentation):
            outputs = model(**inputs)
            return (outputs.loss, outputs) if return_outputs else outputs.loss
        frames, labels = inputs["pixel_values"], inputs["labels"]
        outputs = model(pixel_values=frames.flatten(0, 1))
        loss = mean_cross_entropy(outputs.logits.unflatten(0, frames.shape[:2]), labels, unwrapped.config)
        return (loss, outputs) if return_outputs else loss

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW with the groups of the released code, see `video_parameter_groups`."""
        if self.optimizer is None:
            trained: Any = self.model if model is None else model
            groups = video_parameter_groups(
                trained, self.encoder, self.args.learning_rate, self.args.head_lr_factor, self.args.weight_decay
            )
            betas = (self.args.adam_beta1, self.args.adam_beta2)
            self.optimizer = torch.optim.AdamW(groups, betas=betas, eps=self.args.adam_epsilon)
        return self.optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """See `learning_rate_factor`."""
        if self.lr_scheduler is None:
            scheduled: Any = self.optimizer if optimizer is None else optimizer
            warmup = self.args.get_warmup_steps(num_training_steps)
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                scheduled, lambda step: learning_rate_factor(step, num_training_steps, warmup)
            )
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Segment every video once, whatever the number of processes; all of them get the same numbers.

        Args:
            eval_dataset: list of `Video`; default is that of the trainer.
            ignore_keys: Not used here.
            metric_key_prefix: Start of every key of the result.

        Returns:
            `{prefix}_mean_iou`, `{prefix}_weighted_iou`, `{prefix}_vc8` and what else `evaluate_videos` computes, but
            for lists, which no log could hold.
        """
        members: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        model: Any = self.accelerator.unwrap_model(self.model)
        share_statistics(model, self.args.world_size)
        with self.accelerator.autocast():
            values = evaluate_videos(
                model,
                self.processor,
                self.videos,
                members,
                protocol=self.protocol,
                extra_inputs=self.extra_inputs,
                progress=not self.args.disable_tqdm,
                description=metric_key_prefix,
            )
        metrics = {f"{metric_key_prefix}_{key}": value for key, value in values.items() if not isinstance(value, list)}
        self.log(dict(metrics))  # adds the epoch
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def video_parameter_groups(
    model: nn.Module, encoder: str, learning_rate: float, head_lr_factor: float, weight_decay: float
) -> list[dict[str, Any]]:
    """The trained parameters as the three groups of the released code: encoder, norms of the encoder, head.

    The released code gives norms no weight decay by their names. In the head another rule of it comes first, so there
    norms, biases and tables of position biases decay as all else; so do the biases of the encoder.

    Args:
        model: What is trained.
        encoder: Name of the module that is the encoder.
        learning_rate: Of the encoder.
        head_lr_factor: Times the learning rate, for the head.
        weight_decay: For all but the norms of the encoder.
    """
    groups: dict[str, list[nn.Parameter]] = {"encoder": [], "norms": [], "head": []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            inside = name.startswith(f"{encoder}.")
            groups[("norms" if "norm" in name else "encoder") if inside else "head"].append(parameter)
    factors = {"encoder": (1.0, weight_decay), "norms": (1.0, 0.0), "head": (head_lr_factor, weight_decay)}
    return [
        {"params": parameters, "lr": learning_rate * factors[name][0], "weight_decay": factors[name][1]}
        for name, parameters in groups.items()
        if parameters
    ]


def learning_rate_factor(step: int, num_steps: int, warmup_steps: int) -> float:
    """Step i (from 0) of n: 1 - i / n, and in the first w steps 1 - (1 - i / w) (1 - 1e-6) of that (released)."""
    warmup = 1 - (1 - step / warmup_steps) * (1 - WARMUP_START) if step < warmup_steps else 1.0
    return warmup * max(0.0, 1 - step / num_steps)
