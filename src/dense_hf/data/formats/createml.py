"""CreateML: one JSON file with a list of pictures and their boxes.

Sub-pixels: x and y are the centre of a box in pixels, from the upper left corner.
"""

from typing import Any

from .entries import BadEntry, class_name, items, mapping, number
from .reading import Reading

SUFFIXES = (".json",)
_NAMES = ("image", "imagefilename")


def is_createml(content: Any) -> bool:
    """Whether a document of JSON is one of CreateML."""
    first = content[0] if isinstance(content, list) and content else None
    return isinstance(first, dict) and "annotations" in first and any(name in first for name in _NAMES)


def read(reading: Reading) -> None:
    """All JSON files."""
    for path in reading.files(*SUFFIXES):
        with reading.entry(path, ""):
            for index, item in enumerate(items(reading.json(path), "pictures of CreateML"), start=1):
                with reading.entry(path, f"picture {index}"):
                    entry = mapping(item, "picture")
                    name = next((entry[key] for key in _NAMES if key in entry), None)
                    picture = reading.picture(name, None, path)
                    for place, one in enumerate(items(entry.get("annotations"), "annotations"), start=1):
                        where = f"annotation {place}"
                        with reading.entry(path, f"{picture.name}, {where}"):
                            annotation = mapping(one, "annotation")
                            box = mapping(annotation.get("coordinates"), "coordinates")
                            keys = ("x", "y", "width", "height")
                            x, y, width, height = (number(box.get(key), key) for key in keys)
                            if width <= 0 or height <= 0:
                                raise BadEntry("a box with a width and a height above 0", f"{width:g} x {height:g}")
                            sides = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
                            picture.add_box(sides, class_name(annotation.get("label")), where, (x, y))
