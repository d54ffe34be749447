"""Pictures from files, addresses and programs, as upright 8-bit RGB.

Pillow's own `convert("RGB")` cuts 16-bit values off at 255 (measured with Pillow 13: 256 and 65535 both become 255),
which turns a microscope's picture white. Here they are scaled.
"""

import os
from io import BytesIO

import numpy as np
import torch
from huggingface_hub.utils import httpx  # as transformers does: which httpx is installed depends on its version
from PIL import Image, ImageOps
from transformers.image_utils import load_image

# Readers of rare formats stay out of reach of a stranger's file. JPEG includes the MPO files of some phones.
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF")
MAX_PIXELS = 89_478_485  # where Pillow begins to warn of a decompression bomb


def _opened(source: str | os.PathLike | BytesIO) -> Image.Image:
    """A file of a known format whose header does not announce too many pixels; nothing is decoded yet."""
    image = Image.open(source, formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"an image of at most {MAX_PIXELS} pixels is expected, not of {image.width} x {image.height}")
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert to mode RGB: 16 bits are scaled by 1 / 257, transparency is dropped, the rest is Pillow's conversion.

    Raises:
        ValueError: mode F, or mode I with values that are not 16-bit: nobody can know what their white is.
    """
    if image.mode == "RGB":
        return image
    if image.mode == "F":
        raise ValueError(
            "An image of floats (mode F) has no agreed range of values; convert it to 8 or 16 bits. Received: mode F"
        )
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image)
        if values.size and (values.min() < 0 or values.max() > 65535):
            raise ValueError(f"Gray values must be in 0..65535. Received: {values.min()} to {values.max()}")
        return Image.fromarray(scale_16_bits(values)).convert("RGB")
    return image.convert("RGB")


def scale_16_bits(values: np.ndarray) -> np.ndarray:
    """Unsigned 16-bit values of any shape to uint8: 0 stays 0, 65535 becomes 255."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


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


def read_rgb(source: str | os.PathLike | Image.Image, timeout: float | None = None) -> Image.Image:
    """Read a path, a URL, a base64 string or a PIL image as an upright 8-bit RGB image (orientation tag applied).

    Args:
        source: where the image is.
        timeout: seconds to wait for a URL; `None` waits for ever.

    Raises:
        ValueError: what is there cannot be read as an image. The message names the source and the reason.
    """
    try:
        if isinstance(source, Image.Image):
            image = source
        elif os.path.isfile(source):
            image = _opened(source)
        elif isinstance(source, str) and source.startswith(("http://", "https://")):
            response = httpx.get(source, timeout=timeout, follow_redirects=True).raise_for_status()
            image = _opened(BytesIO(response.content))
        elif isinstance(source, str):
            image = load_image(source)
        else:
            raise FileNotFoundError("no such file")
        return to_rgb(ImageOps.exif_transpose(image))
    # Pillow's decoders raise what they like on a bad file: OSError, SyntaxError, struct.error, IndexError, ...
    except Exception as error:
        name = source if isinstance(source, (str, os.PathLike)) else f"<{type(source).__name__}>"
        name = f"{name[:80]}..." if isinstance(name, str) and name.startswith("data:") else name
        raise ValueError(f"{name} cannot be read as an image. Received: {type(error).__name__}: {error}") from error
