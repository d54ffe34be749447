"""The layout of IOCfish5K (see `..point_folder`), or one of its XML files.

Sub-pixels: numbers are pixels from the outer corner, read here in full; `read_points` rounds them to float32 and
leaves out the few that lie outside by then.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np

from ..files import new_directory, write_file
from ..image_lists import split_suffix
from ..images import read_size
from ..point_folder import SPLIT_LISTS, PointFolder
from ..points import check_annotation
from .entries import BadEntry, class_name, parsed, size_of
from .reading import Reading
from .records import AnnotatedImage


def is_folder(folder: Path) -> bool:
    """Whether a folder has a list of its splits."""
    return any((folder / name).is_file() for name in SPLIT_LISTS.values())


def read(reading: Reading) -> None:
    """A folder with lists, or XML files."""
    if reading.root.is_dir() and is_folder(reading.root):
        folder = PointFolder(reading.root)
        folder.check_complete()
        for split in folder.ids:
            for image in folder.images(split):
                name = image.image_path.relative_to(folder.directory).as_posix()
                with reading.entry(image.annotation_path, ""):
                    _read_file(reading, image.annotation_path, name, read_size(image.image_path), split)
        return
    for path in reading.files(".xml"):
        with reading.entry(path, ""):
            root = reading.xml(path)
            size = root.find("size")
            sides = None if size is None else size_of(size.findtext("width"), size.findtext("height"))
            _read_file(reading, path, root.findtext("filename") or path.stem, sides, None)


def _read_file(reading: Reading, path: Path, name: str, size: tuple[int, int] | None, split: str | None) -> None:
    root = reading.xml(path)
    check_annotation(path, root)
    picture = reading.picture(name, size, path, split)
    for number, node in enumerate(root.iterfind("./object"), start=1):
        where = f"object {number}"
        with reading.entry(path, where):
            points = node.findall("point")
            if not points:
                reading.drop("objects without a point", f"{name}, {where}")
            for point in points:
                if [child.tag for child in point] != ["x", "y"]:
                    raise BadEntry("<x> and <y> in each <point>", [child.tag for child in point])
                x, y = (parsed(child.text, str(child.tag)) for child in point)
                picture.add((x, y), class_name(node.findtext("name")), where)


def write(records: Sequence[AnnotatedImage], path: Path, images: Sequence[Path] = ()) -> None:
    """A folder with annotations/, the lists of the splits and, if they are given, images/.

    Args:
        records: of one split each; "train" if none is said.
        path: a new or empty folder.
        images: the file of each picture, which is copied.

    Raises:
        ValueError: a record without name or size, or two with the same stem.
    """
    seen: dict[str, str] = {}
    lists: dict[str, list[str]] = {}
    with new_directory(path) as folder:
        (folder / "images").mkdir()
        (folder / "annotations").mkdir()
        for index, record in enumerate(records):
            if record.size is None or record.image is None:
                raise ValueError(f"IOCfish5K needs the name and the size of each picture. Received: {record.image}")
            name = images[index].name if images else Path(record.image).name
            stem = split_suffix(name)[0]
            if stem in seen:
                expected = "names that differ in more than folder and suffix"
                raise ValueError(f"IOCfish5K needs {expected}. Received: {seen[stem]} and {record.image}")
            seen[stem] = record.image
            if images:
                shutil.copyfile(images[index], folder / "images" / name)
            write_file(folder / "annotations" / f"{stem}.xml", _xml(record, name))
            lists.setdefault(record.split or "train", []).append(name)
        for split, names in lists.items():
            write_file(folder / SPLIT_LISTS[split], "".join(f"{name}\n" for name in names).encode())


def _xml(record: AnnotatedImage, name: str) -> bytes:
    root = Element("annotation")
    SubElement(root, "filename").text = name
    size = SubElement(root, "size")
    for tag, value in zip(("width", "height", "depth"), (*(record.size or ()), 3)):
        SubElement(size, tag).text = str(value)
    for point, label in zip(record.points, record.classes):
        node = SubElement(root, "object")
        if label is not None:
            SubElement(node, "name").text = label
        node = SubElement(node, "point")
        for tag, value in zip(("x", "y"), point):
            SubElement(node, tag).text = np.format_float_positional(value, trim="-")
    indent(root)
    return tostring(root, encoding="utf-8")
