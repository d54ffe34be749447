"""Pictures from files, addresses and programs, as upright 8-bit RGB.

Pillow's own `convert("RGB")` cuts 16-bit values off at 255 (measured with Pillow 13: 256 and 65535 both become 255),
which turns a microscope's picture white. Here they are scaled.
"""

import os
import re
from io import BytesIO
from typing import Any

import numpy as np
import torch
from huggingface_hub.utils import httpx  # as transformers does: which httpx is installed depends on its version
from PIL import Image, ImageOps
from transformers.image_utils import load_image
from transformers.utils import logging

from .picture_values import MAX_PIXELS, check_white, eight_bits_of, has_deep_colors, phone_formats, seek_picture

logger = logging.get_logger(__name__)

# Readers of rare formats stay out of reach of a stranger's file. JPEG includes the MPO files of some phones.
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF")
ACCEPTED = (
    "A picture is a path, a URL, a base64 string, a PIL.Image, a uint8 array [H, W, 3] (RGB) or [H, W], or a uint8 "
    "tensor [3, H, W]"
)
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]{64,}={0,2}\s*")  # shorter, or with a point: a path


def to_rgb(
    image: Image.Image, white: float | str | None = None, name: object = "an image", deep_colors: bool = False
) -> Image.Image:
    """Convert to mode RGB: 16 bits are scaled by 1 / 257, transparency is dropped, the rest is Pillow's conversion.

    Args:
        image: the picture.
        white: of 16 bits and of floats, see `to_eight_bits`.
        name: for a warning about 16 bits that are hardly used.
        deep_colors: what `has_deep_colors` said before it was decoded.

    Raises:
        ValueError: floats, or values that are not 16-bit, without `white`: nobody can know what it is.
    """
    image, hint = eight_bits_of(image, deep_colors, white)
    if hint is not None:
        logger.warning(f"{name}: {hint}")
    return image if image.mode == "RGB" else image.convert("RGB")


def channels_first(image: Image.Image, strip: int = 256) -> torch.Tensor:
    """Pixels of an RGB image as uint8 [3, height, width].

    Copied in strips of rows: at once, numpy and the change of order need three times the bytes of the image (measured
    for 6000 x 4000 pixels: 216 MB instead of 75).
    """
    pixels = torch.empty(3, image.height, image.width, dtype=torch.uint8)
    for top in range(0, image.height, strip):
        rows = np.array(image.crop((0, top, image.width, min(top + strip, image.height))))
        pixels[:, top : top + strip] = torch.from_numpy(rows).permute(2, 0, 1)
    return pixels


class WindowedPixels:
    """uint8 [3, height, width] of a picture that is read where it is looked at, such as a mosaic larger than memory.

    Args:
        picture: has `width`, `height` and `crop((left, top, right, bottom)) -> Image.Image` of mode RGB, and says that
            it `reads_windows`.
    """

    device = torch.device("cpu")

    def __init__(self, picture: Any):
        self._picture = picture
        self.shape = (3, picture.height, picture.width)

    def __getitem__(self, index: tuple[slice, slice, slice]) -> torch.Tensor:
        """The pixels of all channels, rows and columns of a window."""
        (top, bottom, _), (left, right, _) = (part.indices(side) for part, side in zip(index[1:], self.shape[1:]))
        return channels_first(self._picture.crop((left, top, right, bottom)))


def read_rgb(
    source: str | os.PathLike | Image.Image | np.ndarray | torch.Tensor,
    timeout: float | None = None,
    page: int | None = None,
    white: float | str | None = None,
) -> Image.Image:
    """Read a picture of any kind as an upright 8-bit RGB image (orientation tag applied).

    Args:
        source: a path, a URL, a base64 string, a PIL image, a uint8 array [h, w, 3] or [h, w], or a tensor [3, h, w].
        timeout: seconds to wait for a URL; `None` waits for ever.
        page: which picture of a file with several, from 0.
        white: of 16 bits and of floats in a file, see `to_eight_bits`.

    Raises:
        TypeError: it is none of these.
        ValueError: what is there cannot be read as an image. The message names the source and the reason.
    """
    check_white(white)
    if isinstance(source, np.ndarray | torch.Tensor):
        return _of_array(source)
    if not isinstance(source, str | os.PathLike | Image.Image):
        raise TypeError(f"{ACCEPTED}. Received: {type(source).__name__}")
    name = source if isinstance(source, (str, os.PathLike)) else f"<{type(source).__name__}>"
    is_content = isinstance(source, str) and (source.startswith("data:") or _BASE64.fullmatch(source) is not None)
    name = f"{source[:80]}..." if is_content else name
    try:
        if isinstance(source, Image.Image):
            image = source
        elif os.path.isfile(source):
            with open(source, "rb") as file:
                formats = phone_formats(file.read(12)) or FORMATS
            image = Image.open(source, formats=formats)
        elif isinstance(source, str) and source.startswith(("http://", "https://")):
            response = httpx.get(source, timeout=timeout, follow_redirects=True).raise_for_status()
            content = response.content
            image = Image.open(BytesIO(content), formats=phone_formats(content[:12]) or FORMATS)
        elif is_content:
            image = load_image(source)
        else:
            raise FileNotFoundError("no such file" if not os.path.exists(source) else "no file")
        # of an opened picture, the one that was sought
        if page is not None or not (isinstance(source, Image.Image) and image.tell()):
            seek_picture(image, page)
        if image.width * image.height > MAX_PIXELS and not isinstance(source, Image.Image):
            raise ValueError(
                f"an image of at most {MAX_PIXELS} pixels is expected, not {image.width} x {image.height}"
            )
        deep_colors = has_deep_colors(image)
        image.load()
        return to_rgb(ImageOps.exif_transpose(image), white, name, deep_colors)
    # Pillow's decoders raise what they like on a bad file: OSError, SyntaxError, struct.error, IndexError, ...
    except Exception as error:
        raise ValueError(f"{name} cannot be read as an image. Received: {type(error).__name__}: {error}") from error


def _of_array(array: np.ndarray | torch.Tensor) -> Image.Image:
    """uint8 [h, w, 3] or [h, w], or of a tensor [3, h, w]."""
    if isinstance(array, torch.Tensor):
        array = (array.permute(1, 2, 0) if array.ndim == 3 else array).numpy(force=True)
    if array.dtype != np.uint8 or not (array.ndim == 2 or array.shape[2:] == (3,)) or not array.size:
        raise TypeError(f"{ACCEPTED}. Received: {array.dtype} {list(array.shape)}")
    return Image.fromarray(array).convert("RGB")
