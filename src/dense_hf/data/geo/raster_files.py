"""The one way to rasterio (the extra `geo`): TIFF files only, a small cache, errors that name the file."""

import math
import os
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ...errors import InvalidDataError
from .tiff_directories import TiffDirectory

_CACHE_MEGABYTES = 64

Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels."""


def open_raster(path: str | os.PathLike, directory: TiffDirectory) -> Any:
    """A picture of a file as a dataset of rasterio.

    Raises:
        InvalidDataError: rasterio is not installed, or cannot read it.
    """
    try:
        import rasterio
    except ImportError as error:
        received = f"{directory.width} x {directory.height} pixels, {directory.bands} bands, nodata {directory.nodata}"
        expected = "a picture that can be read without rasterio; pip install 'dense_hf[geo]' brings it"
        raise InvalidDataError(path, expected, received) from error
    absolute = os.path.abspath(path)
    with reading(path), warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        # only this driver: others open what a file names
        if directory.number == 1:
            return rasterio.open(absolute, driver="GTiff")
        return rasterio.open(f"GTIFF_DIR:{directory.number}:{absolute}", driver="GTiff")


@contextmanager
def reading(path: str | os.PathLike) -> Generator[None]:
    """Inside, rasterio reads, with a small cache; what it raises names the file."""
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with rasterio.Env(GDAL_CACHEMAX=_CACHE_MEGABYTES):
            yield
    except (RasterioError, OSError) as error:
        raise InvalidDataError(path, "a complete TIFF", f"{type(error).__name__}: {error}") from error


def window_of(box: Box) -> tuple[tuple[int, int], tuple[int, int]]:
    """A box as rasterio wants it."""
    left, top, right, bottom = box
    return (top, bottom), (left, right)


def missing_pixels(values: np.ndarray, nodata: float | None) -> Any:
    """Which pixels [h, w] of values [n, h, w] are nodata: all bands have it, or one if it is NaN; None: none are."""
    if nodata is None:
        return None
    if math.isnan(nodata):
        return np.isnan(values).any(axis=0) if values.dtype.kind == "f" else None
    return (values == (values.dtype.type(nodata) if values.dtype.kind == "f" else nodata)).all(axis=0)
