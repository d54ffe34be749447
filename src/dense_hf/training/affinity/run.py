"""A training run of AffinityNet, from the options to the card."""

from functools import partial
from pathlib import Path
from typing import Any

from ...data.weak_folder import WeakFolder
from ...data.weak_source import read_weak_training
from ...inference.certain_labels import make_certain_labels
from ...inference.checks import check_images, with_pseudo_labels
from ...reports.affinity import write_affinity_card
from ..calendar_trainer import CalendarTrainer
from ..run import build_model, build_processor, describe, finish, start
from ..run_options import TrainingRun
from .dataset import AffinityTrainingSet

LABELS = "_certain_labels"  # what begins with _ is not uploaded


def train_affinity_net(run: TrainingRun) -> dict[str, Any]:
    """Make labels of what maps are certain of, train, write results, model and card.

    Raises:
        InvalidDataError: data or weights that cannot be used, before the first step.
        ValueError: arguments that do not fit the data.
    """
    checkpoint = start(run)
    images = read_data(run)
    model = build_model(run)
    processor = build_processor(run)
    train_set = AffinityTrainingSet(
        images,
        processor,
        run.augmentation,
        model.config.feature_stride,
        seed=run.training.seed,
        image_cache_size=run.data.image_cache_size,
    )
    card = describe(run, {"train": len(images)}, images=images)
    trainer = CalendarTrainer(
        model=model,
        args=run.training,
        encoder=run.method.encoder,
        train_dataset=train_set,
        processing_class=processor,
        write_card=partial(write_affinity_card, run=card),
    )
    trainer.train(resume_from_checkpoint=checkpoint)
    return finish(run, trainer, {}, "epochs", num_training_images=len(images))


def read_data(run: TrainingRun) -> WeakFolder:
    """The images that something can be learned from, with labels that are made if they are not there."""
    progress = not run.training.disable_tqdm
    labels_dir = Path(str(run.training.output_dir), LABELS)
    images = read_weak_training(str(run.data.data_dir), run.sources)
    check_images([images], progress)
    make_certain_labels(images, Path(str(run.data.maps)), labels_dir, run.more[0], progress)
    return with_pseudo_labels(images, labels_dir, progress)
