"""What labels of crops are worth that need no model, beside those of `train_demo_weak.py` and `demo_weak.py`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dense_hf.data import read_weak_mask, read_weak_split
from dense_hf.data.weak_folder import WeakFolder
from dense_hf.data.weak_source import mask_rule
from dense_hf.metrics import PseudoLabelQuality


def read_masks(crops: WeakFolder) -> list[np.ndarray]:
    """The pseudo masks of all crops, labels uint8 [H, W]."""
    rule = mask_rule(crops.class_names)
    return [read_weak_mask(crop, rule) for crop in crops.images]


def judge(crops: WeakFolder, labels: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> dict[str, Any]:
    """mIoU and IoU of each label against the masks."""
    rule = mask_rule(crops.class_names)
    found = PseudoLabelQuality(rule.num_labels).update(labels, masks).compute()
    return {"mean_iou": found["mean_iou"], "per_class_iou": dict(zip(rule.names, found["per_class_iou"]))}


def constant_labels(crops: WeakFolder, masks: Sequence[np.ndarray]) -> dict[str, list[np.ndarray]]:
    """Labels that anybody can give who knows the classes of a crop: nothing anywhere, or one class everywhere."""
    whole = [np.full_like(mask, crop.labels[0] + 1 if crop.labels else 0) for crop, mask in zip(crops.images, masks)]
    return {"all background": [np.zeros_like(mask) for mask in masks], "the whole crop is its (first) class": whole}


def judge_constants(folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """The scores of `constant_labels` on the training crops ("pseudo_labels") and on the test crops."""
    scores: dict[str, dict[str, dict[str, Any]]] = {}
    for what, split in (("pseudo_labels", "train"), ("segmentation", "test")):
        crops = read_weak_split(folder, split, with_masks=True)
        masks = read_masks(crops)
        for title, labels in constant_labels(crops, masks).items():
            scores.setdefault(title, {})[what] = judge(crops, labels, masks)
    return scores
