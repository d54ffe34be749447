"""The picture of a file for counting: its pixels, at once or by windows, and its place on a map."""

import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from ...counting.picture_values import check_white
from ...errors import InvalidDataError
from ..images import DEFAULT_MAX_PIXELS, open_image
from .map_frames import MapFrame, PixelAreas, read_frame
from .raster_files import missing_pixels, open_raster, reading, window_of
from .rasters import RasterPicture
from .tiff_directories import TiffDirectory, chosen_directory, tiff_directories

logger = logging.getLogger(__name__)


class OpenedPicture(ExitStack):
    """A file's picture as 8-bit RGB, and where it is on a map. To be closed.

    Args:
        path: of any file that `open_image` takes; a TIFF may be larger, have other bands than gray and RGB, and pixels
            that are not seen (nodata, NaN), which are black then.
        page: which picture of a file with several, from 0.
        white: see `open_image`.
        bands: one band of a TIFF, or three for red, green and blue, counted from 1.
        nodata: the value of pixels that are not seen, of a TIFF that does not say it; NaN, too.
        max_pixels: how many are read at once; a TIFF with more is read by windows.

    Attributes:
        image: all of it or, if it has more than `max_pixels`, a `RasterPicture`.
        frame: its place on a map; None without one.
        areas: the square meters of its pixels; None without a frame.

    Raises:
        InvalidDataError: as `open_image`, and where rasterio is needed and not installed.
        ValueError: `white` is none.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        page: int | None = None,
        white: float | str | None = None,
        bands: Sequence[int] | None = None,
        nodata: float | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ):
        super().__init__()
        check_white(white)
        self._path, self._nodata = path, nodata
        self._dataset: Any = None
        self.frame: MapFrame | None = None
        self.areas: PixelAreas | None = None
        directories = tiff_directories(path)
        if not directories:
            self.image: Any = open_image(path, page=page, white=white, bands=bands, nodata=nodata)
            return
        directory = chosen_directory(path, directories, page)
        small = directory.width * directory.height <= max_pixels
        try:
            if small:
                self.image = open_image(path, page=page, white=white, bands=bands, nodata=nodata)
            else:
                self.image = self.enter_context(RasterPicture(path, directory, white, bands, nodata))
            if directory.georeferenced and directory.orientation == 1:
                self._find_place(directory)
        except BaseException:
            self.close()
            raise

    def seen(self, top: int, bottom: int) -> np.ndarray | None:
        """Which pixels of some rows are not nodata and not masked, bool [bottom - top, width]; None: all are."""
        if self._dataset is None:
            return None
        box = (0, top, self._dataset.width, bottom)
        with reading(self._path):
            if self._nodata is not None:
                missing = missing_pixels(self._dataset.read(window=window_of(box)), self._nodata)
                return None if missing is None else ~missing
            if all(flag.name == "all_valid" for flags in self._dataset.mask_flag_enums for flag in flags):
                return None
            return self._dataset.dataset_mask(window=window_of(box)) > 0

    def _find_place(self, directory: TiffDirectory) -> None:
        try:
            self._dataset = self.enter_context(open_raster(self._path, directory))
        except InvalidDataError as error:
            if not isinstance(error.__cause__, ImportError):
                raise
            logger.warning(f"{self._path} has map coordinates, which need rasterio: pip install 'dense_hf[geo]'")
            return
        self.frame = read_frame(self._dataset)
        if self.frame is not None:
            try:
                self.areas = PixelAreas(self.frame, self._dataset.width, self._dataset.height)
            except ValueError as error:
                logger.warning(f"{self._path}: no area is known, so no objects per hectare: {error}")
