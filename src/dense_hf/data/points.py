"""Point annotations: one XML file per image (thesis section 2.3.2).

    <annotation>
      <object><point><x>17</x><y>42</y></point></object>
      ...
    </annotation>

Coordinates are pixels of the upright image, x right, y down. n: number of points.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from xml.etree.ElementTree import Element, ParseError, SubElement, indent

import numpy as np
from defusedxml import ElementTree as SafeElementTree
from defusedxml.common import DefusedXmlException
from numpy.typing import ArrayLike

from ..errors import InvalidDataError
from .files import read_bytes, write_file

# The densest image of JHU-CROWD++ has 25,791 points (thesis, Table 2.1), about 3 MB in this format.
MAX_ANNOTATION_BYTES = 8 * 2**20
# What files of IOCfish5K, and of tools that write the frame of PASCAL VOC, have. Another tag is another format: a file
# of CVAT, or one whose annotation is wrapped, would read as an image without objects.
_OF_ANNOTATION = {"folder", "filename", "path", "source", "owner", "size", "segmented", "object"}
_OF_OBJECT = {"name", "pose", "truncated", "occluded", "difficult", "point"}
_FORMAT = (
    "<annotation> with <object><point><x/><y/></point></object> (what other tools write becomes such a folder: "
    "dense-hf annotations convert --to iocfish5k)"
)
# float() alone would take "nan", "1e400", "1_000" and the digits of every script
_COORDINATE = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")


@dataclass(frozen=True)
class PointAnnotation:
    """Points of one image.

    Attributes:
        points: float32 [n,2], (x, y) in pixels, all inside the image, in the order of the file.
        num_dropped: how many annotated objects were left out: their point lies outside of the image, or is missing.
    """

    points: np.ndarray
    num_dropped: int

    def __len__(self) -> int:
        return len(self.points)


def read_points(xml_path: str | os.PathLike, image_size: tuple[int, int]) -> PointAnnotation:
    """The points of an annotation file.

    The rule of the released code decides what is inside: 0 <= x < width and 0 <= y < height. Points outside are left
    out and counted, and so are objects without a point, which it skips. Two points at one place are two objects. A
    file without objects is an image without objects; one with objects and no point at all is of another format.

    Args:
        xml_path: the annotation; `./object/point`, its first child x, its second y.
        image_size: (width, height) of the upright image in pixels, as `open_image(...).size`.

    Raises:
        InvalidDataError: if the file is missing, too large, not XML, has a DTD or entities, has other tags than such
            files, has objects but no points, or coordinates that are not plain finite ASCII numbers.
    """
    root = parse_xml(xml_path)
    check_annotation(xml_path, root)
    objects = root.findall("./object")
    nodes = [node for item in objects for node in item.findall("./point")]
    num_without_point = sum(item.find("./point") is None for item in objects)
    coordinates = np.array([_read_point(xml_path, node) for node in nodes]).reshape(-1, 2)
    points = coordinates[_inside(coordinates, image_size)].astype(np.float32)
    # again, as 99.9999999 in an image of width 100 has now become 100
    points = points[_inside(points, image_size)]
    return PointAnnotation(points=points, num_dropped=num_without_point + len(nodes) - len(points))


def check_annotation(xml_path: str | os.PathLike, root: Element) -> None:
    """Nothing, if this is the root of an annotation in this format.

    Raises:
        InvalidDataError: other tags than such files have, or objects and no point at all.
    """
    if root.tag != "annotation":
        raise InvalidDataError(xml_path, _FORMAT, f"the root <{root.tag}>")
    _require_tags(xml_path, root, _OF_ANNOTATION)
    objects = root.findall("./object")
    if objects and not any(item.find("./point") is not None for item in objects):
        children = sorted({str(child.tag) for item in objects for child in item})[:10]
        raise InvalidDataError(xml_path, "a point in each object", f"objects with only {children}")
    for item in objects:
        _require_tags(xml_path, item, _OF_OBJECT)


def write_points(
    xml_path: str | os.PathLike,
    points: ArrayLike,
    image_name: str,
    image_size: tuple[int, int],
    classes: Sequence[str] | None = None,
) -> None:
    """Write an annotation file that `read_points` reads back exactly; the whole file or nothing.

    Args:
        xml_path: where to.
        points: [n,2] of (x, y) in pixels; n may be 0.
        image_name: file name of the image, written for other tools.
        image_size: (width, height) in pixels.
        classes: the name of each point's class.

    Raises:
        ValueError: if a point is not finite or outside of the image.
    """
    points = np.asarray(points, dtype=np.float32).reshape(-1, 2)
    if not (inside := _inside(points, image_size)).all():
        raise ValueError(f"points must lie inside the image {image_size}. Received: {points[~inside][:3].tolist()}")
    root = Element("annotation")
    SubElement(root, "filename").text = image_name
    size = SubElement(root, "size")
    for name, value in zip(("width", "height", "depth"), (*image_size, 3)):
        SubElement(size, name).text = str(value)
    for index, point in enumerate(points):
        node = SubElement(root, "object")
        if classes is not None:
            SubElement(node, "name").text = classes[index]
        node = SubElement(node, "point")
        for name, value in zip(("x", "y"), point):
            # the shortest decimal that reads back as the same float32: "17", not "17.0"; never an exponent
            SubElement(node, name).text = np.format_float_positional(value, trim="-")
    indent(root)
    write_file(xml_path, SafeElementTree.tostring(root, encoding="utf-8"))


def _inside(points: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """bool [n]; False for NaN."""
    return np.all((points >= 0) & (points < np.array(image_size)), axis=1)


def parse_xml(xml_path: str | os.PathLike, max_bytes: int = MAX_ANNOTATION_BYTES) -> Element:
    """The root of an XML file of at most `max_bytes` from a source that need not be trusted.

    Raises:
        InvalidDataError: if the file is missing, too large, not XML, or has a DTD or entities.
    """
    content = read_bytes(xml_path, max_bytes)
    try:
        return SafeElementTree.fromstring(content, forbid_dtd=True)
    except DefusedXmlException as error:
        raise InvalidDataError(xml_path, "XML without a DTD or entities", error) from error
    except (ParseError, ValueError, LookupError) as error:  # the last two: encodings that expat cannot read
        raise InvalidDataError(xml_path, "well-formed XML", error) from error


def _require_tags(xml_path: str | os.PathLike, node: Element, known: set[str]) -> None:
    if unknown := sorted({str(child.tag) for child in node} - known):
        raise InvalidDataError(xml_path, _FORMAT, f"<{node.tag}> with <{unknown[0]:.100}>")


def _read_point(xml_path: str | os.PathLike, node: Element) -> tuple[float, float]:
    names = [child.tag for child in node]
    if names == ["y", "x"]:
        raise InvalidDataError(xml_path, "x before y, as in the released files", "y before x")
    if names != ["x", "y"]:
        received = f"a point with {', '.join(map(str, names))[:100] or 'no values'}"
        raise InvalidDataError(xml_path, "x and y in each point", received)
    x, y = (read_coordinate(xml_path, child.text or "") for child in node)
    return x, y


def read_coordinate(path: str | os.PathLike, text: str, where: str = "") -> float:
    """A finite number from ASCII digits with an optional sign and fraction.

    Raises:
        InvalidDataError: for anything else, among them nan, inf, exponents, "1_000" and other scripts' digits.
    """
    stripped = text.strip(" \t\r\n")
    value = float(stripped) if _COORDINATE.fullmatch(stripped) else float("nan")
    if not isfinite(value):
        raise InvalidDataError(path, "coordinates like 17 or 17.5", f"{where}{text[:50]!r}")
    return value
