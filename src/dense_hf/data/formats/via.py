"""VGG Image Annotator, version 1 and 2: a project, the annotations as JSON, or as CSV.

Sub-pixels: numbers are pixels as the tool shows them, whole ones, so a point is up to half a pixel off its object.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .entries import BadEntry, class_name, items, mapping, number, numbers
from .reading import Picture, Reading
from .shapes import around_ellipse
from .tables import Table

SUFFIXES = (".json", ".csv")
_CLASS_KEYS = ("class", "label", "species", "category", "type", "name", "object")


def is_via(content: Any) -> bool:
    """Whether a document of JSON is one of VIA."""
    if not isinstance(content, dict):
        return False
    entries = content.get("_via_img_metadata", content)
    if "_via_img_metadata" in content or not entries:
        return bool(entries)
    return all(isinstance(one, dict) and "regions" in one and "filename" in one for one in entries.values())


def is_via_3(content: Any) -> bool:
    """Whether a document of JSON is a project of VIA 3, which is not read."""
    return isinstance(content, dict) and {"file", "metadata", "view"} <= set(content)


def is_via_table(header: Sequence[str]) -> bool:
    """Whether a first line is that of an export as CSV."""
    return "region_shape_attributes" in header


def read(reading: Reading) -> None:
    """All files."""
    for path in reading.files(*SUFFIXES):
        with reading.entry(path, ""):
            (_read_json if reading.begins(path) == b"{" else _read_table)(reading, path)


def _read_json(reading: Reading, path: Path) -> None:
    content = mapping(reading.json(path), "document")
    if not is_via(content):
        hint = (
            " (this is a project of VIA 3: only 1 and 2 are read)"
            if {"file", "metadata", "view"} <= set(content)
            else ""
        )
        raise BadEntry("a project or the annotations of VIA 2", f"{sorted(content)[:10]}{hint}")
    for key, item in mapping(content.get("_via_img_metadata", content), "_via_img_metadata").items():
        with reading.entry(path, f"entry {key!r}"):
            entry = mapping(item, "entry")
            picture = reading.picture(entry.get("filename"), None, path)
            written = entry.get("regions") or []
            regions = list(written.values()) if isinstance(written, dict) else items(written, "regions")
            for index, region in enumerate(regions):
                where = f"region {index}"
                with reading.entry(path, f"{picture.name}, {where}"):
                    one = mapping(region, "region")
                    shape = mapping(one.get("shape_attributes"), "shape_attributes")
                    _read_region(
                        reading, picture, shape, mapping(one.get("region_attributes") or {}, "attributes"), where
                    )


def _read_table(reading: Reading, path: Path) -> None:
    table = Table(path)
    header = [name.lstrip("#") for name in table.header]
    if not is_via_table(header):
        raise BadEntry("a table of VIA (filename, ..., region_shape_attributes, region_attributes)", ",".join(header))
    columns = {name: header.index(name) for name in header}
    pictures: dict[str, Picture] = {}
    for row in table:
        where = f"line {row.line}"
        with reading.entry(path, where):
            name = row[columns.get("filename")]
            if name not in pictures:
                pictures[name] = reading.picture(name, None, path)
            try:
                shape = mapping(json.loads(row[columns["region_shape_attributes"]] or "{}"), "region_shape_attributes")
                attributes = mapping(json.loads(row[columns.get("region_attributes")] or "{}"), "region_attributes")
            except (ValueError, RecursionError) as error:
                raise BadEntry("JSON in region_shape_attributes and region_attributes", error) from error
            if shape:
                _read_region(reading, pictures[name], shape, attributes, where)


def _read_region(
    reading: Reading, picture: Picture, shape: Mapping[str, Any], attributes: Mapping[str, Any], where: str
) -> None:
    kind, name = shape.get("name"), _class_of(attributes)
    if kind == "polyline":
        return reading.drop("lines", f"{picture.name}, {where}")
    if kind == "point":
        return picture.add((number(shape.get("cx"), "cx"), number(shape.get("cy"), "cy")), name, where)
    if kind == "rect":
        x, y, width, height = (number(shape.get(key), key) for key in ("x", "y", "width", "height"))
        return picture.add_box((x, y, x + width, y + height), name, where)
    if kind in ("circle", "ellipse"):
        keys = ("cx", "cy", "r", "r") if kind == "circle" else ("cx", "cy", "rx", "ry")
        x, y, radius_x, radius_y = (number(shape.get(key), key) for key in keys)
        degrees = math.degrees(number(shape.get("theta") or 0, "theta"))
        return picture.add_box(around_ellipse(x, y, radius_x, radius_y, degrees), name, where)
    if kind == "polygon":
        xs, ys = (numbers(shape.get(key), key) for key in ("all_points_x", "all_points_y"))
        if len(xs) != len(ys):
            raise BadEntry("as many all_points_x as all_points_y", f"{len(xs)} and {len(ys)}")
        return picture.add_polygon([list(zip(xs, ys))], name, where)
    raise BadEntry("a point, rect, circle, ellipse, polygon or polyline", kind)


def _class_of(attributes: Mapping[str, Any]) -> str | None:
    """The class among attributes that users name themselves: one of the usual names, else the first with a value."""
    keys = sorted(attributes, key=lambda key: key.lower() not in _CLASS_KEYS)
    for key in keys:
        value = attributes[key]
        if isinstance(value, dict):  # boxes to tick
            value = next((name for name, ticked in value.items() if ticked), None)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return class_name(value)
    return None
