"""Mean average precision against its definition, image by image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dense_hf.metrics.average_precision import average_precision, mean_average_precision


def by_definition(scores, labels):
    """Mean, over the images with the class, of the precision among all images that score at least as much."""
    precisions = []
    for score, label in zip(scores, labels):
        if label:
            taken = [other for value, other in zip(scores, labels) if value >= score]
            precisions.append(sum(taken) / len(taken))
    return sum(precisions) / len(precisions)


ROWS = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1)


@given(ROWS.filter(lambda rows: any(label for _, label in rows)))
def test_against_the_definition_with_ties(rows):
    scores, labels = np.array([row[0] for row in rows], float), np.array([row[1] for row in rows])
    assert average_precision(scores, labels) == pytest.approx(by_definition(*zip(*rows)))


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [
        ([3, 2, 1], [1, 0, 1], (1 + 2 / 3) / 2),
        ([3, 2, 1], [0, 0, 1], 1 / 3),
        ([1, 1, 1, 1], [0, 1, 0, 0], 1 / 4),  # equal scores rank nothing
        ([5, 4], [1, 1], 1),
    ],
)
def test_by_hand(scores, labels, expected):
    assert average_precision(np.array(scores), np.array(labels, bool)) == pytest.approx(expected)


def test_mean_over_classes_that_occur():
    scores = np.array([[3.0, 0, 9], [2, 1, 8], [1, 2, 7]])
    labels = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 0]])
    assert mean_average_precision(scores, labels) == pytest.approx(((1 + 2 / 3) / 2 + 1 / 3) / 2)


@pytest.mark.parametrize(
    ("scores", "labels", "words"),
    [
        (np.zeros((2, 3)), np.zeros((2, 2)), "alike"),
        (np.zeros(2), np.ones(2), "alike"),
        (np.array([[np.nan]]), np.ones((1, 1)), "finite"),
        (np.zeros((2, 3)), np.zeros((2, 3)), "none with one"),
    ],
)
def test_what_cannot_be_judged_is_refused(scores, labels, words):
    with pytest.raises(ValueError, match=words):
        mean_average_precision(scores, labels)
