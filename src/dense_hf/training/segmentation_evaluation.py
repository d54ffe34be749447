"""Segment every image of a split, with any number of processes, and compare with its masks (thesis section 3.3.3).

K labels, background included; H x W: size of an image.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from accelerate import PartialState
from accelerate.utils import gather_object
from PIL import Image
from tqdm.auto import tqdm

from ..data.images import open_image
from ..data.weak_folder import WeakFolder
from ..data.weak_source import mask_rule, read_weak_mask
from ..metrics.segmentation import MeanIoU
from .segmentation_predictions import SegmentationPredictions


def evaluate_segmentation(
    segment: Callable[[Image.Image], np.ndarray],
    folder: WeakFolder,
    predictions: SegmentationPredictions | None = None,
    progress: bool = True,
    description: str = "Segmenting",
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

    Returns:
        The same in every process: `num_images` and what `MeanIoU` computes; `per_class_iou` and `per_class_accuracy`
        by the name of the class, NaN for those that do not occur.

    Raises:
        InvalidDataError: an image or a mask that cannot be used.
        ValueError: another number of classes than the data's, or no labelled pixel.
    """
    rule = mask_rule(folder.class_names)
    state = PartialState()
    metrics = MeanIoU(rule.num_labels)
    share = folder.images[state.process_index :: state.num_processes]
    for image in tqdm(share, desc=description, unit="image", disable=not (progress and state.is_main_process)):
        labels = None if predictions is None else predictions.read(image)
        if labels is None:
            probabilities = segment(open_image(image.path))
            if len(probabilities) != rule.num_labels:
                raise ValueError(
                    f"The data has {rule.num_labels} labels, the model must have as many. "
                    f"Received: {len(probabilities)}"
                )
            labels = probabilities.argmax(axis=0).astype(np.uint8)
            if predictions is not None:
                predictions.write(image, labels)
        metrics.update([labels], [read_weak_mask(image, rule)])
    gathered = gather_object([metrics.state])
    metrics.reset()
    for matrix in gathered:
        metrics.merge(matrix)
    results: dict[str, Any] = {"num_images": len(folder), **metrics.compute()}
    for name in ("per_class_iou", "per_class_accuracy"):
        results[name] = dict(zip(rule.names, results[name]))
    return results
