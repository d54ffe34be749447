"""Errors of predicted counts (thesis section 2.5.1, "Metrics"). n: number of images."""

from collections.abc import Iterable
from math import fsum, isfinite, sqrt

import numpy as np

from .density_ranges import DENSITY_RANGES, density_range


class CountingMetrics:
    """MAE, MSE and NAE over images, in total and per density range of Table 2.2.

    - `mae`: mean of |prediction - reference|.
    - `mse`: the root of the mean squared error, as in all tables of the thesis and its peers.
    - `nae`: mean of |prediction - reference| / reference over the images with objects.

    The pairs of all images are kept, so that the numbers do not depend on how images were spread over batches and
    processes: sums are exactly rounded. Several processes each send their `state`, one merges them:

    ```python
    metrics = CountingMetrics()
    metrics.update(predictions=[12, 0, 230.4], references=[10, 0, 244])
    metrics.compute()  # {"num_images": 3, "mae": ..., "mse": ..., "nae": ..., "mae/0-50": ..., "mae/>200": ...}
    ```

    No result is NaN. An image without objects counts in `mae` and `mse` but not in `nae`; `nae` is 0 where no image
    has objects. A range without images has no keys. Without any image there is nothing to compute: `ValueError`.
    """

    def __init__(self):
        self._pairs: list[tuple[float, float]] = []

    def reset(self) -> None:
        """Forget all images."""
        self._pairs = []

    def update(self, predictions: Iterable[float], references: Iterable[float]) -> "CountingMetrics":
        """Add images.

        Args:
            predictions: one count per image; the sum of a density map need not be whole.
            references: annotated counts of the same images, not negative.

        Raises:
            ValueError: if the lengths differ or a count is not finite; nothing is added then.
        """
        predicted, annotated = _counts("predictions", predictions), _counts("references", references)
        if len(predicted) != len(annotated):
            raise ValueError(
                f"predictions and references must have one count per image. Received: {len(predicted)} predictions "
                f"and {len(annotated)} references"
            )
        if any(count < 0 for count in annotated):
            raise ValueError(f"references must not be negative. Received: {min(annotated)}")
        self._pairs += zip(predicted, annotated)
        return self

    @property
    def state(self) -> np.ndarray:
        """float64 [n,2]: (prediction, reference) of each image; what another process needs for `merge`."""
        return np.array(self._pairs, dtype=np.float64).reshape(-1, 2)

    def merge(self, state: np.ndarray) -> "CountingMetrics":
        """Add the images of another process's `state`."""
        state = np.asarray(state)
        if state.ndim != 2 or state.shape[1] != 2:
            raise ValueError(f"the state must have shape [n,2]. Received: {list(state.shape)}")
        return self.update(state[:, 0], state[:, 1])

    def compute(self) -> dict[str, float]:
        """`num_images`, `mae`, `mse`, `nae`, and the same per density range as `mae/0-50`, `num_images/>200`, ...

        Raises:
            ValueError: if no image was added.
        """
        if not self._pairs:
            raise ValueError("metrics of no image are not defined, call update(...) first. Received: 0 images")
        results = _errors(self._pairs)
        for name in DENSITY_RANGES:
            if pairs := [pair for pair in self._pairs if density_range(pair[1]) == name]:
                results |= {f"{key}/{name}": value for key, value in _errors(pairs).items()}
        return results


def _errors(pairs: list[tuple[float, float]]) -> dict[str, float]:
    errors = [abs(prediction - reference) for prediction, reference in pairs]
    relative = [error / reference for error, (_, reference) in zip(errors, pairs) if reference > 0]
    return {
        "num_images": len(pairs),
        "mae": fsum(errors) / len(errors),
        "mse": sqrt(fsum(error * error for error in errors) / len(errors)),
        "nae": fsum(relative) / len(relative) if relative else 0.0,
    }


def _counts(name: str, values: Iterable[float]) -> list[float]:
    try:
        counts = [float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a list with one number per image. Received: {values!r:.200}") from error
    if not all(isfinite(count) for count in counts):
        raise ValueError(f"{name} must be finite. Received: {[count for count in counts if not isfinite(count)][:3]}")
    return counts
