"""Opening a user's image: header checked before decoding, upright, 8-bit RGB; and maps of one number per pixel.

Localisation maps and saliency are gray PNG files of 8 bits (H x W: of the image).
"""

import io
import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ..errors import InvalidDataError
from .files import check_regular_file, write_file

logger = logging.getLogger(__name__)

# Pillow warns from here on (Image.MAX_IMAGE_PIXELS) and refuses at twice as much, whatever we are asked for.
DEFAULT_MAX_PIXELS = 89_478_485
MAX_IMAGE_BYTES = 2**30
# Readers of rare formats stay out of reach of a user's file. JPEG includes the MPO files of some phones.
_NEW_SUBFILE_TYPE, _COPY_OR_MASK = 254, 0b101  # of a page of a TIFF: bit 0 a smaller copy, bit 2 a mask
_DARK = 2**13  # values of 12 bits end at 4095
_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")


@dataclass(frozen=True)
class ImageHeader:
    """What a file says about its image: size in pixels as seen upright, and the Pillow mode it is stored in."""

    width: int
    height: int
    mode: str

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.width, self.height

    @property
    def has_sixteen_bits(self) -> bool:
        """Whether Pillow's own conversion to RGB would clip instead of scale."""
        return self.mode.startswith("I")


def open_image(path: str | os.PathLike, max_pixels: int = DEFAULT_MAX_PIXELS) -> Image.Image:
    """The image of a file as upright 8-bit RGB.

    - The orientation tag is applied, because annotations are in the coordinates of the picture as it is shown: the
      released preparation takes the bounds of the points from OpenCV's reader, which applies the tag, and so do the
      image loaders of transformers and datasets. (The released preparation takes the pixels from another reader that
      does not; the frames of IOCfish5K come from videos and carry no tag.)
    - 16-bit images are scaled, value / 257, by the same factor in all images. Pillow alone would clip at 255.
    - Transparency is dropped: the stored colors count, as in the released preparation and in transformers.
    - Gray, palette and CMYK images are converted by Pillow.

    Args:
        path: a JPEG, PNG, TIFF, BMP or WebP file with one picture.
        max_pixels: the most pixels that are accepted, by the header, before anything is decoded. Pillow itself
            refuses more than 178,956,970.

    Raises:
        InvalidDataError: if the file is missing, not such an image, too large, truncated or broken.
    """
    with opened_image(path, max_pixels) as image:
        image.load()
        upright = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):
            return Image.fromarray(_scaled_to_eight_bits(path, np.asarray(upright))).convert("RGB")
        return upright.convert("RGB")


def read_image_header(path: str | os.PathLike, max_pixels: int = DEFAULT_MAX_PIXELS) -> ImageHeader:
    """Size and mode of an image, decoding no more than its format needs for them.

    Raises:
        InvalidDataError: as `open_image`, except for what only decoding reveals.
    """
    with opened_image(path, max_pixels) as image:
        # read first: the orientation of a PNG may stand after its pixels, and a TIFF turns itself when it loads
        sideways = image.getexif().get(0x0112) in (5, 6, 7, 8) and image.format != "TIFF"
        width, height = image.size
        return ImageHeader(height, width, image.mode) if sideways else ImageHeader(width, height, image.mode)


def read_size(path: str | os.PathLike, max_pixels: int = DEFAULT_MAX_PIXELS, decode: bool = False) -> tuple[int, int]:
    """(width, height) of an image as seen upright, from its header or, with `decode`, from all of it.

    Raises:
        InvalidDataError: as `open_image`; a truncated file shows with `decode` only.
    """
    return (open_image(path, max_pixels) if decode else read_image_header(path, max_pixels)).size


