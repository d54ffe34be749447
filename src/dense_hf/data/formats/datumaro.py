"""Datumaro: one JSON file with items and their annotations (`dm_format_version`).

Sub-pixels: pixels from the outer corner, as in CVAT, which the library serves; masks are run lengths of COCO.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .coco import pixels_of_coco
from .entries import BadEntry, class_name, flat_pairs, items, mapping, named, number, numbers, size_of
from .reading import Picture, Reading
from .shapes import around_ellipse

SUFFIXES = (".json",)
_NO_OBJECT = ("label", "caption", "polyline", "feature_vector", "tabular", "super_resolution_annotation", "depth")


def is_datumaro(content: Any) -> bool:
    """Whether a document of JSON is one of Datumaro."""
    return (
        isinstance(content, dict)
        and "items" in content
        and ("dm_format_version" in content or "categories" in content)
    )


def read(reading: Reading) -> None:
    """All JSON files."""
    for path in reading.files(*SUFFIXES):
        with reading.entry(path, ""):
            content = mapping(reading.json(path), "document")
            if not is_datumaro(content):
                raise BadEntry("items and categories of Datumaro", sorted(content)[:10])
            label = mapping(mapping(content.get("categories", {}), "categories").get("label") or {}, "label")
            names = [class_name(mapping(one, "label").get("name")) for one in items(label.get("labels", []), "labels")]
            for index, one in enumerate(items(content["items"], "items"), start=1):
                item = mapping(one, "item")
                with reading.entry(path, f"item {named(item) if 'id' in item else index}"):
                    _read_item(reading, path, item, names)


def _read_item(reading: Reading, path: Path, item: Mapping[str, Any], names: Sequence[str | None]) -> None:
    image = mapping(item.get("image") or {}, "image")
    height, width = numbers(image["size"], "size", 2) if image.get("size") else (None, None)
    picture = reading.picture(image.get("path") or item.get("id"), size_of(width, height), path)
    for index, one in enumerate(items(item.get("annotations", []), "annotations"), start=1):
        where = f"annotation {index}"
        with reading.entry(path, f"item {named(item)}, {where}"):
            annotation = mapping(one, "annotation")
            label = annotation.get("label_id")
            known = isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(names)
            if label is not None and not known:
                raise BadEntry(f"label_id 0 to {len(names) - 1}", label)
            _read_annotation(reading, picture, annotation, names[label] if known else None, where)


def _read_annotation(
    reading: Reading, picture: Picture, annotation: Mapping[str, Any], name: str | None, where: str
) -> None:
    kind, place = annotation.get("type"), f"{picture.name}, {where}"
    attributes = annotation.get("attributes")
    if isinstance(attributes, dict) and attributes.get("occluded") is True:
        reading.notice("marked as occluded", place)
    if kind in _NO_OBJECT:
        return reading.drop(f"no objects ({kind})", place)
    if kind == "bbox":
        x, y, width, height = numbers(annotation.get("bbox"), "bbox", 4)
        return picture.add_box((x, y, x + width, y + height), name, where)
    if kind == "points":
        points = flat_pairs(numbers(annotation.get("points"), "points"), "points")
        seen = items(annotation.get("visibility", [2] * len(points)), "visibility")
        if len(seen) != len(points):
            raise BadEntry(f"{len(points)} values as visibility", seen)
        for point, visible in zip(points, seen):
            if number(visible, "visibility") == 0:
                reading.drop("points that are not labelled (visibility 0)", place)
            else:
                picture.add(point, name, where)
        return None
    if kind == "polygon":
        return picture.add_polygon([flat_pairs(numbers(annotation.get("points"), "points"), "points", 3)], name, where)
    if kind == "ellipse":
        left, top, right, bottom = numbers(annotation.get("points"), "points", 4)
        box = around_ellipse((left + right) / 2, (top + bottom) / 2, (right - left) / 2, (bottom - top) / 2)
        return picture.add_box(box, name, where)
    if kind == "mask":
        return picture.add_pixels(pixels_of_coco(mapping(annotation.get("rle"), "rle"), picture.size), name, where)
    raise BadEntry("bbox, points, polygon, ellipse or mask", kind)
