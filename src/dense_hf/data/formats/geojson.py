"""GeoJSON in pixels: of QuPath, one file per picture; and our own, one file for all pictures.

Sub-pixels: numbers are pixels of the picture in full resolution, from the outer corner, y down (QuPath).

A MultiPoint is as many objects, a polygon of several parts is one. Where a file of QuPath has detections or cells, its
annotation areas are regions and no objects. By its standard (RFC 7946) GeoJSON without `crs` has longitude and
latitude: only what QuPath wrote, what we wrote ("coordinates": "pixels"), or what somebody calls "geojson" is taken
for pixels.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import new_directory, write_file
from ..image_lists import split_suffix
from .entries import BadEntry, class_name, items, mapping, numbers, pairs, size_of
from .names import written_split
from .reading import Picture, Reading
from .records import AnnotatedImage

SUFFIXES = (".geojson", ".json")
_OBJECTS = ("detection", "cell", "tile")
_MAP_SPAN = 1.0


def features_of(content: Any) -> list[Any] | None:
    """The features of a collection, of a bare list (QuPath up to 0.3), or one feature; None for anything else."""
    if isinstance(content, dict) and content.get("type") == "FeatureCollection":
        return content.get("features") if isinstance(content.get("features"), list) else None
    if isinstance(content, dict) and content.get("type") == "Feature":
        return [content]
    if isinstance(content, list) and all(isinstance(one, dict) and one.get("type") == "Feature" for one in content):
        return content
    return None


def is_qupath(content: Any) -> bool:
    """Whether QuPath wrote a document of JSON."""
    features = features_of(content)
    if features is None or _is_ours(content) or (isinstance(content, dict) and "crs" in content):
        return False
    for feature in features:
        properties = feature.get("properties") if isinstance(feature, dict) else None
        of_class = isinstance(properties, dict) and ("objectType" in properties or "classification" in properties)
        key = feature.get("id") if isinstance(feature, dict) else None
        if of_class or (isinstance(key, str) and key.startswith("Path")):
            return True
    return isinstance(content, dict) and not features


def _is_ours(content: Any) -> bool:
    return isinstance(content, dict) and content.get("coordinates") == "pixels"


def read_qupath(reading: Reading) -> None:
    """All files; each is a picture of the same name."""
    for path in reading.files(*SUFFIXES):
        with reading.entry(path, ""):
            content = reading.json(path)
            features = features_of(content)
            if features is None or (features and not is_qupath(content)):
                raise BadEntry("features that QuPath exports as GeoJSON", type(content).__name__)
            split = written_split(content.get("split")) if isinstance(content, dict) else None
            picture = reading.picture(path.stem, None, path, split, named=False)
            kinds = {kind for one in features if isinstance(kind := _property(one, "objectType"), str)}
            areas = not kinds & set(_OBJECTS)
            for index, item in enumerate(features, start=1):
                with reading.entry(path, f"feature {index}"):
                    _read_feature(reading, picture, mapping(item, "feature"), f"feature {index}", areas)


def _property(feature: Any, name: str) -> Any:
    properties = feature.get("properties") if isinstance(feature, dict) else None
    return properties.get(name) if isinstance(properties, dict) else None


def read_geojson(reading: Reading, told: bool = False) -> None:
    """All files. Features of a property "image" belong to that picture, others to that of the file's name.

    Args:
        reading: where they go.
        told: whether somebody said that numbers are pixels.
    """
    for path in reading.files(*SUFFIXES):
        with reading.entry(path, ""):
            content = reading.json(path)
            features = features_of(content)
            if features is None:
                raise BadEntry("features of GeoJSON", type(content).__name__)
            ours = _is_ours(content)
            if isinstance(content, dict) and content.get("crs") is not None:
                raise BadEntry("GeoJSON in pixels", "coordinates of a map (crs)")
            if not (told or ours):
                raise BadEntry("pixels, said by format='geojson' (--format geojson)", "degrees, as RFC 7946 has it")
            pictures: dict[str, Picture] = {}
            for item in items(content.get("images", []), "images") if ours else []:
                image = mapping(item, "image")
                size = size_of(image.get("width"), image.get("height"))
                split = written_split(image.get("split"))
                pictures[str(image.get("name"))] = reading.picture(image.get("name"), size, path, split)
            for index, item in enumerate(features, start=1):
                with reading.entry(path, f"feature {index}"):
                    feature = mapping(item, "feature")
                    written = _property(feature, "image")
                    name = written if isinstance(written, str) and written else path.stem
                    if name not in pictures:
                        pictures[name] = reading.picture(name, None, path, named=name != path.stem)
                    _read_feature(reading, pictures[name], feature, f"feature {index}", True)
            points = np.array([point for one in pictures.values() for point in one.points]).reshape(-1, 2)
            if not ours and len(points) > 1 and np.ptp(points, axis=0).max() < _MAP_SPAN:
                raise BadEntry("pixels", f"{len(points)} points within {_MAP_SPAN:g}: degrees of a map?")


def _read_feature(reading: Reading, picture: Picture, feature: Mapping[str, Any], where: str, areas: bool) -> None:
    geometry = feature.get("geometry")
    place = f"{picture.name}, {where}"
    if geometry is None:
        return reading.drop("features without a geometry", place)
    shape = mapping(geometry, "geometry")
    classification = _property(feature, "classification")
    written = classification
    if isinstance(classification, dict):
        written = classification.get("name")
        if written is None and isinstance(parts := classification.get("names"), list):
            written = ": ".join(map(str, parts)) or None  # of a derived class, as QuPath shows it
    names = (_property(feature, key) for key in ("class", "label", "species", "category"))
    name = class_name(next((one for one in (written, *names) if isinstance(one, str | int)), None))
    kind, coordinates = shape.get("type"), shape.get("coordinates")
    if kind == "GeometryCollection":
        return _read_collection(reading, picture, feature, shape, where, areas)
    if coordinates == []:
        return reading.drop("features without a geometry", place)
    if kind == "Point":
        return picture.add(_pair(coordinates), name, where)
    if kind == "MultiPoint":
        for point in pairs(coordinates, "points"):
            picture.add(point, name, where)
        return None
    if kind in ("Polygon", "MultiPolygon"):
        if not areas and _property(feature, "objectType") == "annotation":
            return reading.drop("annotation areas beside detections", place)
        polygons = [coordinates] if kind == "Polygon" else items(coordinates, "polygons")
        # the first ring is the outline, others are holes
        if any(len(items(one, "rings")) > 1 for one in polygons):
            reading.notice("polygons with holes, which are filled", place)
        rings = [pairs(items(one, "rings")[0], "ring", 4) for one in polygons if items(one, "rings")]
        return picture.add_polygon([ring[:-1] if ring[0] == ring[-1] else ring for ring in rings], name, where)
    if kind in ("LineString", "MultiLineString"):
        return reading.drop("lines", place)
    raise BadEntry("a Point, MultiPoint, Polygon, MultiPolygon or line", kind)


def _read_collection(
    reading: Reading, picture: Picture, feature: Mapping[str, Any], shape: Mapping[str, Any], where: str, areas: bool
) -> None:
    """One object of all its areas, as of a MultiPolygon; its points are objects of their own."""
    polygons, geometries = [], []
    for item in items(shape.get("geometries"), "geometries"):
        geometry = mapping(item, "geometry")
        coordinates = geometry.get("coordinates")
        if geometry.get("type") == "Polygon":
            polygons.append(coordinates)
        elif geometry.get("type") == "MultiPolygon":
            polygons += items(coordinates, "polygons")
        else:
            geometries.append(geometry)
    if polygons:
        geometries.append({"type": "MultiPolygon", "coordinates": polygons})
    for geometry in geometries:
        _read_feature(reading, picture, {**feature, "geometry": geometry}, where, areas)


def _pair(value: Any) -> tuple[float, float]:
    found = numbers(value, "coordinates")
    if len(found) < 2:
        raise BadEntry("coordinates [x, y]", value)
    return found[0], found[1]


def _feature(point: list[float], properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "Feature", "geometry": {"type": "Point", "coordinates": point}, "properties": dict(properties)}


def write_geojson(records: Sequence[AnnotatedImage], path: Path) -> None:
    """One collection: a Point per object with the properties image and class; pictures and their sizes beside it.

    Raises:
        ValueError: a record without name.
    """
    images, features = [], []
    for record in records:
        if record.image is None:
            raise ValueError("GeoJSON of several pictures needs their names. Received: a record without")
        size = {} if record.size is None else {"width": record.size[0], "height": record.size[1]}
        images.append({"name": record.image, **size, "split": record.split})
        features += [
            _feature(point, {"image": record.image, "class": name})
            for point, name in zip(record.points.tolist(), record.classes)
        ]
    document = {"type": "FeatureCollection", "coordinates": "pixels", "images": images, "features": features}
    write_file(path, json.dumps(document, allow_nan=False).encode())


def write_qupath(records: Sequence[AnnotatedImage], path: Path) -> None:
    """A folder with a file per picture, as QuPath imports it: one annotation of points per class.

    Raises:
        ValueError: a record without name, or two with the same stem in one folder.
    """
    with new_directory(path) as folder:
        for record in records:
            if record.image is None:
                raise ValueError("QuPath needs the name of each picture. Received: a record without")
            features = []
            for name in dict.fromkeys(record.classes):
                chosen = [point for point, one in zip(record.points.tolist(), record.classes) if one == name]
                properties = {"objectType": "annotation"} | (
                    {} if name is None else {"classification": {"name": name}}
                )
                geometry = {"type": "MultiPoint", "coordinates": chosen}
                features.append({"type": "Feature", "geometry": geometry, "properties": properties})
            file = folder / f"{split_suffix(record.image)[0]}.geojson"
            if file.exists():
                raise ValueError(f"QuPath needs names that differ in more than the suffix. Received: {record.image}")
            file.parent.mkdir(parents=True, exist_ok=True)
            split = {} if record.split is None else {"split": record.split}  # a member that QuPath passes over
            document = {"type": "FeatureCollection", **split, "features": features}
            write_file(file, json.dumps(document, allow_nan=False).encode())
