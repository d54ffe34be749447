"""Pictures as users give them to a pipeline. This file is copied beside saved pipelines.

Which page of a file is meant, and what 16 bits become, follows the rule of `dense_hf.counting.picture_values`, which
does not travel with a pipeline of another task; `tests/data/test_pages_and_values.py` holds them against each other.
"""

import os
from collections.abc import Iterable
from math import isfinite
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

PICTURE_FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")  # readers of rare ones stay out of reach of a stranger's file
PICTURE_SUFFIXES = frozenset(
    (".avif", ".bmp", ".heic", ".heif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
)
ACCEPTED = (
    "an image, an array or a path: a PIL.Image, a uint8 array [H, W, 3] (RGB) or [H, W], a uint8 tensor [3, H, W], or "
    "the file of an image"
)


def check_pictures(pictures: Iterable[Any], what: str = "picture", addresses: bool = False) -> None:
    """Nothing, if each may be a picture (or an exception in the place of one), as far as its type tells.

    Args:
        pictures: what was given.
        what: they are called in the message.
        addresses: whether texts may also be URLs and base64.

    Raises:
        TypeError: else, such as for bytes, floats, videos or lists of pictures.
    """
    for picture in pictures:
        received = type(picture).__name__
        if isinstance(picture, (np.ndarray, torch.Tensor)):
            if picture.dtype in (np.uint8, torch.uint8) and picture.ndim in (2, 3):
                continue
            received = f"{received} of {picture.dtype} {list(picture.shape)}"
        elif isinstance(picture, (str, os.PathLike)):
            # what the pictures of a program without an ending are called is its own business
            suffix = os.path.splitext(picture)[1].lower()
            if addresses or (suffix in PICTURE_SUFFIXES | {""} and not os.path.isdir(picture)):
                continue
            received = f"{os.fspath(picture)!r:.200}"
        elif isinstance(picture, (Image.Image, Exception)):
            continue
        raise TypeError(f"A {what} is {'a URL, base64, ' if addresses else ''}{ACCEPTED}. Received: {received}")


def parse_white(white: float | str) -> tuple[float, bool]:
    """The number of a value such as 4095, or of "99.9%", and whether it is percents.

    Raises:
        ValueError: it is none, or not above 0.
    """
    percents = isinstance(white, str) and white.endswith("%")
    try:
        number = float(white.removesuffix("%")) if isinstance(white, str) else float(white)
    except (TypeError, ValueError):
        number = 0
    if not isfinite(number) or not 0 < number <= (100 if percents else number):
        raise ValueError(f'white must be a value above 0, or percents such as "99.9%". Received: {white!r:.100}')
    return number, percents


def read_picture(picture: Any, page: int | None = None, white: float | str | None = None) -> Image.Image:
    """RGB of a picture, see `ACCEPTED`. Orientation tags are applied.

    Args:
        picture: what the user gave.
        page: which picture of a file with several, from 0. Pages of a TIFF that are smaller copies or masks of another
            do not count.
        white: the gray value of 16 bits, or the floating point value, that becomes 255; or "99.9%", the value that so
            many of the pixels do not exceed.

    Raises:
        TypeError: another type of data.
        Exception: if it is no picture. An exception that is given is raised.
    """
    if isinstance(picture, Exception):
        raise picture
    if white is not None:
        parse_white(white)
    check_pictures([picture])
    if isinstance(picture, (str, os.PathLike)):
        try:
            with Image.open(picture, formats=_formats_of(picture)) as opened:
                return _rgb_of(opened, page, white)
        except FileNotFoundError as error:
            raise ValueError(f"{picture}: there is no such file") from error
        except Exception as error:  # a broken file makes Pillow raise OSError, SyntaxError, struct.error, ...
            raise ValueError(f"{picture} cannot be read as an image. Received: {error}") from error
    if isinstance(picture, torch.Tensor):
        picture = (picture.permute(1, 2, 0) if picture.ndim == 3 else picture).numpy(force=True)
    if isinstance(picture, np.ndarray):
        if not (picture.ndim == 2 or picture.shape[2:] == (3,)) or not picture.size:
            raise ValueError(f"a picture is uint8 [H, W, 3] or [H, W]. Received: {list(picture.shape)}")
        return Image.fromarray(picture).convert("RGB")
    sought = picture.tell()
    try:
        return _rgb_of(picture, page, white)
    finally:
        picture.seek(sought)  # the caller's image stays as it was


def _formats_of(path: str | os.PathLike) -> tuple[str, ...]:
    """Readers of a file; those of HEIC and AVIF only where dense_hf is installed."""
    try:
        from dense_hf.counting.picture_values import phone_formats
    except ImportError:
        return PICTURE_FORMATS
    with open(path, "rb") as file:
        return phone_formats(file.read(12)) or PICTURE_FORMATS


def _rgb_of(image: Image.Image, page: int | None, white: float | str | None) -> Image.Image:
    """Upright RGB of the picture of a file that is meant."""
    if page is not None or not image.tell():  # of an opened picture, the one that was sought
        pages = _pictures(image)
        if page is None and len(pages) > 1:
            raise ValueError(f"an animation or a stack of {len(pages)}; `page` says which one, 0 to {len(pages) - 1}")
        if page is not None and not 0 <= page < len(pages):
            raise ValueError(f"no page {page}; it has {len(pages)}, counted from 0")
        if image.tell() != pages[page or 0]:
            image.seek(pages[page or 0])
    # colors of 16 bits, of which Pillow keeps the higher 8 when it decodes them
    deep_colors = not image.mode.startswith("I") and ";16" in str(getattr(image, "tile", ""))
    if image.mode.startswith(("I", "F")):
        if white is None:
            raise ValueError(
                f"a picture has 8 bits per color. Received: mode {image.mode}, which must be scaled first; "
                "`white` says which value is white: 65535, 4095 or 99.9%"
            )
        image = _scaled(ImageOps.exif_transpose(image), white)
    elif deep_colors and white is not None:
        image = _scaled(ImageOps.exif_transpose(image).convert("RGB"), white, 257)
    return ImageOps.exif_transpose(image).convert("RGB")


def _pictures(image: Any) -> list[int]:
    """Numbers of the pages that are pictures of their own."""
    frames = getattr(image, "n_frames", 1)
    if frames == 1 or image.format == "MPO":
        return [0]
    if image.format != "TIFF":
        return list(range(frames))
    found = []
    for page in range(frames):
        image.seek(page)
        if not int(image.tag_v2.get(254, 0)) & 0b101 and image.tag_v2.get(255) != 2:
            found.append(page)
    image.seek(0)
    return found or [0]


def _scaled(image: Image.Image, white: float | str, step: int = 1) -> Image.Image:
    """8 bits: 0 stays 0, white becomes 255, what is below or above is cut off; `step` values are 1 of the image."""
    values = np.asarray(image) * np.float64(step) if step > 1 else np.asarray(image)
    if not np.isfinite(values).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(values))} of {values.size} values are NaN or infinite")
    number, percents = parse_white(white)
    level = float(np.percentile(values, number)) if percents else number
    if level <= 0:
        return Image.new("L", image.size)
    return Image.fromarray(np.rint(np.clip(values / np.float64(level), 0, 1) * 255).astype(np.uint8))
