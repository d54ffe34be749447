"""Annotations in and out: what people's tools write, as one kind of record.

    from dense_hf.data.formats import read_annotations, write_annotations

    for picture in read_annotations("annotations.xml"):         # the format is found from the content
        print(picture.image, len(picture.points), picture.classes)
    write_annotations(read_annotations("export.json"), "points.csv", "csv")

Readers are strict: all that is wrong with a file is listed in one error; what is left out is counted and named.
Libraries were tried on files of the tools themselves: pycocotools and datumaro lose or add objects (see coco.py and
cvat.py), supervision rounds, and none says what it drops; so the formats, most of them a page, are read here.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ...errors import InvalidDataError
from . import (
    coco,
    createml,
    csv_points,
    cvat,
    darwin,
    datumaro,
    geojson,
    image_folder,
    imagej,
    iocfish5k,
    label_studio,
    labelme,
    via,
    voc,
    yolo,
)
from .guess import guess_format
from .reading import PolygonPoint, Reading
from .records import AnnotatedImage, AnnotatedImages, InvalidAnnotationsError

_READERS: dict[str, Callable[[Reading], None]] = {
    "csv": csv_points.read,
    "coco": coco.read,
    "yolo": yolo.read,
    "voc": voc.read,
    "labelme": labelme.read,
    "cvat": cvat.read,
    "label_studio": label_studio.read,
    "via": via.read,
    "darwin": darwin.read,
    "qupath": geojson.read_qupath,
    "imagej": imagej.read,
    "geojson": geojson.read_geojson,
    "iocfish5k": iocfish5k.read,
    "createml": createml.read,
    "datumaro": datumaro.read,
    "image_folder": image_folder.read,
}
_WRITERS: dict[str, Callable[[Sequence[AnnotatedImage], Path], None]] = {
    "csv": csv_points.write,
    "coco": coco.write,
    "yolo": yolo.write,
    "labelme": labelme.write,
    "cvat": cvat.write,
    "label_studio": label_studio.write,
    "qupath": geojson.write_qupath,
    "geojson": geojson.write_geojson,
    "iocfish5k": iocfish5k.write,
}
_ONE_PICTURE_A_FILE = ("yolo", "voc", "labelme", "darwin", "qupath", "imagej", "iocfish5k")
FORMATS = tuple(_READERS)
WRITABLE_FORMATS = tuple(_WRITERS)


def read_annotations(
    path: str | os.PathLike,
    format: str | None = None,
    polygon_point: PolygonPoint = "box",
    images: str | os.PathLike | None = None,
    unit: str | None = None,
) -> AnnotatedImages:
    """The pictures and objects of an annotation file, or of a folder of such files.

    Args:
        path: The file or the folder.
        format: One of `FORMATS`; found from the content if None.
        polygon_point: Where the point of a polygon or a mask is: the centre of its "box", or its "centroid".
        images: The folder of the pictures, for numbers that are shares of their sides (YOLO, and tables with a
            `unit`); YOLO finds it itself where it is beside the labels.
        unit: What the numbers of a table are: "pixel" (default), "percent" or "fraction" of the picture's sides.

    Returns:
        The records, in the order of the files; points outside of a picture whose size the file tells are left out.

    Raises:
        InvalidDataError: A file cannot be used. `InvalidAnnotationsError` lists all entries that are wrong.
        ValueError: An unknown format, unit or `polygon_point`.
    """
    root = Path(path)
    if polygon_point not in ("box", "centroid"):
        raise ValueError(f'polygon_point must be "box" or "centroid". Received: {polygon_point!r}')
    if unit is not None and unit not in csv_points.UNITS:
        raise ValueError(f"unit must be one of {', '.join(csv_points.UNITS)}. Received: {unit!r}")
    if format is not None and format not in _READERS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}. Received: {format!r}")
    if not root.exists():
        raise InvalidDataError(path, "an annotation file, or a folder of them", "nothing there")
    reading = Reading(root, polygon_point, None if images is None else Path(images))
    name = guess_format(reading, FORMATS) if format is None else format
    reading.many_pictures_a_file = name not in _ONE_PICTURE_A_FILE
    if unit is not None and name != "csv":
        raise ValueError(f"unit is for tables of points (csv). Received: {unit!r} for {name}")
    if name == "csv":
        csv_points.read(reading, unit)
    elif name == "geojson":
        geojson.read_geojson(reading, told=format is not None)
    else:
        _READERS[name](reading)
    return reading.finish(name)


def write_annotations(records: Iterable[AnnotatedImage], path: str | os.PathLike, format: str) -> None:
    """Write points and their classes, whole or not at all; `read_annotations` reads them back.

    Args:
        records: Of `read_annotations`, or made by `AnnotatedImage.of_points`.
        path: A file for csv, coco, cvat, label_studio and geojson; for the others a new or empty folder.
        format: One of `WRITABLE_FORMATS`.

    Raises:
        ValueError: An unknown format, a record without what the format needs (name, size), a path that is taken.
    """
    if format not in _WRITERS:
        raise ValueError(f"format must be one of {', '.join(WRITABLE_FORMATS)}. Received: {format!r}")
    _WRITERS[format](list(records), Path(path))


__all__ = [
    "FORMATS",
    "WRITABLE_FORMATS",
    "AnnotatedImage",
    "AnnotatedImages",
    "InvalidAnnotationsError",
    "read_annotations",
    "write_annotations",
]
