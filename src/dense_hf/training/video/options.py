"""The options of a training run on video, and the released recipe (thesis sections 4.4.1 and 5.4.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from ...inference.video_folder_options import VideoFolderArguments
from ...methods import method_of
from ...options import option, refuse_ignored
from ..calendar_trainer import CalendarArguments
from ..optimizers import in_one_pass, linear_factor
from ..run_options import DataArguments, ModelArguments, TrainingRun, parse_run
from .augmentation import ClipAugmentation

DEFAULT_BACKBONE = "b1"  # of the methods that have the thesis' choice of them


@dataclass
class VideoModelArguments(ModelArguments):
    """Where the model comes from. What describes it beyond `backbone` are fields of its configuration, in the file."""

    of_a_new_model = ("backbone", "backbone_weights")

    backbone: str | None = option(
        None,
        "Mix Transformer b0, b1, b2 or b5, with the thesis' values for it. Default: b1, unless the file has a "
        "backbone_config.",
    )
    freeze_backbone: bool = option(
        False, "Keep the backbone as it is, statistics of batch norms too: for a few hundred frames."
    )


@dataclass
class VideoDataArguments(VideoFolderArguments, DataArguments):
    """The videos, and how frames are prepared."""

    least = {"samples_per_video": 1, "frame_cache_size": 0, "size_divisor": 1}

    samples_per_video: int = option(50, "Clips of each video in an epoch (50 is released).")
    frame_cache_size: int = option(0, "Decoded frames kept in memory per loader process; for few videos.")
    fixed_clips: bool = option(
        False, "All epochs show the clips of the first one, samples_per_video of each video. For few videos."
    )
    feature_cache: bool = option(
        False,
        "Keep in memory what a backbone that is not trained sees in each of the fixed_clips: the same training in "
        "less time (freeze_backbone, backbone_config).",
    )
    test_scale: list[int] | None = option(
        None, "Long and short side that frames fit when tested. Default: as model_name_or_path, else 853 480."
    )
    size_divisor: int | None = option(
        None, "Tested frames are then resized up to multiples of it. Default: as model_name_or_path, else 32."
    )

    def find_problems(self) -> list[str]:
        """As in the parents, and what training adds."""
        problems = [*VideoFolderArguments.find_problems(self), *DataArguments.find_problems(self)]
        if self.test_scale is not None and (len(self.test_scale) != 2 or min(self.test_scale) < 1):
            problems.append(f"test_scale must be two whole numbers from 1 on, received {self.test_scale}")
        if self.feature_cache and not self.fixed_clips:
            problems.append("feature_cache needs fixed_clips: other clips have other features")
        return problems

    def processor_options(self) -> dict[str, Any]:
        """As in the parent, with the size of frames."""
        options = DataArguments.processor_options(self)
        if self.test_scale is not None:
            options["size"] = {"longest_edge": max(self.test_scale), "shortest_edge": min(self.test_scale)}
        return options | ({} if self.size_divisor is None else {"size_divisor": self.size_divisor})


@dataclass
class VideoTrainingArguments(CalendarArguments):
    """`CalendarArguments` whose defaults are the released recipe of CFFM and MRCFA: 160,000 steps of 8 clips."""

    per_device_train_batch_size: int = option(8, "Clips per process and step; 8 in all is released (4 GPUs with 2).")
    learning_rate: float = option(6e-5, "Of the encoder.")
    head_lr_factor: float = option(10.0, "Of the learning rate, for all but the encoder.")
    weight_decay: float = option(0.01, "Of AdamW, for all but the norms of the encoder (those of the head have it).")
    max_steps: int = option(160_000, "Steps of the run; -1: num_train_epochs decides.")
    warmup_steps: float = option(1500, "Steps in which the learning rate rises from zero.")
    eval_strategy: IntervalStrategy | str = option(
        "no", "steps: every eval_steps; epoch: by the calendar; the end is always evaluated."
    )
    save_strategy: SaveStrategy | str = option("steps", "epoch: by the calendar.")
    save_steps: float = option(4000, "Steps from one checkpoint to the next.")
    metric_for_best_model: str | None = option("mean_iou", "What best means.")

    positive = (*CalendarArguments.positive, "head_lr_factor")

    def find_problems(self) -> list[str]:
        """As in the parent, and what this recipe adds."""
        problems = super().find_problems()
        if self.warmup_steps < 0 or 0 < self.max_steps <= self.warmup_steps:
            problems.append(
                f"warmup_steps must be at least 0 and less than max_steps={self.max_steps}, received "
                f"{self.warmup_steps:g}"
            )
        return problems

    def parameter_options(self, name: str, in_encoder: bool) -> dict[str, float]:
        """The three groups of the released code: encoder, norms of the encoder, head.

        The released code gives norms no weight decay by their names. In the head another rule of it comes first, so
        there norms, biases and tables of position biases decay as all else; so do the biases of the encoder.
        """
        factor = 1.0 if in_encoder else self.head_lr_factor
        decay = 0.0 if in_encoder and "norm" in name else self.weight_decay
        return {"lr": self.learning_rate * factor, "weight_decay": decay}

    def make_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """`torch.optim.AdamW`."""
        betas = (self.adam_beta1, self.adam_beta2)
        return torch.optim.AdamW(groups, betas=betas, eps=self.adam_epsilon, fused=in_one_pass(groups))

    def lr_factor_at(self, step: int, num_steps: int, steps_per_epoch: int) -> float:
        """See `linear_factor`."""
        return linear_factor(step, num_steps, self.get_warmup_steps(num_steps))


def parse_video_run(method: str, manual: str | None = None, arguments: Sequence[str] | None = None) -> TrainingRun:
    """Read `--config FILE` and the options after it, which win over the file. See `run_options.parse_run`."""
    row = method_of(method)
    default = None if row.thesis_config is None else DEFAULT_BACKBONE
    classes = (VideoModelArguments, VideoDataArguments, ClipAugmentation)
    run = parse_run(
        method,
        *classes,
        manual=manual,
        arguments=arguments,
        make_config=lambda model, fields: row.make_config(
            model.backbone or (default if fields.get("backbone_config") is None else None), fields
        ),
    )
    refuse_ignored(run.typed, run.data.ignored_options())
    return run
