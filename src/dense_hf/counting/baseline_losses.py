"""Losses of counters that learn from dots, blobs, proposals or the structure of a map (thesis Table 2.3).

`density_losses` is their public face. Points are (x right, y down) in pixels of the input. Where the released code of
a method has a fault that its published numbers depend on, `compat=True`, the default, keeps it.

B batch, H x W pixels, h x w cells, Q proposals, n points of an image, k points of a blob.
"""

import functools
import heapq
import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

try:
    from skimage.segmentation import watershed
except ImportError:  # the same by `flood_by_heap`
    watershed = None

# DSSI-Net: weights and dilations of the five scales of the structural similarity
SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SSIM_DILATIONS = (1, 2, 3, 6, 9)
LEAST_SIMILARITY = 1e-6
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
# MPS: map -> weight of its squared errors
DOT_WEIGHTS = {"stride_8": 0.1, "stride_4": 0.2, "stride_2": 0.3, "fused": 0.1}
_EIGHT_NEIGHBORS = np.ones((3, 3), dtype=bool)
_FOUR_NEIGHBORS = ndimage.generate_binary_structure(2, 1)


def in_full_precision(function: Callable) -> Callable:
    """The loss of a tensor in float32 (or float64, if it came so), outside of autocast."""

    name = next(iter(inspect.signature(function).parameters))

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> dict[str, Tensor]:
        named = {**dict(zip([name], args)), **kwargs}
        predicted = named.pop(name)
        with torch.autocast(predicted.device.type, enabled=False):
            wide = predicted if predicted.dtype == torch.float64 else predicted.float()
            return function(wide, *args[1:], **named)

    return wrapper


@in_full_precision
def multiscale_ssim_loss(density_map: Tensor, target: Tensor) -> dict[str, Tensor]:
    """1 - the structural similarity over five scales, of DSSI-Net.

    Both maps are divided by the largest value of the target, which is one number for the batch. A scale whose mean
    similarity is negative counts as `LEAST_SIMILARITY`: the released code takes a fractional power of it, which is not
    a number.

    Args:
        density_map: [B, 1, h, w]
        target: the same shape, at least 0. If it is empty, everything is divided by 1e-12, as released.

    Returns:
        `loss`, and `similarity_1` to `similarity_5` of the scales.

    Raises:
        ValueError: maps that cannot be halved four times.
    """
    if density_map.shape != target.shape or min(density_map.shape[-2:]) < 2 ** (len(SSIM_WEIGHTS) - 1):
        raise ValueError(
            "density_map and target must have one shape [B, 1, h, w], sides at least 16. "
            f"Received: {list(density_map.shape)} and {list(target.shape)}"
        )
    target = target.to(density_map)
    peak = target.max().clamp(min=1e-12)
    ours, theirs = density_map / peak * 255, target / peak * 255
    similarities = []
    for level, dilation in enumerate(SSIM_DILATIONS):
        if level:
            ours, theirs = F.avg_pool2d(ours, 2), F.avg_pool2d(theirs, 2)
        similarities.append(_mean_ssim(ours, theirs, dilation))
    similarity = torch.stack(similarities).clamp(min=LEAST_SIMILARITY)
    powers = similarity.new_tensor(SSIM_WEIGHTS)
    of_scales = {f"similarity_{scale}": value for scale, value in enumerate(similarity.detach(), start=1)}
    return {"loss": 1 - (similarity**powers).prod(), **of_scales}


def _mean_ssim(ours: Tensor, theirs: Tensor, dilation: int) -> Tensor:
    """Mean structural similarity of two maps [B, 1, h, w], in windows of 5 x 5 cells that are `dilation` apart."""
    offsets = torch.arange(-2.0, 3.0, device=ours.device, dtype=ours.dtype)
    line = torch.exp(-offsets.square() / 2)
    window = torch.outer(line, line)[None, None]
    window = window / window.sum()

    def smooth(values: Tensor) -> Tensor:
        return F.conv2d(values, window, padding=2 * dilation, dilation=dilation)

    mean, other = smooth(ours), smooth(theirs)
    variance, other_variance = smooth(ours * ours) - mean * mean, smooth(theirs * theirs) - other * other
    covariance = smooth(ours * theirs) - mean * other
    similarity = (2 * mean * other + _C1) * (2 * covariance + _C2)
    return (similarity / ((mean * mean + other * other + _C1) * (variance + other_variance + _C2))).mean()


