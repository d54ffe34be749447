"""How well scores rank images by a class, for classifiers of several labels. n images, K classes."""

import numpy as np


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Precision, averaged over the images that have the class: the area under the steps of the curve.

    Images of equal score are taken in together, so their order does not count.

    Args:
        scores: [n], finite; only their order counts.
        labels: [n], true for the images that have the class; at least one must.
    """
    order = np.argsort(-scores)
    ranked = scores[order]
    taken_in = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # last image of each score
    found = labels[order].cumsum()[taken_in]
    precision = found / (taken_in + 1)
    return float((precision * np.diff(found, prepend=0)).sum() / found[-1])


def mean_average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean of `average_precision` over the classes that at least one image has.

    Args:
        scores: [n, K]
        labels: [n, K], 0 or 1

    Raises:
        ValueError: shapes differ, scores are not finite, or no image has any class.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.shape != labels.shape or scores.ndim != 2:
        raise ValueError(f"scores and labels must be [n, K] alike. Received: {scores.shape} and {labels.shape}")
    if not np.isfinite(scores).all():
        raise ValueError(
            f"scores must be finite. Received: {(~np.isfinite(scores)).sum()} of {scores.size} that are not"
        )
    if not (labels > 0).any():
        raise ValueError(f"at least one image must have a class. Received: {len(labels)} images, none with one")
    classes = np.flatnonzero((labels > 0).any(axis=0))
    return float(np.mean([average_precision(scores[:, k], labels[:, k] > 0) for k in classes]))
