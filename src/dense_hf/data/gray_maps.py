"""Maps of one number per pixel as gray PNG files of 8 bits: localisation maps and saliency (H x W: of the image)."""

import os

import numpy as np
from PIL import Image, ImageOps

from ..errors import InvalidDataError
from .files import write_file
from .images import DEFAULT_MAX_PIXELS, opened_image, png_bytes


def read_gray_map(path: str | os.PathLike, size: tuple[int, int], max_pixels: int = DEFAULT_MAX_PIXELS) -> np.ndarray:
    """A map, uint8 [H, W], upright as its image is read.

    Args:
        path: the file.
        size: (width, height) of its image, seen upright.
        max_pixels: see `open_image`.

    Raises:
        InvalidDataError: if it is missing, broken, of another size, or no gray PNG of 8 bits. Palettes are refused:
            their numbers are names of colours.
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
