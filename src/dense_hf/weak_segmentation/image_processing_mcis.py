"""Image processor of MCIS: images in, square pixel tensors out.

Built on the Pillow backend of transformers for the reason that the released code resizes with Pillow: with it, pixels
are the same to the last bit. It is the only backend, so it has the name without a suffix.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from PIL import Image
from torch import nn
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, PILImageResampling

from .group_segmentation import ImageMasks, segment_group
from .image_reading import ImageReader


class MCISImageProcessor(ImageReader):
    r"""
    Resizes images to a square, whatever their aspect, and normalises them.

    Args:
        size (`dict`, defaults to `{"height": 256, "width": 256}`): Of the result, in pixels.
        resample (`int`, defaults to bilinear): Pillow's filter.
        do_resize, do_rescale, do_normalize (`bool`, default to `True`): Which steps are taken.
        image_mean, image_std (`list[float]`, defaults to those of ImageNet): Per channel, for pixels in [0, 1].

    Example:

    ```python
    >>> processor = MCISImageProcessor()
    >>> processor(Image.new("RGB", (500, 375)), return_tensors="pt")["pixel_values"].shape
    torch.Size([1, 3, 256, 256])
    >>> processor.view_size(0.75)
    {'height': 192, 'width': 192}
    ```
    """

    resample = PILImageResampling.BILINEAR
    size = {"height": 256, "width": 256}
    do_resize = True
    most_pixels = 520**2  # 513 x 513 is in use: co-attention compares all places of two images with each other
    do_convert_rgb = True
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = True
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD

    def view_size(self, scale: float) -> dict[str, int]:
        """The `size` of a view that is `scale` times as large, rounded down to pixels."""
        return {side: int(length * scale) for side, length in dict(self.size).items() if length}

    def segment_group(
        self, model: nn.Module, sources: Sequence[Any], read: Callable[[Any], Image.Image], **kwargs: Any
    ) -> Iterator[ImageMasks]:
        """Maps and masks of related images; the keywords are those of `segment_group`.

        A method, because a pipeline that was loaded beside a checkpoint reaches this code through its processor only.
        """
        known: Any = model
        return segment_group(known, self, sources, read, **kwargs)


__all__ = ["MCISImageProcessor"]
