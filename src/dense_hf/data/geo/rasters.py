"""Mosaics and pictures of many bands: TIFF files that rasterio reads, window by window, as 8-bit RGB.

A picture of 20,000 x 20,000 pixels is 1.2 GB; a counter that looks at tiles needs a few of them at a time. What
becomes of numbers is the rule of `to_eight_bits`. Pixels that the file calls nodata are black.

h, w: height and width of a window; n bands.
"""

import logging
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from PIL import Image

from ...counting.picture_values import to_eight_bits
from ...errors import InvalidDataError
from .raster_files import Box, missing_pixels, open_raster, reading, window_of
from .tiff_directories import TiffDirectory

logger = logging.getLogger(__name__)

_MAX_BLOCK_BYTES = 2**28
_STRIP_PIXELS = 2**22  # of what is read at once for a number that all pixels have a part in
_DARK = 2**13  # as in picture_values


class RasterPicture(AbstractContextManager):
    """A picture whose pixels are read when a window of it is looked at; what a counter needs of a `PIL.Image`.

    Args:
        path: a TIFF file.
        directory: of the picture in it.
        white: see `open_image`; percents are of all pixels that are seen.
        bands: one or three, from 1. Default: red, green and blue, or gray, if the file says which they are.
        nodata: the value of pixels that are not seen; default is what the file says.

    Attributes:
        width, height: in pixels.

    Raises:
        InvalidDataError: rasterio is not installed, or what is there cannot be read so.
    """

    reads_windows = True
    mode = "RGB"

    def __init__(
        self,
        path: str | os.PathLike,
        directory: TiffDirectory,
        white: float | str | None = None,
        bands: Sequence[int] | None = None,
        nodata: float | None = None,
    ):
        self.path, self.width, self.height = path, directory.width, directory.height
        self._dataset: Any = open_raster(path, directory)
        try:
            self._check(directory)
            self._bands = self._chosen(bands, directory)
            self._nodata = self._dataset.nodata if nodata is None else nodata
            palette = len(self._bands) == 1 and self._dataset.colorinterp[self._bands[0] - 1].name == "palette"
            self._colors = self._palette() if palette else None
            self._white = self._level(white)
        except BaseException:
            self.close()
            raise

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.width, self.height

    def crop(self, box: Box) -> Image.Image:
        """The window (left, top, right, bottom), inside of the picture, as RGB.

        Raises:
            InvalidDataError: a broken file, or values that are not finite.
        """
        values, _ = self._read(box)
        return self._shown(values)

    def reduced(self, side: int) -> Image.Image:
        """All of the picture, with no side above `side`, from its overviews if it has some."""
        scale = min(1.0, side / max(self.size))
        height, width = (max(1, round(length * scale)) for length in (self.height, self.width))
        values, _ = self._read((0, 0, self.width, self.height), (height, width))
        return self._shown(values)

    def close(self) -> None:
        """Let go of the file."""
        self._dataset.close()

    def __exit__(self, *error: object) -> None:
        self.close()

    def _check(self, directory: TiffDirectory) -> None:
        if directory.orientation != 1 or directory.photometric == 0:
            received = f"orientation {directory.orientation}, photometric {directory.photometric}"
            raise InvalidDataError(self.path, "a TIFF stored upright, 0 for black, to be read by windows", received)
        height, width = self._dataset.block_shapes[0]
        bands = self._dataset.count if self._dataset.interleaving.name == "pixel" else 1
        if height * width * bands * np.dtype(self._dataset.dtypes[0]).itemsize > _MAX_BLOCK_BYTES:
            raise InvalidDataError(
                self.path,
                "blocks that fit into memory (gdal_translate -co TILED=YES writes such)",
                f"blocks of {width} x {height} pixels",
            )

    def _chosen(self, bands: Sequence[int] | None, directory: TiffDirectory) -> list[int]:
        """Which bands are shown, from 1."""
        number = self._dataset.count
        if bands is not None:
            if len(bands) not in (1, 3) or not all(1 <= band <= number for band in bands):
                raise InvalidDataError(self.path, f"one band, or three, of 1 to {number}", f"bands {list(bands)}")
            return list(bands)
        names = [color.name for color in self._dataset.colorinterp]
        if {"red", "green", "blue"} <= set(names):
            return [names.index(color) + 1 for color in ("red", "green", "blue")]
        seen = [index + 1 for index, name in enumerate(names) if name != "alpha"]
        if len(seen) == 1:
            return seen
        received = f"{number} bands ({', '.join(names[:8])}); `bands` (--bands 3,2,1) says which are red, green, blue"
        raise InvalidDataError(self.path, "a picture of gray or of red, green and blue", received)

    def _palette(self) -> np.ndarray:
        colors = np.zeros((256, 3), np.uint8)
        for index, color in self._dataset.colormap(self._bands[0]).items():
            if index < 256:
                colors[index] = color[:3]
        return colors

    def _level(self, white: float | str | None) -> float | None:
        """The value of white; None for 8 bits, which stay as they are, and where 65535 is meant."""
        kind = np.dtype(self._dataset.dtypes[self._bands[0] - 1])
        if kind == np.uint8:
            return None
        if white is None:
            if kind != np.uint16:
                received = f"{kind} values of unknown range; `white` says which value is white"
                raise InvalidDataError(self.path, "a picture of 8 or 16 bits", received)
            self._warn_of_darkness()
            return None
        if isinstance(white, str) and white.endswith("%"):
            return self._percentile(float(white.removesuffix("%"))) or math.inf  # black stays black
        return float(white)

    def _warn_of_darkness(self) -> None:
        high = 0
        for values, seen in self._strips():
            high = max(high, int(values[:, seen].max(initial=0)))
            if high >= _DARK:
                return
        if high:
            logger.warning(
                f"{self.path}: 16 bits, but no value above {high}: nearly black. A camera of 10 or 12 bits? `white` "
                "(--white) says which value is white: 4095, or 99.9%"
            )

    def _percentile(self, percents: float) -> float:
        """As `np.percentile` of the values of all pixels that are seen, as float32, in memory of a strip.

        Floats are ordered like their bits (those of negative ones the other way round): a histogram of the upper 16
        bits finds where a value is, one of the lower bits which it is.
        """
        upper = np.zeros(2**16, np.int64)
        for values, seen in self._strips():
            upper += np.bincount(_keys(values[:, seen]) >> 16, minlength=2**16)
        total = int(upper.sum())
        if not total:
            return 0.0
        rank = percents / 100 * (total - 1)
        found = {}
        ends = upper.cumsum()
        for number in {math.floor(rank), math.ceil(rank)}:
            high = int(np.searchsorted(ends, number, side="right"))
            lower = np.zeros(2**16, np.int64)
            for values, seen in self._strips():
                keys = _keys(values[:, seen])
                lower += np.bincount(keys[keys >> 16 == high] & 0xFFFF, minlength=2**16)
            before = int(ends[high - 1]) if high else 0
            low = int(np.searchsorted(lower.cumsum(), number - before, side="right"))
            found[number] = _value((high << 16) | low)
        first, last = found[math.floor(rank)], found[math.ceil(rank)]
        return first + (last - first) * (rank - math.floor(rank))

    def _strips(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Values [n, h, width] and which pixels are seen [h, width], from top to bottom."""
        block = self._dataset.block_shapes[0][0]
        rows = max(1, _STRIP_PIXELS // self.width)
        rows = max(block, rows - rows % block) if block <= rows else rows
        for top in range(0, self.height, rows):
            yield self._read((0, top, self.width, min(top + rows, self.height)))

    def _read(self, box: Box, shape: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Values [n, h, w] of a window, 0 where they are not seen, and which pixels are seen [h, w]."""
        with reading(self.path):
            out_shape = None if shape is None else (len(self._bands), *shape)
            values = self._dataset.read(self._bands, window=window_of(box), out_shape=out_shape)
        missing = missing_pixels(values, self._nodata)
        if missing is None:
            return values, np.ones(values.shape[1:], bool)
        values[:, missing] = 0
        return values, ~missing

    def _shown(self, values: np.ndarray) -> Image.Image:
        """[n, h, w] as RGB."""
        if self._colors is not None:
            return Image.fromarray(self._colors[np.minimum(values[0], 255)])
        try:
            eight = values if values.dtype == np.uint8 else to_eight_bits(values, self._white)
        except ValueError as error:
            raise InvalidDataError(self.path, "numbers (`nodata` says which mean not seen)", str(error)) from error
        return Image.fromarray(np.ascontiguousarray(np.broadcast_to(eight, (3, *eight.shape[1:])).transpose(1, 2, 0)))


def _keys(values: np.ndarray) -> np.ndarray:
    """uint32 in the order of the numbers, of their float32."""
    bits = values.astype(np.float32).reshape(-1).view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(2**31))


def _value(key: int) -> float:
    bits = key ^ 2**31 if key >> 31 else ~key & 0xFFFFFFFF
    return float(np.array([bits], np.uint32).view(np.float32)[0])
