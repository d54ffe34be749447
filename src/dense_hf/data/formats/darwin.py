"""Darwin JSON of V7, version 2 and 1: a file per picture.

Sub-pixels: numbers are pixels from the outer corner.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .entries import BadEntry, class_name, items, mapping, named, number, size_of
from .reading import Picture, Reading
from .runs import Pixels, pixels_of_counts
from .shapes import around, around_ellipse, centre_of

SUFFIXES = (".json",)
_NO_OBJECT = ("tag", "line", "table", "string", "graph", "link", "comment", "eye", "simple_table", "raster_layer")


def is_darwin(content: Any) -> bool:
    """Whether a document of JSON is one of Darwin."""
    if not isinstance(content, dict) or "annotations" not in content or "images" in content:
        return False
    item = content.get("item", content.get("image"))
    return isinstance(item, dict) and ("slots" in item or "filename" in item or "name" in item)


def read(reading: Reading) -> None:
    """All files."""
    for path in reading.files(*SUFFIXES):
        with reading.entry(path, ""):
            _read_file(reading, path)


def _read_file(reading: Reading, path: Path) -> None:
    content = mapping(reading.json(path), "document")
    if not is_darwin(content):
        raise BadEntry("item (or image) and annotations of Darwin", sorted(content)[:10])
    if "item" in content:
        item = mapping(content["item"], "item")
        slots = [mapping(one, "slot") for one in items(item.get("slots") or [], "slots")]
        if len(slots) > 1 or any(one.get("type", "image") != "image" for one in slots):
            raise BadEntry("an item with one picture", f"{len(slots)} slots: {[one.get('type') for one in slots]}")
        slot = slots[0] if slots else {}
        folder = str(item.get("path") or "").strip("/")
        name = f"{folder}/{item.get('name')}" if folder else item.get("name")
        picture = reading.picture(name, size_of(slot.get("width"), slot.get("height")), path)
    else:
        image = mapping(content["image"], "image")
        name = image.get("original_filename") or image.get("filename")
        picture = reading.picture(name, size_of(image.get("width"), image.get("height")), path)
    annotations = [mapping(one, "annotation") for one in items(content["annotations"], "annotations")]
    layers = {}
    for one in annotations:
        if "raster_layer" in one:
            layers |= _read_layer(mapping(one["raster_layer"], "raster_layer"), picture)
    for index, annotation in enumerate(annotations, start=1):
        where = f"annotation {named(annotation) if 'id' in annotation else index}"
        with reading.entry(path, where):
            _read_annotation(reading, picture, annotation, layers, where)


def _read_layer(layer: Mapping[str, Any], picture: Picture) -> dict[str, Pixels]:
    """Id of each mask to its pixels; a layer is runs of (number, length), row by row."""
    if picture.size is None:
        raise BadEntry("width and height of the slot", "none")
    width, height = picture.size
    runs = np.array([number(one, "dense_rle") for one in items(layer.get("dense_rle"), "dense_rle")], np.int64)
    lengths = runs[1::2]
    if len(runs) % 2 or lengths.min(initial=0) < 0 or lengths.sum() != width * height:
        raise BadEntry(f"dense_rle of {width} x {height} pixels", f"{int(lengths.sum())} pixels")
    ends = np.cumsum(lengths)
    found = {}
    written = mapping(layer.get("mask_annotation_ids_mapping"), "mask_annotation_ids_mapping")
    for key, value in written.items():
        mine = runs[::2] == int(number(value, "number of a mask"))
        edges = np.stack([ends[mine] - lengths[mine], ends[mine]], 1).ravel()
        counts = np.diff(np.concatenate([[0], edges, [width * height]]))
        found[key] = pixels_of_counts(counts, width, height)
    return found


def _read_annotation(
    reading: Reading, picture: Picture, annotation: Mapping[str, Any], layers: Mapping[str, Pixels], where: str
) -> None:
    name, place = class_name(annotation.get("name")), f"{picture.name}, {where}"
    if "frames" in annotation:
        raise BadEntry("annotations of a picture, not of a video", "frames")
    if "keypoint" in annotation:
        return picture.add(_xy(annotation["keypoint"], "keypoint"), name, where)
    if "skeleton" in annotation:
        nodes = items(mapping(annotation["skeleton"], "skeleton").get("nodes"), "nodes of a skeleton")
        points = [_xy(node, "node of a skeleton") for node in nodes]
        if not points:
            raise BadEntry("a skeleton with nodes", "none")
        reading.notice("objects with several keypoints, one object each, at the centre of their box", place)
        return picture.add(centre_of(around(points)), name, where)
    for kind in ("polygon", "complex_polygon"):
        if kind in annotation:
            polygon = mapping(annotation[kind], kind)
            paths = polygon["paths"] if "paths" in polygon else polygon.get("path")
            written = items(paths, "paths of a polygon")
            nested = written if written and isinstance(written[0], list) else [written]
            parts = [[_xy(one, "corner") for one in items(part, "path")] for part in nested]
            return picture.add_polygon(parts, name, where)
    if "ellipse" in annotation:
        ellipse = mapping(annotation["ellipse"], "ellipse")
        radius_x, radius_y = _xy(ellipse.get("radius"), "radius")
        degrees = np.degrees(number(ellipse.get("angle") or 0, "angle"))
        return picture.add_box(
            around_ellipse(*_xy(ellipse.get("center"), "center"), radius_x, radius_y, degrees), name, where
        )
    if "mask" in annotation:
        mask = layers.get(named(annotation))
        if mask is None:
            raise BadEntry("a raster_layer with the pixels of a mask", "none")
        return picture.add_pixels(mask, name, where)
    if "bounding_box" in annotation:
        box = mapping(annotation["bounding_box"], "bounding_box")
        x, y, width, height = (number(box.get(key), key) for key in ("x", "y", "w", "h"))
        return picture.add_box((x, y, x + width, y + height), name, where)
    if "cuboid" in annotation:
        sides = [mapping(one, "side of a cuboid") for one in mapping(annotation["cuboid"], "cuboid").values()]
        corners = [corner for one in sides for corner in _corners(one)]
        return picture.add_box(around(corners), name, where)
    for kind in _NO_OBJECT:
        if kind in annotation:
            return None if kind == "raster_layer" else reading.drop(f"no objects ({kind})", place)
    raise BadEntry("a keypoint, bounding_box, polygon, ellipse, mask or tag", sorted(annotation))


def _corners(box: Mapping[str, Any]) -> list[tuple[float, float]]:
    x, y, width, height = (number(box.get(key), key) for key in ("x", "y", "w", "h"))
    return [(x, y), (x + width, y + height)]


def _xy(value: Any, what: str) -> tuple[float, float]:
    point = mapping(value, what)
    return number(point.get("x"), "x"), number(point.get("y"), "y")
