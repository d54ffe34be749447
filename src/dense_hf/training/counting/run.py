"""A training run of a counter, from the options to the card."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from ...data.counting_examples import CountingExample, read_examples
from ...data.point_folder import SPLIT_LISTS
from ...inference.counts import evaluate_counting
from ...reports.counting import write_counting_card
from ..calendar_trainer import CalendarTrainer
from ..run import build_model, build_processor, describe, finish, start
from ..run_options import TrainingRun
from .dataset import CountingTrainingSet, collate_crops


def train_counter(run: TrainingRun) -> dict[str, Any]:
    """Check data and weights, train, evaluate the best weights, write results and card.

    Raises:
        InvalidDataError: data or weights that cannot be used, before the first step.
        ValueError: arguments that do not fit the data.
    """
    checkpoint = start(run)
    examples = read_data(run)
    model = build_model(run)
    if run.model.start_at_mean_density:
        start_at_mean_density(model, examples["train"])
    tile_size = getattr(run.config, "tile_size", None)  # of a counter that learns from crops of one size
    processor = build_processor(run, **({} if tile_size is None else {"tile_size": tile_size}))
    train_set = CountingTrainingSet(
        examples["train"],
        processor,
        num_queries=getattr(run.config, "num_queries", None),
        augmentation=run.augmentation,
        seed=run.training.seed,
        samples_per_image=run.data.samples_per_image,
        image_cache_size=run.data.image_cache_size,
    )
    names = [example.path.name for example in examples["train"]]
    card = describe(run, {split: len(items) for split, items in examples.items()}, names)
    trainer = CalendarTrainer(
        model=model,
        args=run.training,
        encoder=run.method.encoder,
        train_dataset=train_set,
        eval_dataset=examples.get("validation"),
        data_collator=collate_crops,
        processing_class=processor,
        judge=partial(judge, run=run, processor=processor),
        write_card=partial(write_counting_card, run=card),
    )
    trainer.train(resume_from_checkpoint=checkpoint)
    return finish(run, trainer, {split: examples[split] for split in examples if split != "train"}, "epochs")


def read_data(run: TrainingRun) -> dict[str, list[CountingExample]]:
    """Every split that the folder has; training needs the first, validation the second."""
    if run.data.data_dir is None:
        raise ValueError("data_dir must name a folder in the layout of IOCfish5K. Received: none")
    has_list = {split: Path(run.data.data_dir, name).exists() for split, name in SPLIT_LISTS.items()}
    needed = ["train"] if run.training.eval_strategy == "no" else ["train", "validation"]
    splits = [split for split in SPLIT_LISTS if split in needed or has_list[split]]
    show = PartialState().is_main_process and not run.training.disable_tqdm
    return read_examples(run.data.data_dir, splits, progress=show)


def judge(
    model: Any, examples: list[CountingExample], description: str, run: TrainingRun, processor: Any
) -> dict[str, float]:
    """The counting errors of whole images."""
    return evaluate_counting(
        model,
        processor,
        examples,
        threshold=run.data.threshold,
        batch_size=run.training.eval_batch_size,
        progress=not run.training.disable_tqdm,
        description=description,
    )


def start_at_mean_density(model: Any, train: list[CountingExample]) -> None:
    """Make the density branch the constant that is right on average over the training images.

    Raises:
        ValueError: the model has no density branch.
    """
    if getattr(model, "density_branch", None) is None:
        raise ValueError(f"start_at_mean_density needs a density branch. Received: {type(model).__name__} without one")
    side = model.config.tile_size
    with torch.no_grad():
        features = model.backbone(torch.zeros(1, model.config.num_channels, side, side)).feature_maps[-1]
    points, pixels = sum(len(item.points) for item in train), sum(math.prod(item.size) for item in train)
    cell_side = side / features.shape[-1] / 2  # the density map is twice as fine as the features
    model.density_branch.start_at(points / pixels * cell_side**2)
