"""Overlap of predicted and annotated label maps (thesis section 4.4.1, "Evaluation metrics"). K: number of labels."""

from collections.abc import Iterable
from typing import Literal

import numpy as np

from .label_maps import as_labels


class MeanIoU:
    """Mean and weighted intersection over union, and accuracies, from one confusion matrix over all pixels.

    ```python
    metrics = MeanIoU(num_labels=124)
    metrics.update(predictions=[map_1, map_2], references=[truth_1, truth_2])  # integers [H,W], sizes may differ
    metrics.compute()  # {"mean_iou": ..., "weighted_iou": ..., "pixel_accuracy": ..., "per_class_iou": [...], ...}
    ```

    Pixels whose *reference* is `ignore_index` do not count, whatever is predicted there. With TP, FP and FN in pixels
    over all maps, the IoU of a class is TP / (TP + FP + FN) and its accuracy TP / (TP + FN).

    Classes that are absent:
    - neither annotated nor predicted anywhere: IoU NaN, in no mean.
    - predicted but never annotated: IoU 0. It lowers `mean_iou` with `classes="occurring"` (as in mmsegmentation and
      evaluate's mean_iou) and is in no mean with `classes="annotated"` (as in the released VSPW script). Its accuracy
      is NaN and in no mean.

    `weighted_iou` weighs each class by its share of the annotated pixels, so absent classes never matter there.

    The matrix has whole numbers, so one process and several give the same result: send `state`, `merge` it.

    Args:
        num_labels: K.
        ignore_index: label of pixels that do not count; it may be any number.
        classes: which classes `mean_iou` is the mean of.
    """

    def __init__(
        self, num_labels: int, ignore_index: int = 255, classes: Literal["occurring", "annotated"] = "occurring"
    ):
        if num_labels < 1 or classes not in ("occurring", "annotated"):
            raise ValueError(
                "num_labels must be at least 1 and classes 'occurring' or 'annotated'. "
                f"Received: {num_labels} and {classes!r}"
            )
        self.num_labels = num_labels
        self.ignore_index = ignore_index
        self.classes = classes
        self.reset()

    def reset(self) -> None:
        """Forget all pixels."""
        self._confusion = np.zeros((self.num_labels, self.num_labels), dtype=np.int64)

    def update(self, predictions: Iterable, references: Iterable) -> "MeanIoU":
        """Add label maps.

        Args:
            predictions: per image the predicted labels [H,W], from 0 to K - 1.
            references: per image the annotated labels [H,W], from 0 to K - 1 or `ignore_index`.

        Raises:
            ValueError: if numbers or sizes of maps differ, or for a label outside the range; nothing is added then.
        """
        predicted, annotated = list(predictions), list(references)
        if len(predicted) != len(annotated):
            raise ValueError(
                "predictions and references must have one label map per image. Received: "
                f"{len(predicted)} predictions and {len(annotated)} references"
            )
        added = np.zeros_like(self._confusion)
        for one, truth in zip(predicted, annotated):
            added += self._count(as_labels("predictions", one), as_labels("references", truth))
        self._confusion += added
        return self

    def _count(self, predicted: np.ndarray, annotated: np.ndarray) -> np.ndarray:
        if predicted.shape != annotated.shape:
            raise ValueError(
                "a prediction must have the size of its reference. Received: "
                f"{list(predicted.shape)} and {list(annotated.shape)}"
            )
        counts = annotated != self.ignore_index
        predicted, annotated = predicted[counts], annotated[counts]
        for name, labels in (("predictions", predicted), ("references", annotated)):
            if labels.size and not (labels.min() >= 0 and labels.max() < self.num_labels):
                wrong = labels.min() if labels.min() < 0 else labels.max()
                expected = f"labels from 0 to {self.num_labels - 1}"
                raise ValueError(
                    f"{name} must be {expected} where references are not {self.ignore_index}. Received: {wrong}"
                )
        cells = annotated.astype(np.int64) * self.num_labels + predicted.astype(np.int64)
        return np.bincount(cells, minlength=self.num_labels**2).reshape(self._confusion.shape)

    @property
    def state(self) -> np.ndarray:
        """int64 [K,K], pixels by reference (row) and prediction (column); what another process needs for `merge`."""
        return self._confusion.copy()

    def merge(self, state: np.ndarray) -> "MeanIoU":
        """Add the pixels of another process's `state`."""
        state = as_labels("state", state)
        if state.shape != self._confusion.shape:
            raise ValueError(f"the state must be {list(self._confusion.shape)}. Received: {list(state.shape)}")
        self._confusion += state
        return self

    def compute(self) -> dict[str, float | list[float]]:
        """`mean_iou`, `weighted_iou`, `pixel_accuracy`, `mean_accuracy`; lists `per_class_iou`, `per_class_accuracy`.

        Raises:
            ValueError: if no pixel was added.
        """
        if not self._confusion.any():
            raise ValueError("metrics of no pixel are not defined, call update(...) first. Received: 0 pixels")
        correct = self._confusion.diagonal().astype(np.float64)
        annotated, predicted = self._confusion.sum(axis=1), self._confusion.sum(axis=0)
        union = annotated + predicted - correct
        with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN of an absent class
            iou, accuracy = correct / union, correct / annotated
        counted = annotated > 0 if self.classes == "annotated" else union > 0
        present = annotated > 0
        return {
            "mean_iou": float(iou[counted].mean()),
            "weighted_iou": float((annotated[present] * iou[present]).sum() / annotated.sum()),
            "pixel_accuracy": float(correct.sum() / annotated.sum()),
            "mean_accuracy": float(accuracy[present].mean()),
            "per_class_iou": iou.tolist(),
            "per_class_accuracy": accuracy.tolist(),
        }
