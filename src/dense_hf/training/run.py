"""The steps that all training scripts have in common: start, build, and what is written at the end."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import set_seed
from transformers.utils import logging

from ..data.weak_folder import WeakFolder
from ..inference.checkpoints import load_processor
from ..inference.class_names import label_names, name_labels
from ..reports.model_card import RunDescription, command_line, write_results
from ..strict_loading import checkpoint_folder
from .backbone_weights import list_of, load_encoder_weights
from .calendar_trainer import CalendarTrainer
from .continuing import load_with_labels
from .extra_sources import count_extra_images
from .resuming import resolve_checkpoint
from .run_options import TrainingRun

logger = logging.get_logger(__name__)


def start(run: TrainingRun) -> str | None:
    """How much is logged, and the checkpoint that the run goes on from.

    Raises:
        ValueError: a checkpoint that cannot be resumed from.
    """
    logging.set_verbosity(run.training.get_process_log_level())
    checkpoint = resolve_checkpoint(run.training.resume_from_checkpoint, str(run.training.output_dir))
    return None if checkpoint is None else str(checkpoint)


def build_model(run: TrainingRun, names: Sequence[str] | None = None) -> Any:
    """Initial weights: a function of the seed, or of the files that the run names.

    Args:
        run: the run, whose configuration gets the labels.
        names: labels of the data; None if the model has no such labels.

    Raises:
        InvalidDataError: weights that do not fit.
    """
    before = label_names(run.config)
    if names is not None:
        name_labels(run.config, names)
    set_seed(run.training.seed)
    if (source := run.model.model_name_or_path) is not None:
        return load_with_labels(run.method.model_class, source, run.config, before if names is None else names, before)
    model: Any = run.method.model_class(run.config)
    if run.model.backbone_weights is not None:
        loaded = load_encoder_weights(model, run.method, run.model.backbone_weights)
        unused = sorted({".".join(key.split(".")[:2]) for key in loaded.left_out})
        PartialState().print(
            f"Backbone: {loaded.num_loaded} tensors of {loaded.source}; no place for {', '.join(unused) or 'none'}"
        )
    return model


def build_processor(run: TrainingRun, processor_class: Any = None, **of_config: Any) -> Any:
    """How pictures are prepared, the same in training and in use.

    What was given wins, then the model that is gone on from (a difference is said), then the method's own values.

    Args:
        run: the run.
        processor_class: by default the method's.
        of_config: options that the model's configuration decides.
    """
    processor_class = processor_class or run.method.processor_class
    given = {**run.data.processor_options(), **of_config}
    if (source := run.model.model_name_or_path) is None:
        return processor_class(**given)
    folder = checkpoint_folder(source)
    trained, processor = (load_processor(processor_class, folder, options) for options in ({}, given))
    for name in given:
        here, there = getattr(processor, name), getattr(trained, name)
        if list_of(here) != list_of(there):
            logger.warning(f"{name} is {here}, but {there} in {source}, from which the run goes on")
    if getattr(processor, "count_calibration", None) is not None:
        logger.warning(f"Ranges around counts are those of {source}: calibrate the new model for its own")
        processor.count_calibration = None
    return processor


def finish(
    run: TrainingRun, trainer: CalendarTrainer, splits: Mapping[str, Any], unit: str, **about: Any
) -> dict[str, Any]:
    """Judge the final weights, write results.json, model and card; push them if told to.

    Args:
        run: what was trained.
        trainer: after training.
        splits: name to the data of each split that is judged.
        unit: what the length of a run is counted in, "epochs" or "steps".
        about: what results.json says besides.

    Returns:
        What results.json holds.
    """
    results: dict[str, Any] = {}
    for split, data in splits.items():
        metrics = trainer.evaluate(data, metric_key_prefix=split)
        results[split] = {key.removeprefix(f"{split}_"): value for key, value in metrics.items()}
    reached = {unit: trainer.state.global_step}
    if trainer.judge is not None:
        reached[f"best_{unit.removesuffix('s')}"] = trainer.step_of_weights
    if unit == "epochs":
        reached = {name: step / trainer.steps_per_epoch for name, step in reached.items()}
    results |= {**reached, "seed": run.training.seed, **about}
    if trainer.is_world_process_zero():
        write_results(Path(str(run.training.output_dir)), results)
    if run.training.push_to_hub:
        trainer.push_to_hub()
    else:
        trainer.save_model()
        trainer.create_model_card()
    return results


def name_data(name: str, files: Iterable[str], unit: str = "images") -> str:
    """The name of a data set, with a remark if all its files are named as the miniature sets name theirs."""
    found = list(files)
    drawn = bool(found) and all(file.startswith("synthetic_") for file in found)
    return f"{name} (synthetic {unit}, drawn by a program)" if drawn and "synthetic" not in name else name


def describe(
    run: TrainingRun,
    num_images: Mapping[str, int],
    files: Iterable[str] | None = None,
    images: WeakFolder | None = None,
    unit: str = "images",
) -> RunDescription:
    """What the card says about a run.

    Args:
        run: the run.
        num_images: split to how many there are.
        files: names of what it learns from. Those that the miniature sets give are told from all others: nobody shall
            take numbers of such pictures for measurements.
        images: all training images, in chapter 3; they have the names, and those of extra sources are counted.
        unit: what is counted.
    """
    if images is not None:
        files = [image.name for image in images.images if image.source == 0]
    name = run.data.dataset_name or Path(str(run.data.data_dir)).resolve().name
    return RunDescription(
        title=run.method.title_of(run.config),
        command=command_line(sys.argv, run.training.world_size),
        config=run.sections,
        dataset=name_data(name, files or (), unit),
        num_images=dict(num_images),
        processes=run.training.world_size,
        extra_images={} if images is None else count_extra_images(run.sources, images),
        limits=run.method.limits,
    )
