"""Where a picture lies on a map: the affine transform and the coordinate system of a GeoTIFF.

Map coordinates are (x, y) = (easting, northing), or (longitude, latitude), whatever the axis order of the authority.
A pixel coordinate is as everywhere here: (0, 0) is the corner of the first pixel, its centre is (0.5, 0.5).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

WGS84 = "EPSG:4326"
# Planar areas of a projection may differ that much from those on the ground (UTM: at most 0.2 % in its zone; Web
# Mercator: 100 % at 45 degrees). Beyond, those on the ground are taken.
_AREA_TOLERANCE = 0.005
_EDGE_STEPS = 16  # straight lines of one projection are curves of another


@dataclass(frozen=True)
class MapFrame:
    """From pixels to a map.

    Attributes:
        transform: a, b, c, d, e, f of x = a * column + b * row + c and y = d * column + e * row + f.
        crs: the coordinate system, "EPSG:32632", or WKT where it has no such name.
    """

    transform: tuple[float, float, float, float, float, float]
    crs: str

    def to_map(self, points: np.ndarray) -> np.ndarray:
        """Pixels [n, 2] (x right, y down) -> map coordinates [n, 2], float64."""
        a, b, c, d, e, f = self.transform
        x, y = np.asarray(points, np.float64).reshape(-1, 2).T
        return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)

    def to_pixels(self, places: np.ndarray) -> np.ndarray:
        """The way back, [n, 2] float64."""
        a, b, c, d, e, f = self.transform
        x, y = np.asarray(places, np.float64).reshape(-1, 2).T
        determinant = a * e - b * d
        return np.stack([e * (x - c) - b * (y - f), a * (y - f) - d * (x - c)], axis=1) / determinant


class PixelAreas:
    """Square meters of a pixel of a picture, by its row.

    The plane of a projection in meters or feet is taken for the ground, except where both differ by more than half a
    percent, as in Web Mercator, or where coordinates are degrees. The ground is an equal-area projection around the
    rows.
    """

    def __init__(self, frame: MapFrame, width: int, height: int):
        self._frame, self._width = frame, width
        a, b, _, d, e, _ = frame.transform
        self._planar: float | None = None
        system = check_crs(frame.crs)
        if system.is_projected:
            planar = abs(a * e - b * d) * system.linear_units_factor[1] ** 2
            if math.isclose(planar, self._on_ground(0, height), rel_tol=_AREA_TOLERANCE):
                self._planar = planar

    def of_rows(self, top: int, bottom: int) -> float:
        """The mean area of the pixels of some rows."""
        return self._on_ground(top, bottom) if self._planar is None else self._planar

    def _on_ground(self, top: int, bottom: int) -> float:
        corners = np.array([(0, top), (self._width, top), (self._width, bottom), (0, bottom)], np.float64)
        shares = np.linspace(0, 1, _EDGE_STEPS, endpoint=False)[:, None]
        outline = np.concatenate(
            [start + (end - start) * shares for start, end in zip(corners, np.roll(corners, -1, 0))]
        )
        places = self._frame.to_map(outline)
        longitude, latitude = reproject(places.mean(axis=0), self._frame.crs, WGS84)[0].tolist()
        equal_area = f"+proj=laea +lat_0={latitude!r} +lon_0={longitude!r} +datum=WGS84 +units=m"
        x, y = reproject(places, self._frame.crs, equal_area).T
        doubled = float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))
        return abs(doubled) / 2 / (self._width * (bottom - top))


def read_frame(dataset: Any) -> MapFrame | None:
    """The frame of an opened raster; None without a coordinate system, or with a transform that is none."""
    a, b, c, d, e, f = transform = [float(number) for number in tuple(dataset.transform)[:6]]
    if dataset.crs is None or not all(map(math.isfinite, transform)) or a * e == b * d:
        return None
    authority = dataset.crs.to_authority()
    return MapFrame((a, b, c, d, e, f), ":".join(authority) if authority else dataset.crs.to_wkt())


def check_crs(crs: str) -> Any:
    """The system of coordinates of a name such as "EPSG:32632", or of WKT.

    Raises:
        ValueError: there is none.
    """
    import rasterio
    from rasterio.errors import RasterioError

    try:
        return rasterio.CRS.from_user_input(crs)
    except (RasterioError, ValueError) as error:
        raise ValueError(f"there is no coordinate system {crs:.100}: {error}") from error


def reproject(places: np.ndarray, source: str, target: str) -> np.ndarray:
    """Coordinates [n, 2] of one system in another.

    Raises:
        ValueError: systems that are unknown, or places that the other one cannot show.
    """
    places = np.asarray(places, np.float64).reshape(-1, 2)
    if source == target or not len(places):
        return places
    from rasterio.errors import RasterioError
    from rasterio.warp import transform

    try:
        x, y = transform(source, target, places[:, 0].tolist(), places[:, 1].tolist())[:2]
    except (RasterioError, ValueError) as error:
        raise ValueError(f"coordinates of {source:.100} cannot be those of {target:.100}: {error}") from error
    found = np.stack([x, y], axis=1)
    if not np.isfinite(found).all():
        raise ValueError(f"coordinates of {source:.100} have no place in {target:.100}. Received: {places[:3]}")
    return found
