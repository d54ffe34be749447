"""How good pseudo labels are, where annotated masks exist to judge them by. K: labels with the background."""

from collections.abc import Iterable

import numpy as np

from .label_maps import as_labels
from .segmentation import MeanIoU

IGNORED = 255


class PseudoLabelQuality:
    """Precision, recall and overlap per label of pseudo labels, which may leave pixels out.

    ```python
    quality = PseudoLabelQuality(num_labels=21)
    quality.update(pseudo_labels=[label_1, label_2], masks=[mask_1, mask_2])
    quality.compute()  # {"mean_iou": ..., "ignored": ..., "per_class_precision": [...], ...}
    ```

    Pixels that the *mask* ignores do not count. Of the others:
    - precision of a label: how many of the pixels that were given it have it. NaN if none was given it.
    - recall: how many of the pixels that have it were given it; an ignored pixel was not. NaN if none has it.
    - iou: given and annotated, over given or annotated; NaN if it is neither.
    - ignored: how many of the pixels that have it the pseudo label leaves out.

    Args:
        num_labels: K, 0 being the background.
    """

    def __init__(self, num_labels: int):
        self.num_labels = num_labels
        self._pixels = MeanIoU(num_labels + 1)  # one more column: ignored by the pseudo label
        self.num_images = 0
        self.num_empty = 0

    def update(self, pseudo_labels: Iterable, masks: Iterable) -> "PseudoLabelQuality":
        """Add images: label maps [H, W] of whole numbers below K, or 255 for ignored, and as large masks.

        Raises:
            ValueError: as `MeanIoU.update`; nothing is added then.
        """
        given = [self._checked("pseudo_labels", one) for one in pseudo_labels]
        truths = [self._checked("masks", one) for one in masks]
        self._pixels.update([np.where(one == IGNORED, self.num_labels, one) for one in given], truths)
        self.num_images += len(given)
        self.num_empty += sum(bool((one == IGNORED).all()) for one in given)
        return self

    def _checked(self, name: str, values: object) -> np.ndarray:
        labels = as_labels(name, values)
        if (unknown := labels[(labels >= self.num_labels) & (labels != IGNORED)]).size:
            raise ValueError(
                f"{name} must be labels from 0 to {self.num_labels - 1}, or {IGNORED}. Received: {unknown.max()}"
            )
        return labels

    @property
    def state(self) -> tuple[np.ndarray, int, int]:
        """What another process needs for `merge`."""
        return self._pixels.state, self.num_images, self.num_empty

    def merge(self, state: tuple[np.ndarray, int, int]) -> "PseudoLabelQuality":
        """Add the images of another process's `state`."""
        pixels, num_images, num_empty = state
        self._pixels.merge(pixels)
        self.num_images += num_images
        self.num_empty += num_empty
        return self

    def compute(self) -> dict[str, float | list[float]]:
        """Means over the labels for which a number is defined, lists by label, and counts of images.

        Keys: `mean_iou`, `mean_precision`, `mean_recall`; `ignored`, of all pixels; `per_class_iou`,
        `per_class_precision`, `per_class_recall`, `per_class_ignored`; `num_images` and `num_empty`, the images that
        are ignored as a whole.

        Raises:
            ValueError: if no pixel was added.
        """
        confusion = self._pixels.state[: self.num_labels].astype(np.float64)
        if not confusion.any():
            raise ValueError("quality of no pixel is not defined, call update(...) first. Received: 0 pixels")
        correct = confusion.diagonal()
        annotated, given = confusion.sum(axis=1), confusion[:, :-1].sum(axis=0)
        with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN of an absent label
            per_class = {
                "iou": correct / (annotated + given - correct),
                "precision": correct / given,
                "recall": correct / annotated,
                "ignored": confusion[:, -1] / annotated,
            }
        result: dict[str, float | list[float]] = {
            f"mean_{name}": float(np.nanmean(per_class[name])) if not np.isnan(per_class[name]).all() else float("nan")
            for name in ("iou", "precision", "recall")
        }
        result["ignored"] = float(confusion[:, -1].sum() / annotated.sum())
        result |= {f"per_class_{name}": values.tolist() for name, values in per_class.items()}
        return result | {"num_images": self.num_images, "num_empty": self.num_empty}
