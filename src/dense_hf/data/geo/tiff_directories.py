"""What a TIFF file says about each of its pictures, without decoding one, and without rasterio.

A directory is what the TIFF specification calls the tags of one picture. Smaller copies (overviews, which a
cloud-optimized GeoTIFF has) and masks are directories, too, but no pictures of their own; see `picture_values`.
"""

import os
import warnings
from dataclasses import dataclass
from typing import Any

from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from ...errors import InvalidDataError
from ..files import check_regular_file

MAX_RASTER_BYTES = 2**40
_MAX_DIRECTORIES = 4096
_COPY_OR_MASK, _OLD_COPY = 0b101, 2
_PALETTE, _RGB, _CMYK, _YCBCR, _LAB = 3, 2, 5, 6, 8


@dataclass(frozen=True)
class TiffDirectory:
    """Tags of one picture.

    Attributes:
        number: of the directory, from 1, as GDAL counts them.
        photometric: 0 and 1 gray, 2 RGB, 3 palette, 5 CMYK, 6 YCbCr.
        floating: whether its numbers are.
        nodata: what stands for "not seen", as the file writes it.
        georeferenced: whether it has a place on a map.
    """

    number: int
    width: int
    height: int
    bands: int
    photometric: int
    floating: bool
    orientation: int
    nodata: str | None
    georeferenced: bool

    @property
    def is_usual(self) -> bool:
        """Whether Pillow can be expected to show it as it is meant."""
        colors = self.photometric in (_RGB, _PALETTE, _CMYK, _YCBCR, _LAB) or self.bands <= 2
        try:
            seen = self.nodata is None or (not self.floating and float(self.nodata) == 0)  # 0 is black without a word
        except ValueError:
            seen = False
        return colors and self.bands <= 4 and seen


def tiff_directories(path: str | os.PathLike) -> list[TiffDirectory]:
    """The pictures of a TIFF file; none of a file of another kind.

    Raises:
        InvalidDataError: a missing file, or a broken list of tags.
    """
    check_regular_file(path, MAX_RASTER_BYTES)
    with open(path, "rb") as file:
        head = file.read(8)
        if head[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return []
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # Pillow warns of damaged tags and leaves them out
                return _directories(file, head)
        except (Image.DecompressionBombError, MemoryError):
            raise
        except Exception as error:  # as everywhere, Pillow raises what it likes
            expected = f"a TIFF file of at most {_MAX_DIRECTORIES} pictures"
            raise InvalidDataError(path, expected, f"{type(error).__name__}: {error}") from error


def _directories(file: Any, head: bytes) -> list[TiffDirectory]:
    big = b"+" in head[:4]
    tags = ImageFileDirectory_v2(head + file.read(8) if big else head)
    found: list[TiffDirectory] = []
    copies: list[TiffDirectory] = []
    seen: set[int] = set()
    while tags.next:
        if tags.next in seen or len(seen) >= _MAX_DIRECTORIES:
            raise ValueError("a list of pictures without an end")
        seen.add(tags.next)
        file.seek(tags.next)
        tags.load(file)
        formats = tags.get(339, (1,))
        directory = TiffDirectory(
            number=len(seen),
            width=int(tags.get(256, 0)),
            height=int(tags.get(257, 0)),
            bands=int(tags.get(277, 1)),
            photometric=int(tags.get(262, 1)),
            floating=3 in (formats if isinstance(formats, tuple) else (formats,)),
            orientation=int(tags.get(274, 1)),
            nodata=str(tags[42113]).strip("\0 ") if 42113 in tags else None,
            georeferenced=34735 in tags and (34264 in tags or (33550 in tags and 33922 in tags)),
        )
        is_copy = int(tags.get(254, 0)) & _COPY_OR_MASK or tags.get(255) == _OLD_COPY
        (copies if is_copy else found).append(directory)
    return found or copies[:1]


def chosen_directory(path: str | os.PathLike, directories: list[TiffDirectory], page: int | None) -> TiffDirectory:
    """The picture that is meant, by the rule of `seek_picture`.

    Raises:
        InvalidDataError: a stack without `page`, or a page that is not there.
    """
    number = len(directories)
    expected = "a file with one picture, or its page"
    if page is None and number != 1:
        received = f"a stack of {number}; `page` says which one, 0 to {number - 1}"
        raise InvalidDataError(path, expected, received)
    if page is not None and not 0 <= page < number:
        raise InvalidDataError(path, expected, f"no page {page}; it has {number}, counted from 0")
    return directories[page or 0]


def lies_on_a_map(path: str | os.PathLike) -> bool:
    """Whether a file has a picture with a place on a map, by its tags; of one that cannot be read it is not known."""
    try:
        return any(directory.georeferenced for directory in tiff_directories(path))
    except InvalidDataError:
        return False
