"""Opening a user's image: header checked before decoding, upright, 8-bit RGB; and maps of one number per pixel.

Localisation maps and saliency are gray PNG files of 8 bits (H x W: of the image).
"""

import io
import logging
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

from ..counting.picture_values import check_white, eight_bits_of, has_deep_colors, phone_formats, seek_picture
from ..errors import InvalidDataError
from .files import check_regular_file, write_file
from .geo.rasters import RasterPicture
from .geo.tiff_directories import TiffDirectory, chosen_directory, tiff_directories

logger = logging.getLogger(__name__)

# Pillow warns from here on (Image.MAX_IMAGE_PIXELS) and refuses at twice as much, whatever we are asked for.
DEFAULT_MAX_PIXELS = 89_478_485
MAX_IMAGE_BYTES = 2**30
# Readers of rare formats stay out of reach of a user's file. JPEG includes the MPO files of some phones.
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


def open_image(
    path: str | os.PathLike,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    page: int | None = None,
    white: float | str | None = None,
    bands: Sequence[int] | None = None,
    nodata: float | None = None,
) -> Image.Image:
    """The image of a file as upright 8-bit RGB.

    - The orientation tag is applied, because annotations are in the coordinates of the picture as it is shown: the
      released preparation takes the bounds of the points from OpenCV's reader, which applies the tag, and so do the
      image loaders of transformers and datasets. (The released preparation takes the pixels from another reader that
      does not; the frames of IOCfish5K come from videos and carry no tag.)
    - 16-bit images are scaled, value / 257, by the same factor in all images. Pillow alone would clip at 255. If no
      value is above 12 bits, a warning says that the picture is nearly black; `white` is for such.
    - Pages of a TIFF that are smaller copies or masks of another (overviews) do not count.
    - Transparency is dropped: the stored colors count, as in the released preparation and in transformers.
    - Gray, palette and CMYK images are converted by Pillow.
    - A TIFF of many bands, or with pixels that are not seen (nodata, NaN), is read by rasterio (the extra `geo`); what
      is not seen is black.

    Args:
        path: a JPEG, PNG, TIFF, BMP, WebP or AVIF file with one picture, or HEIC with the extra `heif`.
        max_pixels: the most pixels that are accepted, by the header, before anything is decoded. Pillow itself
            refuses more than 178,956,970.
        page: which picture of a file with several, from 0.
        white: the gray value of 16 bits, or the floating point value, that becomes 255; or "99.9%", the value that so
            many of the image's pixels do not exceed.
        bands: one band of a TIFF, or three for red, green and blue, counted from 1.
        nodata: the value of pixels that are not seen, of a TIFF that does not say it; NaN, too.

    Raises:
        InvalidDataError: if the file is missing, not such an image, too large, truncated or broken; has several
            pictures and `page` is not given, or fewer; has floating point values without `white`, or such that are not
            finite; rasterio is needed and not installed; `bands` or `nodata` of a file that is no TIFF.
        ValueError: `white` is none.
    """
    check_white(white)
    if (directory := unusual_tiff(path, page, bands, nodata)) is not None:
        _check_pixels(path, directory.width, directory.height, max_pixels)
        with RasterPicture(path, directory, white, bands, nodata) as raster:
            return raster.crop((0, 0, *raster.size))
    with opened_image(path, max_pixels, page, white) as image:
        deep_colors = has_deep_colors(image)
        image.load()
        upright = ImageOps.exif_transpose(image)
        try:
            upright, hint = eight_bits_of(upright, deep_colors, white)
        except ValueError as error:
            raise InvalidDataError(path, "gray values of 8 or 16 bits, 0 to 65535", str(error)) from error
        if hint is not None:
            logger.warning(f"{path}: {hint}")
        return upright.convert("RGB")


