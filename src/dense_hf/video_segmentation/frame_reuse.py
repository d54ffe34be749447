"""Not computing what did not change: maps of the encoder that a session keeps from frame to frame.

B videos, H x W pixels of a frame, maps at 1/4 to 1/32 of it.
"""

from collections.abc import Callable
from copy import copy
from typing import Self

import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

Maps = tuple[Tensor, ...]
BLOCK = 32  # pixels a side: the largest stride, so that boxes of blocks are whole pixels of every map


class FrameReuse:
    """What of the last frames' maps is used again.

    With "identical" a frame that equals the one before costs no encoder and changes no bit. With "regions" the encoder
    sees only boxes around what changed, with a halo of their surroundings, and the rest stays: an approximation, since
    an encoder looks farther than any halo. Against drift, pixels are compared with those that their maps were made of,
    not with the frame before, and every n-th frame is computed whole.

    Args:
        mode: "identical" or "regions".
        threshold: Largest difference of a pixel that counts as none, in the units of normalised frames; of "regions".
        halo: Pixels around a box that the encoder sees, too; a multiple of 32.
        refresh_every: Frames after which a frame is computed whole.
        most_changed: Share of a frame above which it is computed whole.

    Attributes:
        computed: Pixels that the encoder has seen, halos included.
        frames: How many frames were asked for, times their pixels.
    """

    def __init__(
        self,
        mode: str,
        threshold: float = 0.15,
        halo: int = 32,
        refresh_every: int = 30,
        most_changed: float = 0.5,
    ):
        if mode not in ("identical", "regions"):
            raise ValueError(f"reuse must be None, 'identical' or 'regions'. Received: {mode!r}")
        if threshold < 0 or halo < 0 or halo % BLOCK or refresh_every < 1 or not 0 <= most_changed <= 1:
            raise ValueError(
                f"threshold must be at least 0, halo a multiple of {BLOCK}, refresh_every at least 1 and most_changed "
                f"from 0 to 1. Received: {threshold}, {halo}, {refresh_every}, {most_changed}"
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
        boxes = self._boxes_to_compute(frame)
        self._age = 0 if boxes is None else self._age + 1
        if boxes is None:
            self.computed += pixels
            self._seen, self._maps = frame.clone(), encode(frame)  # the caller may write into it
        elif boxes and self._seen is not None:
            self._seen, self._maps = self._seen.clone(), tuple(one.clone() for one in self._maps)
            for box in boxes:
                self._seen[..., box[0], box[1]] = frame[..., box[0], box[1]]
                self._recompute(frame, box, encode)
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

    def _boxes_to_compute(self, frame: Tensor) -> list[tuple[slice, ...]] | None:
        """Boxes of pixels that changed, none if nothing did; None for the whole frame."""
        if self._seen is None or self._seen.shape != frame.shape:
            return None
        if self.mode == "identical":
            return [] if torch.equal(frame, self._seen) else None
        if self._age + 1 >= self.refresh_every:
            return None
        changed = ((frame - self._seen).abs().amax(dim=(0, 1)) > self.threshold).float()[None]
        height, width = frame.shape[-2:]
        padded = F.pad(changed, (0, -width % BLOCK, 0, -height % BLOCK))
        blocks = F.max_pool2d(padded, BLOCK)[0].bool().numpy(force=True)
        labelled, _ = ndimage.label(blocks, structure=[[1] * 3] * 3)
        boxes = [
            tuple(slice(side.start * BLOCK, min(side.stop * BLOCK, most)) for side, most in zip(box, (height, width)))
            for box in ndimage.find_objects(labelled)
        ]
        seen = sum(_area(self._with_halo(box, frame)) for box in boxes)
        return boxes if seen <= self.most_changed * height * width else None

    def _with_halo(self, box: tuple[slice, ...], frame: Tensor) -> tuple[slice, ...]:
        return tuple(
            slice(max(side.start - self.halo, 0), min(side.stop + self.halo, most))
            for side, most in zip(box, frame.shape[-2:])
        )

    def _recompute(self, frame: Tensor, box: tuple[slice, ...], encode: Callable[[Tensor], Maps]) -> None:
        wide = self._with_halo(box, frame)
        self.computed += _area(wide)
        for known, fresh in zip(self._maps, encode(frame[..., wide[0], wide[1]])):
            stride = _stride(frame, known)
            inner = [slice(side.start // stride, -(-side.stop // stride)) for side in box]
            from_crop = [
                slice((side.start - edge.start) // stride, -(-(side.stop - edge.start) // stride))
                for side, edge in zip(box, wide)
            ]
            known[..., inner[0], inner[1]] = fresh[..., from_crop[0], from_crop[1]]


def _area(box: tuple[slice, ...]) -> int:
    return (box[0].stop - box[0].start) * (box[1].stop - box[1].start)


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
