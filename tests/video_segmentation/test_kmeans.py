"""k-means against brute force, against scipy, and what must hold for any points."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.cluster.vq import kmeans2
from torch.testing import assert_close

from dense_hf.video_segmentation import prototypes as module
from dense_hf.video_segmentation.prototypes import kmeans, moved_centres, nearest_centres

# whole numbers in double precision: sums are exact in any order
POINTS = arrays(np.float64, st.tuples(st.integers(1, 30), st.integers(1, 3)), elements=st.integers(-20, 20))


def blobs(count: int = 60, seed: int = 0) -> torch.Tensor:
    """Points around four corners."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.tensor([[0.0, 0.0], [0.0, 9.0], [9.0, 0.0], [9.0, 9.0]])
    return corners[torch.arange(count) % 4] + torch.randn(count, 2, generator=generator) * 0.3


@given(POINTS, st.integers(1, 6), st.integers(0, 5))
def test_assignment_and_update_by_hand(values, num_centres, seed):
    points = torch.from_numpy(values)
    centres = torch.from_numpy(np.random.default_rng(seed).integers(-20, 21, (num_centres, values.shape[1])) * 1.0)
    assigned, distances = nearest_centres(points, centres)
    for point, number, distance in zip(points, assigned, distances):
        by_hand = [float(((point - centre) ** 2).sum()) for centre in centres]
        assert float(distance) == by_hand[number] == min(by_hand)
    moved = moved_centres(points, centres, assigned, distances)
    for number in range(num_centres):
        members = points[assigned == number]
        if len(members):
            assert_close(moved[number], members.sum(dim=0) / len(members))


@given(POINTS, st.integers(1, 8), st.integers(0, 3))
@settings(max_examples=60)
def test_inertia_never_rises(values, num_centres, seed):
    points = torch.from_numpy(values)
    inertia = [
        float(nearest_centres(points, kmeans(points, num_centres, iterations, seed))[1].sum())
        for iterations in range(1, 7)
    ]
    assert all(after <= before + 1e-9 * (1 + before) for before, after in pairwise(inertia))


@given(st.permutations(range(40)), st.integers(0, 3))
def test_the_order_of_points_does_not_matter(order, seed):
    points = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    centres, shuffled = points[:5].clone(), points[torch.tensor(order)]
    other = centres.clone()
    for _ in range(6):
        centres = moved_centres(points, centres, *nearest_centres(points, centres))
        other = moved_centres(shuffled, other, *nearest_centres(shuffled, other))
    assert_close(centres, other, atol=1e-9, rtol=0)


def test_the_same_as_scipy():
    points = torch.randn(500, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(500, generator=torch.Generator().manual_seed(3))
    theirs, _ = kmeans2(points.numpy(), points[order[:7]].numpy(), iter=10, minit="matrix")
    assert_close(kmeans(points, 7, 10, seed=3), torch.from_numpy(theirs), atol=1e-9, rtol=0)


def test_a_seed_decides():
    points = blobs()
    assert torch.equal(kmeans(points, 5, seed=1), kmeans(points, 5, seed=1))
    torch.manual_seed(7)  # the global generator has no say and is left alone
    state = torch.get_rng_state()
    assert torch.equal(kmeans(points, 5, 1, seed=1), kmeans(points, 5, 1, seed=1))
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(kmeans(points, 5, 1, seed=1), kmeans(points, 5, 1, seed=2))


def test_a_few_points_at_a_time_or_all(monkeypatch):
    points = torch.randn(100, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = kmeans(points, 9)
    monkeypatch.setattr(module, "POINTS_AT_ONCE", 7)
    assert_close(kmeans(points, 9), expected, atol=1e-9, rtol=0)


def test_equal_initial_centres_part():
    """Half of the points are the same, as in the black border of a film: they need one centre, not half of them."""
    points = torch.cat([torch.zeros(60, 2), blobs(60)])
    centres = kmeans(points, 8, seed=0)
    assert len(torch.unique(centres, dim=0)) == 8


def test_an_empty_centre_goes_to_the_farthest_point():
    points = torch.tensor([[0.0], [2.0], [10.0]])
    centres = torch.tensor([[0.0], [0.0], [50.0]])
    moved = moved_centres(points, centres, *nearest_centres(points, centres))
    assert moved.tolist() == [[4.0], [10.0], [2.0]]


@pytest.mark.parametrize("count", [1, 3])
def test_fewer_points_than_centres(count):
    points = blobs(count)
    centres = kmeans(points, 7)
    assert centres.shape == (7, 2)
    assert_close(torch.unique(centres, dim=0), torch.unique(points, dim=0))


@pytest.mark.parametrize(
    ("points", "arguments", "message"),
    [
        (torch.zeros(0, 3), (2,), r"Received: \[0, 3\]"),
        (torch.zeros(3), (2,), r"Received: \[3\]"),
        (torch.full((2, 2), torch.nan), (2,), "must be finite"),
        (torch.zeros(2, 2), (0,), "Received: 0, 10"),
        (torch.zeros(2, 2), (1, 0), "Received: 1, 0"),
    ],
)
def test_what_cannot_be_clustered(points, arguments, message):
    with pytest.raises(ValueError, match=message):
        kmeans(points, *arguments)