def read_image_header(path: str | os.PathLike, max_pixels: int = DEFAULT_MAX_PIXELS) -> ImageHeader:
    """Size and mode of an image, decoding no more than its format needs for them.

    Raises:
        InvalidDataError: as `open_image`, except for what only decoding reveals.
    """
    if (directory := unusual_tiff(path)) is not None:
        _check_pixels(path, directory.width, directory.height, max_pixels)
        return ImageHeader(directory.width, directory.height, "RGB")
    with opened_image(path, max_pixels) as image:
        # read first: the orientation of a PNG may stand after its pixels
        sideways = image.getexif().get(0x0112) in (5, 6, 7, 8)
        # a TIFF turns itself, when it is opened or, in Pillow 10, when it is loaded; its tags are as they are
        tags = image.tag_v2 if isinstance(image, TiffImageFile) else None
        width, height = image.size if tags is None else (tags[256], tags[257])
        return ImageHeader(height, width, image.mode) if sideways else ImageHeader(width, height, image.mode)


def read_size(path: str | os.PathLike, max_pixels: int = DEFAULT_MAX_PIXELS, decode: bool = False) -> tuple[int, int]:
    """(width, height) of an image as seen upright, from its header or, with `decode`, from all of it.

    Raises:
        InvalidDataError: as `open_image`; a truncated file shows with `decode` only.
    """
    return (open_image(path, max_pixels) if decode else read_image_header(path, max_pixels)).size


def stored_image(path: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> tuple[Image.Image, dict[str, Any]]:
    """The image, and how an `Image` column of the datasets library keeps it: by its file, if it is read alike there.

    That library would clip 16-bit values, which `open_image` scales, and take a thumbnail that is a TIFF's first page.

    Raises:
        InvalidDataError: as `open_image`.
    """
    picture = open_image(path, max_pixels)
    if unusual_tiff(path) is None:
        with opened_image(path, max_pixels) as image:
            if image.tell() == 0 and not image.mode.startswith("I"):
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


def unusual_tiff(
    path: str | os.PathLike, page: int | None = None, bands: Sequence[int] | None = None, nodata: float | None = None
) -> TiffDirectory | None:
    """The picture of a TIFF that Pillow cannot be expected to show as it is meant; None of all other files.

    Args:
        path: of the file.
        page: which picture of it.
        bands: see `open_image`.
        nodata: see there; both are what Pillow does not know.

    Raises:
        InvalidDataError: a missing file, a broken TIFF, or `bands` and `nodata` of a file of another kind.
    """
    directories = tiff_directories(path)
    asked = bands is not None or nodata is not None
    if asked and not directories:
        raise InvalidDataError(path, "a TIFF file, if bands or nodata are given", "a file of another kind")
    if not asked and (not directories or (page is None and len(directories) > 1)):
        return None
    directory = chosen_directory(path, directories, page)
    return directory if asked or not directory.is_usual else None


def _check_pixels(path: str | os.PathLike, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise InvalidDataError(path, f"an image of at most {max_pixels} pixels", f"{width} x {height}")


@contextmanager
def opened_image(
    path: str | os.PathLike, max_pixels: int, page: int | None = None, white: float | str | None = None
) -> Generator[Image.Image]:
    """The image of a file as it is stored, not decoded yet. Whatever Pillow raises in the block names the file.

    Raises:
        InvalidDataError: as `open_image`.
    """
    check_regular_file(path, MAX_IMAGE_BYTES)
    try:
        with open(path, "rb") as file:
            formats = phone_formats(file.read(12)) or _FORMATS
        with Image.open(path, formats=formats) as image:
            try:
                seek_picture(image, page)
            except ValueError as error:
                raise InvalidDataError(path, "a file with one picture, or its page", str(error)) from error
            _check_pixels(path, *image.size, max_pixels)
            if image.mode == "F" and white is None:
                received = "floating point values of unknown range; `white` says which value is white"
                raise InvalidDataError(path, "an image of 8 or 16 bits", received)
            yield image
    except (InvalidDataError, MemoryError):
        raise
    except Exception as error:  # broken files make Pillow raise OSError, SyntaxError, ValueError, struct.error, ...
        expected = "a complete JPEG, PNG, TIFF, BMP, WebP, AVIF or HEIC image"
        raise InvalidDataError(path, expected, f"{type(error).__name__}: {error}") from error


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
