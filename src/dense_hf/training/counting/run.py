"""A training run of a counter, from the options to the card."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from inspect import signature
from typing import Any

import torch
from accelerate import PartialState

from ...data.counting_examples import CountingExample
from ...data.point_folder import SPLIT_LISTS
from ...errors import InvalidDataError
from ...inference.class_names import counted_classes
from ...inference.counts import choose_threshold, evaluate_counting
from ...reports.counting import write_counting_card
from ...reports.model_card import RunDescription
from ..feature_cache import cached_features
from ..run import build_model, build_processor, describe, finish, start
from ..run_options import TrainingRun
from .crops import CropRule, CropTrainingSet
from .dataset import CountingTrainingSet, collate_crops
from .options import SELECTIONS
from .trainer import CountingTrainer


def train_counter(run: TrainingRun, judged: Sequence[str] = ("validation", "test")) -> dict[str, Any]:
    """Check data and weights, train, evaluate the best weights, write results and card.

    Args:
        run: what is trained.
        judged: the splits that the weights are evaluated on at the end, of those that there are.

    Raises:
        InvalidDataError: data or weights that cannot be used, before the first step.
        ValueError: arguments that do not fit the data.
    """
    if run.data.choose_threshold and not (run.config.regression_branch and hasattr(run.config, "num_queries")):
        expected = "a threshold is chosen for a counter with queries, as IOCFormer has"
        raise ValueError(f"choose_threshold: {expected}. Received: {run.method.title_of(run.config)}")
    branches = (getattr(run.config, f"{name}_branch", False) for name in ("density", "regression"))
    if run.data.count_by == "density" and not all(branches):
        expected = "points by density are those of a counter with both branches, as IOCFormer has"
        raise ValueError(f"count_by: {expected}. Received: {run.method.title_of(run.config)}")
    if run.data.threshold is not None and not getattr(run.config, "regression_branch", True):
        title = run.method.title_of(run.config)
        raise ValueError(f"threshold: a score of points, of which {title} has none. Received: {run.data.threshold}")
    checkpoint = start(run)
    names = class_names(run)
    examples = read_data(run, names)
    model = build_model(run, names)
    if run.model.start_at_mean_density:
        start_at_mean_density(model, examples["train"])
    processor, train_set = build_data(run, examples["train"])
    if hasattr(processor, "count_by") and (run.data.choose_threshold or run.data.threshold is not None):
        processor.count_by = "threshold"  # also where the model that this one goes on from had none
    card = describe_data(run, examples)
    trainer = CountingTrainer(
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
    with cached_features(getattr(model, run.method.encoder)) if run.data.feature_cache else nullcontext():
        trainer.train(resume_from_checkpoint=checkpoint)
    about: dict[str, Any] = {} if names is None else {"class_names": list(names)}
    if processor.threshold_for(None) is None:
        about["count_by"] = processor.count_by
    if run.data.choose_threshold:
        about["threshold"] = processor.threshold = choose_threshold(
            trainer.accelerator.unwrap_model(trainer.model),
            processor,
            examples["train"],
            batch_size=run.training.eval_batch_size,
            progress=not run.training.disable_tqdm,
        )
    return finish(run, trainer, {split: examples[split] for split in judged if split in examples}, "epochs", **about)


def build_data(run: TrainingRun, train: list[CountingExample]) -> tuple[Any, CountingTrainingSet | CropTrainingSet]:
    """The processor and the training samples: tiles, if the model has a size of these, else crops or whole images.

    Raises:
        ValueError: options of crops for a model that has tiles, or numbers that do not fit the images.
    """
    tile_size = getattr(run.config, "tile_size", None)
    options: dict[str, Any] = {
        "augmentation": run.augmentation,
        "seed": run.training.seed,
        "samples_per_image": run.data.samples_per_image,
        "image_cache_size": run.data.image_cache_size,
        "fixed": run.data.fixed_crops,
    }
    if tile_size is None:
        processor = build_processor(run, **(getattr(run.config, "processor_settings", None) or {}))
        options["with_image_points"] = "image_points" in signature(run.method.model_class.forward).parameters
        return processor, CropTrainingSet(train, processor, run.data.crop_rule(), **options)
    if run.data.crop_rule() != CropRule() or run.augmentation.scale_range is not None:
        raise ValueError(
            f"Crops of {run.method.title_of(run.config)} are its tiles (tile_size). Received: {run.data.crop_rule()}"
        )
    processor = build_processor(run, tile_size=tile_size)
    return processor, CountingTrainingSet(train, processor, getattr(run.config, "num_queries", None), **options)


def class_names(run: TrainingRun) -> tuple[str, ...] | None:
    """The classes that the run counts apart; None if all points are alike.

    Raises:
        ValueError: a model that counts one class.
    """
    names = run.data.class_names
    if names is not None and not getattr(run.config, "counts_classes", False):
        raise ValueError(f"class_names: {run.method.title_of(run.config)} counts one class. Received: {names}")
    return tuple(names or counted_classes(run.config)) or None


def read_data(run: TrainingRun, names: Sequence[str] | None = None) -> dict[str, list[CountingExample]]:
    """Every split that the data has; training needs the first, evaluation in between the second."""
    if run.data.data_dir is None:
        raise ValueError("data_dir must name a folder in the layout of IOCfish5K, or annotations. Received: none")
    show = PartialState().is_main_process and not run.training.disable_tqdm
    examples = run.data.point_source(run.data.data_dir).read(progress=show, class_names=names)
    needed = ["train"] if run.training.eval_strategy == "no" else ["train", "validation"]
    for split in needed:
        if split not in examples:
            hint = " (--validation 0.2 takes a share of the others, --eval_strategy no trains without)"
            expected = f"{SPLIT_LISTS[split]}, or another list of the {split} images{hint if split != 'train' else ''}"
            raise InvalidDataError(run.data.data_dir, expected, f"only {', '.join(examples)} images")
    return examples


def describe_data(run: TrainingRun, examples: dict[str, list[CountingExample]]) -> RunDescription:
    """What the card says about a run."""
    names = [example.path.name for example in examples["train"]]
    return describe(run, {split: len(items) for split, items in examples.items()}, names)


def judge(
    model: Any, examples: list[CountingExample], description: str, run: TrainingRun, processor: Any
) -> dict[str, float]:
    """The counting errors of whole images at the processor's threshold, and what the best epoch is chosen by.

    That number is computed here, if it is another one.
    """
    values = evaluate_counting(
        model,
        processor,
        examples,
        distances=run.data.distances,
        batch_size=run.training.eval_batch_size,
        progress=not run.training.disable_tqdm,
        description=description,
    )
    selection = str(run.training.metric_for_best_model)
    return values | ({selection: SELECTIONS[selection](values)} if selection in SELECTIONS else {})


def start_at_mean_density(model: Any, train: list[CountingExample]) -> None:
    """Make the density branch the constant that is right on average over the training images.

    Raises:
        ValueError: the model has no density branch.
    """
    if getattr(model, "density_branch", None) is None:
        raise ValueError(f"start_at_mean_density needs a density branch. Received: {type(model).__name__} without one")
    side, number = model.config.tile_size, max(1, len(counted_classes(model.config)))
    with torch.no_grad():
        features = model.backbone(torch.zeros(1, model.config.num_channels, side, side)).feature_maps[-1]
    points = [sum(of_class) for of_class in zip(*(item.counts(number) for item in train))]
    pixels = sum(math.prod(item.size) for item in train)
    cell_side = side / features.shape[-1] / 2  # the density map is twice as fine as the features
    model.density_branch.start_at([one / pixels * cell_side**2 for one in points])
