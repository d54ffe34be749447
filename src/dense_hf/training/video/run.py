"""A training run on video, from the options to the card."""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from transformers import PreTrainedModel
from transformers.image_utils import SizeDict

from ...data.videos import Video, VideoSet
from ...errors import InvalidDataError
from ...inference.checks import require_readable_videos
from ...inference.processes import check_in_first_process
from ...inference.video_label_maps import ExtraInputs, evaluate_videos, require_countable
from ...methods import frame_offsets
from ...reports.video import write_video_card
from ...video_segmentation.image_processing_clip import ClipImageProcessor
from ..batch_norm import freeze, with_synchronized_norms
from ..calendar_trainer import CalendarTrainer
from ..feature_cache import cached_features
from ..run import build_model, build_processor, describe, finish, start
from ..run_options import TrainingRun
from .dataset import VideoTrainingSet
from .trainer import PerFrameTrainer


def train_video_model(run: TrainingRun, judged: Sequence[str] | None = None) -> dict[str, Any]:
    """A whole run: data and weights are checked first, at the end results, model and card are written.

    Args:
        run: what is trained.
        judged: the splits that the weights are evaluated on at the end; by default all besides training with masks.

    Raises:
        InvalidDataError: data or weights that cannot be used, before the first step.
        ValueError: arguments that do not fit the data, or a model that learns from more than clips.
    """
    if hasattr(run.method.model_class, "find_prototypes"):
        raise ValueError(
            f"A model that needs prototypes of its videos has a script of its own. Received: {run.method.name}"
        )
    checkpoint = start(run)
    videos = read_training_videos(run)
    model = build_model(run, videos.rule.names)
    if run.model.freeze_backbone:
        freeze(getattr(model, run.method.encoder))
    trainer = build_trainer(run, videos, model)
    with kept_features(run, model):
        trainer.train(resume_from_checkpoint=checkpoint)
    return finish_video(run, videos, trainer, judged)


def kept_features(run: TrainingRun, model: Any) -> Any:
    """A context in which the encoder sees each clip once, if the run says so."""
    return cached_features(getattr(model, run.method.encoder)) if run.data.feature_cache else nullcontext()


def evaluated_splits(videos: VideoSet) -> list[str]:
    """The splits besides training that have masks."""
    return [
        split
        for split, members in videos.splits.items()
        if split != "train" and any(video.labelled for video in members)
    ]


def read_training_videos(run: TrainingRun) -> VideoSet:
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


def build_trainer(
    run: TrainingRun, videos: VideoSet, model: PreTrainedModel, extra_inputs: ExtraInputs | None = None
) -> CalendarTrainer:
    """The trainer of a run, with its clips.

    Args:
        run: what the file and the command line say.
        videos: from `read_training_videos`.
        model: from `build_model`, or any that takes `pixel_values`, `labels` and the extra inputs.
        extra_inputs: tensors by name for a video, as in `VideoTrainingSet`; `model.new_session(**extra_inputs)` gets
            them when videos are judged, each with a batch dimension of 1.
    """
    frames = build_frame_processor(run)
    train_set = VideoTrainingSet(
        videos,
        "train",
        frame_offsets(model.config),
        run.augmentation,
        run.training.seed,
        samples_per_video=run.data.samples_per_video,
        frame_cache_size=run.data.frame_cache_size,
        extra_inputs=extra_inputs,
        image_mean=frames.image_mean,
        image_std=frames.image_std,
        fixed=run.data.fixed_clips,
    )
    names = [video.video_id for members in videos.splits.values() for video in members]
    numbers = {split: len(members) for split, members in videos.splits.items()}
    has_own_loss = hasattr(run.method.model_class, "new_session")
    trainer_class = CalendarTrainer if has_own_loss or run.method.frame_offsets is None else PerFrameTrainer
    return trainer_class(
        model=with_synchronized_norms(model, run.training.world_size, run.training.device.type),
        encoder=run.method.encoder,
        args=run.training,
        train_dataset=train_set,
        eval_dataset=videos.splits.get("validation"),
        processing_class=saved_processor(run, frames),
        judge=partial(judge, run=run, processor=frames, videos=videos, extra_inputs=extra_inputs),
        write_card=partial(write_video_card, run=describe(run, numbers, names, unit="videos")),
    )


def build_frame_processor(run: TrainingRun) -> ClipImageProcessor:
    """How frames are prepared when videos are judged."""
    frames = build_processor(run, ClipImageProcessor)
    if frames.size.longest_edge is None or frames.size.shortest_edge is None:
        frames.size = SizeDict(**ClipImageProcessor.size)  # a SegFormer of images may say 512 x 512
    return frames


def saved_processor(run: TrainingRun, frames: ClipImageProcessor) -> Any:
    """The method's own processor, which prepares frames in the same way and is saved beside the model."""
    return run.method.processor_class(
        size={name: getattr(frames.size, name) for name in ("longest_edge", "shortest_edge")},
        size_divisor=frames.size_divisor,
        image_mean=list(frames.image_mean),
        image_std=list(frames.image_std),
    )


def judge(
    model: Any,
    members: Sequence[Video],
    description: str,
    run: TrainingRun,
    processor: ClipImageProcessor,
    videos: VideoSet,
    extra_inputs: ExtraInputs | None,
) -> dict[str, Any]:
    """The scores of whole videos, but for lists, which no log could hold."""
    values = evaluate_videos(
        model,
        processor,
        videos,
        members,
        protocol=run.data.protocol,
        extra_inputs=extra_inputs,
        progress=not run.training.disable_tqdm,
        description=description,
    )
    return {name: value for name, value in values.items() if not isinstance(value, list)}


def finish_video(
    run: TrainingRun, videos: VideoSet, trainer: CalendarTrainer, judged: Sequence[str] | None = None
) -> dict[str, Any]:
    """Judge the splits, by default every one that has masks, write results.json, model and card; push if told to."""
    splits = {split: videos.splits[split] for split in (evaluated_splits(videos) if judged is None else judged)}
    return finish(run, trainer, splits, "steps", protocol=run.data.protocol)
