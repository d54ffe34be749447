"""PASCAL VOC: one XML file per picture, with the sides of boxes.

Sub-pixels: VOC counts pixels from 1 and both sides belong to the box, so pixel xmin begins at xmin - 1 and pixel xmax
ends at xmax; Detectron2 reads it so, and supervision 0.31.2 writes it so (box 0 to 4 as 1 to 4). Datumaro and CVAT
write floats from 0, the plain sides. Fractions, a decimal point or a side 0 prove the second; it holds for all
files of a folder, since one tool wrote them.
"""

from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from ..image_lists import IMAGE_SUFFIXES
from .entries import BadEntry, class_name, parsed, size_of
from .names import split_of_name
from .reading import Reading

SUFFIXES = (".xml",)
_SIDES = ("xmin", "ymin", "xmax", "ymax")


def box_of_voc(sides: Sequence[float], from_one: bool) -> tuple[float, float, float, float]:
    """Sides of a box as written to (xmin, ymin, xmax, ymax) in pixels."""
    left, top, right, bottom = sides
    return (left - 1, top - 1, right, bottom) if from_one else (left, top, right, bottom)


def read(reading: Reading) -> None:
    """All XML files; a picture that only a list of ImageSets names has no objects (datumaro writes no file then)."""
    roots: list[tuple[Path, Element]] = []
    for path in reading.files(*SUFFIXES):
        with reading.entry(path, ""):
            root = reading.xml(path)
            if root.tag != "annotation":
                raise BadEntry("<annotation> of PASCAL VOC", f"the root <{root.tag}>")
            roots.append((path, root))
    written = [node.text or "" for _, root in roots for box in root.iterfind("./object/bndbox") for node in box]
    from_one = not any("." in text or text.strip() in ("0", "-0") for text in written)
    if from_one and written:
        reading.notice("sets of boxes that count pixels from 1, as whole numbers above 0 do in VOC", roots[0][0].name)
    splits = _lists(reading)
    for path, root in roots:
        with reading.entry(path, ""):
            _read_file(reading, path, root, from_one, splits.pop(path.stem, None))
    for stem, split in splits.items():
        reading.notice("pictures of a list that have no XML file, as pictures without objects", stem)
        reading.picture(stem, None, reading.root / "Annotations" / f"{stem}.xml", split, named=False)


def _lists(reading: Reading) -> dict[str, str | None]:
    """Stem of each picture of ImageSets/Main to its split."""
    found: dict[str, str | None] = {}
    for name in ("train", "val", "test", "default"):
        path = reading.root / "ImageSets" / "Main" / f"{name}.txt"
        if path.is_file():
            for line in reading.bytes(path).decode("utf-8", "replace").splitlines():
                if line.strip():
                    found[line.split()[0]] = split_of_name(name)
    return found


def _read_file(reading: Reading, path: Path, root: Element, from_one: bool, split: str | None) -> None:
    if objects := [node for node in root.iterfind("./object") if node.find("bndbox") is None]:
        raise BadEntry("a <bndbox> in each <object>", f"{len(objects)} without, such as {_tags(objects[0])}")
    size = root.find("size")
    sides = None if size is None else size_of(size.findtext("width"), size.findtext("height"))
    name = root.findtext("filename") or ""
    # Some tools write the name without its suffix, or no name
    stem = name if name.lower().endswith(IMAGE_SUFFIXES) else path.stem
    picture = reading.picture(stem, sides, path, split)
    for number, node in enumerate(root.iterfind("./object"), start=1):
        with reading.entry(path, f"object {number}"):
            box = node.find("bndbox")
            values = [parsed(None if box is None else box.findtext(side), side) for side in _SIDES]
            place = f"{picture.name}, object {number}"
            if (node.findtext("occluded") or "0").strip() not in ("0", "", "no"):
                reading.notice("marked as occluded", place)
            if (node.findtext("difficult") or "0").strip() not in ("0", ""):
                reading.notice("marked as difficult", place)
            left, top, right, bottom = values
            if right < left or bottom < top:
                raise BadEntry("xmin <= xmax and ymin <= ymax", values)
            picture.add_box(box_of_voc(values, from_one), class_name(node.findtext("name")), f"object {number}")


def _tags(node: Element) -> str:
    return "<object> with " + (", ".join(f"<{child.tag}>" for child in node) or "nothing")
