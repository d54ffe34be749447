"""Are the counted objects where the annotated ones are? Precision, recall and F1 within given distances.

n: predicted points, m: annotated points of an image; D: number of distances; N: number of images.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial import KDTree

from .density_ranges import DENSITY_RANGES, density_range
from .label_maps import as_labels


class LocalizationMetrics:
    """Precision, recall and F1 of points over all images, in total and per density range of Table 2.2.

    A predicted and an annotated point may be matched if they are at most `distance` pixels apart; each point is
    matched at most once; of all such matchings the largest counts. The numbers are over points, not means of images.

    ```python
    metrics = LocalizationMetrics(distances=(4, 8))
    metrics.update(predictions=[[[10, 12], [30, 31]]], references=[[[11, 12]]])
    metrics.compute()  # {"precision@4": 0.5, "recall@4": 1.0, "f1@4": 0.666..., "precision@8": ..., "f1@4/0-50": ...}
    ```

    Whole numbers per image are kept, so one process and several give the same result: send `state`, `merge` it.
    No result is NaN: without any predicted and any annotated point all three are 1 (nothing to find, nothing found);
    with only one kind of points all three are 0. A range without images has no keys. Without any image: `ValueError`.

    Args:
        distances: in pixels of the given image, positive.
    """

    def __init__(self, distances: Sequence[float] = (4, 8)):
        distances = tuple(float(distance) for distance in distances)
        if not distances or len(set(distances)) < len(distances) or not all(0 < d < np.inf for d in distances):
            raise ValueError(f"distances must be positive, finite and all different. Received: {distances}")
        self.distances = distances
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self._counts: list[list[int]] = []

    def update(self, predictions: Iterable, references: Iterable) -> "LocalizationMetrics":
        """Add images.

        Args:
            predictions: per image the predicted points [n,2], (x, y) in pixels; n may be 0.
            references: per image the annotated points [m,2]; m may be 0.

        Raises:
            ValueError: if the lengths differ or points are not finite [n,2]; nothing is added then.
        """
        predicted = [_points("predictions", points) for points in predictions]
        annotated = [_points("references", points) for points in references]
        if len(predicted) != len(annotated):
            raise ValueError(
                f"predictions and references must have one list of points per image. Received: {len(predicted)} "
                f"predictions and {len(annotated)} references"
            )
        self._counts += [
            [len(points), len(targets), *(count_matches(points, targets, distance) for distance in self.distances)]
            for points, targets in zip(predicted, annotated)
        ]
        return self

    @property
    def state(self) -> np.ndarray:
        """int64 [N,2+D]: per image n, m and the number of matches at each distance."""
        return np.array(self._counts, dtype=np.int64).reshape(-1, 2 + len(self.distances))

    def merge(self, state: np.ndarray) -> "LocalizationMetrics":
        """Add the images of another process's `state`; its distances must be the same."""
        state = as_labels("state", state)
        if state.ndim != 2 or state.shape[1] != 2 + len(self.distances):
            raise ValueError(f"the state must have shape [N,{2 + len(self.distances)}]. Received: {list(state.shape)}")
        self._counts += state.tolist()
        return self

    def compute(self) -> dict[str, float]:
        """`precision@d`, `recall@d`, `f1@d` for each distance d, and the same per density range: `f1@4/51-100`.

        Raises:
            ValueError: if no image was added.
        """
        if not self._counts:
            raise ValueError("metrics of no image are not defined, call update(...) first. Received: 0 images")
        results = self._ratios(self._counts)
        for name in DENSITY_RANGES:
            if counts := [row for row in self._counts if density_range(row[1]) == name]:
                results |= {f"{key}/{name}": value for key, value in self._ratios(counts).items()}
        return results

    def _ratios(self, counts: list[list[int]]) -> dict[str, float]:
        predicted, annotated, *matches = (sum(column) for column in zip(*counts))
        nothing = 1.0 if predicted == annotated == 0 else 0.0
        results = {}
        for distance, matched in zip(self.distances, matches):
            results[f"precision@{distance:g}"] = matched / predicted if predicted else nothing
            results[f"recall@{distance:g}"] = matched / annotated if annotated else nothing
            results[f"f1@{distance:g}"] = 2 * matched / (predicted + annotated) if predicted + annotated else nothing
        return results


def count_matches(points: np.ndarray, targets: np.ndarray, distance: float) -> int:
    """The size of the largest one-to-one matching of pairs at most `distance` apart; [n,2] and [m,2]."""
    if not len(points) or not len(targets):
        return 0
    neighbours = KDTree(targets).query_ball_point(points, distance)  # <= distance
    lengths = [len(near) for near in neighbours]
    columns = np.fromiter((index for near in neighbours for index in near), dtype=np.int32, count=sum(lengths))
    row_starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    graph = csr_array((np.ones(len(columns), np.int8), columns, row_starts), shape=(len(points), len(targets)))
    return int((maximum_bipartite_matching(graph) >= 0).sum())


def _points(name: str, points: object) -> np.ndarray:
    try:
        array = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be points [n,2] per image. Received: {points!r:.200}") from error
    if array.size == 0:
        return array.reshape(0, 2)
    if array.ndim != 2 or array.shape[1] != 2 or not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite points [n,2] per image. Received: shape {list(array.shape)}")
    return array
