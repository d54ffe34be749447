"""LabelMe: a JSON file per picture (labelme), or an XML file of the older tool of MIT.

Sub-pixels: numbers are pixels of the picture as it is shown, turned by its orientation tag, from the outer corner. A
circle is its centre and a point of its rim; points of a group belong together, but how nobody can tell, so each counts
and the group is said.
"""

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..files import new_directory, write_file
from ..image_lists import split_suffix
from .entries import BadEntry, class_name, items, mapping, pairs, parsed, size_of
from .names import written_split
from .reading import Picture, Reading
from .records import AnnotatedImage
from .runs import Pixels, pixels_of_mask
from .shapes import around, around_ellipse

SUFFIXES = (".json", ".xml")


def is_labelme(content: Any) -> bool:
    """Whether a document of JSON is one of LabelMe."""
    return isinstance(content, dict) and "shapes" in content and ("imagePath" in content or "version" in content)


def read(reading: Reading) -> None:
    """All files."""
    for path in reading.files(*SUFFIXES):
        with reading.entry(path, ""):
            (_read_xml if reading.begins(path) == b"<" else _read_json)(reading, path)


def _read_json(reading: Reading, path: Path) -> None:
    content = mapping(reading.json(path), "document")
    if not is_labelme(content):
        raise BadEntry("shapes and imagePath of LabelMe", sorted(content)[:10])
    size = size_of(content.get("imageWidth"), content.get("imageHeight"))
    picture = reading.picture(content.get("imagePath") or path.stem, size, path, written_split(content.get("split")))
    for number, item in enumerate(items(content["shapes"], "shapes"), start=1):
        where = f"shape {number}"
        with reading.entry(path, where):
            _read_shape(reading, picture, mapping(item, "shape"), where)


def _read_shape(reading: Reading, picture: Picture, shape: Mapping[str, Any], where: str) -> None:
    name = class_name(shape.get("label"))
    kind = shape.get("shape_type") or "polygon"  # files before version 3.16 have polygons only
    place = f"{picture.name}, {where}"
    if shape.get("group_id") is not None:
        reading.notice("in groups (group_id), one object each", place)
    if kind in ("line", "linestrip"):
        return reading.drop("lines", place)
    points = pairs(shape.get("points"), "points of a shape")
    if kind == "point" and len(points) == 1:
        return picture.add(points[0], name, where)
    if kind == "points":
        for point in points:
            picture.add(point, name, where)
        return None
    if kind == "mask" and len(points) == 2 and shape.get("mask"):
        return picture.add_pixels(_pixels(shape["mask"], points), name, where)
    if kind in ("rectangle", "mask") and len(points) == 2:
        return picture.add_box(around(points), name, where)
    if kind == "circle" and len(points) == 2:
        radius = math.dist(*points)
        return picture.add_box(around_ellipse(*points[0], radius, radius), name, where)
    if kind in ("polygon", "oriented_rectangle", "rectangle"):
        return picture.add_polygon([points], name, where)
    raise BadEntry("a point, rectangle, circle, polygon, mask or line", f"{kind!r} of {len(points)} points")


def _pixels(written: Any, points: Sequence[tuple[float, float]]) -> Pixels:
    """The pixels of a PNG as text, whose box has both corner pixels in it."""
    left, top, right, bottom = (round(value) for value in around(points))
    size = (right - left + 1, bottom - top + 1)
    try:
        with Image.open(io.BytesIO(base64.b64decode(written, validate=True)), formats=["PNG"]) as image:
            if image.size != size:
                raise BadEntry(f"a mask of its box, {size[0]} x {size[1]}", f"{image.size[0]} x {image.size[1]}")
            mask = np.asarray(image.convert("L")) > 0
    except (OSError, ValueError, TypeError, SyntaxError) as error:
        raise BadEntry("a mask as PNG in base64", error) from error
    return pixels_of_mask(mask).moved(left, top)


def _read_xml(reading: Reading, path: Path) -> None:
    root = reading.xml(path)
    if root.tag != "annotation" or root.find("./object/bndbox") is not None:
        raise BadEntry("<annotation> of LabelMe, with <polygon> in each <object>", f"the root <{root.tag}>")
    sides = root.find("imagesize")
    size = None if sides is None else size_of(sides.findtext("ncols"), sides.findtext("nrows"))
    picture = reading.picture(root.findtext("filename") or path.stem, size, path)
    for number, node in enumerate(root.iterfind("./object"), start=1):
        where = f"object {number}"
        with reading.entry(path, where):
            place = f"{picture.name}, {where}"
            if (node.findtext("deleted") or "0").strip() == "1":
                reading.drop("marked as deleted", place)
                continue
            if (node.findtext("occluded") or "no").strip() not in ("no", "0", ""):
                reading.notice("marked as occluded", place)
            polygon = node.find("polygon")
            if polygon is None:
                raise BadEntry("a <polygon> in each <object>", [child.tag for child in node])
            points = [(parsed(pt.findtext("x"), "x"), parsed(pt.findtext("y"), "y")) for pt in polygon.iterfind("pt")]
            name = class_name(node.findtext("name"))
            if len(points) == 1:
                picture.add(points[0], name, where)
            else:
                picture.add_polygon([points], name, where)


def write(records: Sequence[AnnotatedImage], path: Path) -> None:
    """A folder with a JSON file per picture: a point per object.

    Raises:
        ValueError: a record without name, or two with the same stem in one folder.
    """
    with new_directory(path) as folder:
        for record in records:
            if record.image is None:
                raise ValueError("LabelMe needs the name of each picture. Received: a record without")
            shapes = [
                {
                    "label": name or "object",
                    "points": [point],
                    "group_id": None,
                    "description": "",
                    "shape_type": "point",
                    "flags": {},
                    "mask": None,
                }
                for point, name in zip(record.points.tolist(), record.classes)
            ]
            width, height = record.size or (None, None)
            document = {
                "version": "5.5.0",
                "flags": {},
                "shapes": shapes,
                "imagePath": Path(record.image).name,
                "imageData": None,
                "imageHeight": height,
                "imageWidth": width,
            }
            if record.split is not None:
                document["split"] = record.split  # LabelMe keeps keys that it does not know
            file = folder / f"{split_suffix(record.image)[0]}.json"
            if file.exists():
                raise ValueError(f"LabelMe needs names that differ in more than the suffix. Received: {record.image}")
            file.parent.mkdir(parents=True, exist_ok=True)
            write_file(file, json.dumps(document, indent=2, allow_nan=False).encode())