def stored_image(path: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> tuple[Image.Image, dict[str, Any]]:
    """The image, and how an `Image` column of the datasets library keeps it: by its file, but 16-bit ones as 8-bit.

    That library would clip the values that `open_image` scales.

    Raises:
        InvalidDataError: as `open_image`.
    """
    picture = open_image(path, max_pixels)
    if not read_image_header(path, max_pixels).has_sixteen_bits:
        return picture, {"path": str(path), "bytes": None}
    return picture, {"path": f"{path.stem}.png", "bytes": png_bytes(picture)}


def stored_labels(path: Path, labels: np.ndarray) -> dict[str, Any]:
    """How an `Image` column keeps labels uint8 [H, W] of a mask."""
    return {"path": path.name, "bytes": png_bytes(Image.fromarray(labels))}


def png_bytes(image: Image.Image) -> bytes:
    """The content of a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


@contextmanager
def opened_image(path: str | os.PathLike, max_pixels: int) -> Generator[Image.Image]:
    """The image of a file as it is stored, not decoded yet. Whatever Pillow raises in the block names the file.

    Raises:
        InvalidDataError: as `open_image`.
    """
    check_regular_file(path, MAX_IMAGE_BYTES)
    try:
        with Image.open(path, formats=_FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise InvalidDataError(path, f"an image of at most {max_pixels} pixels", f"{width} x {height}")
            if (pictures := _count_pictures(image)) > 1:
                received = f"an animation or a stack of {pictures}"
                raise InvalidDataError(path, "a file with one picture", received)
            if image.mode == "F":
                raise InvalidDataError(path, "an image of 8 or 16 bits", "floating point values of unknown range")
            yield image
    except (InvalidDataError, MemoryError):
        raise
    except Exception as error:  # broken files make Pillow raise OSError, SyntaxError, ValueError, struct.error, ...
        expected = "a complete JPEG, PNG, TIFF, BMP or WebP image"
        raise InvalidDataError(path, expected, f"{type(error).__name__}: {error}") from error


def _count_pictures(image: Any) -> int:
    """Pictures in a file: pages of a TIFF that are smaller copies or masks of another (overviews) are none."""
    if image.format == "MPO" or not getattr(image, "is_animated", False):
        return 1
    if image.format != "TIFF":
        return image.n_frames
    found = 0
    for page in range(image.n_frames):
        image.seek(page)
        found += not int(image.tag_v2.get(_NEW_SUBFILE_TYPE, 0)) & _COPY_OR_MASK
    image.seek(0)
    return max(1, found)


def _scaled_to_eight_bits(path: object, values: np.ndarray) -> np.ndarray:
    """[h,w] of 16-bit gray values (mode "I" may hold 32) to uint8 [h,w]: 0 stays 0, 65535 becomes 255."""
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise InvalidDataError(path, "gray values of 16 bits, 0 to 65535", f"values from {low} to {high}")
    if 0 < high < _DARK:
        logger.warning(
            f"{path}: 16 bits, but no value above {high}: nearly black. A camera of 10 or 12 bits? Then stretch the "
            "values first (the highest possible value to 65535)."
        )
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def read_gray_map(path: str | os.PathLike, size: tuple[int, int], max_pixels: int = DEFAULT_MAX_PIXELS) -> np.ndarray:
    """A map, uint8 [H, W], upright as its image is read.

    Args:
        path: the file.
        size: (width, height) of its image, seen upright.
        max_pixels: see `open_image`.

    Raises:
        InvalidDataError: if it is missing, broken, of another size, or no gray PNG of 8 bits. Palettes are refused:
            their numbers are names of colors.
    """
    with opened_image(path, max_pixels) as image:
        if image.format != "PNG" or image.mode != "L":
            raise InvalidDataError(path, "a gray PNG of 8 bits", f"a {image.format} file of mode {image.mode}")
        image.load()
        values = np.asarray(ImageOps.exif_transpose(image))
    if values.shape != size[::-1]:
        height, width = values.shape
        raise InvalidDataError(path, f"the size of its image, {size[0]} x {size[1]}", f"{width} x {height}")
    return values


def write_gray_map(path: str | os.PathLike, values: np.ndarray) -> None:
    """Write a map, uint8 [H, W], whole or not at all."""
    write_file(path, png_bytes(Image.fromarray(values)))
