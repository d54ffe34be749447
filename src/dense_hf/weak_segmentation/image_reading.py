"""Images of any kind -> arrays of three channels, as the image processors of this folder take them in."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import ChannelDimension, ImageInput
from transformers.utils import logging

from .weak_bounds import check_settings

logger = logging.get_logger(__name__)


class ImageReader(PilBackend):
    """The Pillow backend of transformers, with what it takes for granted checked."""

    def __init__(self, **kwargs: Any):
        check_settings(type(self), kwargs)
        super().__init__(**kwargs)

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
            ValueError: a Pillow image of more than 8 bits, which Pillow would clip at 255 and not scale, or floats
                that are not finite.
        """
        if isinstance(image, Image.Image):
            if image.mode.startswith(("I", "F")):
                raise ValueError(
                    "An image must have 8 bits per channel (dense_hf.data.open_image scales it). "
                    f"Received: mode {image.mode}"
                )
            image = image.convert("RGB") if do_convert_rgb else image
        pixels = super().process_image(image, False, input_data_format, **kwargs)
        if pixels.dtype.kind == "f" and not (finite := np.isfinite(pixels)).all():
            bad = finite.size - np.count_nonzero(finite)
            raise ValueError(f"Pixels must be finite. Received: an image with {bad} values that are NaN or infinite")
        if do_convert_rgb:
            pixels = np.repeat(pixels, 3, axis=0) if len(pixels) == 1 else pixels[:3]
        return pixels

    def rescale(self, image: np.ndarray, scale: float, **kwargs: Any) -> np.ndarray:
        """As in the parent, with a warning if it looks as if it had been done before."""
        if np.issubdtype(image.dtype, np.floating) and image.max() <= 1:
            logger.warning_once("Floats in [0, 1] are multiplied by rescale_factor like bytes; set do_rescale=False.")
        return super().rescale(image, scale, **kwargs)
