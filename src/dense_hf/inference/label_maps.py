"""Segment every image of a split, with any number of processes, and compare with its masks (thesis section 3.3.3).

K labels, background included; H x W: size of an image. Predicted label maps may be kept:

DIRECTORY/NAME.png            numbers as in masks and pseudo labels: 0 background, class id + 1; with a palette
DIRECTORY/predictions.json    which model and which settings they are of
"""

import os
from collections.abc import Callable, Mapping
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from accelerate.utils import gather_object
from PIL import Image
from transformers.utils import logging

from ..data.files import write_file
from ..data.images import open_image, read_image_header
from ..data.labels import LabelRule, label_map_png, read_mask
from ..data.weak_folder import WeakFolder, WeakImage
from ..data.weak_source import mask_rule, read_weak_mask
from ..errors import first_of
from ..metrics.segmentation import MeanIoU
from .evaluation_records import EvaluationRecord, dense, sparse
from .finite_outputs import judging, require_finite
from .result_folders import claim_folder
from .shares import each_of_share

logger = logging.get_logger(__name__)


class SegmentationPredictions:
    """A folder of predictions that an evaluation can be continued with after a stop.

    The file of an image is whole or not there.

    Args:
        directory: a new folder, or one that the same maker has begun to fill.
        rule: what the numbers mean, see `mask_rule`.
        maker: what makes the predictions: `describe_maker`, and settings that change them.

    Raises:
        InvalidDataError: the folder has predictions of another maker, or no manifest at all.
    """

    def __init__(self, directory: str | os.PathLike, rule: LabelRule, maker: Mapping[str, Any]):
        self.directory = Path(directory)
        self.rule = rule
        self._lock = claim_folder(self.directory, maker)

    def read(self, image: WeakImage) -> np.ndarray | None:
        """Labels uint8 [H, W] of an image; `None` if they are not there yet.

        Raises:
            InvalidDataError: the file is not a label map of this image.
        """
        path = self._path(image)
        if not path.is_file():
            return None
        header = read_image_header(image.path)
        return read_mask(path, (header.width, header.height), self.rule)

    def write(self, image: WeakImage, labels: np.ndarray) -> None:
        """Write labels uint8 [H, W] of an image."""
        write_file(self._path(image), label_map_png(labels))

    def _path(self, image: WeakImage) -> Path:
        return self.directory / f"{image.name}.png"


def evaluate_segmentation(
    segment: Callable[[Image.Image], np.ndarray],
    folder: WeakFolder,
    predictions: SegmentationPredictions | None = None,
    progress: bool = True,
    description: str = "Segmenting",
    record: EvaluationRecord | None = None,
) -> dict[str, Any]:
    """Mean IoU over all labels, at the size of the images.

    Each process takes every n-th image; whole numbers of all are gathered and added. There is no sampler that could
    repeat images to even out the shares, so the numbers do not depend on the number of processes.

    Args:
        segment: An image -> probabilities [K, H, W], such as a `MultiScaleSegmenter`. The same in every process.
        folder: Images with masks, see `read_weak_split`.
        predictions: Where label maps are written. Images that it holds already are read instead of segmented.
        progress: Whether process 0 shows a bar.
        description: Text of the bar.
        record: What an evaluation that was stopped has found out; it gets the rest.

    Returns:
        The same in every process: `num_images` and what `MeanIoU` computes; `per_class_iou` and `per_class_accuracy`
        by the name of the class, NaN for those that do not occur.

    Raises:
        InvalidDataError: an image or a mask that cannot be used.
        ValueError: another number of classes than the data's, no labelled pixel, or outputs that are not finite.
    """
    rule = mask_rule(folder.class_names)
    metrics = MeanIoU(rule.num_labels)
    record = record or EvaluationRecord(None, {})
    for image in each_of_share(folder.images, description, "image", progress):
        if (known := record.get(image.name)) is not None:
            metrics.merge(dense(known["pixels"], rule.num_labels))
            continue
        labels = None if predictions is None else predictions.read(image)
        if labels is None:
            picture = open_image(image.path)
            with judging(image.path, getattr(segment, "model", None)):
                probabilities = segment(picture)
                require_finite(probabilities)
            if len(probabilities) != rule.num_labels:
                raise ValueError(
                    f"The data has {rule.num_labels} labels, the model must have as many. "
                    f"Received: {len(probabilities)}"
                )
            labels = probabilities.argmax(axis=0).astype(np.uint8)
            if predictions is not None:
                predictions.write(image, labels)
        pixels = MeanIoU(rule.num_labels).update([labels], [read_weak_mask(image, rule)]).state
        metrics.merge(pixels)
        record.add(image.name, {"pixels": sparse(pixels)})
    gathered = gather_object([metrics.state])
    metrics.reset()
    for matrix in gathered:
        metrics.merge(matrix)
    results: dict[str, Any] = {"num_images": len(folder), **metrics.compute()}
    for name in ("per_class_iou", "per_class_accuracy"):
        results[name] = dict(zip(rule.names, results[name]))
    if PartialState().is_main_process:
        say_what_never_occurs(results["per_class_accuracy"])
    return results


def say_what_never_occurs(recall: Mapping[str, float]) -> None:
    """Warn of classes that no mask has a pixel of.

    Args:
        recall: of all labels by name, the background first; NaN for those that do not occur in the masks.
    """
    never = [name for name, value in list(recall.items())[1:] if isnan(value)]
    if never and len(never) == len(recall) - 1:
        logger.warning(
            "No mask has a pixel of any class but the background, so nothing is measured of classes. "
            "Masks of 0 and 255? 255 does not count; a class is its number + 1."
        )
    elif never:
        logger.warning(f"No mask has a pixel of {first_of(never, 20)}, so nothing is measured of that.")
