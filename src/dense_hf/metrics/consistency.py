"""Video consistency VC_n (thesis Eq. 4.7): where the annotation stays the same for n frames, does the prediction?

C frames of a video, H x W pixels of a frame, n length of a window, M rows of the state.
"""

from collections.abc import Sequence
from math import fsum, nan
from typing import Literal

import numpy as np

from .label_maps import as_labels


class VideoConsistency:
    """VC_n for windows of several lengths.

    In a window of n consecutive frames, a pixel is *steady* if its annotated label is the same in all of them, and
    *consistent* if it is steady and its predicted label is the same in all of them. The score of the window is
    consistent / steady pixels. A constant wrong prediction is consistent: predictions are never compared with
    annotations. A window without a steady pixel has no score.

    | | `protocol="released"` | `protocol="thesis"` |
    | --- | --- | --- |
    | behind | the published tables (the script of VSPW) | Eq. 4.7 and the text |
    | windows of a video | the first C - n; the last one is missing | all C - n + 1 |
    | VC_n | mean over all windows of all videos, so long videos weigh more | mean over videos of their mean |
    | ignored pixels | a label like others: steady where they stay ignored | not steady |
    | short videos | none counts up to the longest window (C <= 16), for no n | one needs C >= n |

    `protocol="dvis_pooled"` is how DVIS++, VidEoMT and PMT print their numbers: as "released", but a video needs C > n
    only, and VC_n is the mean over the windows of length n *and* of the shorter lengths, because the list of scores is
    not emptied between them. What is printed as VC16 is larger by that; compare it with its own kind only.

    ```python
    metrics = VideoConsistency()
    for predictions, references in videos:  # integers [C,H,W]
        metrics.update(predictions, references)
    metrics.compute()  # {"vc8": 0.9, "vc16": 0.87, "num_videos": 343, "num_skipped_videos": 0}
    ```

    Whole numbers per window are kept, so one process and several give the same result: send `state`, `merge` it.

    Args:
        windows: the lengths n, at least 1 and all different.
        protocol: see above.
        ignore_index: annotated label of ignored pixels; matters for "thesis" only.
    """

    def __init__(
        self,
        windows: Sequence[int] = (8, 16),
        protocol: Literal["released", "thesis", "dvis_pooled"] = "released",
        ignore_index: int = 255,
    ):
        self.windows = tuple(int(window) for window in windows)
        if not self.windows or min(self.windows) < 1 or len(set(self.windows)) < len(self.windows):
            raise ValueError(f"windows must be at least 1 and all different. Received: {self.windows}")
        if protocol not in ("released", "thesis", "dvis_pooled"):
            raise ValueError(f"protocol must be 'released', 'thesis' or 'dvis_pooled'. Received: {protocol!r}")
        self.protocol = protocol
        self.ignore_index = ignore_index
        self.reset()

    def reset(self) -> None:
        """Forget all videos."""
        self._num_frames: list[int] = []
        self._pixels: list[dict[int, np.ndarray]] = []

    def update(self, predictions: object, references: object) -> "VideoConsistency":
        """Add one video.

        Args:
            predictions: predicted labels [C,H,W] of all frames in order.
            references: annotated labels [C,H,W].

        Raises:
            ValueError: if the shapes are not both the same [C,H,W]; nothing is added then.
        """
        predicted, annotated = as_labels("predictions", predictions), as_labels("references", references)
        if predicted.shape != annotated.shape or predicted.ndim != 3 or not predicted.size:
            raise ValueError(
                "predictions and references must be the same [frames, height, width]. Received: "
                f"{list(predicted.shape)} and {list(annotated.shape)}"
            )
        self._num_frames.append(len(annotated))
        self._pixels.append({} if self._is_too_short(len(annotated)) else self._count(predicted, annotated))
        return self

    def _is_too_short(self, num_frames: int) -> bool:
        if self.protocol == "released":
            return num_frames <= max(self.windows)
        return num_frames < min(self.windows) + (self.protocol == "dvis_pooled")

    def _count(self, predicted: np.ndarray, annotated: np.ndarray) -> dict[int, np.ndarray]:
        """n to its windows' numbers of consistent and steady pixels, [windows, 2]; one pass over the frames."""
        counts: dict[int, list[tuple[int, int]]] = {window: [] for window in self.windows}
        # for how many frames, up to this one, a pixel has had its label
        same_prediction, same_annotation = (np.zeros(predicted.shape[1:], dtype=np.int64) for _ in range(2))
        for index in range(len(annotated)):
            for run, labels in ((same_prediction, predicted), (same_annotation, annotated)):
                if index:
                    run *= labels[index] == labels[index - 1]
                run += 1
            if self.protocol == "thesis":
                same_annotation[annotated[index] == self.ignore_index] = 0
            for window in self.windows:
                if index + 1 >= window:
                    steady = same_annotation >= window
                    consistent = steady & (same_prediction >= window)
                    counts[window].append((int(consistent.sum()), int(steady.sum())))
        end = None if self.protocol == "thesis" else -1
        return {window: np.array(pairs[:end]).reshape(-1, 2) for window, pairs in counts.items() if pairs}

    @property
    def scores(self) -> list[dict[int, list[float]]]:
        """Per video and n the scores of its windows in order, NaN for one without a steady pixel."""
        return [
            {window: [a / b if b else nan for a, b in pairs.tolist()] for window, pairs in video.items()}
            for video in self._pixels
        ]

    @property
    def state(self) -> np.ndarray:
        """int64 [M,4] for `merge`: (video, n, consistent, steady) of each window; (video, 0, C, 0) of each video."""
        rows = [(number, 0, length, 0) for number, length in enumerate(self._num_frames)]
        for number, video in enumerate(self._pixels):
            rows += [(number, window, *pair) for window, pairs in video.items() for pair in pairs.tolist()]
        return np.array(rows, dtype=np.int64).reshape(-1, 4)

    def merge(self, state: np.ndarray) -> "VideoConsistency":
        """Add the videos of another process's `state`; its windows and protocol must be the same."""
        state = as_labels("state", state)
        if state.ndim != 2 or state.shape[1] != 4 or not np.isin(state[:, 1], (0, *self.windows)).all():
            raise ValueError(f"the state must be [M,4] with windows {self.windows}. Received: {list(state.shape)}")
        for number, _, length, _ in state[state[:, 1] == 0].tolist():
            rows = state[state[:, 0] == number]
            self._num_frames.append(length)
            lengths = [window for window in self.windows if window in rows[:, 1]]
            self._pixels.append({window: rows[rows[:, 1] == window, 2:] for window in lengths})
        return self

    def compute(self) -> dict[str, float]:
        """`vc8` and so on for each n, `num_videos`, and `num_skipped_videos`, those too short for any window.

        A VC_n is NaN if no window of that length has a steady pixel.

        Raises:
            ValueError: if no video was added.
        """
        if not self._num_frames:
            raise ValueError("metrics of no video are not defined, call update(...) first. Received: 0 videos")
        results: dict[str, float] = {}
        pooled: list[float] = []  # of all lengths so far
        for window in sorted(self.windows):
            videos = [[a / b for a, b in video[window].tolist() if b] for video in self._pixels if window in video]
            if self.protocol == "thesis":
                means = [fsum(scores) / len(scores) for scores in videos if scores]
            else:
                means = [score for scores in videos for score in scores]
            if self.protocol == "dvis_pooled":
                pooled += means
                means = pooled
            results[f"vc{window}"] = fsum(means) / len(means) if means else nan
        results["num_videos"] = len(self._num_frames)
        results["num_skipped_videos"] = sum(self._is_too_short(length) for length in self._num_frames)
        return results
