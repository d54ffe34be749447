"""Which picture of a file is meant, and what its numbers become in 8 bits: one rule for data sets and for users.

h, w: height and width of a picture.
"""

from contextlib import suppress
from importlib import import_module
from math import isfinite
from typing import Any

import numpy as np
from PIL import Image

_NEW_SUBFILE_TYPE, _OLD_SUBFILE_TYPE = 254, 255  # what a page of a TIFF says that it is
_COPY_OR_MASK, _OLD_COPY = 0b101, 2  # bit 0 a smaller copy, bit 2 a mask
_DARK = 2**13  # values of 12 bits end at 4095
MAX_PIXELS = 89_478_485  # where Pillow begins to warn of a decompression bomb
_AVIF, _EITHER = (b"avif", b"avis"), (b"mif1", b"msf1")  # what the head of a file says, of one codec and of both
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")


def phone_formats(head: bytes) -> tuple[str, ...]:
    """Pillow's readers of a picture as phones take it, HEIC or AVIF; () of any other file.

    Args:
        head: the first 12 bytes of the file.

    Raises:
        ValueError: no reader of it is installed.
    """
    brand = head[8:12]
    if head[4:8] != b"ftyp" or brand not in (*_AVIF, *_HEIC, *_EITHER):
        return ()
    with suppress(ImportError):
        import_module("pillow_heif").register_heif_opener()  # an extra; by name, as the copy beside a checkpoint wants
    Image.init()
    wanted = ("AVIF",) if brand in _AVIF else ("HEIF",) if brand in _HEIC else ("HEIF", "AVIF")
    if found := tuple(name for name in wanted if name in Image.OPEN):
        return found
    if wanted == ("AVIF",):
        raise ValueError("a picture in AVIF, which Pillow reads from 11.3 on")
    raise ValueError("a picture in HEIC, which pillow-heif reads: pip install 'dense_hf[heif]'")


def check_white(white: float | str | None) -> None:
    """Nothing, if it is a number above 0, or a percentile such as "99.9%" above 0.

    Raises:
        ValueError: else.
    """
    if white is None:
        return
    try:
        number = float(white.removesuffix("%")) if isinstance(white, str) else float(white)
    except (TypeError, ValueError):
        number = 0
    percents = isinstance(white, str) and white.endswith("%")
    if not isfinite(number) or not 0 < number <= (100 if percents else number):
        raise ValueError(f'white must be a value above 0, or percents such as "99.9%". Received: {white!r:.100}')


def seek_picture(image: Image.Image, page: int | None = None) -> None:
    """Go to the picture of an opened file; pages of a TIFF that are smaller copies or masks of another are none.

    Args:
        image: as `Image.open` gives it.
        page: number of a picture of a file with several, from 0; of one that is not given a file has only one.

    Raises:
        ValueError: an animation or a stack without `page`, or a page that is not there.
    """
    pages = _pictures(image)
    if page is None and len(pages) > 1:
        raise ValueError(f"an animation or a stack of {len(pages)}; `page` says which one, 0 to {len(pages) - 1}")
    if page is not None and not 0 <= page < len(pages):
        raise ValueError(f"no page {page}; it has {len(pages)}, counted from 0")
    if image.tell() != pages[page or 0]:
        image.seek(pages[page or 0])


def _pictures(image: Any) -> list[int]:
    """Numbers of the pages that are pictures of their own."""
    frames = getattr(image, "n_frames", 1)
    if frames == 1 or image.format == "MPO":  # its others are of a second lens, or for small screens
        return [0]
    if image.format != "TIFF":
        return list(range(frames))
    found = []
    for page in range(frames):
        image.seek(page)
        kind = int(image.tag_v2.get(_NEW_SUBFILE_TYPE, 0)) & _COPY_OR_MASK
        if not kind and image.tag_v2.get(_OLD_SUBFILE_TYPE) != _OLD_COPY:
            found.append(page)
    return found or [0]


def to_eight_bits(values: np.ndarray, white: float | str | None = None) -> np.ndarray:
    """Numbers of a picture of any shape as uint8: 0 stays 0, white becomes 255.

    Args:
        values: unsigned integers of up to 16 bits (perhaps in a wider type) or, with `white`, any numbers.
        white: the value of white, or "99.9%": what so many of the pixels do not exceed. Without it 65535, by the same
            factor in all pictures; with it what is below 0 or above white is cut off.

    Raises:
        ValueError: values that are not finite, or whose white nobody knows.
    """
    check_white(white)
    if values.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
        raise ValueError(f"{finite.size - np.count_nonzero(finite)} of {finite.size} values are NaN or infinite")
    if white is None:
        if values.dtype.kind == "f":
            raise ValueError("floating point values of unknown range; `white` says which value is white")
        if values.size and (values.min() < 0 or values.max() > 65535):
            raise ValueError(f"values from {values.min()} to {values.max()}, not of 16 bits")
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if isinstance(white, str) and white.endswith("%"):
        level = float(np.percentile(values, float(white.removesuffix("%"))))
    else:
        level = float(white)
    if level <= 0:  # a percentile of a black picture
        return np.zeros(values.shape, np.uint8)
    return np.rint(np.clip(values / np.float64(level), 0, 1) * 255).astype(np.uint8)


def has_deep_colors(image: Image.Image) -> bool:
    """Whether a picture, not decoded yet, has colors of 16 bits, of which Pillow keeps the higher 8."""
    return not image.mode.startswith("I") and ";16" in str(getattr(image, "tile", ""))


def eight_bits_of(image: Image.Image, deep_colors: bool, white: float | str | None) -> tuple[Image.Image, str | None]:
    """The picture in 8 bits, and what to say about it if hardly any of its 16 bits are used.

    Args:
        image: decoded.
        deep_colors: what `has_deep_colors` said.
        white: see `to_eight_bits`. Pictures of 8 bits stay as they are.

    Raises:
        ValueError: see `to_eight_bits`.
    """
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
    elif deep_colors:
        values = np.asarray(image.convert("RGB")).astype(np.uint16) * 257
    else:
        return image, None
    scaled = Image.fromarray(to_eight_bits(values, white))
    if white is None and 0 < (high := int(values.max())) < _DARK:
        return scaled, (
            f"16 bits, but no value above {high}: nearly black. A camera of 10 or 12 bits? `white` (--white) says "
            "which value is white: 4095, or 99.9%"
        )
    return scaled, None


__all__ = ["check_white", "eight_bits_of", "has_deep_colors", "phone_formats", "seek_picture", "to_eight_bits"]
