"""Image processor of MCIS: images in, square pixel tensors out.

Built on the Pillow backend of transformers for the reason that the released code resizes with Pillow: with it, pixels
are the same to the last bit. It is the only backend, so it has the name without a suffix.
"""

from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    ChannelDimension,
    ImageInput,
    PILImageResampling,
)
from transformers.utils import logging

logger = logging.get_logger(__name__)


class MCISImageProcessor(PilBackend):
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
    do_convert_rgb = True
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = True
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD

    def fetch_images(self, image_url_or_urls: Any) -> Any:
        """As in the parent, and gray arrays [height, width], which it would take for lists of lines."""
        if isinstance(image_url_or_urls, (list, tuple)):
            return [self.fetch_images(source) for source in image_url_or_urls]
        if isinstance(image_url_or_urls, (np.ndarray, torch.Tensor)) and image_url_or_urls.ndim == 2:
            return image_url_or_urls[None]
        return super().fetch_images(image_url_or_urls)

    def process_image(
        self,
        image: ImageInput,
        do_convert_rgb: bool | None = None,
        input_data_format: str | ChannelDimension | None = None,
        **kwargs: Any,
    ) -> np.ndarray:
        """One image of any kind -> [3, height, width]. Transparency is dropped, as it is for files of data sets.

        Raises:
            ValueError: a Pillow image of more than 8 bits, which Pillow would clip at 255 and not scale.
        """
        if isinstance(image, Image.Image):
            if image.mode.startswith(("I", "F")):
                raise ValueError(
                    "An image must have 8 bits per channel (dense_hf.data.open_image scales it). "
                    f"Received: mode {image.mode}"
                )
            image = image.convert("RGB") if do_convert_rgb else image
        pixels = super().process_image(image, False, input_data_format, **kwargs)
        if do_convert_rgb:
            pixels = np.repeat(pixels, 3, axis=0) if len(pixels) == 1 else pixels[:3]
        return pixels

    def rescale(self, image: np.ndarray, scale: float, **kwargs: Any) -> np.ndarray:
        """As in the parent, with a warning if it looks as if it had been done before."""
        if np.issubdtype(image.dtype, np.floating) and image.max() <= 1:
            logger.warning_once("Floats in [0, 1] are multiplied by rescale_factor like bytes; set do_rescale=False.")
        return super().rescale(image, scale, **kwargs)

    def view_size(self, scale: float) -> dict[str, int]:
        """The `size` of a view that is `scale` times as large, rounded down to pixels."""
        return {side: int(length * scale) for side, length in dict(self.size).items() if length}


__all__ = ["MCISImageProcessor"]
