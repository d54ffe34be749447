"""What training CFFM++ has of its own: a trained CFFM to start from, prototypes of all videos, another recipe."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from accelerate import PartialState
from transformers import AutoConfig, set_seed

from ...data.videos import VideoSet
from ...errors import InvalidDataError
from ...inference.class_names import name_labels, order_labels
from ...inference.evaluations import evaluation_mode
from ...inference.prototype_files import PrototypeFolder, PrototypeMaker, make_prototypes
from ...methods import method_of
from ...options import option
from ...strict_loading import checkpoint_folder, load_checkpoint
from ...video_segmentation.modeling_cffm_plus import CFFMPlusForVideoSemanticSegmentation
from ..run import build_model, start
from ..run_options import TrainingRun
from .options import VideoTrainingArguments
from .run import (
    build_frame_processor,
    build_trainer,
    evaluated_splits,
    finish_video,
    kept_features,
    read_training_videos,
)


@dataclass
class CFFMPlusTrainingArguments(VideoTrainingArguments):
    """`VideoTrainingArguments` whose defaults are the released finetuning: 40,000 steps, one learning rate."""

    learning_rate: float = option(2e-4, "Of the branch; nothing else learns.")
    head_lr_factor: float = option(1.0, "Of the learning rate; the branch is in the head.")
    max_steps: int = option(40_000, "Steps of the run; -1: num_train_epochs decides.")
    prototypes: str | None = option(None, "A folder of prototypes, of this CFFM; those that it lacks are made.")


def train_cffm_plus(run: TrainingRun, judged: Sequence[str] | None = None) -> dict[str, Any]:
    """A whole run, as `train_video_model`; prototypes are made before the first step, of the test videos too.

    Args:
        run, judged: as there.

    Raises:
        InvalidDataError: data, weights or prototypes that cannot be used, before the first step.
        ValueError: arguments that do not fit the data.
    """
    arguments: Any = run.training
    if run.model.model_name_or_path is None or arguments.prototypes is None:
        raise ValueError(
            "CFFM++ is trained on top of a CFFM, with prototypes: model_name_or_path must name the one and prototypes "
            f"a folder for the others. Received: {run.model.model_name_or_path}, {arguments.prototypes}"
        )
    checkpoint = start(run)
    require_cffm(run.model.model_name_or_path)
    videos = read_training_videos(run)
    if run.config.num_labels != videos.rule.num_labels:
        raise ValueError(
            f"The CFFM does not learn any more, so it must have the {videos.rule.num_labels} classes of "
            f"{videos.directory}. Received: {run.config.num_labels}"
        )
    model = build_cffm_plus(run, videos.rule.names)
    prototypes = prepare_prototypes(run, videos, model)
    trainer = build_trainer(run, videos, model, extra_inputs=prototypes)
    with kept_features(run, model):
        trainer.train(resume_from_checkpoint=checkpoint)
    return finish_video(run, videos, trainer, judged)


def require_cffm(source: str) -> None:
    """Raise `InvalidDataError` unless a folder or a name on the Hub is a CFFM, or a CFFM++ to go on from."""
    kind = AutoConfig.from_pretrained(source).model_type
    if kind not in ("cffm", "cffm_plus"):
        raise InvalidDataError(source, "a trained CFFM or CFFM++", kind)


def build_cffm_plus(run: TrainingRun, names: Sequence[str]) -> Any:
    """The CFFM with a new branch, a function of the seed; or the CFFM++ that is gone on from."""
    folder = checkpoint_folder(run.model.model_name_or_path)
    config = AutoConfig.from_pretrained(folder)
    if config.model_type == run.method.name:
        return build_model(run, names)
    trained = load_checkpoint(method_of(config).model_class, folder, config=config)
    order_labels(trained, names, run.model.model_name_or_path)
    name_labels(run.config, names)
    set_seed(run.training.seed)
    model: Any = run.method.model_class(run.config)
    model.load_state_dict(model.state_dict() | trained.state_dict())
    return model


def prepare_prototypes(
    run: TrainingRun, videos: VideoSet, model: CFFMPlusForVideoSemanticSegmentation
) -> PrototypeFolder:
    """The prototypes of the videos that are trained on and evaluated, made where the folder lacks them."""
    arguments: Any = run.training
    members = [video for split in ("train", *evaluated_splits(videos)) for video in videos.splits[split]]
    device = model.device
    with evaluation_mode(model):
        model.to(PartialState().device)
        maker = PrototypeMaker.of(model, build_frame_processor(run), max_pixels=videos.max_pixels)
        folder = make_prototypes(maker, members, arguments.prototypes, progress=not arguments.disable_tqdm)
    model.to(device)
    return folder
