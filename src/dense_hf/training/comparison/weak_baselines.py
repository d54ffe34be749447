"""Masks from image labels without a model, and how masks are judged. H x W: size of an image."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ...data.weak_folder import WeakFolder, WeakImage
from ...data.weak_source import mask_rule, read_weak_mask
from ...metrics.pseudo_labels import PseudoLabelQuality


def all_background(image: WeakImage, shape: tuple[int, ...]) -> np.ndarray:
    """No class anywhere: uint8 [H, W] of this shape."""
    return np.zeros(shape, np.uint8)


def whole_picture(image: WeakImage, shape: tuple[int, ...]) -> np.ndarray:
    """The first class of the image everywhere, background if it has none: uint8 [H, W] of this shape."""
    return np.full(shape, image.labels[0] + 1 if image.labels else 0, np.uint8)


def read_masks(images: WeakFolder) -> Iterator[np.ndarray]:
    """The masks of images, labels uint8 [H, W].

    Raises:
        InvalidDataError: one that cannot be used.
    """
    rule = mask_rule(images.class_names)
    return (read_weak_mask(image, rule) for image in images.images)


def judge_labels(
    class_names: Sequence[str], labels: Iterable[np.ndarray], masks: Iterable[np.ndarray]
) -> dict[str, Any]:
    """The numbers of label maps against masks, both uint8 [H, W], see `scores_of`; one pair in memory at a time."""
    quality = PseudoLabelQuality(len(class_names) + 1)
    for label, mask in zip(labels, masks, strict=True):
        quality.update([label], [mask])
    return scores_of(quality, class_names)


def scores_of(quality: PseudoLabelQuality, class_names: Sequence[str]) -> dict[str, Any]:
    """`mean_iou`, and `per_class_iou` by name, the background first; NaN for what does not occur."""
    found, names = quality.compute(), ("background", *class_names)
    return {"mean_iou": found["mean_iou"], "per_class_iou": dict(zip(names, found["per_class_iou"]))}  # ty: ignore[invalid-argument-type]