def multiscale_dots_loss(
    maps: dict[str, Tensor], points: Sequence[Tensor], size: Sequence[int], compat: bool = True
) -> dict[str, Tensor]:
    """Squared errors against dots at four resolutions, of MPS; a mean over images.

    A cell of the finest map is 1 if it has any point, as released; in the others it is the number of its points.

    Args:
        maps: [B, 1, h, w] each, by the names of `DOT_WEIGHTS`.
        points: per image [n, 2]; those outside of the input have no cell.
        size: height and width of the input.
        compat: An image without points is trained as if it had one in its top left corner (released). `False`: it has
            none.

    Returns:
        `loss`, and its four terms by the names of the maps.
    """
    terms = {}
    for name, weight in DOT_WEIGHTS.items():
        predicted = maps[name] if maps[name].dtype == torch.float64 else maps[name].float()
        targets = [_dots(image, size, predicted.shape[-2:], compat) for image in points]
        target = torch.stack(targets)[:, None].to(predicted)
        if name == "stride_2":
            target = target.clamp(max=1)
        terms[name] = weight * (predicted - target).square().sum() / len(targets)
    return {"loss": torch.stack(list(terms.values())).sum(), **terms}


def _dots(points: Tensor, size: Sequence[int], cells: Sequence[int], false_target: bool) -> Tensor:
    """Number of points in each cell, [h, w]."""
    height, width = cells
    sides = torch.tensor([size[1], size[0]], dtype=torch.float64)
    inside = points.double().cpu() / sides
    inside = inside[((inside >= 0) & (inside <= 1)).all(dim=-1)]
    if false_target and len(points) == 0:
        inside = torch.zeros(1, 2, dtype=torch.float64)
    x = (inside[:, 0] * width).long().clamp(max=width - 1)
    y = (inside[:, 1] * height).long().clamp(max=height - 1)
    return torch.bincount(y * width + x, minlength=height * width).view(height, width).float()


@in_full_precision
def point_matching_loss(
    logits: Tensor,
    pred_points: Tensor,
    points: Sequence[Tensor],
    class_cost: float = 1.0,
    point_cost: float = 0.05,
    background_weight: float = 0.5,
    point_coefficient: float = 2e-4,
    num_points: Tensor | None = None,
    compat: bool = True,
    classes: Sequence[Tensor] | None = None,
) -> dict[str, Tensor]:
    """Cross entropy of proposals after the cheapest assignment to points, of P2PNet.

    Args:
        logits: [B, Q, K + 1], channel 0 is no object, channel k + 1 class k.
        pred_points: [B, Q, 2] in pixels.
        points: per image [n, 2]
        class_cost, point_cost: Of the probability of a point's class and of a pixel of distance, in the matching.
        background_weight: Of proposals without a point, in the mean of the cross entropies.
        point_coefficient: Of the squared distances.
        num_points: By which those are divided; default is the points of the batch, at least 1.
        compat: The squared distances are computed but not trained on, as in the released code, where they are added up
            under another name than they are weighted: all points keep their random start. `False` trains on them.
        classes: per image [n], from 0 to K - 1; `None`: all are class 0.

    Returns:
        `loss`, and its terms before weighting, `loss_ce` and `loss_point`.

    Raises:
        ValueError: predictions that are not finite.
    """
    channels = torch.zeros(logits.shape[:2], dtype=torch.long, device=logits.device)
    distances = []
    for index, targets in enumerate(points):
        targets, proposed = targets.to(logits), pred_points[index].to(logits)
        own = torch.ones(len(targets)).long() if classes is None else classes[index] + 1
        probabilities = logits[index].softmax(dim=-1)[:, own.to(logits.device)]
        cost = point_cost * torch.cdist(proposed, targets) - class_cost * probabilities
        proposals, matched = cheapest_assignment(cost)
        channels[index, proposals] = own.to(logits.device)[matched]
        distances.append((proposed[proposals] - targets[matched]).square().sum())
    weights = logits.new_tensor([background_weight, *[1.0] * (logits.shape[-1] - 1)])
    loss_ce = F.cross_entropy(logits.transpose(1, 2), channels, weights)
    if num_points is None:
        num_points = torch.tensor(float(sum(map(len, points))), device=logits.device).clamp(min=1)
    loss_point = torch.stack(distances).sum() / num_points
    loss = loss_ce if compat else loss_ce + point_coefficient * loss_point
    return {"loss": loss, "loss_ce": loss_ce, "loss_point": loss_point}


