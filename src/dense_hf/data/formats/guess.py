"""Which format a file or a folder has, by its content; a format that is known but not read is named."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from ...errors import InvalidDataError
from . import coco, createml, cvat, darwin, datumaro, geojson, imagej, iocfish5k, label_studio, labelme, via, yolo
from .csv_points import is_table
from .reading import Reading
from .tables import Table

_ENDINGS = (".json", ".geojson", ".xml", ".csv", ".tsv", ".txt", ".roi", ".zip", ".yaml", ".yml", ".jsonl", ".xls")
_HINT = "annotations in one of the formats {formats}, found by their content, or --format"


def guess_format(reading: Reading, formats: Sequence[str]) -> str:
    """The name of the format.

    Raises:
        InvalidDataError: none is found, or several.
    """
    root = reading.root
    if not root.is_dir():
        found = _of_file(reading, root)
        if found is None:
            raise InvalidDataError(root, _HINT.format(formats=", ".join(formats)), _opening(reading, root))
        return found
    if iocfish5k.is_folder(root) and (root / "annotations").is_dir():
        return "iocfish5k"
    if yolo.is_yolo_folder(root):
        return "yolo"
    # a file of each ending decides; the reader of the format then refuses others
    seen: dict[str, Path] = {}
    undecided = False
    for path in reading.files(*_ENDINGS):
        if path.suffix.lower() in (".txt", ".yaml", ".yml") or path.name in ("counts.csv", "counts.json"):
            continue
        if path.suffix.lower() in {one.suffix.lower() for one in seen.values()}:
            continue
        found = _of_file(reading, path)
        undecided |= found is None
        if found is not None:
            seen.setdefault(found, path)
    if len(seen) == 1:
        return next(iter(seen))
    received = "none" if not seen else " and ".join(f"{name} ({path.name})" for name, path in seen.items())
    received += " (some files have no objects)" if undecided and not seen else ""
    raise InvalidDataError(root, _HINT.format(formats=", ".join(formats)), received)


def _of_file(reading: Reading, path: Path) -> str | None:
    start = reading.start(path)
    if start[:4] == b"Iout" or (start[:2] == b"PK" and path.suffix.lower() == ".zip"):
        return "imagej"
    if start[:2] == b"PK" or start[:4] == b"\xd0\xcf\x11\xe0":
        raise InvalidDataError(
            path, "a format that is read", "a workbook of Excel or another archive (save it as CSV)"
        )
    suffix = path.suffix.lower()
    if suffix in (".yaml", ".yml"):
        return "yolo"
    if suffix == ".jsonl":
        return "image_folder"
    first = reading.begins(path)
    if (first in (b"{", b"[") and suffix != ".csv") or suffix in (".json", ".geojson"):
        return _of_json(path, reading.json(path))
    if first == b"<":
        return _of_xml(path, reading.xml(path))
    return _of_text(reading, path) if first else None


def _of_json(path: Path, content: Any) -> str | None:
    tests = {
        "coco": coco.is_coco,
        "labelme": labelme.is_labelme,
        "darwin": darwin.is_darwin,
        "label_studio": label_studio.is_label_studio,
        "createml": createml.is_createml,
        "datumaro": datumaro.is_datumaro,
        "qupath": geojson.is_qupath,
        "geojson": lambda one: bool(geojson.features_of(one)),
        "via": via.is_via,
    }
    if found := next((name for name, test in tests.items() if test(content)), None):
        return found
    for name, known in _UNREAD.items():
        if known(content):
            raise InvalidDataError(path, "a format that is read", f"a file of {name}")
    return None


_UNREAD = {
    "results of COCO, which have no pictures (annotations with images are read)": lambda one: (
        isinstance(one, list)
        and bool(one)
        and isinstance(one[0], dict)
        and {"image_id", "category_id"} <= one[0].keys()
    ),
    "VIA 3 (versions 1 and 2 are read)": via.is_via_3,
    "`dense-hf count` (its table points.csv is read)": lambda one: isinstance(one, dict) and "errors" in one,
}


def _of_xml(path: Path, root: Element) -> str | None:
    if cvat.is_cvat(root):
        return "cvat"
    if root.tag != "annotation":
        raise InvalidDataError(path, "<annotations> of CVAT, or <annotation> of VOC and others", f"<{root.tag}>")
    if root.find("./object/bndbox") is not None:
        return "voc"
    if root.find("./object/polygon") is not None or root.find("imagesize") is not None:
        return "labelme"
    if root.find("./object/point") is not None:
        return "iocfish5k"
    return "voc" if root.find("./object") is None and root.find("size") is not None else None


def _of_text(reading: Reading, path: Path) -> str | None:
    if path.suffix.lower() == ".txt":
        content = reading.bytes(path)
        if 0 not in content and yolo.looks_like_labels(content.decode("utf-8", "replace")):
            return "yolo"
    header = Table(path).header
    if via.is_via_table([name.lstrip("#") for name in header]):
        return "via"
    if label_studio.is_label_studio_table(header):
        return "label_studio"
    if is_table(header):
        return "csv"
    if imagej.is_results(header):
        return "imagej"
    if {"ImageID", "XMin", "XMax"} <= set(header):
        raise InvalidDataError(path, "a format that is read", "a table of Open Images (export it as COCO)")
    return "csv" if path.suffix.lower() == ".csv" else None  # its reader says what is wrong with the header


def _opening(reading: Reading, path: Path) -> str:
    return f"a file that begins with {reading.bytes(path)[:60]!r}"
