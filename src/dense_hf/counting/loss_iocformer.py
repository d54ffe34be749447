"""Matching and losses of IOCFormer (thesis section 2.4.3, Eq. 2.1 and 2.4).

B batch, Q queries, K classes, N annotated points of the densest image of the batch (rows padded with -100). A point is
(x, y, mean distance to its 3 nearest neighbours), all divided by the tile size. The third number enters the matching
cost ("k-nearest-neighbours matching") and the localisation loss with the weight of a coordinate.
"""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.utils import is_scipy_available

from .configuration_iocformer import IOCFormerConfig
from .counter_interface import read_classes, read_labels
from .density_losses import loss_of_density

if is_scipy_available():
    from scipy.optimize import linear_sum_assignment

OBJECT_CHANNEL = 1  # of the first class, the others follow; channel 0 never has a positive (released code)


@torch.no_grad()
def match_points(
    logits: Tensor, points: Tensor, targets: Tensor, config: IOCFormerConfig, classes: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The cheapest one-to-one assignment of annotated points to queries, for one image.

    Args:
        logits: [Q, K + 1]
        points: [Q, 3], or [Q, 2] if distances to neighbours do not matter
        targets: [n, 3], without padding
        classes: [n], of the targets; `None`: all are class 0

    Returns:
        Indices of queries and of targets, both of length min(Q, n), ordered by query.

    Raises:
        ValueError: if a prediction is not finite (as with too high a learning rate).
    """
    own = [OBJECT_CHANNEL] if classes is None else classes + OBJECT_CHANNEL
    probability = logits.float().sigmoid()[:, own]  # [Q, 1 or n]
    alpha, gamma = config.focal_alpha, config.focal_gamma
    positive = alpha * (1 - probability) ** gamma * -(probability + 1e-8).log()
    negative = (1 - alpha) * probability**gamma * -(1 - probability + 1e-8).log()
    class_cost = positive - negative
    point_cost = torch.cdist(points.float(), targets[:, : points.shape[-1]].float(), p=1)
    cost = config.class_cost * class_cost + config.point_cost * point_cost
    if not torch.isfinite(cost).all():
        raise ValueError("predictions are not finite: the weights are broken or training diverged (lower its rate)")
    queries, matched = linear_sum_assignment(cost.cpu().numpy())
    return torch.from_numpy(queries).to(logits.device), torch.from_numpy(matched).to(logits.device)


def set_losses(
    logits: Tensor,
    points: Tensor,
    targets: list[Tensor],
    num_points: Tensor,
    config: IOCFormerConfig,
    places: Tensor | None = None,
    classes: list[Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """L_c and L_l of one decoder layer.

    Args:
        logits: [B, Q, K + 1]
        points: [B, Q, 3]
        targets: per image [n_b, 3]
        num_points: scalar by which both sums are divided
        places: [Q, 2], what is matched instead of the points
        classes: per image [n_b]; `None`: all are class 0

    Returns:
        `loss_ce`, the focal loss over all channels, and `loss_point`, the L1 distance of matched points.
    """
    matched_points = points.detach() if places is None else places.detach().expand(len(points), -1, -1)
    own = classes or [None] * len(targets)
    matches = [
        match_points(*image, config, of_image) for *image, of_image in zip(logits, matched_points, targets, own)
    ]
    class_targets = torch.zeros_like(logits, dtype=torch.float32)
    distances = []
    for image, (queries, matched) in enumerate(matches):
        of_image = own[image]
        channels = OBJECT_CHANNEL if of_image is None else OBJECT_CHANNEL + of_image[matched]
        class_targets[image, queries, channels] = 1
        distances.append((points[image, queries].float() - targets[image][matched]).abs().sum())
    focal = sigmoid_focal_loss(logits.float(), class_targets, config.focal_alpha, config.focal_gamma)
    return focal.sum() / num_points, torch.stack(distances).sum() / num_points


def sigmoid_focal_loss(logits: Tensor, targets: Tensor, alpha: float, gamma: float) -> Tensor:
    """Element-wise focal loss; targets in {0, 1}, same shape as logits."""
    probability = logits.sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    of_target = probability * targets + (1 - probability) * (1 - targets)
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    return weight * (1 - of_target) ** gamma * cross_entropy


def density_loss(density_map: Tensor, targets: list[Tensor], classes: list[Tensor] | None = None) -> Tensor:
    """L_D = | ||D||_1 - n | (Eq. 2.1), summed over classes and averaged over the batch; density map [B, K, h, w]."""
    if classes is None:
        counts = torch.tensor([len(points) for points in targets], device=density_map.device)
        return (density_map.float().sum(dim=(1, 2, 3)) - counts).abs().mean()
    counts = torch.stack([torch.bincount(one, minlength=density_map.shape[1]) for one in classes])
    return (density_map.float().sum(dim=(2, 3)) - counts.to(density_map.device)).abs().sum(dim=1).mean()


def density_term(
    density_map: Tensor,
    targets: list[Tensor],
    labels: Tensor,
    config: IOCFormerConfig,
    classes: list[Tensor] | None = None,
) -> Tensor:
    """L_D, or what stands in its place (`config.density_loss`)."""
    if config.density_loss == "count":
        return density_loss(density_map, targets, classes)
    points = replace(read_labels(labels, (config.tile_size, config.tile_size)), classes=classes)
    return loss_of_density(config.density_loss, config.density_loss_options, density_map, points)["loss"]


def mean_num_points(targets: list[Tensor], device: torch.device, over_processes: bool) -> Tensor:
    """Points of the batch, averaged over the processes of a distributed run, at least 1."""
    total = torch.tensor(float(sum(map(len, targets))), device=device)
    if over_processes and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(total)
        total = total / torch.distributed.get_world_size()
    return total.clamp(min=1)


def unpad_labels(labels: Tensor) -> list[Tensor]:
    """[B, N, 3] padded with -100 -> per image [n_b, 3].

    Raises:
        ValueError: if the shape is another or a coordinate lies outside [0, 1].
    """
    if labels.ndim != 3 or labels.shape[-1] != 3:
        raise ValueError(f"labels must have shape [B, N, 3]: x, y, distance. Received: {list(labels.shape)}")
    targets = [image[(image != -100).any(dim=-1)] for image in labels.float()]
    for index, points in enumerate(targets):
        if points.numel() and not (points[:, :2].min() >= 0 and points[:, :2].max() <= 1):
            raise ValueError(
                "labels must hold coordinates in [0, 1] (divided by the tile size), padded with -100. "
                f"Received in image {index} of the batch: {points[:, :2].min():g} to {points[:, :2].max():g}"
            )
    return targets


def iocformer_loss(
    predictions: list[tuple[Tensor, Tensor]],
    density_map: Tensor | None,
    labels: Tensor,
    config: IOCFormerConfig,
    over_processes: bool,
    places: Tensor | None = None,
    class_labels: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. 2.4, L = lambda L_D + L_c + L_l, with L_c and L_l after every decoder layer.

    Args:
        predictions: (logits [B, Q, K + 1], points [B, Q, 3]) of the last decoder layer, then of the layers before it
            in order; empty without a regression branch
        density_map: [B, K, 2h, 2w], or None without a density branch
        labels: [B, N, 3]
        over_processes: divide by the points of all processes of a distributed run, not of this one
        places: [Q, 2], what is matched with annotated points instead of the predicted ones
        class_labels: [B, N], the class of each point, if the model has several

    Returns:
        The weighted sum and its unweighted terms: `loss_ce`, `loss_point`, `loss_density`, and `loss_ce_0`,
        `loss_point_0`, ... of the first, second, ... decoder layer.
    """
    targets = unpad_labels(labels)
    classes = read_classes(labels, class_labels, config.num_labels or 1)
    terms, weighted = {}, []
    if predictions:
        num_points = mean_num_points(targets, labels.device, over_processes)
        for index, (logits, points) in enumerate(predictions):
            suffix = f"_{index - 1}" if index else ""
            loss_ce, loss_point = set_losses(logits, points, targets, num_points, config, places, classes)
            terms |= {f"loss_ce{suffix}": loss_ce, f"loss_point{suffix}": loss_point}
            weighted += [config.class_loss_coefficient * loss_ce, config.point_loss_coefficient * loss_point]
    if density_map is not None:
        terms["loss_density"] = density_term(density_map, targets, labels, config, classes)
        weighted.append(config.density_loss_coefficient * terms["loss_density"])
    return torch.stack(weighted).sum(), terms
