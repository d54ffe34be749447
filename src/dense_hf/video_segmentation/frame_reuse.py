"""Not computing what did not change: maps of the encoder that a session keeps from frame to frame.

B videos, H x W pixels of a frame, maps at 1/4 to 1/32 of it.
"""

from collections.abc import Callable
from copy import copy
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .frame_decoder import pad

Maps = tuple[Tensor, ...]
PATCH = 8  # pixels a side whose mean is compared: single pixels flicker in every video
BLOCK = 32  # pixels a side: the largest stride, so that squares of blocks are whole pixels of every map
SQUARE = 2 * BLOCK  # pixels a side that are computed again


class FrameReuse:
    """What of the last frames' maps is used again.

    With "identical" a frame that equals the one before costs no encoder and changes no bit. With "regions" the encoder
    sees only squares of 64 pixels around what changed, with a halo of their surroundings, and the rest stays: an
    approximation, since an encoder looks farther than any halo. All squares of a frame are one batch of equal windows,
    in which a pixel costs half as much as in a whole frame (benchmarks/README.md). Against drift, a frame is compared
    with the pixels that the maps were made of, not with the one before, and every n-th frame is computed whole.

    Args:
        mode: "identical" or "regions".
        threshold: Largest difference of the mean of 8 x 8 pixels that counts as none, in the units of normalised
            frames; of "regions".
        halo: Pixels around a square that the encoder sees, too; a multiple of 32.
        refresh_every: Frames after which a frame is computed whole.
        most_changed: Pixels of all windows, as a share of a frame, above which it is computed whole.

    Attributes:
        computed: Pixels that the encoder has seen, halos included.
        frames: How many frames were asked for, times their pixels.
    """

    def __init__(
        self,
        mode: str,
        threshold: float = 0.2,
        halo: int = 32,
        refresh_every: int = 30,
        most_changed: float = 1.0,
    ):
        if mode not in ("identical", "regions"):
            raise ValueError(f"reuse must be None, 'identical' or 'regions'. Received: {mode!r}")
        if threshold < 0 or halo < 0 or halo % BLOCK or refresh_every < 1 or most_changed < 0:
            raise ValueError(
                f"threshold and most_changed must be at least 0, halo a multiple of {BLOCK} and refresh_every at "
                f"least 1. Received: {threshold}, {most_changed}, {halo}, {refresh_every}"
            )
        self.mode, self.threshold, self.halo = mode, threshold, halo
        self.refresh_every, self.most_changed = refresh_every, most_changed
        self.computed, self.frames = 0, 0
        self.forget()

    def forget(self) -> None:
        """The next frame is computed whole."""
        self._seen: Tensor | None = None
        self._maps: Maps = ()
        self._age = 0

    def maps(self, frame: Tensor, encode: Callable[[Tensor], Maps]) -> Maps:
        """Maps of a frame [B, 3, H, W].

        Args:
            frame: the next one.
            encode: The encoder: frames -> maps.
        """
        pixels = frame.shape[-2] * frame.shape[-1]
        self.frames += pixels
        squares = self._squares_to_compute(frame)
        self._age = 0 if squares is None else self._age + 1
        if squares is None:
            self.computed += pixels
            self._seen, self._maps = frame.clone(), encode(frame)  # the caller may write into it
        elif squares and self._seen is not None:
            # a copy of this may hold the old ones
            self._seen, self._maps = self._seen.clone(), tuple(one.clone() for one in self._maps)
            for y, x in squares:
                self._seen[..., y : y + SQUARE, x : x + SQUARE] = frame[..., y : y + SQUARE, x : x + SQUARE]
            self._recompute(frame, squares, encode)
        return self._maps

    def copy(self) -> Self:
        """One that goes on from here independently: nothing of it is changed in place."""
        return copy(self)

    def for_another_video(self) -> Self:
        """One with the same settings that has seen nothing."""
        other = copy(self)
        other.computed, other.frames = 0, 0
        other.forget()
        return other

    def _squares_to_compute(self, frame: Tensor) -> list[tuple[int, int]] | None:
        """Upper left corners of squares, none if nothing changed; None for the whole frame."""
        if self._seen is None or self._seen.shape != frame.shape:
            return None
        if self.mode == "identical":
            return [] if torch.equal(frame, self._seen) else None
        if self._age + 1 >= self.refresh_every:
            return None
        means = F.avg_pool2d(pad(frame - self._seen, BLOCK), PATCH)
        changed = (means.abs().amax(dim=(0, 1)) > self.threshold).float()[None]
        blocks = F.max_pool2d(changed, BLOCK // PATCH)[0].bool().numpy(force=True)
        squares = [(row * BLOCK, column * BLOCK) for row, column in squares_over(blocks)]
        height, width = self._window(frame)
        is_much = len(squares) * height * width > self.most_changed * frame.shape[-2] * frame.shape[-1]
        return None if is_much else squares

    def _window(self, frame: Tensor) -> tuple[int, int]:
        """Height and width of what the encoder sees of a square."""
        height, width = (min(SQUARE + 2 * self.halo, side + -side % BLOCK) for side in frame.shape[-2:])
        return height, width

    def _recompute(self, frame: Tensor, squares: list[tuple[int, int]], encode: Callable[[Tensor], Maps]) -> None:
        """Maps of the squares anew, in place."""
        height, width = self._window(frame)
        whole = pad(frame, BLOCK)
        most = whole.shape[-2] - height, whole.shape[-1] - width
        corners = [[min(max(at - self.halo, 0), end) for at, end in zip(square, most)] for square in squares]
        fresh = encode(torch.cat([whole[..., y : y + height, x : x + width] for y, x in corners]))
        self.computed += len(squares) * height * width
        for known, windows in zip(self._maps, fresh):
            stride = _stride(frame, known)
            side = SQUARE // stride
            for (y, x), (top, left), window in zip(squares, corners, windows.chunk(len(squares))):
                inner = known[..., y // stride :, x // stride :][..., :side, :side]
                rows, columns = inner.shape[-2:]  # fewer at the border
                inner.copy_(window[..., (y - top) // stride :, (x - left) // stride :][..., :rows, :columns])


def squares_over(blocks: np.ndarray) -> list[tuple[int, int]]:
    """Squares of 2 x 2 blocks that cover all marked ones: from the top, each where it covers most that is left.

    Args:
        blocks: bool [h, w].

    Returns:
        Upper rows and left columns, in blocks. Squares lie inside, unless there is a single row or column.
    """
    rest, found = blocks.copy(), []
    height, width = rest.shape
    size = SQUARE // BLOCK
    last_row, last_column = max(height - size, 0), max(width - size, 0)
    while rest.any():
        row, column = divmod(int(rest.argmax()), width)
        row = min(row, last_row)
        columns = range(min(max(column - size + 1, 0), last_column), min(column, last_column) + 1)
        column = max(columns, key=lambda left: (rest[row : row + size, left : left + size].sum(), left))
        rest[row : row + size, column : column + size] = False
        found.append((row, column))
    return found


def _stride(frame: Tensor, maps: Tensor) -> int:
    """Pixels of a frame to one of its maps, which may belong to the frame as it was padded to whole blocks."""
    for stride in (1, 2, 4, 8, 16, 32):
        whole = [-(-side // BLOCK) * BLOCK // stride for side in frame.shape[-2:]]
        sizes = zip(maps.shape[-2:], frame.shape[-2:], whole)
        if all(size in (-(-side // stride), padded) for size, side, padded in sizes):
            return stride
    raise ValueError(
        f"Maps must be at 1, 1/2, ... or 1/32 of the frame for reuse='regions'. Received: {list(maps.shape)} of "
        f"{list(frame.shape)}"
    )
