"""The position bias B of Eq. 4.5: learned numbers per head for where a context token lies relative to a query.

s window side, e = s // 2, P = (s + 2e)^2 tokens of a window and its surroundings, k tokens a side of a pooled source,
M all context tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ContextPositionBias(nn.Module):
    """B for a window's context: itself, its surroundings, then every pooled source.

    The released code reads the surroundings as four shifted windows, in which some tokens come twice (12 of 132 for
    s = 7). Two equal keys with biases a and b weigh as much as one with log(exp a + exp b), so each token is taken
    once and the result is the same.
    """

    def __init__(self, num_heads: int, window_size: int, taps: Sequence[int]):
        super().__init__()
        self.window_size = window_size
        self.taps = tuple(taps)
        self.sources = patch_sources(window_size)
        self.window = nn.Parameter(torch.zeros(num_heads, (2 * window_size - 1) ** 2))
        num_shifted = sum(len(shifted) for shifted in shifted_positions(window_size))
        self.surroundings = nn.Parameter(torch.zeros(num_heads, window_size**2, num_shifted))
        self.pooled = nn.ParameterList(torch.zeros(num_heads, (window_size + k - 1) ** 2) for k in self.taps)

    def forward(self) -> Tensor:
        """[heads, s * s, M]."""
        window = self.window[:, relative_index(self.window_size, self.window_size, self.window.device)]
        nothing = self.surroundings.new_full((*self.surroundings.shape[:2], 1), -torch.inf)
        known = torch.cat([window, self.surroundings, nothing], dim=-1)
        first, second = self.sources
        near = torch.logaddexp(known[..., first], known[..., second])
        pooled = [
            table[:, relative_index(self.window_size, k, table.device)] for table, k in zip(self.pooled, self.taps)
        ]
        return torch.cat([near, *pooled], dim=-1)


def relative_index(window_size: int, taps: int, device: torch.device) -> Tensor:
    """[s * s, k * k]: entry of a table of (s + k - 1)^2 for query (i, j) and key (a, b)."""
    side = window_size + taps - 1
    offset = torch.arange(window_size, device=device)[:, None] - torch.arange(taps, device=device) + taps - 1
    index = offset[:, None, :, None] * side + offset[None, :, None, :]
    return index.reshape(window_size**2, taps**2)


def shifted_positions(window_size: int) -> list[list[tuple[int, int]]]:
    """(row, column) relative to the window of what four diagonally shifted windows see outside of it."""
    margin, inside = window_size // 2, range(window_size)
    return [
        [
            (row, column)
            for row in range(down, down + window_size)
            for column in range(right, right + window_size)
            if not (row in inside and column in inside)
        ]
        for down in (margin, -margin)
        for right in (margin, -margin)
    ]


def patch_sources(window_size: int) -> tuple[list[int], list[int]]:
    """For each of the P tokens, row by row, which one or two of [window, shifted, nothing] it is.

    A token that comes once has "nothing" for its second.
    """
    seen: dict[tuple[int, int], list[int]] = {}
    nothing = window_size**2
    for positions in shifted_positions(window_size):
        for position in positions:
            seen.setdefault(position, []).append(nothing)
            nothing += 1
    first, second = [], []
    margin = window_size // 2
    for row in range(-margin, window_size + margin):
        for column in range(-margin, window_size + margin):
            if 0 <= row < window_size and 0 <= column < window_size:
                found = [row * window_size + column]
            else:
                found = seen[row, column]
            first.append(found[0])
            second.append(found[1] if len(found) > 1 else nothing)
    return first, second
