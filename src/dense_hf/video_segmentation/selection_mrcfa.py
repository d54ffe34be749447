"""Selective token masking (thesis section 5.3.4): which tokens of the references are worth a look.

B clips, R reference frames, P pixels of the target and N tokens of a reference at 1/32, S selected tokens.
"""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from .configuration_mrcfa import MRCFAConfig


def token_importance(affinity: Tensor, config: MRCFAConfig) -> Tensor:
    """Eq. 5.10-5.11: affinity [B, P, R, N] at 1/32 -> importance [B, R, N] of each reference token."""
    if config.importance == "mean":
        return affinity.mean(dim=1)
    return affinity.topk(min(config.importance_topk, affinity.shape[1]), dim=1).values.sum(dim=1)


def select_tokens(importance: Tensor, ratio: float) -> Tensor:
    """Numbers [B, R, S] of the most important tokens [B, R, N], ascending: part `ratio`, rounded down, at least one.

    One mask serves all scales and the values. Only 3D convolutions see the order.
    """
    count = max(int(importance.shape[-1] * ratio), 1)
    return importance.topk(count, dim=-1).indices.sort(dim=-1).values


def gather_tokens(tokens: Tensor, indices: Tensor) -> Tensor:
    """Tokens [B, R, N, c] at `indices` [B, R, S] -> [B, R, S, c]."""
    return tokens.gather(2, indices[..., None].expand(-1, -1, -1, tokens.shape[-1]))


def resize_tokens(values: Tensor, old: Sequence[int], new: Sequence[int]) -> Tensor:
    """[B, ..., N] of a grid of `old` = (height, width) tokens -> [B, ..., N'] of the grid `new`, bilinear."""
    if tuple(old) == tuple(new):
        return values
    maps = values.flatten(1, -2).unflatten(-1, tuple(old))
    maps = F.interpolate(maps, size=tuple(new), mode="bilinear", align_corners=False)
    return maps.flatten(2).view(*values.shape[:-1], -1)
