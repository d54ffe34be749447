"""Counting errors against plain numpy, and the same number for any way of spreading the images."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dense_hf.metrics import CountingMetrics, density_range


def reference(predictions, references):
    predictions, references = np.array(predictions, np.float64), np.array(references, np.float64)
    errors = predictions - references
    some = references > 0
    return {
        "num_images": len(errors),
        "mae": np.mean(np.abs(errors)),
        "mse": np.sqrt(np.mean(errors**2)),
        "nae": np.mean(np.abs(errors[some]) / references[some]) if some.any() else 0.0,
    }


def test_numbers_by_hand():
    metrics = CountingMetrics()
    metrics.update(predictions=[12, 3, 230], references=[10, 0, 250])
    results = metrics.compute()
    assert results["mae"] == pytest.approx(25 / 3)
    assert results["mse"] == pytest.approx(math.sqrt((4 + 9 + 400) / 3))
    assert results["nae"] == pytest.approx((0.2 + 0.08) / 2)
    assert results["mae/0-50"] == 2.5
    assert results["nae/0-50"] == 0.2
    assert results["num_images/0-50"] == 2
    assert results["mae/>200"] == 20
    assert "mae/51-100" not in results
    assert "mae/101-200" not in results


def test_ranges_are_those_of_table_2_2():
    borders = [0, 50, 51, 100, 101, 200, 201, 2371]
    ranges = ["0-50", "0-50", "51-100", "51-100", "101-200", "101-200", ">200", ">200"]
    assert [density_range(count) for count in borders] == ranges


counts = st.floats(1e-3, 1e6) | st.integers(0, 300)
pairs = st.lists(st.tuples(counts, counts), min_size=1, max_size=40)


@given(pairs=pairs)
def test_equals_numpy_in_total_and_per_range(pairs):
    results = CountingMetrics().update(*zip(*pairs)).compute()
    expected = reference(*zip(*pairs))
    for low, high, name in ((0, 50, "0-50"), (50, 100, "51-100"), (100, 200, "101-200"), (200, np.inf, ">200")):
        members = [pair for pair in pairs if (low < pair[1] <= high) or (low == pair[1] == 0)]
        if members:
            expected |= {f"{key}/{name}": value for key, value in reference(*zip(*members)).items()}
    assert results == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert all(math.isfinite(value) for value in results.values())


@given(pairs=pairs, data=st.data())
def test_any_spread_over_processes_gives_the_same_number(pairs, data):
    whole = CountingMetrics().update(*zip(*pairs)).compute()
    shuffled = data.draw(st.permutations(pairs))
    cut = data.draw(st.integers(0, len(pairs)))
    first, second = CountingMetrics(), CountingMetrics()
    for process, part in ((first, shuffled[:cut]), (second, shuffled[cut:])):
        for prediction, annotated in part:
            process.update([prediction], [annotated])
    assert first.merge(second.state).compute() == whole  # equal, not close


def test_tensors_and_arrays_are_lists_of_numbers():
    expected = CountingMetrics().update([1.5, 2], [1, 2]).compute()
    for convert in (np.array, torch.tensor, lambda values: [torch.tensor(value) for value in values], tuple):
        assert CountingMetrics().update(convert([1.5, 2]), convert([1, 2])).compute() == expected


def test_without_objects_nothing_is_nan():
    results = CountingMetrics().update([3, 0], [0, 0]).compute()
    assert results["nae"] == 0
    assert results["mae"] == 1.5
    assert results["nae/0-50"] == 0


def test_without_images_there_is_no_number():
    metrics = CountingMetrics().update([], [])
    with pytest.raises(ValueError, match="no image"):
        metrics.compute()
    metrics.update([1], [1]).reset()
    with pytest.raises(ValueError, match="no image"):
        metrics.compute()
    assert metrics.state.shape == (0, 2)


@pytest.mark.parametrize(
    ("predictions", "references"),
    [
        ([1], [1, 2]), ([math.nan], [1]), ([1], [math.inf]), ([1], [-1]), (3, 4), (["fish"], [1]), ([None], [1]),
        ([[1, 2]], [[1, 2]]),
    ],
)  # fmt: skip
def test_bad_counts_are_refused_and_nothing_is_added(predictions, references):
    metrics = CountingMetrics().update([5], [5])
    with pytest.raises(ValueError, match="Received"):
        metrics.update(predictions, references)
    assert metrics.state.tolist() == [[5, 5]]


@pytest.mark.parametrize("value", ["fish", math.nan])
def test_the_list_that_is_bad_is_named(value):
    with pytest.raises(ValueError, match=r"^predictions must be"):
        CountingMetrics().update([value], [1])
    with pytest.raises(ValueError, match=r"^references must be"):
        CountingMetrics().update([1], [value])


def test_a_foreign_state_is_refused():
    with pytest.raises(ValueError, match=r"\[n,2\]"):
        CountingMetrics().merge(np.zeros((3, 4)))
