"""Localisation against an exhaustive search over all one-to-one matchings."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dense_hf.metrics import LocalizationMetrics
from dense_hf.metrics.localization import count_matches


def most_matches(points, targets, distance):
    """Every way to give each point of the smaller set a different partner."""
    if len(points) > len(targets):
        points, targets = targets, points
    near = [[math.dist(point, target) <= distance for target in targets] for point in points]
    return max(
        sum(near[row][column] for row, column in enumerate(choice))
        for choice in itertools.permutations(range(len(targets)), len(points))
    )


coordinates = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=5)


@settings(max_examples=200, deadline=None)
@given(points=coordinates, targets=coordinates, distance=st.sampled_from([0.5, 1, 2, 5, 20]))
def test_the_matching_is_the_largest(points, targets, distance):
    matches = count_matches(np.array(points).reshape(-1, 2), np.array(targets).reshape(-1, 2), distance)
    assert matches == (most_matches(points, targets, distance) if points and targets else 0)


def test_nearest_first_would_lose_a_match():
    # (2,0) is nearest to (3,0), but then (0,0) is left without a partner and (5,0) too
    results = LocalizationMetrics((2,)).update([[(2, 0), (4, 0)]], [[(0, 0), (3, 0)]]).compute()
    assert results["f1@2"] == 1


def test_a_point_is_matched_once_and_the_distance_is_included():
    results = LocalizationMetrics(distances=(5, 4.9)).update([[(3, 4), (0, 1), (0, 0)]], [[(0, 0)]]).compute()
    assert results["precision@5"] == pytest.approx(1 / 3)
    assert results["recall@5"] == 1
    assert LocalizationMetrics((5, 4.9)).update([[(3, 4)]], [[(0, 0)]]).compute() == {
        "precision@5": 1, "recall@5": 1, "f1@5": 1, "precision@5/0-50": 1, "recall@5/0-50": 1, "f1@5/0-50": 1,
        "precision@4.9": 0, "recall@4.9": 0, "f1@4.9": 0,
        "precision@4.9/0-50": 0, "recall@4.9/0-50": 0, "f1@4.9/0-50": 0,
    }  # fmt: skip


images = st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=6)


@settings(max_examples=50, deadline=None)
@given(images=images, cut=st.integers(0, 6))
def test_sums_over_images_and_over_processes(images, cut):
    whole = LocalizationMetrics((1, 3)).update(*zip(*images)).compute()
    first, second = LocalizationMetrics((1, 3)), LocalizationMetrics((1, 3))
    for metrics, part in ((first, images[:cut]), (second, images[cut:])):
        for points, targets in part:
            metrics.update([points], [targets])
    assert second.merge(first.state).compute() == whole
    predicted, annotated = (sum(len(image[side]) for image in images) for side in (0, 1))
    for distance in (1, 3):
        matched = sum(most_matches(*image, distance) if all(image) else 0 for image in images)
        if predicted:
            assert whole[f"precision@{distance}"] == pytest.approx(matched / predicted)
        if annotated:
            assert whole[f"recall@{distance}"] == pytest.approx(matched / annotated)
        if predicted + annotated:
            assert whole[f"f1@{distance}"] == pytest.approx(2 * matched / (predicted + annotated))
    assert all(math.isfinite(value) for value in whole.values())


def test_ranges_go_by_the_annotated_points():
    grid = [(x, y) for x in range(0, 300, 10) for y in range(0, 50, 10)]  # 150
    results = LocalizationMetrics((4,)).update([grid[:75], []], [grid, [(1, 1)]]).compute()
    assert results["recall@4/101-200"] == 0.5
    assert results["precision@4/101-200"] == 1
    assert results["recall@4/0-50"] == 0
    assert results["recall@4"] == pytest.approx(75 / 151)
    assert "f1@4/51-100" not in results
    assert "f1@4/>200" not in results


def test_without_points_nothing_is_nan():
    def f1(predictions, references):
        results = LocalizationMetrics((4,)).update(predictions, references).compute()
        return [results[key] for key in ("precision@4", "recall@4", "f1@4")]

    assert f1([[]], [[]]) == [1, 1, 1]
    assert f1([[(1, 1)]], [[]]) == [0, 0, 0]
    assert f1([[]], [np.ones((1, 2))]) == [0, 0, 0]
    assert f1([np.zeros((0, 2)), [(1, 1)]], [[], [(1, 1)]]) == [1, 1, 1]
    with pytest.raises(ValueError, match="no image"):
        f1([], [])


@pytest.mark.parametrize(
    ("predictions", "references"),
    [
        ([[]], []), ([[(1, 2, 3)]], [[]]), ([[(math.nan, 2)]], [[]]), ([[1, 2]], [[]]), ([["a"]], [[]]),
        ([[(1, 2), (3,)]], [[]]), ([[("a", "b")]], [[]]),
    ],
)  # fmt: skip
def test_bad_points_are_refused_and_nothing_is_added(predictions, references):
    metrics = LocalizationMetrics()
    with pytest.raises(ValueError, match=r"^predictions .*Received"):
        metrics.update(predictions, references)
    if references:
        with pytest.raises(ValueError, match=r"^references .*Received"):
            metrics.update(references, predictions)
    assert metrics.state.shape == (0, 4)


@pytest.mark.parametrize("distances", [(), (0,), (-1,), (math.nan,), (math.inf,), (4, 4.0)])
def test_bad_distances_are_refused(distances):
    with pytest.raises(ValueError, match="distances"):
        LocalizationMetrics(distances)


def test_a_state_of_other_distances_is_refused():
    with pytest.raises(ValueError, match="shape"):
        LocalizationMetrics((4,)).merge(LocalizationMetrics((4, 8)).state)
    with pytest.raises(ValueError, match=r"^state must be label maps of whole numbers"):
        LocalizationMetrics().merge(np.full((1, 4), 0.5))


def test_what_was_added_can_be_forgotten():
    metrics = LocalizationMetrics().update([[(1, 2)]], [[(50, 60)]])
    metrics.reset()
    metrics.update([[(1, 2)]], [[(1, 3)]])
    assert metrics.compute() == LocalizationMetrics().update([[(1, 2)]], [[(1, 3)]]).compute()


def test_a_dense_image_is_matched_at_once():
    rng = np.random.default_rng(0)
    targets = rng.uniform(0, 1000, size=(2371, 2))  # the most of an image in IOCfish5K (Table 2.1)
    shifted = targets + rng.uniform(-2, 2, size=targets.shape)
    assert count_matches(shifted, targets, 3) == 2371
