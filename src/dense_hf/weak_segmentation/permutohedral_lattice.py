"""Gaussian filtering of scattered points in time linear in their number: the permutohedral lattice.

Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Computer Graphics Forum
29(2), 2010, which the mean field of Kraehenbuehl and Koltun (thesis reference [193]) is computed with.
N points with d features, M vertices of the lattice, K channels of values. A vertex has d + 1 whole coordinates that
sum to 0 and are congruent modulo d + 1; the last one follows from the others and is not kept.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


class PermutohedralLattice:
    """The part of the lattice that some points touch, ready to filter values at these points.

    Each point spreads its value over the d + 1 corners of its simplex (splat), each vertex takes half of both
    neighbours along each of d + 1 directions (blur), and each point collects from its corners (slice). The result
    approximates, up to a factor that all points share, sum_j exp(-|f_i - f_j|^2 / 2) v_j, the point itself included.
    A vertex that no point touches does not exist and passes nothing on.

    Args:
        features: floats [N, d], in units of the Gaussian's standard deviation.

    Raises:
        ValueError: if the features are not [N, d] with at least one of each, not finite, or so large or far apart
            that float32 cannot place a point or 63 bits cannot number the vertices.
    """

    def __init__(self, features: Tensor) -> None:
        if features.ndim != 2 or not features.numel() or not torch.isfinite(features).all():
            raise ValueError(f"features must be finite numbers [N, d], none of them 0. Received: {[*features.shape]}")
        corners, self._weights = _simplices(features.float())
        codes, steps = _numbered(corners)
        sorted_codes, order = codes.flatten().sort()
        vertices, sizes = torch.unique_consecutive(sorted_codes, return_counts=True)
        self.num_vertices = len(vertices)
        """M, the number of vertices that are a corner of some point's simplex."""

        # int32 halves what the filter reads; the last vertex, M, stands for all that do not exist and is always 0
        vertex_of = torch.repeat_interleave(sizes).int()
        self._corners = torch.empty_like(vertex_of).index_copy_(0, order, vertex_of).view(codes.shape)
        self._points = (order // codes.shape[1]).int()
        self._point_weights = self._weights.flatten()[order]
        self._starts = F.pad(sizes.cumsum(0), (1, 0)).int()
        self._neighbours = [_neighbours(vertices, step).int() for step in steps]
        self._blur = torch.tensor([1, 0.5, 0.5]).repeat(self.num_vertices + 1, 1)

    def filter(self, values: Tensor) -> Tensor:
        """Sums, float32 [N, K], of the values [N, K] of all points, weighted by the Gaussian of their distance."""
        sums = F.embedding_bag(self._points, values, self._starts, mode="sum", per_sample_weights=self._point_weights)
        for neighbours in self._neighbours:
            sums = F.embedding_bag(neighbours, sums, mode="sum", per_sample_weights=self._blur)
        sliced = F.embedding_bag(self._corners, sums, mode="sum", per_sample_weights=self._weights)
        return sliced / (1 + 2.0 ** (1 - len(self._neighbours)))


def _simplices(features: Tensor) -> tuple[Tensor, Tensor]:
    """Corners of the simplex around each point, whole numbers [N, d + 1, d], and their weights [N, d + 1].

    Float32, with sums that begin at the last feature and a product with 1 / (d + 1), as in Kraehenbuehl's code: a
    point on the border of two simplices goes to either by its last bit, and the corner that comes with it, though
    it weighs nothing, then is or is not there for the blur to pass. In double precision 5 of 183,771 vertices of a
    photo of 500 x 375 were others, and probabilities differed by up to 3e-3 from those of pydensecrf2; now by 1e-6.
    """
    d = features.shape[1]
    # onto the plane whose coordinates sum to 0, where the blur has the standard deviation 1
    spread = torch.tensor((d + 1) * math.sqrt(2 / 3), dtype=torch.float32).item()
    elevated = features.new_zeros(len(features), d + 1)
    for axis in range(d, 0, -1):
        scaled = features[:, axis - 1] * (spread / math.sqrt(axis * (axis + 1)))
        elevated[:, axis] = elevated[:, 0] - axis * scaled
        elevated[:, 0] += scaled

    # float32 has no fractions beyond
    if not elevated.abs().max() < 2**23:
        raise ValueError(f"features must be below 2^23 in the lattice. Received: {elevated.abs().max():.1e}")

    # the nearest point with coordinates that are multiples of d + 1; ranks by remainder, 0 for the largest
    nearest = (elevated * (1 / (d + 1))).round()
    order = (elevated - nearest * (d + 1)).argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(d + 1).expand_as(order))
    # rounding may have left the plane: back to it along the coordinates that were rounded furthest
    rank += nearest.sum(1, keepdim=True).long()
    wrapped = rank.div(d + 1, rounding_mode="floor")
    rank -= wrapped * (d + 1)
    base = (nearest.long() - wrapped) * (d + 1)

    # barycentric coordinates are the gaps between the remainders, from the largest to the smallest
    remainder = (elevated - base) * (1 / (d + 1))
    ordered = torch.empty_like(remainder).scatter_(1, rank, remainder)
    gaps = (ordered[:, :-1] - ordered[:, 1:]).flip(1)
    weights = torch.cat([1 - gaps.sum(1, keepdim=True), gaps], 1)
    # corner c: the d + 1 - c coordinates with the largest remainders go up by c, the others down by d + 1 - c
    corner = torch.arange(d + 1)[:, None]
    return base[:, None, :-1] + corner - (d + 1) * (rank[:, None, :-1] > d - corner), weights


def _numbered(corners: Tensor) -> tuple[Tensor, list[int]]:
    """A number for each vertex [N, d + 1], linear in its coordinates, and what a step in each direction adds to it."""
    d = corners.shape[2]
    low, high = corners.amin((0, 1)), corners.amax((0, 1))
    # a step changes a coordinate by up to d: the margin keeps apart the numbers of vertices just outside
    extents = (high - low + d + 1).tolist()
    if math.prod(extents) >= 2**62:
        raise ValueError(f"features must be closer together, for 63 bits. Received: {extents} lattice coordinates")
    places = [math.prod(extents[axis + 1 :]) for axis in range(d)]
    codes = ((corners - low) * torch.tensor(places)).sum(2)
    return codes, [sum(places) - (d + 1) * place for place in [*places, 0]]


def _neighbours(vertices: Tensor, step: int) -> Tensor:
    """Each vertex with those one step before and behind it, [M + 1, 3], and M thrice. `vertices` is sorted."""
    count = len(vertices)
    wanted = vertices + step
    found = torch.searchsorted(vertices, wanted).clamp_(max=count - 1)
    sources = (vertices[found] == wanted).nonzero().squeeze(1)
    neighbours = torch.full((count + 1, 3), count)
    neighbours[:, 0] = torch.arange(count + 1)
    neighbours[sources, 1] = found[sources]
    neighbours[found[sources], 2] = sources
    return neighbours