@torch.no_grad()
def cheapest_assignment(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the cheapest one-to-one assignment, ordered by row.

    Args:
        cost: [Q, n]

    Raises:
        ValueError: costs that are not finite (as with too high a learning rate).
    """
    if not torch.isfinite(cost).all():
        raise ValueError("predictions are not finite: the weights are broken or training diverged (lower its rate)")
    rows, columns = linear_sum_assignment(cost.detach().cpu().numpy())
    return torch.from_numpy(rows).to(cost.device), torch.from_numpy(columns).to(cost.device)


@in_full_precision
def lcfcn_loss(logits: Tensor, points: Sequence[Tensor]) -> dict[str, Tensor]:
    """One blob for each point, of LCFCN; a mean over images.

    Every term is the mean cross entropy of some pixels: of the least and the most probable pixel, of the points, of
    the lines between points (between all of them, and within blobs that have several), of each blob without a point.
    Two points in one pixel are one.

    Args:
        logits: [B, 1, H, W], before the sigmoid.
        points: per image [n, 2]; those outside of the image count at its edge.

    Returns:
        `loss`, and its terms `loss_image`, `loss_point`, `loss_split` and `loss_false`.
    """
    terms = [_lcfcn_terms(image[0], xy) for image, xy in zip(logits, points)]
    means = {name: torch.stack([image[name] for image in terms]).mean() for name in terms[0]}
    return {"loss": torch.stack(list(means.values())).sum(), **means}


def _lcfcn_terms(logits: Tensor, points: Tensor) -> dict[str, Tensor]:
    height, width = logits.shape
    limits = torch.tensor([width - 1, height - 1])
    pixels = torch.minimum(points.detach().cpu().long().clamp(min=0), limits)
    is_point = np.zeros((height, width), dtype=bool)
    is_point[pixels[:, 1], pixels[:, 0]] = True
    number = int(is_point.sum())
    probability = logits.detach().sigmoid().cpu().numpy()
    flat = logits.flatten()
    zero = logits.sum() * 0

    def mean(chosen: np.ndarray, label: float) -> Tensor:
        picked = flat[torch.from_numpy(np.flatnonzero(chosen)).to(flat.device)]
        return F.binary_cross_entropy_with_logits(picked, torch.full_like(picked, label)) if len(picked) else zero

    least = F.softplus(flat[int(probability.argmin())])
    terms = {"loss_image": least, "loss_point": zero, "loss_split": zero}
    if number:
        terms["loss_image"] = least + F.softplus(-flat[int(probability.argmax())])
        terms["loss_point"] = number * mean(is_point, 1.0)
    relief = ndimage.black_tophat(probability, 7) if number > 1 else probability
    if number > 1:
        terms["loss_split"] = (number - 1) * mean(dividing_lines(relief, is_point), 0.0)
    blobs, num_blobs = ndimage.label(probability > 0.5, structure=_EIGHT_NEIGHBORS)
    inside = np.bincount(blobs[is_point], minlength=num_blobs + 1)
    inside[0] = 1  # what is outside of all blobs
    # all blobs without a point at once: the sum of their means
    share = np.where(inside == 0, 1 / np.maximum(np.bincount(blobs.ravel(), minlength=num_blobs + 1), 1), 0)
    terms["loss_false"] = (F.softplus(logits) * torch.from_numpy(share[blobs]).to(logits)).sum()
    for blob in np.flatnonzero(inside > 1):
        own = blobs == blob
        line = dividing_lines(relief, is_point & own, within=own)
        terms["loss_split"] = terms["loss_split"] + int(inside[blob] - 1) * mean(line, 0.0)
    return terms


def dividing_lines(relief: np.ndarray, is_point: np.ndarray, within: np.ndarray | None = None) -> np.ndarray:
    """Where the catchment basins of points touch, bool [H, W].

    Args:
        relief: [H, W], what is flooded.
        is_point: bool [H, W], where the water comes from.
        within: bool [H, W]; only lines inside of it are wanted, which is faster.
    """
    wanted = None if within is None else ndimage.binary_dilation(within, _FOUR_NEIGHBORS)
    basins = flood(relief, is_point, wanted)
    lines = ndimage.grey_dilation(basins, footprint=_FOUR_NEIGHBORS) != ndimage.grey_erosion(
        basins, footprint=_FOUR_NEIGHBORS
    )
    return lines if within is None else lines & within


def flood(relief: np.ndarray, is_point: np.ndarray, wanted: np.ndarray | None = None) -> np.ndarray:
    """The watershed transform: basin of each pixel, int [H, W], from 1 in the order of the points by row.

    Pixels are labeled by a neighbor above, left, right or below them, and are as high as this one at least, as water
    is; lower ones spread first, of equal ones that which was labeled first. Who gets flat ground depends on that, so
    it is as in scikit-image, which the released code calls, down to the order in which its heap gives points of one
    height. Where scikit-image is installed, it is called: seven times as fast (measured).

    Args:
        relief: [H, W], what is flooded.
        is_point: bool [H, W], the sources.
        wanted: bool [H, W]; the flood ends when all these are labeled, others may then be 0.
    """
    sources = np.where(is_point, np.cumsum(is_point).reshape(is_point.shape), 0)
    if watershed is not None:
        return watershed(relief, sources)
    return flood_by_heap(relief, sources, np.ones_like(is_point) if wanted is None else wanted)


def flood_by_heap(relief: np.ndarray, sources: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """See `flood`; `sources` int [H, W] has the number of the source, or 0."""
    height, width = relief.shape
    row = width + 2
    shift = relief.size.bit_length() + 1
    # height and age of a waiting pixel in one number, which compares faster than a tuple of them
    ranks = np.unique(relief, return_inverse=True)[1].reshape(relief.shape)
    heights = np.pad(ranks.astype(np.int64) << shift, 1).ravel().tolist()
    labels = np.pad(sources, 1, constant_values=-1).ravel().tolist()
    missing = int((wanted & (sources == 0)).sum())
    counts = np.pad(wanted, 1).ravel().tolist()
    points = np.flatnonzero(np.pad(sources, 1)).tolist()
    waiting: list[tuple[int, int, int]] = []
    for index in points:
        _push(waiting, (heights[index], 0, index))
    equals = Counter(heights[index] for index in points)
    age = 0
    while missing and max(equals.values(), default=0) > 1:
        value, born, index = _pop(waiting)
        equals[value] -= born == 0
        for neighbor in (index - row, index - 1, index + 1, index + row):
            if not labels[neighbor]:
                labels[neighbor] = labels[index]
                age += 1
                _push(waiting, (max(heights[neighbor], value), age, neighbor))
                missing -= counts[neighbor]
    # all are different now, and any heap will do
    heap = [value + born for value, born, _ in waiting]
    unborn = {value: index for value, born, index in waiting if born == 0}
    places = [0] * (age + 1)  # of the pixels by their age
    for _, born, index in waiting:
        places[born] = index
    heapq.heapify(heap)
    push, pop, mask = heapq.heappush, heapq.heappop, (1 << shift) - 1
    while missing and heap:
        key = pop(heap)
        born = key & mask
        index, level = places[born] if born else unborn[key], key - born
        label = labels[index]
        for neighbor in (index - row, index - 1, index + 1, index + row):
            if not labels[neighbor]:
                labels[neighbor] = label
                push(heap, max(heights[neighbor], level) + len(places))
                places.append(neighbor)
                missing -= counts[neighbor]
    return np.array(labels).reshape(height + 2, row)[1:-1, 1:-1]


def _push(heap: list[tuple[int, int, int]], item: tuple[int, int, int]) -> None:
    """Into a binary heap by the first two numbers; equal ones stay as they came."""
    heap.append(item)
    place = len(heap) - 1
    while place and heap[place][:2] < heap[(place - 1) // 2][:2]:
        parent = (place - 1) // 2
        heap[place], heap[parent] = heap[parent], heap[place]
        place = parent


def _pop(heap: list[tuple[int, int, int]]) -> tuple[int, int, int]:
    """The least by the first two numbers; the last one fills its place and sinks, not below equal ones."""
    least, last = heap[0], heap.pop()
    if not heap:
        return least
    heap[0], place = last, 0
    while (child := 2 * place + 1) < len(heap):
        smallest = child if heap[child][:2] < heap[place][:2] else place
        if child + 1 < len(heap) and heap[child + 1][:2] < heap[smallest][:2]:
            smallest = child + 1
        if smallest == place:
            break
        heap[place], heap[smallest] = heap[smallest], heap[place]
        place = smallest
    return least


def points_per_process(points: Sequence[Tensor], device: torch.device) -> Tensor:
    """Points of the batch, averaged over the processes of a distributed run, at least 1."""
    total = torch.tensor(float(sum(map(len, points))), device=device)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(total)
        total = total / torch.distributed.get_world_size()
    return total.clamp(min=1)
