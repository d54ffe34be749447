"""Segmenting an image at several sizes, mirrored and not, in windows of the training size (released test).

K classes, H x W pixels of the image, h x w of the image at one scale. Colours are normalised floats [3, h, w].
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from .localization import evaluating
from .logits_deeplab_largefov import enlarge

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5)
WINDOW = 401
STRIDE = 267  # two thirds of it, rounded down

Refinement = Callable[[np.ndarray, np.ndarray], Any]


class MultiScaleSegmenter:
    """Class probabilities of images, averaged over scales and mirror images, then refined.

    ```python
    segmenter = MultiScaleSegmenter(model, processor, refine=crf)
    probabilities = segmenter(open_image("image.jpg"))  # float32 [K, H, W]
    labels = probabilities.argmax(axis=0)
    ```

    Args:
        model: gives `logits` for `pixel_values`; it is evaluated without gradients, and its mode restored.
        processor: normalises images. Images keep their size here, whatever `processor.do_resize` says.
        scales: of the image's sides.
        window: side of the squares that the model sees, in pixels; smaller images are padded with the mean colour.
        stride: from one square to the next, at most; where squares overlap, probabilities are averaged.
        flip: whether the mirror image is segmented, too.
        batch_size: squares that are segmented at once.
        refine: what is done in the end, such as a dense CRF: (uint8 [H, W, 3], float32 [K, H, W]) -> [K, H, W].

    Raises:
        ValueError: scales, windows or strides that cannot be.
    """

    def __init__(
        self,
        model: nn.Module,
        processor: Callable[..., Any],
        scales: Sequence[float] = SCALES,
        window: int = WINDOW,
        stride: int = STRIDE,
        flip: bool = True,
        batch_size: int = 4,
        refine: Refinement | None = None,
    ):
        if not scales or any(not scale > 0 for scale in scales):
            raise ValueError(f"scales must be positive factors, at least one. Received: {list(scales)}")
        if not 1 <= stride <= window or batch_size < 1:
            raise ValueError(
                "stride must be from 1 to window, and batch_size at least 1. "
                f"Received: stride={stride}, window={window}, batch_size={batch_size}"
            )
        self.model, self.processor, self.refine = model, processor, refine
        self.scales, self.window, self.stride = tuple(scales), window, stride
        self.flip, self.batch_size = flip, batch_size

    @torch.no_grad()
    def __call__(self, image: Image.Image | np.ndarray) -> np.ndarray:
        """Probabilities of an image.

        Args:
            image: RGB, 8 bits; as an array [H, W, 3].

        Returns:
            float32 [K, H, W], which add up to 1 (unless `refine` makes something else of them).

        Raises:
            ValueError: logits that are not finite, or `refine` returns another shape.
        """
        inputs = self.processor(image, do_resize=False, return_tensors="pt")
        parameter = next(self.model.parameters())
        pixels = inputs["pixel_values"].to(parameter.device, parameter.dtype)
        with evaluating(self.model):
            total = self._all_scales(pixels)
            if self.flip:
                total = (total + self._all_scales(pixels.flip(-1)).flip(-1)) / 2
        # cubic enlarging, like the released one, leaves the range of probabilities at edges, but not their sum of 1
        total = total.clamp(min=0)
        probabilities = (total / total.sum(dim=0)).cpu().numpy()
        if self.refine is None:
            return probabilities
        colours = np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image)
        refined = np.asarray(self.refine(colours, probabilities), dtype=np.float32)
        if refined.shape != probabilities.shape:
            raise ValueError(
                f"refine must return the shape of the probabilities, {list(probabilities.shape)}. "
                f"Received: {list(refined.shape)}"
            )
        return refined

    def _all_scales(self, pixels: Tensor) -> Tensor:
        """[1, 3, H, W] -> the mean over scales of its probabilities, [K, H, W]."""
        size = pixels.shape[-2:]
        maps = []
        for scale in self.scales:
            sides = [max(round(side * scale), 1) for side in size]
            resized = F.interpolate(pixels.float(), size=sides, mode="bilinear").to(pixels.dtype)
            probabilities = windowed(self._segment, resized[0], self.window, self.stride, self.batch_size)
            maps.append(F.interpolate(probabilities[None], size=size, mode="bicubic")[0])
        return torch.stack(maps).mean(dim=0)

    def _segment(self, squares: Tensor) -> Tensor:
        """[n, 3, window, window] -> probabilities [n, K, window, window]."""
        logits = self.model(squares).logits
        if not logits.isfinite().all():
            raise ValueError("The logits must be finite. Received: NaN or infinity; the weights are broken")
        return enlarge(logits, squares.shape[-2:]).softmax(dim=1)


def windowed(
    segment: Callable[[Tensor], Tensor],
    pixels: Tensor,
    window: int = WINDOW,
    stride: int = STRIDE,
    batch_size: int = 4,
) -> Tensor:
    """Segment an image of any size in squares, and average their maps where they overlap.

    The released code lets a later square overwrite an earlier one and divides by the number of both, so that
    probabilities of overlaps come out too small; here they are added up.

    Args:
        segment: [n, 3, window, window] -> [n, K, window, window].
        pixels: [3, h, w]; smaller ones are padded with 0, the mean colour, at the right and at the bottom.
        window, stride, batch_size: see [`MultiScaleSegmenter`].

    Returns:
        [K, h, w]
    """
    height, width = pixels.shape[-2:]
    pixels = F.pad(pixels, (0, max(window - width, 0), 0, max(window - height, 0)))
    total = count = pixels.new_zeros((), dtype=torch.float32)
    corners = [(y, x) for y in starts(height, window, stride) for x in starts(width, window, stride)]
    for chosen in batches(corners, batch_size):
        squares = torch.stack([pixels[:, y : y + window, x : x + window] for y, x in chosen])
        for (y, x), found in zip(chosen, segment(squares)):
            if total.ndim == 0:
                total = found.new_zeros(len(found), *pixels.shape[-2:], dtype=torch.float32)
                count = torch.zeros_like(total[0])
            total[:, y : y + window, x : x + window] += found
            count[y : y + window, x : x + window] += 1
    return (total / count)[:, :height, :width]


def starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin that cover a side: `stride` apart, the last one moved back so that it ends with the side."""
    last = max(length - window, 0)
    return [*range(0, last, stride), last]


def batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """`items`, `size` at a time."""
    return (items[first : first + size] for first in range(0, len(items), size))
