"""Image processor of MCIS: images in, square pixel tensors out.

Built on the Pillow backend of transformers for the reason that the released code resizes with Pillow: with it, pixels
are the same to the last bit. It is the only backend, so it has the name without a suffix.
"""

from typing import Any

import numpy as np
from PIL import Image
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, ImageInput, PILImageResampling


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

    def process_image(self, image: ImageInput, *args: Any, **kwargs: Any) -> np.ndarray:
        """One image of any kind -> [3, height, width].

        Raises:
            ValueError: a Pillow image of more than 8 bits, which Pillow would clip at 255 and not scale.
        """
        if isinstance(image, Image.Image) and image.mode.startswith(("I", "F")):
            raise ValueError(
                "An image must have 8 bits per channel (dense_hf.data.open_image scales it). "
                f"Received: mode {image.mode}"
            )
        return super().process_image(image, *args, **kwargs)

    def view_size(self, scale: float) -> dict[str, int]:
        """The `size` of a view that is `scale` times as large, rounded down to pixels."""
        return {side: int(length * scale) for side, length in dict(self.size).items() if length}


__all__ = ["MCISImageProcessor"]
