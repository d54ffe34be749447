"""Where each window of the target finds its context tokens (Eq. 4.1-4.3), as indices.

H x W feature pixels, s window side, nh x nw = L windows (the map is padded to whole windows), M context tokens of a
window. A pooled source has c x c cells in a window and k x k tokens in a window's context.

All tokens that a layer attends to lie in one bank, in this order:
    H * W pixels of the target, row by row
    1 token for the padding: it is zero after the norm, so its key and value are the biases
    1 token for taps outside of the padded map: key and value zero
    L * c * c cells of each pooled source, window by window: the target first, then the references
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class ContextLayout(NamedTuple):
    """Indices for one size of map.

    Attributes:
        windows: [L * s * s], number of the pixel at each place of each window, H * W for padding.
        pixels: [H * W], the place in `windows` of each pixel.
        contexts: [L, M], rows of the bank. The first (s + 2e)^2 with e = s // 2 are the window and its surroundings,
            then k * k of each pooled source.
        outside: [L, M], whether the token lies outside of the padded map.
    """

    windows: Tensor
    pixels: Tensor
    contexts: Tensor
    outside: Tensor


def context_layout(
    height: int, width: int, window_size: int, sources: Sequence[tuple[int, int]], device: torch.device
) -> ContextLayout:
    """The layout for a map of height x width pixels; `sources` are (c, k) of the pooled sources."""
    rows, columns = -(-height // window_size), -(-width // window_size)
    num_pixels, num_windows = height * width, rows * columns

    def axis(windows: int, first: int, count: int, step: int) -> Tensor:
        """[windows, count]: positions `first`, `first + 1`, ... relative to the start of each window."""
        start = torch.arange(windows, device=device) * step
        return start[:, None] + torch.arange(first, first + count, device=device)

    def pixel(y: Tensor, x: Tensor) -> Tensor:
        """[rows, a] and [columns, b] -> [rows * columns, a * b]: numbers of pixels, the padding's where outside."""
        y, x = y[:, None, :, None], x[None, :, None, :]
        number = torch.where((y < height) & (x < width), y * width + x, num_pixels)
        return number.reshape(num_windows, -1)

    windows = pixel(axis(rows, 0, window_size, window_size), axis(columns, 0, window_size, window_size)).flatten()
    y, x = torch.arange(height, device=device)[:, None], torch.arange(width, device=device)
    window = (y // window_size) * columns + x // window_size
    pixels = ((window * window_size + y % window_size) * window_size + x % window_size).flatten()

    margin = window_size // 2
    patch = window_size + 2 * margin
    around = pixel(  # surroundings of border windows wrap around (released code)
        axis(rows, -margin, patch, window_size) % (rows * window_size),
        axis(columns, -margin, patch, window_size) % (columns * window_size),
    )
    contexts, outside = [around], [torch.zeros_like(around, dtype=torch.bool)]
    begin = num_pixels + 2
    for cells, taps in sources:
        y = axis(rows, -(taps // 2), taps, cells)[:, None, :, None]
        x = axis(columns, -(taps // 2), taps, cells)[None, :, None, :]
        window = (y // cells) * columns + x // cells
        number = begin + (window * cells + y % cells) * cells + x % cells
        is_outside = (y < 0) | (y >= rows * cells) | (x < 0) | (x >= columns * cells)
        contexts.append(torch.where(is_outside, num_pixels + 1, number).reshape(num_windows, -1))
        outside.append(is_outside.reshape(num_windows, -1))
        begin += num_windows * cells * cells
    return ContextLayout(windows, pixels, torch.cat(contexts, dim=1), torch.cat(outside, dim=1))
