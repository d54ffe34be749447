"""What the training scripts for video do: read and check data, build model and trainer, train, evaluate, report."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, set_seed
from transformers.utils import logging

from ...data.videos import Video, VideoSet
from ...errors import InvalidDataError
from ...inference.checks import require_readable_videos
from ...inference.processes import check_in_first_process
from ...inference.video_label_maps import ExtraInputs, require_countable
from ...methods import frame_offsets
from ...reports.model_card import RunDescription, command_line, write_results
from ...reports.video import write_video_card
from ...video_segmentation.image_processing_clip import ClipImageProcessor
from ..backbone_weights import load_encoder_weights
from ..resuming import resolve_checkpoint
from .dataset import VideoTrainingSet
from .options import VideoRun
from .trainer import VideoTrainer

logger = logging.get_logger(__name__)


def train_video_model(run: VideoRun) -> dict[str, Any]:
    """A whole run: data and weights are checked first, at the end results, model and card are written.

    Raises:
        InvalidDataError: data or weights that cannot be used, before the first step.
        ValueError: arguments that do not fit the data.
    """
    logging.set_verbosity(run.training.get_process_log_level())
    checkpoint = resolve_checkpoint(run.training.resume_from_checkpoint, str(run.training.output_dir))
    videos = read_training_videos(run)
    model = build_model(run, videos)
    trainer = build_trainer(run, videos, model)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    return finish(run, trainer)


def evaluated_splits(videos: VideoSet) -> list[str]:
    """The splits besides training that have masks."""
    return [
        split
        for split, members in videos.splits.items()
        if split != "train" and any(video.labelled for video in members)
    ]


def read_training_videos(run: VideoRun) -> VideoSet:
    """The set with all its masks checked, once for all processes.

    Raises:
        InvalidDataError: files that are missing or cannot be used; the first ten are named.
        ValueError: no video of a split counts in the metrics.
    """
    videos = run.data.read()
    splits = ["train", *evaluated_splits(videos)]
    if run.training.eval_strategy != "no" and "validation" not in splits:
        raise InvalidDataError(videos.directory, "validation videos with masks (or --eval_strategy no)", splits)
    for split in splits[1:]:
        require_countable(videos.splits[split], run.data.protocol)
    check_once(videos, splits, run.data.skip_incomplete, progress=not run.training.disable_tqdm)
    return videos


def check_once(videos: VideoSet, splits: Sequence[str], skip_incomplete: bool, progress: bool) -> None:
    """`require_readable_videos` in the first process; all raise what it raises."""
    check_in_first_process(lambda: require_readable_videos(videos, splits, skip_incomplete, progress=progress))


def build_model(run: VideoRun, videos: VideoSet) -> PreTrainedModel:
    """Initial weights: a function of the seed, or of the files that the run names. Labels have the data's names."""
    names = dict(enumerate(videos.rule.names))
    config: Any = run.config
    had = config.num_labels
    config.id2label, config.label2id = names, {name: number for number, name in names.items()}
    set_seed(run.training.seed)
    model_class: Any = run.method.model_class
    if run.model.model_name_or_path is not None:
        if had != len(names):
            logger.warning(f"The model had {had} classes, the data has {len(names)}: its classifiers start anew")
        source = run.model.model_name_or_path
        return model_class.from_pretrained(source, config=config, ignore_mismatched_sizes=had != len(names))
    model = model_class(config)
    if run.model.backbone_weights is not None:
        load_encoder_weights(model, run.method, run.model.backbone_weights)
    return model


def build_trainer(
    run: VideoRun, videos: VideoSet, model: PreTrainedModel, extra_inputs: ExtraInputs | None = None
) -> VideoTrainer:
    """The trainer of a run, with its clips.

    Args:
        run: what the file and the command line say.
        videos: from `read_training_videos`.
        model: from `build_model`, or any that takes `pixel_values`, `labels` and the extra inputs.
        extra_inputs: tensors by name for a video, see `VideoTrainingSet` and `VideoTrainer`.
    """
    train_set = VideoTrainingSet(
        videos,
        "train",
        frame_offsets(model.config),
        run.augmentation,
        run.training.seed,
        samples_per_video=run.data.samples_per_video,
        frame_cache_size=run.data.frame_cache_size,
        extra_inputs=extra_inputs,
        image_mean=run.data.image_mean,
        image_std=run.data.image_std,
    )
    options = run.data.processor_options
    return VideoTrainer(
        model=model,
        encoder=run.method.encoder,
        args=run.training,
        train_dataset=train_set,
        train_samples=len(train_set),
        eval_dataset=videos.splits.get("validation"),
        processor=ClipImageProcessor(**options),
        processing_class=run.method.processor_class(**options),
        videos=videos,
        protocol=run.data.protocol,
        extra_inputs=extra_inputs,
        write_card=partial(write_video_card, run=describe(run, videos)),
    )


def finish(run: VideoRun, trainer: VideoTrainer) -> dict[str, Any]:
    """Evaluate every split that has masks, write results.json, model and card; push them if told to."""
    results: dict[str, Any] = {}
    for split in evaluated_splits(trainer.videos):
        metrics = trainer.evaluate(trainer.videos.splits[split], metric_key_prefix=split)
        results[split] = {key.removeprefix(f"{split}_"): value for key, value in metrics.items()}
    results |= {
        "steps": trainer.state.global_step,
        "best_step": trainer.step_of_weights,
        "seed": run.training.seed,
        "protocol": run.data.protocol,
    }
    if trainer.is_world_process_zero():
        write_results(Path(str(run.training.output_dir)), results)
    if run.training.push_to_hub:
        trainer.push_to_hub()
    else:
        trainer.save_model()
        trainer.create_model_card()
    return results


def describe(run: VideoRun, videos: VideoSet) -> RunDescription:
    """What the card says about this run."""
    name = run.data.dataset_name or Path(str(run.data.data_dir)).name
    members: list[Video] = [video for split in videos.splits.values() for video in split]
    # the names that generate_miniature_videos gives; nobody shall take such numbers for measurements
    if all(video.video_id.startswith("synthetic_") for video in members) and "synthetic" not in name:
        name += " (synthetic videos, drawn by a program)"
    return RunDescription(
        title=run.method.title,
        command=command_line(sys.argv, run.training.world_size),
        config=run.sections,
        dataset=name,
        num_images={split: len(items) for split, items in videos.splits.items()},
        processes=run.training.world_size,
    )
