"""Losses of density maps against points (the baselines of Table 2.3), for any model that makes density maps.

Each is a function of a map and points and returns a dictionary with "loss", which is trained on, and its parts. What
the released code computes is the default, its slips included, because the published numbers come from it; the
repaired forms are options. All compute in float32 at least, whatever autocast says.

B images, h x w density map of cells of `stride` pixels, n points of an image (x right, y down) in pixels of the input.
"""

import inspect
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .baseline_losses import in_full_precision
from .baseline_losses import lcfcn_loss as lcfcn_loss
from .baseline_losses import multiscale_dots_loss as multiscale_dots_loss
from .baseline_losses import multiscale_ssim_loss as multiscale_ssim_loss
from .baseline_losses import point_matching_loss as point_matching_loss
from .density_targets import gaussian_map, kernel_density
from .transport_losses import cell_axes, matching_terms, unbalanced_terms


def cell_centers(density_map: Tensor, stride: float) -> Tensor:
    """Centers [h * w, 2] (x, y) of the cells of a map [..., h, w], in pixels of the input."""
    return cell_axes(density_map, stride, stride / 2)


def squared_distances(points: Tensor, centers: Tensor) -> Tensor:
    """[n, h * w], in squared pixels; differences first, which keeps digits that x^2 - 2 x y + y^2 loses."""
    return (points[:, None] - centers[None]).square().sum(dim=-1)


def short_side_of(image_short_side: float | Sequence[float] | Tensor, image: int) -> float | Tensor:
    """That of an image of a batch, of one number for all or one for each."""
    if isinstance(image_short_side, Tensor):
        return image_short_side if image_short_side.ndim == 0 else image_short_side[image]
    return image_short_side[image] if isinstance(image_short_side, Sequence) else image_short_side


