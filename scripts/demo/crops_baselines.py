"""What labels of crops are worth that need no model, beside those of `train_demo_weak.py` and `demo_weak.py`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dense_hf.data import read_weak_split
from dense_hf.data.weak_folder import WeakFolder
from dense_hf.training.comparison.weak_baselines import all_background, judge_labels, read_masks, whole_picture

CONSTANTS = {"all background": all_background, "the whole crop is its (first) class": whole_picture}


def constant_labels(crops: WeakFolder, masks: Sequence[np.ndarray]) -> dict[str, list[np.ndarray]]:
    """Labels that anybody can give who knows the classes of a crop: nothing anywhere, or one class everywhere."""
    return {
        title: [label_of(crop, mask.shape) for crop, mask in zip(crops.images, masks)]
        for title, label_of in CONSTANTS.items()
    }


def judge_constants(folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """The scores of `constant_labels` on the training crops ("pseudo_labels") and on the test crops."""
    scores: dict[str, dict[str, dict[str, Any]]] = {}
    for what, split in (("pseudo_labels", "train"), ("segmentation", "test")):
        crops = read_weak_split(folder, split, with_masks=True)
        masks = list(read_masks(crops))
        for title, labels in constant_labels(crops, masks).items():
            scores.setdefault(title, {})[what] = judge_labels(crops.class_names, labels, masks)
    return scores
