"""Every point has one owner, and what is in regions adds up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dense_hf.pipelines.picture_regions import (
    MaskRegion,
    PolygonRegion,
    RegionSums,
    count_regions,
    mask_regions,
    polygon_of,
    regions_of,
)

WIDTH, HEIGHT = 40, 30
# also whole and half pixels, where corners, points and centres of pixels meet
NUMBERS = st.one_of(st.integers(-2, 42).map(float), st.integers(-4, 84).map(lambda n: n / 2), st.floats(-2, 42))
CORNERS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=3, max_size=8, unique=True)


def winding_free_inside(rings, x, y) -> bool:
    """Brute force: a ray to the left crosses an odd number of edges, in whole numbers of Python's fractions."""
    from fractions import Fraction

    odd = False
    for ring in rings:
        for (ax, ay), (bx, by) in zip(ring, ring[1:] + ring[:1]):
            if ay > by:
                ax, ay, bx, by = bx, by, ax, ay
            ax, ay, bx, by, px, py = map(Fraction, (ax, ay, bx, by, x, y))
            if ay <= py < by and px >= ax + (bx - ax) * (py - ay) / (by - ay):
                odd = not odd
    return odd


@settings(max_examples=25, deadline=None)
@given(st.lists(CORNERS.map(lambda ring: [(round(x * 2), round(y * 2)) for x, y in ring]), min_size=1, max_size=2))
def test_owners_are_those_of_exact_arithmetic(rings):
    """Half pixels are exact, so that brute force in fractions says the same also on edges and corners."""
    rings = [[(x / 2, y / 2) for x, y in ring] for ring in rings]
    points = np.array([(x / 2, y / 2) for y in range(-4, 64, 7) for x in range(-4, 88, 5)])
    expected = [winding_free_inside(rings, *point) for point in points.tolist()]
    np.testing.assert_array_equal(PolygonRegion("", rings).owns(points), expected)


@settings(max_examples=100, deadline=None)
@given(CORNERS)
def test_a_pixel_belongs_to_the_owner_of_its_centre(corners):
    region = PolygonRegion("", [corners])
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    owned = region.owns(np.stack([x.ravel(), y.ravel()], axis=1)).reshape(HEIGHT, WIDTH)
    np.testing.assert_array_equal(region.rows(0, HEIGHT, WIDTH), owned)
    np.testing.assert_array_equal(region.rows(11, 17, WIDTH), owned[11:17])


@settings(max_examples=100, deadline=None)
@given(CORNERS, st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_parts_of_a_polygon_add_up_to_it(corners, points, random):
    """Cut along a diagonal between any two corners: the parts share that edge, which one of them has backwards.

    Points lie on corners and, as exactly as floats can, on edges, too.
    """
    first, last = sorted(random.sample(range(len(corners)), 2))
    parts = [corners[first : last + 1], corners[last:] + corners[: first + 1]]
    parts = [part for part in parts if len(part) >= 3]
    share = random.random()
    cut = [tuple(a + (b - a) * share for a, b in zip(corners[first], corners[last]))]
    everything = np.array([*points, *corners, *cut])
    whole = PolygonRegion("", [corners]).owns(everything)
    owners = [PolygonRegion("", [part]).owns(everything) for part in parts]
    np.testing.assert_array_equal(np.logical_xor.reduce(owners), whole)
    rows = [PolygonRegion("", [part]).rows(0, HEIGHT, WIDTH) for part in parts]
    np.testing.assert_array_equal(np.logical_xor.reduce(rows), PolygonRegion("", [corners]).rows(0, HEIGHT, WIDTH))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(1, WIDTH - 1), max_size=4, unique=True).map(sorted),
    st.lists(st.integers(1, HEIGHT - 1), max_size=4, unique=True).map(sorted),
    st.lists(st.tuples(st.integers(0, 2 * WIDTH - 1), st.integers(0, 2 * HEIGHT - 1)), max_size=30),
)
def test_each_point_of_a_picture_is_in_one_cell_of_a_grid(columns, rows, halves):
    """Counts and densities of the cells add up to those of the picture."""
    import torch

    points = np.array(halves, np.float64).reshape(-1, 2) / 2
    x, y = [0, *columns, WIDTH], [0, *rows, HEIGHT]
    boxes = [(x[i], y[j], x[i + 1], y[j + 1]) for i in range(len(x) - 1) for j in range(len(y) - 1)]
    cells = regions_of(boxes, WIDTH, HEIGHT)
    density = torch.rand(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    sums = RegionSums(cells)
    for strip in density.split(7):
        sums.add(strip)
    found = count_regions(cells, points, sums.sums, has_points=True)
    assert sum(cell["count"] for cell in found) == len(points)
    assert sum(cell["density_count"] for cell in found) == pytest.approx(float(density.double().sum()), rel=1e-12)
    assert [cell["count"] for cell in count_regions(cells, points, sums.sums, has_points=False)] == sums.sums


def test_holes_masks_and_names():
    ring = [polygon_of("", (0, 0, 10, 10)), polygon_of("", (2, 2, 4, 4))]
    points = np.array([(1, 1), (2, 2), (3, 3), (4, 4), (10, 5), (0, 0)])
    np.testing.assert_array_equal(PolygonRegion("", ring).owns(points), [True, False, False, True, False, True])
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[5:, 7:] = 3
    labels[0, 0] = 1
    regions = mask_regions(labels, WIDTH, HEIGHT)
    assert [region.name for region in regions] == ["1", "3"]
    assert isinstance(regions[1], MaskRegion)
    np.testing.assert_array_equal(regions[1].owns(np.array([(7, 5), (6.99, 5), (39.9, 29.9)])), [True, False, True])
    assert [region.name for region in regions_of({"pond": (1, 1, 2, 2)}, WIDTH, HEIGHT)] == ["pond"]
    with pytest.raises(ValueError, match="the size of the picture, 41 x 30"):
        mask_regions(labels, WIDTH + 1, HEIGHT)
    for wrong in ((1, 2, 3), (5, 5, 5, 9), [(1, 2), (3, 4)], "pond", (1, 2, 3, 4, 5, 6, 7)):
        with pytest.raises(ValueError, match=r"A region is a box|needs 3 or more"):
            regions_of([wrong], WIDTH, HEIGHT)
    with pytest.raises(ValueError, match="finite corners"):
        PolygonRegion("", [[(0, 0), (1, np.nan), (2, 2)]])
