"""Pairs of cells that are near each other: what AffinityNet compares (thesis section 3.4.4, reference [143]).

A pair is a cell and an offset (rows down, columns right) to the other cell; each pair of cells occurs once. Pairs are
tensors [B, P, h, w]: the number at (p, y, x) is that of cell (y, x) and the cell at offset p from it. Where that cell
is outside of the grid, the number means nothing.

B images, C channels, h x w cells, P offsets.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Offset = tuple[int, int]
IGNORED = 255
EPSILON = 1e-5  # in the logarithms and below the means (released)


def pair_offsets(radius: int) -> list[Offset]:
    """Offsets to the cells that are less than `radius` away and come later, row by row: 34 for radius 5."""
    reach = range(-radius + 1, radius)
    return [(y, x) for y in range(radius) for x in reach if (y, x) > (0, 0) and x * x + y * y < radius * radius]


def pair_affinities(features: Tensor, offsets: Sequence[Offset]) -> Tensor:
    """exp(-mean over channels of |f_i - f_j|), [B, P, h, w], from features [B, C, h, w].

    In float32, whatever the features are. Training keeps the differences of all channels for the gradient: 1.5 GB for
    8 crops of 448 pixels at the released size (8 x 448 x 56 x 56 x 34 numbers).
    """
    features = features.float()
    return torch.stack(
        [torch.exp(-(features - moved).abs().mean(dim=1)) for moved in neighbours(features, offsets)], dim=1
    )


def pair_labels(labels: Tensor, offsets: Sequence[Offset]) -> tuple[Tensor, Tensor, Tensor]:
    """Which pairs are learned from.

    Args:
        labels: of the cells, [B, h, w]; 0 for background, class id + 1, 255 for cells that are not known.
        offsets: of the pairs.

    Returns:
        bool [B, P, h, w], three times: both are background; both are the same class; they differ. A pair with a cell
        that is not known, or outside of the grid, is none of it.
    """
    other = torch.stack([moved[:, 0] for moved in neighbours(labels[:, None], offsets, outside=IGNORED)], dim=1)
    own = labels[:, None].expand_as(other)
    known = (own != IGNORED) & (other != IGNORED)
    same = known & (own == other)
    return same & (own == 0), same & (own > 0), known & (own != other)


def neighbours(values: Tensor, offsets: Sequence[Offset], outside: int = 0) -> list[Tensor]:
    """The values [B, C, h, w] of the other cells of pairs, one tensor of the same shape for each offset."""
    height, width = values.shape[-2:]
    below = max(y for y, _ in offsets)
    beside = max(abs(x) for _, x in offsets)
    padded = F.pad(values, (beside, beside, 0, below), value=outside)
    return [padded[:, :, y : y + height, beside + x : beside + x + width] for y, x in offsets]


def affinity_loss(affinities: Tensor, labels: Tensor, offsets: Sequence[Offset]) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean negative log likelihood of the pairs: background a quarter, classes a quarter, different cells a half.

    Args:
        affinities: [B, P, h, w], from 0 to 1.
        labels: as for [`pair_labels`], of all images; each mean is over the pairs of the whole batch.
        offsets: of the pairs.

    Returns:
        The sum and its terms: `loss_background`, `loss_classes`, `loss_different`. A term without pairs is 0.

    Raises:
        ValueError: labels of another shape.
    """
    if labels.shape != (len(affinities), *affinities.shape[-2:]):
        expected = [len(affinities), *affinities.shape[-2:]]
        raise ValueError(f"labels must be of the cells, {expected}. Received: {list(labels.shape)}")
    background, classes, different = pair_labels(labels, offsets)
    likely, unlikely = -torch.log(affinities + EPSILON), -torch.log(1 + EPSILON - affinities)
    terms = {
        "loss_background": masked_mean(likely, background) / 4,
        "loss_classes": masked_mean(likely, classes) / 4,
        "loss_different": masked_mean(unlikely, different) / 2,
    }
    return torch.stack(list(terms.values())).sum(), terms


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of the values where `mask` is true; 0 if that is nowhere."""
    return (values * mask).sum() / (mask.sum() + EPSILON)
