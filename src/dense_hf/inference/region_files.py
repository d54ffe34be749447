"""Regions as a user names them: numbers, a mask, or polygons of a GeoJSON file."""

import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.geo.map_frames import WGS84, MapFrame, reproject
from ..data.images import opened_image
from ..errors import InvalidDataError
from ..pipelines.picture_regions import PolygonRegion, Region, mask_regions, polygon_of
from ..reading import read_json

logger = logging.getLogger(__name__)

_MAX_JSON_BYTES = 2**28
_MAX_MASK_PIXELS = 2**29  # of one byte, for which there is Pillow
_GEOJSON_SUFFIXES = (".geojson", ".json")
_NAMES = ("name", "Name", "NAME", "id", "ID", "region", "label")


def is_numbers(text: str) -> bool:
    """Whether a region is given by its corners and not by a file."""
    try:
        return len([float(number) for number in text.split(",")]) > 1
    except ValueError:
        return False


def read_regions(sources: Sequence[str], width: int, height: int, frame: MapFrame | None = None) -> list[Region]:
    """The regions of a picture.

    Args:
        sources: each "x0,y0,x1,y1" (a box), "x0,y0,x1,y1,x2,y2,..." (a polygon), both in pixels; a GeoJSON file of
            polygons; or a mask, a PNG with numbers or a palette, whose values above 0 are regions.
        width: of the picture.
        height: of it.
        frame: its place on a map: GeoJSON is in coordinates of a map then, by its member `crs` or, without one,
            longitude and latitude. Without a frame it is in pixels.

    Returns:
        Regions with different names: those of the features, the values of the mask, or 1, 2, ...

    Raises:
        InvalidDataError: a file that is none of these, or does not fit the picture.
        ValueError: numbers that are no region.
    """
    regions: list[Region] = []
    for number, source in enumerate(sources, 1):
        if is_numbers(source):
            polygon = polygon_of(f"--region {source}", [float(value) for value in source.split(",")])
            regions.append(PolygonRegion(str(number), [polygon]))
        elif source.lower().endswith(_GEOJSON_SUFFIXES):
            regions += _of_geojson(Path(source), frame)
        else:
            regions += _of_mask(Path(source), width, height)
    names: Counter[str] = Counter()
    for region in regions:
        names[region.name] += 1
        if names[region.name] > 1:
            region.name = f"{region.name} ({names[region.name]})"
    return regions


def _of_mask(path: Path, width: int, height: int) -> list[Region]:
    with opened_image(path, _MAX_MASK_PIXELS) as image:
        if image.mode not in ("1", "L", "P", "I;16", "I") or image.size != (width, height):
            received = f"mode {image.mode}, {image.width} x {image.height}"
            raise InvalidDataError(path, f"a mask of one number per pixel, {width} x {height}", received)
        image.load()
        return mask_regions(np.asarray(image), width, height)


def _of_geojson(path: Path, frame: MapFrame | None) -> list[Region]:
    content = read_json(path, _MAX_JSON_BYTES, max_values=None)
    if not isinstance(content, dict):
        raise InvalidDataError(path, "a GeoJSON object", type(content).__name__)
    features = content.get("features") if content.get("type") == "FeatureCollection" else [content]
    if not isinstance(features, list) or not features:
        raise InvalidDataError(path, "a FeatureCollection of polygons", "one without features")
    polygons = [_rings(path, number, feature) for number, feature in enumerate(features, 1)]
    places = np.concatenate([ring for _, rings in polygons for ring in rings])
    crs = _system(path, content, places, frame)
    regions: list[Region] = []
    for name, rings in polygons:
        if frame is not None and crs is not None:
            try:
                rings = [frame.to_pixels(reproject(ring, crs, frame.crs)) for ring in rings]
            except ValueError as error:
                raise InvalidDataError(path, f"coordinates of {crs}", str(error)) from error
        regions.append(PolygonRegion(name, rings))
    return regions


def _rings(path: Path, number: int, feature: Any) -> tuple[str, list[np.ndarray]]:
    """Name and rings of a feature."""
    properties = feature.get("properties") if isinstance(feature, dict) else None
    properties = properties if isinstance(properties, dict) else {}
    geometry = feature.get("geometry", feature) if isinstance(feature, dict) else None
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if not isinstance(geometry, dict) or kind not in ("Polygon", "MultiPolygon"):
        raise InvalidDataError(f"{path}, feature {number}", "a Polygon or a MultiPolygon", f"{kind!s:.80}")
    coordinates = geometry.get("coordinates")
    try:
        parts = coordinates if kind == "MultiPolygon" else [coordinates]
        # a third number is the height; the last corner is the first one again
        rings = [np.array([corner[:2] for corner in ring[:-1]], np.float64) for part in parts for ring in part]
        closed = all(list(ring[0][:2]) == list(ring[-1][:2]) and len(ring) > 3 for part in parts for ring in part)
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise InvalidDataError(f"{path}, feature {number}", "rings of [x, y]", str(coordinates)[:200]) from error
    if not closed or not rings or not all(ring.shape[1:] == (2,) and np.isfinite(ring).all() for ring in rings):
        expected = "rings of 4 or more corners, the last one like the first"
        raise InvalidDataError(f"{path}, feature {number}", expected, str(coordinates)[:200])
    names = [properties[key] for key in _NAMES if isinstance(properties.get(key), str | int)]
    return str(names[0] if names else feature.get("id", number))[:200], rings


def _system(path: Path, content: dict[str, Any], places: np.ndarray, frame: MapFrame | None) -> str | None:
    """What the coordinates are of; None for pixels."""
    member = content.get("crs")
    if frame is None:
        if member is not None:
            received = f"crs {member!s:.100}, for a picture without a place on a map"
            raise InvalidDataError(path, "coordinates in pixels, without `crs`", received)
        return None
    if member is not None:
        try:
            name = str(member["properties"]["name"])
        except (TypeError, KeyError, IndexError) as error:
            raise InvalidDataError(path, "a `crs` with a name", f"{member!s:.200}") from error
        # the name of RFC 7946's own order of axes
        return WGS84 if name in ("urn:ogc:def:crs:OGC:1.3:CRS84", "urn:ogc:def:crs:OGC::CRS84") else name
    if (np.abs(places) <= (180, 90)).all():
        return WGS84
    logger.warning(f"{path} names no `crs`, and has no longitudes and latitudes: taken for those of the picture")
    return frame.crs


def region_settings(sources: Sequence[str]) -> list[Any]:
    """What results of regions depend on, for the record of a run: numbers, and files by size and time of change."""
    found: list[Any] = []
    for source in sources:
        if is_numbers(source) or not os.path.exists(source):
            found.append(source)
        else:
            status = os.stat(source)
            found.append([source, status.st_size, status.st_mtime_ns])
    return found
