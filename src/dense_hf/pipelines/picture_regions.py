"""Regions of a picture, and what of a count is in each of them. This file is copied beside saved pipelines.

A point belongs to a region of polygons if an odd number of their edges is to its left or goes through it; an edge ends
before its lower corner. So of two regions that share an edge exactly one owns a point on it (a rectangle owns its left
and its upper border), and counts of regions that do not overlap add up to that of their union. A pixel of a density
map belongs to the region that owns its centre.

E edges; n points; w width. Coordinates are pixels, (x right, y down).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np


class PolygonRegion:
    """A region within polygons; a polygon in another one is a hole.

    Args:
        name: what the region is called.
        rings: corners [k, 2] of each polygon, k >= 3; the last is joined to the first.

    Raises:
        ValueError: fewer corners, or such that are not finite.
    """

    def __init__(self, name: str, rings: Sequence[Any]):
        self.name, edges = name, []
        for ring in rings:
            corners = np.asarray(ring, np.float64)
            if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3 or not np.isfinite(corners).all():
                raise ValueError(
                    f"The polygon of a region needs 3 or more finite corners (x, y). Received for {name!r:.80}: "
                    f"{corners.tolist()!r:.80}"
                )
            edges.append(np.concatenate([corners, np.roll(corners, -1, axis=0)], axis=1))
        found = np.concatenate(edges) if edges else np.zeros((0, 4))
        down = found[:, 1] <= found[:, 3]
        # each edge from its upper end, so that both neighbors compute the same numbers
        self._edges = np.where(down[:, None], found, found[:, [2, 3, 0, 1]])

    def owns(self, points: np.ndarray) -> np.ndarray:
        """Which of the points [n, 2] are in the region, bool [n]."""
        x, y = np.asarray(points, np.float64).reshape(-1, 2).T
        order = np.argsort(y, kind="stable")
        inside = np.zeros(len(x), bool)
        starts, ends = (np.searchsorted(y[order], self._edges[:, column]) for column in (1, 3))
        for edge, first, last in zip(self._edges, starts, ends):
            among = order[first:last]
            inside[among] ^= _is_left(edge, x[among], y[among])
        return inside

    def rows(self, top: int, bottom: int, width: int) -> np.ndarray:
        """Which pixels of the rows are in the region, by their centres, bool [bottom - top, w]."""
        marks = np.zeros((bottom - top, width + 1), bool)
        for edge in self._edges:
            first, last = (min(max(math.ceil(side - 0.5), top), bottom) for side in (edge[1], edge[3]))
            if first >= last:
                continue
            y = np.arange(first, last) + 0.5
            near = edge[0] + (edge[2] - edge[0]) * ((y - edge[1]) / (edge[3] - edge[1]))
            column = np.clip(np.ceil(near - 0.5), -1, width + 1) - 1
            for _ in range(2):  # rounding may be off by one
                column += ~_is_left(edge, column + 0.5, y)
            marks[np.arange(first, last) - top, np.clip(column, 0, width).astype(int)] ^= True
        return np.logical_xor.accumulate(marks, axis=1)[:, :width]


class MaskRegion:
    """The region where a map of numbers has one of them.

    Args:
        name: what the region is called.
        labels: [height, w] of the whole picture.
        number: of the region.
    """

    def __init__(self, name: str, labels: np.ndarray, number: int):
        self.name, self._labels, self._number = name, labels, number

    def owns(self, points: np.ndarray) -> np.ndarray:
        """Which of the points [n, 2] are in the region, bool [n]."""
        x, y = np.floor(np.asarray(points, np.float64).reshape(-1, 2)).astype(int).T
        return self._labels[y, x] == self._number

    def rows(self, top: int, bottom: int, width: int) -> np.ndarray:
        """Which pixels of the rows are in the region, bool [bottom - top, w]."""
        return self._labels[top:bottom, :width] == self._number


Region = PolygonRegion | MaskRegion


class RegionSums:
    """The sum of a density map in each region, of strips of it from top to bottom.

    Attributes:
        sums: one for each region; None before the first strip.
    """

    def __init__(self, regions: Sequence[Region]):
        self.regions, self._top = regions, 0
        self.sums: list[float] | None = None

    def add(self, strip: Any) -> None:
        """Take the next rows, a tensor [rows, w]."""
        values = strip.double().numpy()
        bottom = self._top + len(values)
        found = [float(values[region.rows(self._top, bottom, values.shape[1])].sum()) for region in self.regions]
        self.sums = [before + new for before, new in zip(self.sums or [0.0] * len(found), found)]
        self._top = bottom


def count_regions(
    regions: Sequence[Region], points: np.ndarray, sums: Sequence[float] | None, has_points: bool
) -> list[dict[str, Any]]:
    """What is in each region.

    Args:
        regions: the regions.
        points: [n, 2] of the picture.
        sums: of the density map in each region, of a model that has one.
        has_points: whether objects are counted by their points.

    Returns:
        Of each region `name`, `count` (the number of points or, of a model without points, the sum of the density, not
        rounded, so that regions add up) and `density_count`.
    """
    densities = sums if sums is not None else [None] * len(regions)
    return [
        {
            "name": region.name,
            "count": int(region.owns(points).sum()) if has_points else density,
            "density_count": density,
        }
        for region, density in zip(regions, densities)
    ]


def regions_of(given: Any, width: int, height: int) -> list[Region]:
    """Regions as a program gives them.

    Args:
        given: a label map [height, width] of whole numbers, 0 for no region; or polygons, or boxes (x0, y0, x1, y1),
            as a list or with their names as a dictionary.
        width: of the picture.
        height: of it.

    Raises:
        ValueError: something else.
    """
    if isinstance(given, np.ndarray):
        return mask_regions(given, width, height)
    if not isinstance(given, Mapping):
        given = {str(number): region for number, region in enumerate(given, 1)}
    return [PolygonRegion(str(name), [polygon_of(name, corners)]) for name, corners in given.items()]


def polygon_of(name: Any, numbers: Any) -> np.ndarray:
    """Corners [k, 2] of four numbers (a box), of six and more, or of pairs.

    Raises:
        ValueError: other numbers, or a box without pixels.
    """
    try:
        values = np.asarray(numbers, np.float64)
    except (TypeError, ValueError):
        values = np.zeros(0)
    if values.shape == (4,):
        left, top, right, bottom = values
        if left < right and top < bottom:
            return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    elif values.size >= 6 and values.size % 2 == 0 and (values.ndim == 1 or values.shape[1:] == (2,)):
        return values.reshape(-1, 2)
    raise ValueError(
        "A region is a box x0,y0,x1,y1 with x0 < x1 and y0 < y1, or the corners x0,y0,x1,y1,x2,y2,... of a polygon. "
        f"Received for {name!s:.80}: {numbers!r:.200}"
    )


def mask_regions(labels: np.ndarray, width: int, height: int) -> list[Region]:
    """A region for each number above 0 of a label map [height, width].

    Raises:
        ValueError: another size, or no whole numbers.
    """
    if labels.shape != (height, width) or labels.dtype.kind not in ("b", "u", "i"):
        raise ValueError(
            f"A map of regions has whole numbers and the size of the picture, {width} x {height}. Received: "
            f"{labels.dtype} {list(labels.shape[::-1])}"
        )
    return [MaskRegion(str(number), labels, number) for number in np.unique(labels).tolist() if number]


def strips(width: int, height: int, pixels: int = 2**22) -> Iterator[tuple[int, int]]:
    """Top and bottom of strips of a picture of so many pixels at most."""
    rows = max(1, pixels // width)
    return ((top, min(top + rows, height)) for top in range(0, height, rows))


def _is_left(edge: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether the edge, from its upper end, is to the left of points or goes through them."""
    return (x - edge[0]) * (edge[3] - edge[1]) >= (edge[2] - edge[0]) * (y - edge[1])
