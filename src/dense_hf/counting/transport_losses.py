"""Losses that ask how far mass must move from a density map to points: DM-Count and GL (the baselines of Table 2.3).

B images, h x w density map of cells of `stride` pixels, n points of an image (x right, y down) in pixels of the input,
A mass of a cell, C cost [h * w, n].
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .density_targets import dot_map

MOST_EXPONENT = 20.0  # of the numbers of GL, far above those of any map with mass


def cell_axes(density_map: Tensor, stride: float, offset: float) -> Tensor:
    """[h * w, 2] (x, y), where cell i of an axis is at stride * i + offset."""
    y, x = (torch.arange(side, device=density_map.device, dtype=density_map.dtype) for side in density_map.shape[-2:])
    return torch.cartesian_prod(y * stride + offset, x * stride + offset).flip(1)


def balanced_transport(mass: Tensor, cost: Tensor, regularization: float, iterations: int) -> tuple[Tensor, Tensor]:
    """Sinkhorn's way of moving n equal shares of 1 to cells, as DM-Count runs it.

    Args:
        mass: [h * w], of the cells, about 1 together.
        cost: [n, h * w].
        regularization: of the entropy.
        iterations: at most; every tenth looks whether the marginals fit.

    Returns:
        The cells' dual potential [h * w], and the cost of the plan.
    """
    number, cells = cost.shape
    kernel = (-cost / regularization).exp()
    source = mass.new_full((number,), 1 / number)
    u, v = source, mass.new_full((cells,), 1 / cells)
    for step in range(1, iterations + 1):
        v = mass / (kernel.T @ u + 1e-16)
        u = source / (kernel @ v + 1e-16)
        if step % 10 == 0 and ((v * (kernel.T @ u) - mass).square().sum() <= 1e-9):
            break
    potential = regularization * (v + 1e-16).log()
    return potential, (cost * kernel * u[:, None] * v[None]).sum()


def matching_terms(
    density_map: Tensor,
    points: Sequence[Tensor],
    stride: float,
    regularization: float,
    iterations: int,
    normalized_coordinates: bool,
) -> dict[str, Tensor]:
    """The terms of DM-Count before weighting: `count` and `tv` [B], `ot` [B] whose gradient is that of the transport
    and whose value is nearly 0, and for the log its objective and the Wasserstein distance [B]."""
    size = [round(side * stride) for side in density_map.shape[-2:]]
    centers = cell_axes(density_map, stride, stride / 2)
    scale = centers.new_tensor([size[1], size[0]]) if normalized_coordinates else None
    terms: dict[str, list[Tensor]] = {"count": [], "tv": [], "ot": [], "ot_objective": [], "wasserstein": []}
    for image, image_points in zip(density_map, points):
        density, number = image.flatten(), len(image_points)
        total = density.sum()
        normed = density / (total + 1e-6)
        xy = image_points.to(density)
        dots = dot_map(xy, size, int(stride), rounded=True).flatten().to(density)
        terms["count"].append((total - number).abs())
        terms["tv"].append(number * (normed - dots / (number + 1e-6)).abs().sum())
        if not number:
            for name in ("ot", "ot_objective", "wasserstein"):
                terms[name].append(density.new_zeros(()))
            continue
        grid = centers
        if scale is not None:
            xy, grid = xy / scale * 2 - 1, centers / scale * 2 - 1
        cost = (xy[:, None] - grid[None]).square().sum(dim=-1)
        potential, wasserstein = balanced_transport(normed.detach(), cost, regularization, iterations)
        fixed = density.detach()
        mass = fixed.sum()
        weight = mass.square() + 1e-8
        gradient = mass / weight * potential - (fixed * potential).sum() / weight
        terms["ot"].append((density * gradient).sum())
        terms["ot_objective"].append((normed.detach() * potential).sum())
        terms["wasserstein"].append(wasserstein)
    return {name: torch.stack(values) for name, values in terms.items()}


def unbalanced_transport(
    mass: Tensor, number: int, cost: Tensor, blur: float, reach: float, scaling: float, diameter: float
) -> tuple[Tensor, Tensor]:
    """Potentials of the entropic transport from cells to `number` points that may leave mass where it is, in logs.

    Symmetric steps, averaged, from the diameter of the scene down to the blur, and one last step at the blur; the
    exponent of the distance is 1, so that blur and reach are the temperatures themselves.

    Args:
        mass: [h * w] of the cells; each point has 1.
        number: n.
        cost: [h * w, n].
        blur: the last temperature.
        reach: how far mass moves before it is rather left.
        scaling: factor from a temperature to the next.
        diameter: the first temperature.

    Returns:
        Potentials of the cells [h * w] and of the points [n].
    """
    log_cells = mass.log().where(mass > 0, mass.new_tensor(-1e5))
    log_points = mass.new_zeros(number)

    def softmin(temperature: float, costs: Tensor, potential: Tensor) -> Tensor:
        return -temperature * (potential[None] - costs / temperature).logsumexp(dim=1)

    diameter = max(diameter, blur)  # of a map of one cell
    temperatures = [diameter, *torch.arange(*(torch.tensor([diameter, blur, scaling]).double().log()).tolist()).exp()]
    temperatures = [float(value) for value in temperatures] + [blur]
    back = cost.T
    damping = 1 / (1 + temperatures[0] / reach)
    cells = damping * softmin(temperatures[0], cost, log_points)
    to_points = damping * softmin(temperatures[0], back, log_cells)
    for temperature in temperatures:
        damping = 1 / (1 + temperature / reach)
        new_cells = damping * softmin(temperature, cost, log_points + to_points / temperature)
        new_points = damping * softmin(temperature, back, log_cells + cells / temperature)
        cells, to_points = (cells + new_cells) / 2, (to_points + new_points) / 2
    damping = 1 / (1 + blur / reach)
    return (
        damping * softmin(blur, cost, log_points + to_points / blur),
        damping * softmin(blur, back, log_cells + cells / blur),
    )


def perspective_cost(grid: Tensor, points: Tensor, scale: float | None) -> Tensor:
    """[h * w, n], exp(distance / scale) - 1; without a scale it grows from 0.5 at the top to 0.7 at the bottom.

    Both hold (x, y) as shares of the input's side.
    """
    distances = (grid[:, None] - points[None]).square().sum(dim=-1).sqrt()
    if scale is None:
        return (distances / (0.2 * (grid[:, None, 1] + points[None, :, 1]) / 2 + 0.5)).exp() - 1
    return (distances / scale).exp() - 1


def deviation(values: Tensor, norm: str) -> Tensor:
    """Sum of absolute values ("l1") or of squares ("l2")."""
    return values.abs().sum() if norm == "l1" else values.square().sum()


def unbalanced_terms(
    density_map: Tensor,
    points: Sequence[Tensor],
    stride: float,
    offset: float,
    cost_scale: float | None,
    blur: float,
    reach: float,
    scaling: float,
    point_norm: str,
    pixel_norm: str,
) -> dict[str, Tensor]:
    """The terms of GL before weighting, [B] each: `emd`, `point`, `pixel`, `entropy`."""
    side = max(density_map.shape[-2:]) * stride
    grid = cell_axes(density_map, stride, offset) / side
    terms: dict[str, list[Tensor]] = {"emd": [], "point": [], "pixel": [], "entropy": []}
    for image, image_points in zip(density_map, points):
        mass = image.flatten()
        if not len(image_points):
            total = mass.sum().abs()
            for name, value in (("emd", total), ("point", total), ("pixel", total), ("entropy", 0 * total)):
                terms[name].append(value)
            continue
        xy = image_points.to(mass) / side
        cost = perspective_cost(grid, xy, cost_scale)
        both = torch.cat([grid, xy])
        diameter = float((both.max(dim=0).values - both.min(dim=0).values).norm())
        with torch.no_grad():
            cells, to_points = unbalanced_transport(mass.detach(), len(xy), cost, blur, reach, scaling, diameter)
            # a map without any mass, which a closed ReLU makes, would give infinity times zero
            plan = ((cells[:, None] + to_points[None] - cost) / blur).clamp(max=MOST_EXPONENT).exp()
            left = (-cells / reach).clamp(max=MOST_EXPONENT).exp()
        factor = reach + blur / 2
        moved = factor * (mass * (1 - left)).sum()
        terms["emd"].append(moved + factor * (1 - (-to_points / reach).exp()).sum())
        flow = plan * mass[:, None]
        terms["point"].append(deviation(flow.sum(dim=0) - 1, point_norm))
        terms["pixel"].append(deviation(flow.detach().sum(dim=1) - mass, pixel_norm))
        terms["entropy"].append((flow * (flow + 1e-20).log()).mean())
    return {name: torch.stack(values) for name, values in terms.items()}
