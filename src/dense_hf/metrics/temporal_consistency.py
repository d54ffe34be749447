"""Temporal consistency TC: do labels move with the picture? The metric of ETC, beside VC (Table 4.1).

C frames of a video, H x W pixels, K labels.
"""

from typing import Any

import numpy as np

from .label_maps import as_labels
from .segmentation import MeanIoU


class TemporalConsistency:
    """Mean IoU of each frame's labels with those of the frame before, moved along the optical flow.

    It needs no annotations. A pixel takes the label that stands, to the nearest pixel, where its flow ends in the
    frame before; pixels whose flow ends outside count in nothing. The script that was released with VSPW gives those
    label 0, looks at the first 100 videos only, and is half a pixel off; its numbers are others.

    ```python
    metrics = TemporalConsistency(num_labels=124)
    for predictions, flows in videos:  # integers [C,H,W]; from a frame to the one before [C - 1,2,H,W]
        metrics.update(predictions, flows)
    metrics.compute()  # {"tc": 0.71, "num_videos": 343}
    ```

    The matrix has whole numbers, so one process and several give the same result: send `state`, `merge` it.

    Args:
        num_labels: K.
    """

    def __init__(self, num_labels: int):
        self._overlap = MeanIoU(num_labels, ignore_index=-1)
        self.num_videos = 0

    def update(self, predictions: object, flows: Any) -> "TemporalConsistency":
        """Add one video.

        Args:
            predictions: predicted labels [C,H,W] of all frames in order.
            flows: [C - 1,2,H,W], pixels to the right and down from a pixel of frames 1, 2, ... to where the same thing
                is in the frame before.

        Raises:
            ValueError: if the shapes do not fit, or a flow is not finite; nothing is added then.
        """
        labels, moves = as_labels("predictions", predictions), np.asarray(flows, dtype=np.float64)
        expected = (len(labels) - 1, 2, *labels.shape[1:]) if labels.ndim == 3 else None
        if moves.shape != expected or not np.isfinite(moves).all():
            raise ValueError(
                "predictions must be [frames, height, width] and flows finite, [frames - 1, 2, height, width]. "
                f"Received: {list(labels.shape)} and {list(moves.shape)}"
            )
        moved = [warp_labels(before, flow) for before, flow in zip(labels, moves)]
        self._overlap.update(list(labels[1:]), moved)
        self.num_videos += 1
        return self

    @property
    def state(self) -> np.ndarray:
        """int64 [K,K] for `merge`."""
        return self._overlap.state

    def merge(self, state: np.ndarray, num_videos: int = 0) -> "TemporalConsistency":
        """Add another process's `state` and how many videos it is of."""
        self._overlap.merge(state)
        self.num_videos += num_videos
        return self

    def reset(self) -> None:
        """Forget all videos."""
        self._overlap.reset()
        self.num_videos = 0

    def compute(self) -> dict[str, Any]:
        """`tc`, from 0 to 1, and `num_videos`.

        Raises:
            ValueError: if no pixel was compared.
        """
        return {"tc": self._overlap.compute()["mean_iou"], "num_videos": self.num_videos}


def warp_labels(labels: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Labels [H,W] at the ends of a flow [2,H,W], to the nearest pixel, int64; -1 outside."""
    height, width = labels.shape
    rows = np.rint(np.arange(height)[:, None] + flow[1])
    columns = np.rint(np.arange(width) + flow[0])
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    places = np.where(inside, rows, 0).astype(np.int64), np.where(inside, columns, 0).astype(np.int64)
    return np.where(inside, labels[places].astype(np.int64), -1)
