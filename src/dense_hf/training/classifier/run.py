"""A training run of the classifier of MCIS, from the options to the card."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from ...data.weak_folder import WeakFolder
from ...data.weak_source import read_weak_evaluation, read_weak_training
from ...errors import InvalidDataError
from ...inference.checks import check_images
from ...inference.class_scores import evaluate_classification
from ...reports.classifier import write_weak_card
from ..batch_norm import freeze
from ..run import build_model, build_processor, describe, finish, start
from ..run_options import TrainingRun
from .dataset import WeakTrainingSet, collate_pairs
from .trainer import MCISTrainer


def train_classifier(run: TrainingRun, judged: Sequence[str] | None = None) -> dict[str, Any]:
    """Check data and weights, train, evaluate, write results and card.

    Args:
        run: what is trained.
        judged: the splits that the weights are evaluated on at the end; by default all besides training.

    Raises:
        InvalidDataError: data or weights that cannot be used, before the first step.
        ValueError: arguments that do not fit the data.
        FloatingPointError: a term of the loss is not finite any more.
    """
    checkpoint = start(run)
    folders = read_data(run)
    train = folders["train"]
    model = build_model(run, train.class_names)
    if run.model.freeze_backbone:
        freeze(getattr(model, run.method.encoder))
    processor = build_processor(run)
    train_set = WeakTrainingSet(
        train,
        processor,
        model.config,
        run.augmentation,
        seed=run.training.seed,
        image_cache_size=run.data.image_cache_size,
    )
    card = describe(run, {split: len(folder) for split, folder in folders.items()}, images=train)
    others = {split: folder.images for split, folder in folders.items() if split != "train"}
    trainer = MCISTrainer(
        model=model,
        args=run.training,
        encoder=run.method.encoder,
        train_dataset=train_set,
        eval_dataset=others.get(run.data.eval_split),
        data_collator=collate_pairs,
        processing_class=processor,
        judge=partial(judge, run=run, processor=processor),
        write_card=partial(write_weak_card, run=card, class_names=train.class_names, license=run.data.license),
    )
    trainer.train(resume_from_checkpoint=checkpoint)
    splits = {split: images for split, images in others.items() if judged is None or split in judged}
    return finish(run, trainer, splits, "epochs")


def read_data(run: TrainingRun) -> dict[str, WeakFolder]:
    """The images to train on, and those of the splits to evaluate, if there are any; all headers are checked."""
    if run.data.data_dir is None:
        raise ValueError("data_dir must name a folder of images with labels. Received: none")
    if run.data.eval_split == "train":
        raise ValueError("eval_split must be another split than the one to train on. Received: train")
    folders = {"train": read_weak_training(run.data.data_dir, run.sources)}
    for split in dict.fromkeys((run.data.eval_split, "test")):
        evaluated = read_weak_evaluation(run.data.data_dir, split, folders["train"].class_names)
        if evaluated is not None:
            folders[split] = evaluated
    if run.training.eval_strategy != "no" and run.data.eval_split not in folders:
        expected = f"a split {run.data.eval_split} (or --eval_split NAME, or --eval_strategy no)"
        raise InvalidDataError(run.data.data_dir, expected, "none")
    check_images(list(folders.values()), progress=not run.training.disable_tqdm)
    return folders


def judge(model: Any, images: Any, description: str, run: TrainingRun, processor: Any) -> dict[str, float]:
    """The scores of a classifier of single images: the basic loss, as in the released validation, and mAP."""
    return evaluate_classification(
        model,
        processor,
        images,
        batch_size=run.training.eval_batch_size,
        progress=not run.training.disable_tqdm,
        description=description,
    )
