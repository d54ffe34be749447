"""Average precision against a hand-made example and against its definition, threshold by threshold."""

import numpy as np
import pytest

from dense_hf.metrics.average_precision import average_precision, mean_average_precision


def by_definition(scores, labels):
    """Sum over falling thresholds of the gain in recall times the precision."""
    total, recall = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        taken = scores >= threshold
        gained = labels[taken].sum() / labels.sum()
        total += (gained - recall) * labels[taken].mean()
        recall = gained
    return total


def test_by_hand():
    scores, labels = np.array([0.9, 0.8, 0.7, 0.6]), np.array([1, 0, 1, 0], dtype=bool)
    assert average_precision(scores, labels) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(-scores, labels) == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert average_precision(np.zeros(4), labels) == pytest.approx(1 / 2)  # all equal: the share of the class


@pytest.mark.parametrize("levels", [3, 10_000])
def test_by_definition_with_and_without_ties(levels):
    rng = np.random.default_rng(levels)
    for _ in range(20):
        scores = rng.integers(levels, size=(30, 4)) / levels
        labels = rng.random((30, 4)) < 0.3
        labels[:, 2] = False  # a class that no image has is in no mean
        expected = [by_definition(scores[:, k], labels[:, k]) for k in (0, 1, 3) if labels[:, k].any()]
        assert mean_average_precision(scores, labels) == pytest.approx(np.mean(expected))
        order = rng.permutation(30)
        assert mean_average_precision(scores[order], labels[order]) == pytest.approx(np.mean(expected))


@pytest.mark.parametrize(
    ("scores", "labels", "words"),
    [
        (np.zeros((2, 3)), np.ones((2, 2)), "alike"),
        (np.zeros(3), np.ones(3), "alike"),
        (np.array([[np.nan]]), np.ones((1, 1)), "finite. Received: 1 of 1"),
        (np.zeros((2, 3)), np.zeros((2, 3)), "at least one image must have a class"),
    ],
)
def test_what_cannot_be_judged(scores, labels, words):
    with pytest.raises(ValueError, match=words):
        mean_average_precision(scores, labels)
