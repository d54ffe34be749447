"""GeoTIFF files for tests, written by rasterio; tests are skipped without it."""

from typing import Any

import numpy as np
import pytest

UTM = "EPSG:32632"
TEN_CENTIMETERS = (0.1, 0.0, 500_000.0, 0.0, -0.1, 5_300_000.0)
ROTATED = (0.08, 0.06, 500_000.0, 0.06, -0.08, 5_300_000.0)


def write_map(path: Any, pixels: np.ndarray, transform: Any = TEN_CENTIMETERS, crs: Any = UTM, **profile: Any) -> Any:
    """Write pixels [n, h, w]."""
    rasterio = pytest.importorskip("rasterio")
    bands, height, width = pixels.shape
    options = {"driver": "GTiff", "count": bands, "height": height, "width": width, "dtype": pixels.dtype}
    place = {} if transform is None else {"transform": rasterio.Affine(*transform), "crs": crs}
    with rasterio.open(path, "w", **(options | place | profile)) as dataset:
        dataset.write(pixels)
    return path
