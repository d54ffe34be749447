"""TC by pictures whose labels are known to move, and by counting pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dense_hf.metrics import TemporalConsistency


def shifted(rng, frames, columns):
    """Labels of a wide scene seen through a window that moves `columns` pixels to the right in each frame."""
    scene = rng.integers(0, 4, (6, 8 + frames * columns))
    return np.stack([scene[:, n * columns : n * columns + 8] for n in range(frames)])


def test_labels_that_move_with_the_picture():
    labels = shifted(np.random.default_rng(0), 5, 2)
    flow = np.zeros((4, 2, 6, 8))
    flow[:, 0] = 2  # in the frame before, things were 2 further right
    assert TemporalConsistency(4).update(labels, flow).compute() == {"tc": 1.0, "num_videos": 1}
    assert TemporalConsistency(4).update(labels, np.zeros_like(flow)).compute()["tc"] < 0.6


@given(st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_pixel_by_pixel_and_in_shares(seed):
    rng = np.random.default_rng(seed)
    labels, flow = rng.integers(0, 3, (3, 5, 6)), rng.normal(0, 3, (2, 2, 5, 6))
    pairs = []
    for number in range(2):
        for row in range(5):
            for column in range(6):
                y, x = round(row + flow[number, 1, row, column]), round(column + flow[number, 0, row, column])
                if 0 <= y < 5 and 0 <= x < 6:
                    pairs.append((labels[number, y, x], labels[number + 1, row, column]))
    overlaps = []
    for label in range(3):
        both = sum(a == b == label for a, b in pairs)
        either = sum(label in pair for pair in pairs)
        overlaps += [both / either] if either else []
    metrics = TemporalConsistency(3).update(labels, flow)
    assert metrics.compute()["tc"] == pytest.approx(np.mean(overlaps))
    merged = TemporalConsistency(3).merge(metrics.state, 1)
    assert merged.compute() == metrics.compute()


def test_shapes_that_do_not_fit():
    metrics = TemporalConsistency(3)
    for flows in (np.zeros((2, 2, 4, 4)), np.full((1, 2, 4, 4), np.nan)):
        with pytest.raises(ValueError, match=r"Received: \[2, 4, 4\] and"):
            metrics.update(np.zeros((2, 4, 4), int), flows)
    with pytest.raises(ValueError, match="Received"):
        metrics.compute()