def stride_of(density_map: Tensor, size: Sequence[int]) -> int:
    """Side of a cell of the map of an input of `size` (height, width), of a network that halves.

    Such networks drop or fill up what is left over, so the side is the power of two that is nearest.

    Raises:
        ValueError: a map that no power of two fits.
    """
    cells = density_map.shape[-2:]
    halvings = max(0, round(math.log2(max(size) / max(cells))))
    coarser = 2 ** (halvings + 1)  # of which maps are perhaps enlarged by two
    for side, number in zip(size, cells):
        if not 2 * (side // coarser) <= number <= max(1, 2 * math.ceil(side / coarser)):
            raise ValueError(
                "A loss of density maps needs cells whose side is a power of two, or a backbone that says it (one of "
                f"timm). Received: {cells[1]} x {cells[0]} cells of {size[1]} x {size[0]} pixels"
            )
    return 2**halvings


@in_full_precision
def sum_of_squares_loss(density_map: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Sum of squared differences over cells and batch, not their mean (CSRNet, CAN). Both [B, 1, h, w]."""
    return {"loss": (density_map - target).square().sum()}


@in_full_precision
def bayesian_loss(
    density_map: Tensor,
    points: Sequence[Tensor],
    stride: float,
    image_short_side: float | Sequence[float] | Tensor,
    targets: Sequence[Tensor] | None = None,
    sigma: float = 8.0,
    background_ratio: float | None = 1.0,
    background: str = "inverse",
    trim: float = 1.0,
) -> dict[str, Tensor]:
    """Each point shall get its share of the map, and the background none (BL; trimmed, MAN).

    A cell is of point n with the posterior probability p_n, a softmax over the points (and the background) of
    -d^2 / (2 sigma^2).

    Args:
        density_map: [B, 1, h, w].
        points: per image [n, 2].
        stride: side of a cell.
        image_short_side: of the images that the inputs were cut out of, one or B.
        targets: per image [n], what a point shall sum up to; by default 1.
        sigma: in pixels.
        background_ratio: share of the shorter side that counts as the distance of the background; `None`: no
            background. MAN has 0.15.
        background: its squared distance for a cell whose nearest point is d away, with L = ratio * shorter side:
            "inverse", L^2 / d^2 as in the code of BL, or "difference", (L - d)^2 as in its paper and in MAN.
        trim: share of the points, those with the smallest errors, that are learned from. MAN has 0.9.

    Returns:
        "loss", the mean over the images of the sum of absolute errors; "loss_points", "loss_background", its parts.
        An image without points has the sum of its map as its error.

    Raises:
        ValueError: another background.
    """
    if background not in ("inverse", "difference"):
        raise ValueError(f"background must be 'inverse' or 'difference'. Received: {background!r}")
    centers = cell_centers(density_map, stride)
    of_points, of_background = [], []
    for index, image_points in enumerate(points):
        density = density_map[index].flatten()
        if not len(image_points):
            of_points.append(density.new_zeros(()))
            of_background.append(density.sum().abs())
            continue
        distances = squared_distances(image_points.to(density), centers)
        exponents = -distances / (2 * sigma**2)
        if background_ratio is not None:
            length = short_side_of(image_short_side, index) * background_ratio
            nearest = distances.min(dim=0, keepdim=True).values
            if background == "inverse":
                of_no_point = length**2 / (nearest + 1e-5)
            else:
                of_no_point = (length - nearest.clamp(min=0).sqrt()) ** 2
            exponents = torch.cat([exponents, -of_no_point / (2 * sigma**2)])
        sums = exponents.softmax(dim=0) @ density
        number = len(image_points)
        wanted = density.new_ones(number) if targets is None else targets[index].to(density)
        errors = (wanted - sums[:number]).abs()
        if trim < 1:
            errors = errors.sort().values[: math.ceil(trim * number)]
        of_points.append(errors.sum())
        of_background.append(sums[number:].abs().sum())
    parts = {
        "loss_points": torch.stack(of_points).mean(),
        "loss_background": torch.stack(of_background).mean(),
    }
    return {"loss": parts["loss_points"] + parts["loss_background"], **parts}


def gaussian(squared: Tensor, variance: float) -> Tensor:
    """The density of a normal distribution in the plane, at a squared distance."""
    return (-squared / (2 * variance)).exp() / (2 * math.pi * variance)


@in_full_precision
def noisy_annotation_loss(
    density_map: Tensor,
    points: Sequence[Tensor],
    stride: float,
    image_short_side: float | Sequence[float] | Tensor,
    targets: Sequence[Tensor] | None = None,
    sigma: float = 8.0,
    noise: float = 8.0,
    background_ratio: float = 0.15,
    rank_share: float = 0.6,
    most_ranks: int = 100,
    weight: float = 0.01,
    background: bool = True,
    sum_to_one: bool = False,
) -> dict[str, Tensor]:
    """The negative log likelihood of the map, if annotations are off by normal noise (NoisyCC).

    Each cell has a normal distribution, whose mean and variance come from the points near it; the covariance of the
    cells that vary most is kept, as a correction of low rank.

    Args:
        density_map: [B, 1, h, w].
        points: per image [n, 2].
        stride: side of a cell.
        image_short_side: of the images that the inputs were cut out of, one or B.
        targets: per image [n], what a point sums up to in the mean; by default 1.
        sigma: of the Gaussian that a point is drawn as, in pixels.
        noise: standard deviation of an annotation, in pixels.
        background_ratio: share of the shorter side that is the distance of the background.
        rank_share: of the variance that the cells with a covariance have together.
        most_ranks: such cells, at most.
        weight: of the likelihood.
        background: whether the variance has a part of the background.
        sum_to_one: whether each point shall also get its share of the map.

    Returns:
        "loss", the mean over the images, and its parts "loss_likelihood" and, if asked for, "loss_sum". The released
        covariance has the points of the whole batch, which is one image there; here it is each image's own.
    """
    centers = cell_centers(density_map, stride)
    likelihoods, sums = [], []
    for index, image_points in enumerate(points):
        density, number = density_map[index].flatten(), len(image_points)
        if not number:
            likelihoods.append(density.sum().abs())
            sums.append(density.new_zeros(()))
            continue
        xy = image_points.to(density)
        wanted = density.new_ones(number) if targets is None else targets[index].to(density)
        distances = squared_distances(xy, centers)
        spread = gaussian(distances, sigma**2 + noise**2)  # mu_n, [n, h * w]
        mean = wanted @ spread
        scale = number / mean.sum()
        narrow = gaussian(distances, noise**2 + sigma**2 / 2)
        peak = 2 * math.pi * 2 * sigma**2
        ranking = narrow.sum(dim=0) / peak - spread.square().sum(dim=0) + 1e-14
        variance, rows = ranking, spread
        if background:
            length = short_side_of(image_short_side, index) * background_ratio
            nearest = distances.min(dim=0).values.sqrt()
            far = (length * (-nearest / math.sqrt(sigma**2 + noise**2)).exp()).square()
            variance = ranking + gaussian(far, noise**2 + sigma**2 / 2) / peak
            rows = torch.cat([spread, gaussian(far, sigma**2 + noise**2)[None]])
        selected = _most_varying(ranking, rank_share, most_ranks)
        inverse = _low_rank(xy, centers[selected], spread[:, selected], variance[selected], sigma, noise)
        residual = density - mean * scale
        of_selected = residual[selected]
        quadratic = (residual.square() / (variance * scale**2)).sum() - of_selected @ (
            inverse / scale**2
        ) @ of_selected
        likelihoods.append(weight * 0.5 * quadratic)
        shares = (rows / rows.sum(dim=0).clamp(min=1e-30)) @ density
        # as released: without background a point shall have 1, however much of it is visible
        share = torch.cat([wanted, wanted.new_zeros(1)]) if background else torch.ones_like(wanted)
        sums.append((share - shares).abs().sum())
    parts = {"loss_likelihood": torch.stack(likelihoods).mean()}
    if sum_to_one:
        parts["loss_sum"] = torch.stack(sums).mean()
    return {"loss": torch.stack([*parts.values()]).sum(), **parts}


def _most_varying(variance: Tensor, share: float, most: int) -> Tensor:
    """Indices, in order, of the cells that have more than this share of all variance together."""
    values, order = variance.sort(descending=True)
    kept = 1 + int((values.cumsum(dim=0) / values.sum() <= share).sum())
    return order[: min(kept, most)].sort().values


def _low_rank(points: Tensor, cells: Tensor, means: Tensor, variance: Tensor, sigma: float, noise: float) -> Tensor:
    """What the covariance of some cells takes from the inverse of their variances, [m, m].

    Args:
        points: [n, 2].
        cells: [m, 2], their centers.
        means: [n, m].
        variance: [m].
        sigma, noise: as above.
    """
    between = gaussian(squared_distances(cells, cells), 2 * sigma**2)
    middles = (cells[:, None] + cells[None]) / 2
    to_middle = gaussian((points[:, None, None] - middles[None]).square().sum(dim=-1), noise**2 + sigma**2 / 2)
    covariance = between * to_middle.sum(dim=0) + len(points) * between - means.T @ means
    covariance.fill_diagonal_(1e-10)
    variance = variance + 1e-10
    return (variance[:, None] * covariance.inverse() * variance[None] + variance.diag()).inverse()


@in_full_precision
def distribution_matching_loss(
    density_map: Tensor,
    points: Sequence[Tensor],
    stride: float,
    transport_weight: float = 0.1,
    variation_weight: float = 0.01,
    regularization: float = 10.0,
    iterations: int = 100,
    normalized_coordinates: bool = False,
    compat: bool = True,
) -> dict[str, Tensor]:
    """The count, and how far the normalized map is from the points: optimal transport and total variation (DM-Count).

    Args:
        density_map: [B, 1, h, w], nowhere negative.
        points: per image [n, 2].
        stride: side of a cell.
        transport_weight, variation_weight: of the second and the third term.
        regularization: of the transport, in squared pixels.
        iterations: of Sinkhorn, at most.
        normalized_coordinates: whether distances are those in [-1, 1] instead of pixels; needs a small regularization.
        compat: as released, the transport is summed over the batch, so that its weight grows with it; `False`: the
            mean, as of the other terms.

    Returns:
        "loss" and its parts "loss_count", "loss_ot", "loss_tv". The value of the transport's term is nearly 0, only
        its gradient means something; "ot_objective" and "wasserstein" are for the log.
    """
    terms = matching_terms(density_map, points, stride, regularization, iterations, normalized_coordinates)
    transport = terms["ot"].sum() if compat else terms["ot"].mean()
    parts = {
        "loss_count": terms["count"].mean(),
        "loss_ot": transport_weight * transport,
        "loss_tv": variation_weight * terms["tv"].mean(),
    }
    logged = {name: terms[name].sum().detach() for name in ("ot_objective", "wasserstein")}
    return {"loss": torch.stack([*parts.values()]).sum(), **parts, **logged}


@in_full_precision
def generalized_loss(
    density_map: Tensor,
    points: Sequence[Tensor],
    stride: float,
    cost: str = "per",
    cost_scale: float = 0.6,
    blur: float = 0.01,
    reach: float = 0.5,
    scaling: float = 0.5,
    point_norm: str = "l1",
    pixel_norm: str = "l2",
    deviation_weight: float = 0.1,
    compat: bool = True,
) -> dict[str, Tensor]:
    """Unbalanced optimal transport from the map to the points (GL).

    Args:
        density_map: [B, 1, h, w], nowhere negative.
        points: per image [n, 2].
        stride: side of a cell.
        cost: "per", exp(distance / s) - 1 where s grows to the bottom of the image (perspective), or "exp", with s =
            `cost_scale` everywhere; distances are shares of the input's side.
        cost_scale: see `cost`.
        blur, reach, scaling: of the transport, see `unbalanced_transport`.
        point_norm, pixel_norm: "l1" or "l2", how much points and cells deviate from what reaches or leaves them.
        deviation_weight: of these.
        compat: as released, cells lie half a cell too far to the right and the bottom, and the entropy is summed over
            the batch; `False`: at their centers, and the mean.

    Returns:
        "loss" and its parts before weighting: "loss_emd", "loss_point", "loss_pixel", "loss_entropy".

    Raises:
        ValueError: another cost or norm.
    """
    if cost not in ("per", "exp") or not {point_norm, pixel_norm} <= {"l1", "l2"}:
        raise ValueError(
            "cost must be 'per' or 'exp', norms must be 'l1' or 'l2'. "
            f"Received: {cost!r}, {point_norm!r}, {pixel_norm!r}"
        )
    offset = stride if compat else stride / 2
    scale = None if cost == "per" else cost_scale
    terms = unbalanced_terms(density_map, points, stride, offset, scale, blur, reach, scaling, point_norm, pixel_norm)
    parts = {f"loss_{name}": terms[name].mean() for name in ("emd", "point", "pixel")}
    parts["loss_entropy"] = terms["entropy"].sum() if compat else terms["entropy"].mean()
    deviations = parts["loss_point"] + parts["loss_pixel"]
    return {"loss": parts["loss_emd"] + deviation_weight * deviations + blur * parts["loss_entropy"], **parts}


@in_full_precision
def kernel_generation_loss(
    density_map: Tensor,
    points: Sequence[Tensor],
    stride: float,
    kernels: Tensor,
    cosine_weight: float = 10.0,
    compat: bool = True,
) -> dict[str, Tensor]:
    """The map and a target that a second network makes of the image and the points learn from each other (KDMG).

    Args:
        density_map: [B, 1, h, w].
        points: per image [n, 2].
        stride: side of a cell.
        kernels: [B, s * s, h / 2, w / 2], of the generator.
        cosine_weight: of 1 - the cosine between map and target.
        compat: see `kernel_density`.

    Returns:
        "loss", "loss_squares" and "loss_cosine"; gradients go to the map and to the kernels.
    """
    target = kernel_density(kernels.to(density_map), points, stride, density_map.shape[-2:], compat)
    squares = (density_map - target).square().sum() / len(density_map)
    cosine = F.cosine_similarity(density_map.flatten(1), target.flatten(1))
    distance = cosine_weight * (1 - cosine).mean() / len(density_map)
    return {"loss": squares + distance, "loss_squares": squares, "loss_cosine": distance}


LOSSES = {
    "bayesian": bayesian_loss,
    "noisy_annotation": noisy_annotation_loss,
    "distribution_matching": distribution_matching_loss,
    "generalized": generalized_loss,
    "kernel_generation": kernel_generation_loss,
}
# what a batch gives, and no configuration
_GIVEN = {"density_map", "points", "stride", "image_short_side", "targets", "kernels", "size", "grid", "window"}


def check_loss_options(loss_type: str, options: dict[str, Any] | None) -> None:
    """Nothing, if a loss of `loss_of_density` has these options.

    Raises:
        ValueError: else.
    """
    function = {"sum_of_squares": gaussian_map, **LOSSES}[loss_type]
    known = inspect.signature(function).parameters.keys() - _GIVEN
    if unknown := sorted((options or {}).keys() - known):
        raise ValueError(
            f"loss_options of {loss_type} must be among {', '.join(sorted(known))}. Received: {', '.join(unknown)}"
        )


def loss_of_density(
    loss_type: str,
    options: dict[str, Any] | None,
    density_map: Tensor,
    targets: Any,
    kernels: Tensor | None = None,
    stride: int | None = None,
) -> dict[str, Tensor]:
    """The loss of a configuration.

    Args:
        loss_type: its name: "sum_of_squares" (against Gaussians, whose options are those of `gaussian_map`),
            "bayesian", "noisy_annotation", "distribution_matching", "generalized" or "kernel_generation".
        options: of its function, where they are not the defaults.
        density_map: [B, K, h, w]; with several classes, the losses of the K maps are added up.
        targets: the labels of the batch (`PointTargets`).
        kernels: of the generator, for the last.
        stride: side of a cell in pixels; `None`: see `stride_of`.

    Raises:
        ValueError: a loss or an option that is not known.
    """
    if targets.classes is not None:
        each = [
            loss_of_density(
                loss_type, options, density_map[:, number : number + 1], targets.of_class(number), kernels, stride
            )
            for number in range(density_map.shape[1])
        ]
        return {name: torch.stack([terms[name] for terms in each]).sum() for name in each[0]}
    stride, options = stride or stride_of(density_map, targets.size), options or {}
    check_loss_options(loss_type, options)
    points = targets.points
    if loss_type == "sum_of_squares":
        grid = tuple(density_map.shape[-2:])
        images = [targets.whole(image) for image in range(len(points))]
        maps = [
            gaussian_map(all_points, size, stride=stride, grid=grid, window=window, **options)
            for all_points, size, window in images
        ]
        return sum_of_squares_loss(density_map, torch.stack(maps)[:, None].to(density_map.device).float())
    if loss_type in ("bayesian", "noisy_annotation"):
        sides, shares = targets.image_short_sides, targets.visible_shares
        return LOSSES[loss_type](density_map, points, stride, sides, shares, **options)
    if loss_type == "kernel_generation":
        return kernel_generation_loss(density_map, points, stride, kernels, **options)
    return LOSSES[loss_type](density_map, points, stride, **options)
