"""Gaussian filtering of scattered points in time linear in their number: the permutohedral lattice.

Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Computer Graphics Forum 29(2),
2010, which the mean field of Kraehenbuehl and Koltun (thesis reference [193]) is computed with. Written from the paper.
N points with d features, M vertices of the lattice, K channels of values. A vertex has d + 1 whole coordinates that
sum to 0 and are congruent modulo d + 1.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


class PermutohedralLattice:
    """The part of the lattice that some points touch, ready to filter values at these points.

    Each point spreads its value over the d + 1 corners of its simplex (splat), each vertex takes half of its two
    neighbours in each of d + 1 directions (blur), and each point collects from its corners (slice). The result
    approximates sum_j exp(-|f_i - f_j|^2 / 2) v_j, the point itself included. A vertex that no point touches does not
    exist and passes nothing on.

    Args:
        features: floats [N, d], in units of the Gaussian's standard deviation.

    Raises:
        ValueError: if the features are not [N, d] with at least one of each, not finite, or so far apart that a vertex
            cannot be numbered with 63 bits.
    """

    def __init__(self, features: Tensor) -> None:
        if features.ndim != 2 or not features.numel() or not torch.isfinite(features).all():
            raise ValueError(f"features must be finite numbers [N, d], none of them 0. Received: {[*features.shape]}")
        corners, self._weights = _simplices(features)
        codes, steps = _numbered(corners)
        touched, order = codes.flatten().sort()
        vertices, sizes = torch.unique_consecutive(touched, return_counts=True)
        vertex_of = torch.repeat_interleave(sizes)
        self._corners = torch.empty_like(order).index_copy_(0, order, vertex_of).view(codes.shape)
        # the same pairs of a point and a corner, one vertex after the other
        self._points = order // codes.shape[1]
        self._point_weights = self._weights.flatten()[order]
        self._starts = sizes.cumsum(0) - sizes
        self._neighbours = [_neighbours(vertices, step) for step in steps]

    @property
    def num_vertices(self) -> int:
        """M, the number of vertices that are a corner of some point's simplex."""
        return len(self._starts)

    def filter(self, values: Tensor) -> Tensor:
        """Sums of the values of all points, weighted by the Gaussian of their distance.

        Args:
            values: float32 [N, K]

        Returns:
            float32 [N, K]
        """
        dimensions = self._corners.shape[1] - 1
        nothing = values.new_zeros(1, values.shape[1])  # what a neighbour that does not exist has to give
        vertices = F.embedding_bag(
            self._points, values, self._starts, mode="sum", per_sample_weights=self._point_weights
        )
        for neighbours in self._neighbours:
            weights = values.new_tensor([1, 0.5, 0.5]).expand(len(neighbours), 3).contiguous()
            vertices = F.embedding_bag(
                neighbours, torch.cat([vertices, nothing]), mode="sum", per_sample_weights=weights
            )
        sliced = F.embedding_bag(self._corners, vertices, mode="sum", per_sample_weights=self._weights)
        return sliced / (1 + 2.0**-dimensions)


def _simplices(features: Tensor) -> tuple[Tensor, Tensor]:
    """Corners of the simplex around each point, whole numbers [N, d + 1, d], and their weights [N, d + 1]."""
    d = features.shape[1]
    # onto the plane whose coordinates sum to 0, where the blur has the standard deviation 1
    axes = torch.arange(1, d + 1, dtype=features.dtype)
    scaled = features * ((d + 1) * math.sqrt(2 / 3) / (axes * (axes + 1)).sqrt())
    later = scaled.flip(1).cumsum(1).flip(1)
    elevated = torch.cat([later, later.new_zeros(len(later), 1)], 1)
    elevated[:, 1:] -= axes * scaled

    # the nearest point with coordinates that are multiples of d + 1, and how large each coordinate's remainder is
    nearest = (elevated / (d + 1)).round()
    excess = nearest.sum(1, keepdim=True).long()
    order = (elevated - nearest * (d + 1)).argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(d + 1).expand_as(order)) + excess
    # back onto the plane, if rounding left it
    wrapped = rank.div(d + 1, rounding_mode="floor")
    rank -= wrapped * (d + 1)
    base = nearest.long() - wrapped

    # barycentric coordinates: differences of neighbouring remainders, from the largest to the smallest
    remainder = elevated / (d + 1) - base
    ordered = torch.empty_like(remainder).scatter_(1, rank, remainder)
    weights = torch.cat([1 + ordered[:, -1:] - ordered[:, :1], (ordered[:, :-1] - ordered[:, 1:]).flip(1)], 1)
    # corner c is c steps from the base: the d + 1 - c largest remainders go up by c, the others down by d + 1 - c
    corner = torch.arange(d + 1)[:, None]
    steps = corner - (d + 1) * (rank[:, None, :-1] > d - corner)
    return base[:, None, :-1] * (d + 1) + steps, weights.float()


def _numbered(corners: Tensor) -> tuple[Tensor, list[int]]:
    """A number for each vertex [N, d + 1], linear in its coordinates, and what a step in each direction adds to it."""
    d = corners.shape[2]
    low, high = corners.amin((0, 1)), corners.amax((0, 1))
    # a step changes a coordinate by at most d; the margin keeps the numbers of vertices outside apart, too
    extents = (high - low + 2 * d + 1).tolist()
    if math.prod(extents) >= 2**63:
        raise ValueError(f"features must be closer together, for 63 bits. Received: {extents} lattice coordinates")
    places = [math.prod(extents[axis + 1 :]) for axis in range(d)]
    codes = sum((corners[:, :, axis] - low[axis]) * place for axis, place in enumerate(places))
    return codes, [sum(places) - (d + 1) * place for place in [*places, 0]]


def _neighbours(vertices: Tensor, step: int) -> Tensor:
    """Each vertex with those one step before and behind it, [M, 3]; M stands for none. `vertices` is sorted."""
    count = len(vertices)
    wanted = vertices + step
    found = torch.searchsorted(vertices, wanted).clamp_(max=count - 1)
    sources = (vertices[found] == wanted).nonzero().squeeze(1)
    neighbours = torch.full((count, 3), count)
    neighbours[:, 0] = torch.arange(count)
    neighbours[sources, 1] = found[sources]
    neighbours[found[sources], 2] = sources
    return neighbours
