"""Targets are those of the released code (golden numbers), of scipy, and make sense with few points."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from released_counters import golden
from scipy import ndimage
from torch.testing import assert_close

from dense_hf.counting.density_targets import (
    dot_map,
    gaussian_map,
    neighbor_distances,
    normalized_gaussian_map,
    visible_shares,
)

SIZE = (96, 128)


@pytest.fixture(scope="module")
def released():
    return golden("targets")[1]


@pytest.fixture(scope="module")
def points(released):
    return released["points"].double()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("csrnet_adaptive", {}),
        ("csrnet_fixed15", {"sigma": 15}),
        ("csrnet_adaptive_stride8_cubic64", {"stride": 8}),
        ("csrnet_fixed15_stride8_cubic64", {"sigma": 15, "stride": 8}),
        ("commissarma_adaptive", {"dots": "points"}),
        ("commissarma_stride4_linear16", {"stride": 4, "resize": "bilinear", "dots": "points"}),
        ("commissarma_stride8_linear64", {"stride": 8, "resize": "bilinear", "dots": "points"}),
    ],
)
def test_gaussians_as_released(released, points, name, options):
    assert_close(gaussian_map(points, SIZE, **options).float(), released[name], atol=1e-6, rtol=0)


def test_one_point_as_released(released):
    map_of_one = gaussian_map(torch.tensor([[12.0, 10.0]]), SIZE)
    assert_close(map_of_one.float(), released["csrnet_one_point"], atol=1e-8, rtol=0)
    assert float(map_of_one.sum()) == pytest.approx(0.4337, abs=1e-4)  # what reaches over the border is lost


def test_normalized_gaussians_as_released(released, points):
    assert_close(normalized_gaussian_map(points, SIZE).float(), released["dssi_adaptive"], atol=1e-8, rtol=0)
    assert_close(normalized_gaussian_map(points[5:8], SIZE).float(), released["dssi_few_points"], atol=1e-8, rtol=0)
    assert_close(normalized_gaussian_map(points, SIZE, 4).float(), released["dssi_fixed_4_15"], atol=1e-8, rtol=0)


def test_dots_and_visible_shares_as_released(released, points):
    assert torch.equal(dot_map(points, SIZE).float(), released["dots"])
    distances = neighbor_distances(points, lonely=128.0)
    assert_close(distances.float(), released["bl_nearest_distance"])
    shares = visible_shares(points, distances, (12, 20, 12 + 56, 20 + 56))
    assert_close(shares.float(), released["bl_crop_ratio"])
    kept = shares >= 0.3
    assert torch.equal(kept, released["bl_crop_kept"].bool())
    assert_close((points[kept] - torch.tensor([12, 20])).float(), released["bl_crop_points"])


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 39.99), st.floats(0, 29.99)), min_size=0, max_size=6),
    st.sampled_from([None, 0.7, 4.0, 15.0]),
)
def test_gaussians_are_those_of_scipy(xy, sigma):
    """Each dot filtered by itself, mirrored at the border with one sigma for all, cut off there with many."""
    points = torch.tensor(xy, dtype=torch.float64).reshape(-1, 2)
    ours = gaussian_map(points, (30, 40), sigma=sigma, dots="points").numpy()
    distances = neighbor_distances(points, lonely=(30 + 40) / 8 / 0.3).numpy() * 0.3
    expected = np.zeros((30, 40))
    for (x, y), own in zip(points.numpy(), distances):
        dot = np.zeros((30, 40))
        dot[int(y), int(x)] = 1
        width, mode = (own, "constant") if sigma is None else (sigma, "reflect")
        expected += ndimage.gaussian_filter(dot, max(width, 1e-6), mode=mode)
    np.testing.assert_allclose(ours, expected, atol=1e-12)
    if sigma is not None:
        assert ours.sum() == pytest.approx(len(points))


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 5])
def test_few_points(points, number):
    few = points[5 : 5 + number]
    assert float(normalized_gaussian_map(few, SIZE).sum()) == pytest.approx(number)
    assert float(dot_map(few, SIZE, stride=8).sum()) == number
    map_of_few = gaussian_map(few, SIZE, stride=8)
    assert map_of_few.shape == (12, 16)
    assert torch.isfinite(map_of_few).all()
    assert 0.2 * number <= float(map_of_few.sum()) <= 1.05 * number
    assert torch.isfinite(neighbor_distances(few, lonely=128.0)).all()


def test_points_at_one_place_and_outside():
    same = torch.tensor([[5.0, 5.0]] * 5 + [[-1.0, 3.0], [3.0, 40.0]])
    assert float(gaussian_map(same, (30, 40), dots="points").sum()) == pytest.approx(5)
    assert float(gaussian_map(same, (30, 40), sigma=2).sum()) == pytest.approx(1)  # a set of pixels, as released
    assert float(dot_map(same, (30, 40)).sum()) == 5
    assert float(dot_map(same, (30, 40), rounded=True).sum()) == 7  # moved to the border
    assert float(normalized_gaussian_map(same, (30, 40)).sum()) == pytest.approx(6)  # 10 pixels around count
