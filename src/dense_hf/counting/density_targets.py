"""What density maps learn: Gaussians, dots and visible shares, made of points when they are needed (Table 2.3).

The released code makes maps beforehand, in files; here they are made on the fly, with the mass that the released ones
have: the Gaussians of CSRNet and CAN lose what reaches over the border (18 points sum up to 15.6, measured),
those of DSSI-Net are normalized inside the image. Images with 1, 2 or 3 points, where the released code fails, use the
neighbors that there are.

n points (x right, y down) in pixels, H x W image, h x w map. Maps are float64 and on the CPU: not every device has
such numbers. (Generated kernels, of KDMG, are what their network makes, where it makes them.)
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

NUM_NEIGHBORS = 3
BOX_LIMITS = (4.0, 128.0)  # of the side of a point's box, in pixels (BL)
BORDER = 10  # pixels outside of the image that DSSI-Net still takes points of


def neighbor_distances(points: Tensor, lonely: float) -> Tensor:
    """Mean distance [n] of each point [n, 2] to its 3 nearest others, or to those there are; `lonely` for one alone.

    The released code needs 4 points at least.
    """
    if len(points) < 2:
        return points.new_full((len(points),), lonely)
    points = points.double()
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distances.topk(min(len(points), NUM_NEIGHBORS + 1), dim=1, largest=False).values
    return nearest[:, 1:].mean(dim=1)


def visible_shares(points: Tensor, distances: Tensor, box: Sequence[float]) -> Tensor:
    """How much of the box around each point lies in a crop, [n] in [0, 1] (BL, NoisyCC, GL, KDMG, MAN).

    Args:
        points: [n, 2] (x, y), inside of the crop or not.
        distances: [n], to neighbors; a box has this side, within `BOX_LIMITS`.
        box: left, top, right and bottom of the crop.
    """
    sides = distances.clamp(*BOX_LIMITS)[:, None]
    corner, end = points.new_tensor(box[:2]), points.new_tensor(box[2:])
    inside = torch.minimum(points + sides / 2, end) - torch.maximum(points - sides / 2, corner)
    return (inside.clamp(min=0).prod(dim=1) / sides[:, 0].square()).clamp(0, 1)


def pixels_of(points: Tensor, size: Sequence[int], unique: bool = False) -> Tensor:
    """The pixels int64 [m, 2] (x, y) that points lie in; those outside of the image are left out.

    Args:
        points: [n, 2].
        size: H and W.
        unique: whether two points in a pixel are one, as where the released code has a set of pixels.

    A point on the right or lower border, where one on the left is after the image was mirrored, is in the last pixel.
    """
    limits = points.new_tensor([size[1], size[0]])
    inside = points[((points >= 0) & (points <= limits)).all(dim=1)]
    pixels = torch.minimum(inside.floor(), limits - 1).long()
    return pixels.unique(dim=0) if unique and len(pixels) else pixels


def dot_map(
    points: Tensor, size: Sequence[int], stride: int = 1, unique: bool = False, rounded: bool = False
) -> Tensor:
    """Points per cell, [H // stride, W // stride].

    Args:
        points: [n, 2].
        size: H and W.
        stride: side of a cell.
        unique: see `pixels_of`.
        rounded: whether a point belongs to the nearest corner of pixels, and what is outside to the last pixel
            (DM-Count), instead of to the pixel that it lies in.
    """
    points = points.detach().cpu()
    if rounded:
        limits = torch.tensor([size[1] - 1, size[0] - 1], device=points.device)
        points = torch.minimum(points.round().clamp(min=0), limits.to(points))
    cells = pixels_of(points, size, unique) // stride
    height, width = size[0] // stride, size[1] // stride
    cells = cells[(cells < cells.new_tensor([width, height])).all(dim=1)]
    counts = torch.bincount(cells[:, 1] * width + cells[:, 0], minlength=height * width)
    return counts.view(height, width).double()


def gaussian_map(
    points: Tensor,
    size: Sequence[int],
    sigma: float | None = None,
    stride: int = 1,
    resize: str = "bicubic",
    dots: str = "pixels",
    grid: Sequence[int] | None = None,
    window: Sequence[int] | None = None,
) -> Tensor:
    """A Gaussian around each point, [H // stride, W // stride] (CSRNet, CAN, MCNN).

    Args:
        points: [n, 2].
        size: H and W.
        sigma: of all points; what reaches over the border is mirrored, and the mass is kept. `None`: 0.3 times the
            mean distance to the 3 nearest, (H + W) / 8 of a lonely point; what reaches over the border is lost.
        stride: the map is resized by this factor, and multiplied by its square. Sides that are no multiples change
            the mass, as released.
        resize: "bicubic" (CSRNet, the authors' CAN) or "bilinear" (the reimplementations that train with SGD).
        dots: "pixels": two points in one pixel are one, and distances are those of pixels; "points": of points.
        grid: h and w of the map, where a network rounds otherwise.
        window: left, top, width and height of the part of the map that is wanted, before it is resized. What of it
            lies outside of the image is empty.
    """
    height, width = size
    left, top, across, down = window or (0, 0, width, height)
    points = points.detach().cpu()  # float64, which not every device has
    pixels = pixels_of(points, size, unique=dots == "pixels")
    if dots == "points":
        points = points[((points >= 0) & (points <= points.new_tensor([width, height]))).all(dim=1)]
    if sigma is None:
        lonely = (height + width) / 8 / 0.3
        sigmas = 0.3 * neighbor_distances(pixels.double() if dots == "pixels" else points.double(), lonely)
    else:
        sigmas = torch.full((len(pixels),), float(sigma), dtype=torch.float64, device=points.device)
    # a Gaussian is a product of profiles, and resizing works on each axis: few numbers instead of n images
    profiles = []
    cells = grid or (down // stride, across // stride)
    for axis, length, first, wanted, number in ((1, height, top, down, cells[0]), (0, width, left, across, cells[1])):
        positions = torch.arange(first, first + wanted, dtype=torch.float64)
        profile = _profiles(pixels[:, axis], sigmas, length, positions, mirrored=sigma is not None)
        if stride > 1:
            profile = F.interpolate(profile[:, None, :, None], (number, 1), mode=resize)[:, 0, :, 0]
        profiles.append(profile * stride)
    return profiles[0].T @ profiles[1]


def _profiles(centers: Tensor, sigmas: Tensor, length: int, positions: Tensor, mirrored: bool) -> Tensor:
    """[n, positions]: a dot at each center, filtered as `scipy.ndimage.gaussian_filter1d` does, with 4 sigmas."""
    sigmas = sigmas.clamp(min=1e-6)[:, None]  # points at one place: a dot
    reach = (4 * sigmas + 0.5).floor()
    inside = (positions >= 0) & (positions < length)
    offsets = [positions - centers[:, None]]
    if mirrored:
        folds = range(-math.ceil(float(reach.max()) / length) if len(reach) else 0, 0)
        folds = [fold for distance in folds for fold in (distance, -distance)]
        offsets += [positions - centers[:, None] - 2 * length * fold for fold in folds]
        offsets += [positions + 1 + centers[:, None] - 2 * length * fold for fold in (0, *folds)]
    values = sum(torch.exp(-0.5 * (offset / sigmas).square()) * (offset.abs() <= reach) for offset in offsets)
    steps = torch.arange(1, int(reach.max()) + 1 if len(reach) else 1, dtype=torch.float64, device=centers.device)
    tails = torch.exp(-0.5 * (steps / sigmas).square()) * (steps <= reach)
    return values * inside / (1 + 2 * tails.sum(dim=1, keepdim=True))


def normalized_gaussian_map(
    points: Tensor, size: Sequence[int], sigma: float | None = None, window: Sequence[int] | None = None
) -> Tensor:
    """A round Gaussian around each point, each with mass 1 inside the image, [H, W] (DSSI-Net).

    Args:
        points: [n, 2]; those up to 10 pixels outside are moved to the border, others left out.
        size: H and W.
        sigma: of all points, in windows of 15 x 15; `None`: 0.3 times the mean distance to the 3 nearest, in images of
            up to 4 points 0.3 times an eighth of the shorter side (100 at most), in windows of 6 sigmas.
        window: see `gaussian_map`.
    """
    height, width = size
    first_x, first_y, across, down = window or (0, 0, width, height)
    points = points.detach().cpu()  # float64, which not every device has
    limits = points.new_tensor([width, height])
    points = points[((points >= -BORDER) & (points < limits + BORDER)).all(dim=1)].double()
    if sigma is not None:
        distances = [sigma / 0.3] * len(points)
    elif len(points) <= NUM_NEIGHBORS + 1:
        distances = [min(min(height, width) / 8, 100)] * len(points)
    else:
        distances = neighbor_distances(points, 0.0).tolist()
    target = torch.zeros(down, across, dtype=torch.float64)
    centers = torch.minimum(points.clamp(min=0), limits.double() - 1).floor().long().tolist()
    windows: dict[float, Tensor] = {}
    for (x, y), distance in zip(centers, distances):
        # as released: points whose distances round to one tenth have the window of the first of them
        if (key := round(distance, 1)) not in windows:
            side = 15 if sigma is not None else max(1, int(1.8 * distance) // 2 * 2 + 1)
            windows[key] = _round_window(side, 0.3 * distance)
        half = len(windows[key]) // 2
        top, left = max(0, y - half), max(0, x - half)
        bottom, right = min(height, y + half + 1), min(width, x + half + 1)
        part = windows[key][top - y + half : bottom - y + half, left - x + half : right - x + half]
        part = part / part.sum()
        part = part[max(0, first_y - top) : max(0, first_y + down - top)]
        part = part[:, max(0, first_x - left) : max(0, first_x + across - left)]
        top, left = max(0, top - first_y), max(0, left - first_x)
        target[top : top + part.shape[0], left : left + part.shape[1]] += part
    return target


def _round_window(side: int, sigma: float) -> Tensor:
    """[side, side], a Gaussian whose corners, lower than the middles of its edges, are cut off; equal ones are not."""
    offsets = torch.arange(side, dtype=torch.float64) - side // 2
    profile = torch.exp(-offsets.square() / (2 * max(sigma, 1e-6) ** 2))
    window = profile[:, None] * profile[None]
    return torch.where(window < window[0, side // 2] * (1 - 1e-12), 0.0, window)


def kernel_density(
    kernels: Tensor, points: Sequence[Tensor], stride: float, size: Sequence[int], compat: bool
) -> Tensor:
    """The target of KDMG: the generated kernel of each point, pasted into a map [B, 1, h, w].

    Args:
        kernels: [B, s * s, h / 2, w / 2], see `KernelGenerator`.
        points: per image [n, 2].
        stride: side of a cell of the map.
        size: h and w.
        compat: as released, windows lie one cell too far to the top left, are moved inside at these borders, and all
            images of a batch have the kernels of the first; `False`: windows around the points' cells, cut at all
            borders, and own kernels. What is cut off is lost.
    """
    side = math.isqrt(kernels.shape[1])
    height, width = size
    target = kernels.new_zeros(len(points), height * width)
    offsets = torch.arange(side, device=kernels.device)
    for index, image_points in enumerate(points):
        own = kernels[0 if compat else index]
        image_points = image_points.to(kernels.device)
        # of the image that a cell of the generator sees, whatever the stride of the map is
        cell = image_points.new_tensor([width / own.shape[-1], height / own.shape[-2]]) * stride
        cells = (image_points / cell).long()
        rows, columns = cells[:, 1].clamp(0, own.shape[-2] - 1), cells[:, 0].clamp(0, own.shape[-1] - 1)
        patches = own[:, rows, columns].T.reshape(-1, side, side)
        if compat:
            corners = (image_points / stride - (side + 1) / 2).long().clamp(min=0)
        else:
            corners = (image_points / stride).floor().long() - side // 2
        y, x = (corners[:, axis, None] + offsets for axis in (1, 0))
        inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None]
        places = (y[:, :, None] * width + x[:, None])[inside]
        target[index] = target[index].index_add(0, places, patches[inside])
    # no point, no gradient: but every process of a distributed run waits for one
    return target.view(-1, 1, height, width) + 0 * kernels.sum()
