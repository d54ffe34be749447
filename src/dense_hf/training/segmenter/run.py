"""A training run of a segmenter on label maps, from the options to the card."""

from functools import partial
from pathlib import Path
from typing import Any

from transformers.utils import logging

from ...data.weak_folder import WeakFolder
from ...data.weak_source import is_voc, mask_rule, read_weak_split, read_weak_training
from ...errors import InvalidDataError
from ...inference.checks import check_label_maps, with_pseudo_labels
from ...inference.label_maps import evaluate_segmentation
from ...reports.segmenter import LabelSource, read_label_settings, write_segmenter_card
from ...weak_segmentation.multi_scale_segmenter import MultiScaleSegmenter
from ..batch_norm import with_synchronized_norms
from ..calendar_trainer import CalendarTrainer
from ..run import build_model, build_processor, describe, finish, start
from ..run_options import TrainingRun
from .dataset import SegmenterTrainingSet

logger = logging.get_logger(__name__)

DRAWN_MASKS = ("SegmentationClass", "SegmentationClassAug", "masks", "train/masks")


def train_segmenter(run: TrainingRun) -> dict[str, Any]:
    """Check data and weights, train, write results, model and card.

    Raises:
        InvalidDataError: data or weights that cannot be used, before the first step.
        ValueError: arguments that do not fit the data.
    """
    checkpoint = start(run)
    folders = read_data(run)
    check_options(run)
    model = build_model(run, mask_rule(folders["train"].class_names).names)
    processor = build_processor(run)
    train_set = SegmenterTrainingSet(
        folders["train"], processor, run.augmentation, run.training.seed, run.data.image_cache_size
    )
    labels = describe_labels(run)
    card = describe(run, {split: len(folder) for split, folder in folders.items()}, images=folders["train"])
    trainer = CalendarTrainer(
        model=with_synchronized_norms(model, run.training.world_size, run.training.device.type),
        args=run.training,
        encoder=run.method.encoder,
        train_dataset=train_set,
        eval_dataset=folders.get("validation"),
        processing_class=processor,
        judge=partial(judge, run=run, processor=processor),
        write_card=partial(write_segmenter_card, run=card, labels=labels),
    )
    trainer.train(resume_from_checkpoint=checkpoint)
    return finish(
        run,
        trainer,
        {split: folder for split, folder in folders.items() if split != "train"},
        "steps",
        labels="drawn" if labels.drawn else "pseudo",
        label_source=labels.description,
        num_training_images=len(folders["train"]),
        num_extra_images=card.extra_images,
    )


def read_data(run: TrainingRun) -> dict[str, WeakFolder]:
    """Training images with their labels and, for an evaluation, images with masks; all label maps are checked."""
    progress = not run.training.disable_tqdm
    data_dir, labels_dir = str(run.data.data_dir), str(run.data.pseudo_labels)
    if run.data.dataset_name is None and is_voc(data_dir):
        run.data.dataset_name = "PASCAL VOC 2012"
    folders = {"train": with_pseudo_labels(read_weak_training(data_dir, run.sources), labels_dir, progress)}
    if run.training.eval_strategy != "no":
        judged = read_weak_split(data_dir, run.data.eval_split, with_masks=True)
        if judged.class_names != folders["train"].class_names:
            expected = f"the classes of the training images, {', '.join(folders['train'].class_names)}"
            raise InvalidDataError(f"{data_dir} ({run.data.eval_split})", expected, ", ".join(judged.class_names))
        check_label_maps(judged.images, mask_rule(judged.class_names), "Checking masks", progress)
        folders["validation"] = judged
    return folders


def check_options(run: TrainingRun) -> None:
    """What of the model must fit the rest of the options.

    Raises:
        ValueError: a batch that the model cannot learn from.
    """
    config: Any = run.config
    head, size = getattr(config, "head", None), run.training.per_device_train_batch_size
    if head == "deeplabv3" and size < 2:
        raise ValueError(
            "deeplabv3 trains batch norm of a pooled image and needs a per_device_train_batch_size of at least 2. "
            f"Received: {size}"
        )
    own_resnet = config.backbone_config is None and getattr(config, "downsample_in_bottleneck", False)
    if own_resnet and run.model.backbone_weights is not None:
        logger.warning(
            "torchvision's ResNet-101 halves in 3x3 convolutions: set downsample_in_bottleneck: false for its weights "
            "(true fits weights that were converted from Caffe)"
        )


def judge(model: Any, folder: WeakFolder, description: str, run: TrainingRun, processor: Any) -> dict[str, Any]:
    """The scores of `evaluate_segmentation.py --scales 1 --no_flip --no_crf`."""
    segmenter = MultiScaleSegmenter(
        model,
        processor,
        scales=(1.0,),
        window=run.data.eval_window,
        stride=run.data.eval_stride,
        flip=False,
        batch_size=run.training.eval_batch_size,
    )
    return evaluate_segmentation(segmenter, folder, progress=not run.training.disable_tqdm, description=description)


def describe_labels(run: TrainingRun) -> LabelSource:
    """Pseudo labels, unless they are the data set's own masks or the run says otherwise."""
    labels_dir = Path(str(run.data.pseudo_labels)).resolve()
    own_masks = [Path(str(run.data.data_dir), name).resolve() for name in DRAWN_MASKS]
    drawn = labels_dir in own_masks if run.data.drawn_labels is None else run.data.drawn_labels
    source = run.data.label_source or f"the folder {labels_dir.name}"
    return LabelSource(drawn, source, {} if drawn else read_label_settings(labels_dir))
