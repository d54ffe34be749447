"""Label Studio: JSON, JSON_MIN or CSV of an export.

Sub-pixels: numbers are percents of the sides of the picture (original_width, original_height) from the outer corner.
The x, y of a rectangle are its upper left corner after it was turned, and it turns about that corner.

Of several annotations of a task one counts: the ground truth, else the first that was not cancelled. A task without
annotations is not annotated, which is something else than a picture without objects. Predictions are not read.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import write_file
from ..image_lists import split_suffix
from ..images import DEFAULT_MAX_PIXELS
from .entries import BadEntry, class_name, identity, items, mapping, named, number, pairs, size_of
from .names import plain_name, written_split
from .reading import Picture, Reading, first
from .records import AnnotatedImage
from .runs import pixels_of_mask, values_of_brush
from .shapes import around_ellipse, around_turned_box, turned
from .tables import Table

SUFFIXES = (".json", ".csv", ".tsv")
_CSV_COLUMNS = {"annotation_id", "annotator"}
_GEOMETRY = ("keypoint", "rectangle", "ellipse", "polygon", "brush")
_OUTSIDE = ("choices", "relation", "textarea", "rating", "number", "taxonomy", "datetime", "pairwise", "ranker")


def to_pixels(x: float, y: float, size: tuple[int, int]) -> tuple[float, float]:
    """Percents of the sides to pixels."""
    return x * size[0] / 100, y * size[1] / 100


def to_percents(x: float, y: float, size: tuple[int, int]) -> tuple[float, float]:
    """Pixels to percents of the sides."""
    return x / size[0] * 100, y / size[1] * 100


def is_label_studio(content: Any) -> bool:
    """Whether a document of JSON is an export: tasks, or JSON_MIN, whose entries have an annotation_id."""
    if not isinstance(content, list) or not content or not isinstance(content[0], dict):
        return False
    entry = content[0]
    return ("data" in entry and ("annotations" in entry or "completions" in entry or "predictions" in entry)) or (
        "annotation_id" in entry or any(_is_region_list(value) for value in entry.values())
    )


def is_label_studio_table(header: Sequence[str]) -> bool:
    """Whether a first line is that of an export as CSV."""
    return set(header) >= _CSV_COLUMNS


def _is_region_list(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, dict) and "original_width" in one for one in value)
    )


def read(reading: Reading) -> None:
    """All files."""
    for path in reading.files(*SUFFIXES):
        with reading.entry(path, ""):
            if reading.begins(path) not in (b"[", b"{"):
                _read_table(reading, path)
                continue
            content = items(reading.json(path), "tasks of Label Studio")
            for index, item in enumerate(content, start=1):
                where = f"task {named(item) if isinstance(item, dict) and 'id' in item else index}"
                with reading.entry(path, where):
                    task = mapping(item, "task")
                    (_read_task if "data" in task else _read_short)(reading, path, task, where)


def _read_table(reading: Reading, path: Path) -> None:
    """CSV of an export: as JSON_MIN, with JSON in the cells of regions."""
    table = Table(path)
    if not is_label_studio_table(table.header):
        raise BadEntry("a table of Label Studio (annotation_id, annotator, ...)", ",".join(table.header))
    for row in table:
        with reading.entry(path, f"line {row.line}"):
            task: dict[str, Any] = {}
            for name, cell in zip(table.header, row.cells):
                try:
                    task[name] = json.loads(cell) if cell.startswith("[") else cell
                except (ValueError, RecursionError) as error:
                    raise BadEntry(f"JSON in the column {name}", error) from error
            _read_short(reading, path, task, f"line {row.line}")


def _read_short(reading: Reading, path: Path, task: Mapping[str, Any], where: str) -> None:
    """An entry of JSON_MIN: each tag of the labeling is a key; that of an empty picture is left out."""
    written = [value for value in task.values() if _is_region_list(value)]
    regions = [
        {"id": f"{index}.{number}", "type": "", "value": one, **_sizes(one)}
        for index, value in enumerate(written)
        for number, one in enumerate(value)
    ]
    names = [value for key, value in task.items() if isinstance(value, str) and _is_picture(value)]
    _read_regions(reading, path, first(names), regions, where)


def _sizes(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value.get(key) for key in ("original_width", "original_height", "image_rotation")}


def _is_picture(value: str) -> bool:
    try:
        return bool(split_suffix(plain_name(value)[0])[1])
    except BadEntry:
        return False


def _read_task(reading: Reading, path: Path, task: Mapping[str, Any], where: str) -> None:
    data = mapping(task["data"], "data of a task")
    names = [value for value in data.values() if isinstance(value, str) and _is_picture(value)]
    name = first([*names, task.get("file_upload"), *(value for value in data.values() if isinstance(value, str))])
    drawn = [
        mapping(one, "annotation")
        for one in items(task.get("annotations", task.get("completions", [])), "annotations of a task")
    ]
    if cancelled := [one for one in drawn if one.get("was_cancelled")]:
        reading.drop(
            "annotations that were cancelled", f"{where}, annotation {cancelled[0].get('id')}", len(cancelled)
        )
    drawn = [one for one in drawn if not one.get("was_cancelled")]
    if not drawn:
        return reading.drop("pictures of tasks without an annotation", f"{where}, {name}")
    chosen = next((one for one in drawn if one.get("ground_truth")), drawn[0])
    if len(drawn) > 1:
        others = f"{where}: annotation {named(chosen)} counts, of {', '.join(map(named, drawn))}"
        reading.drop("further annotations of the same task", others, len(drawn) - 1)
    regions = [mapping(one, "region") for one in items(chosen.get("result", []), "result of an annotation")]
    return _read_regions(reading, path, name, regions, where, written_split(data.get("split")))


def _read_regions(
    reading: Reading,
    path: Path,
    name: str | None,
    regions: Sequence[Mapping[str, Any]],
    where: str,
    split: str | None = None,
) -> None:
    sizes = {size: None for one in regions if (size := size_of(one.get("original_width"), one.get("original_height")))}
    if len(sizes) > 1:
        raise BadEntry("one size of the picture in all regions", list(sizes))
    picture = reading.picture(name, next(iter(sizes), None), path, split)
    merged: dict[str, dict[str, Any]] = {}
    for index, region in enumerate(regions):
        kind = str(region.get("type", ""))
        if kind.startswith(_OUTSIDE):
            continue  # said of the whole picture, or of two regions
        key = str(identity(region.get("id", f"number {index}"), "id of a region"))
        known = merged.setdefault(key, {"value": {}, "type": kind})
        # a region may stand twice, once with its place and once with its labels
        known["value"] = {**known["value"], **mapping(region.get("value", {}), "value of a region")}
        known["rotation"] = region.get("image_rotation") or known.get("rotation")
        if known["type"] in ("", "labels") or not _is_shape(known["type"]):
            known["type"] = kind
    for key, region in merged.items():
        place = f"{where}, region {key}"
        with reading.entry(path, place):
            if region["rotation"]:
                raise BadEntry("pictures that were not turned in Label Studio (image_rotation)", region["rotation"])
            _read_region(reading, picture, region["value"], region["type"], place)


def _is_shape(kind: str) -> bool:
    return kind.startswith(_GEOMETRY)


def _read_region(reading: Reading, picture: Picture, value: Mapping[str, Any], kind: str, where: str) -> None:
    labels = [
        class_name(label)
        for key, written in value.items()
        if key.endswith("labels") and isinstance(written, list)
        for label in written
    ]
    if len(labels) > 1:
        reading.notice("of several labels, of which the first counts", f"{where}: {labels}")
    name = labels[0] if labels else None
    size = picture.size
    if "rle" in value:
        return _read_brush(picture, value, name, where)
    if "points" not in value and not ({"x", "y"} <= set(value)):
        if labels and not value.keys() - {key for key in value if key.endswith("labels")}:
            return reading.drop("labels without a place", where)
        raise BadEntry("a keypoint, rectangle, ellipse, polygon or brush", sorted(value))
    if size is None:
        raise BadEntry("original_width and original_height", "none")
    if "points" in value:
        corners = [to_pixels(x, y, size) for x, y in pairs(value["points"], "points", 3)]
        return picture.add_polygon([corners], name, where)
    x, y = to_pixels(number(value["x"], "x"), number(value["y"], "y"), size)
    degrees = number(value.get("rotation") or 0, "rotation")
    if "radiusX" in value:
        radii = to_pixels(number(value["radiusX"], "radiusX"), number(value.get("radiusY"), "radiusY"), size)
        return picture.add_box(around_ellipse(x, y, *radii, degrees), name, where)
    if "height" not in value or kind.startswith("keypoint"):
        return picture.add((x, y), name, where)
    width, height = to_pixels(number(value.get("width"), "width"), number(value["height"], "height"), size)
    if width <= 0 or height <= 0:
        raise BadEntry("a rectangle with a width and a height above 0", f"{width:g} x {height:g} pixels")
    box = (x, y, x + width, y + height)
    if not degrees:
        return picture.add_box(box, name, where)
    reading.notice("turned rectangles, at their centre", where)
    centre = turned((x + width / 2, y + height / 2), (x, y), degrees)
    return picture.add_box(around_turned_box(box, (x, y), degrees), name, where, centre)


def _read_brush(picture: Picture, value: Mapping[str, Any], name: str | None, where: str) -> None:
    if picture.size is None:
        raise BadEntry("original_width and original_height", "none")
    width, height = picture.size
    if width * height > DEFAULT_MAX_PIXELS:
        raise BadEntry(f"a picture of at most {DEFAULT_MAX_PIXELS} pixels", f"{width} x {height}")
    values = values_of_brush(items(value["rle"], "rle"), 4 * width * height)
    if len(values) != 4 * width * height:
        raise BadEntry(f"RGBA of {width} x {height} pixels", f"{len(values)} values")
    picture.add_pixels(pixels_of_mask(values.reshape(height, width, 4)[..., 3] > 0), name, where)


def write(records: Sequence[AnnotatedImage], path: Path, found_by: str | None = None) -> None:
    """Tasks to import, each with one annotation of keypoints (tags "label" and "image").

    Args:
        records: the pictures.
        path: of the file.
        found_by: what has found the points: they are predictions then, which a person starts from, not annotations.

    Raises:
        ValueError: a record without name, or with objects and without size.
    """
    tasks = []
    for number_, record in enumerate(records, start=1):
        if record.image is None or (record.size is None and len(record)):
            raise ValueError(f"Label Studio needs the name and the size of each picture. Received: {record.image}")
        result = []
        for index, ((x, y), name) in enumerate(zip(record.points.tolist(), record.classes)):
            width, height = size = record.size or (1, 1)
            percents = to_percents(x, y, size)
            result.append(
                {
                    "id": f"r{number_}_{index}",
                    "type": "keypointlabels",
                    "from_name": "label",
                    "to_name": "image",
                    "original_width": width,
                    "original_height": height,
                    "image_rotation": 0,
                    "value": {"x": percents[0], "y": percents[1], "width": 0.5, "keypointlabels": [name or "object"]},
                }
            )
        given = (
            {"annotations": [{"result": result}]}
            if found_by is None
            else {"predictions": [{"model_version": found_by, "result": result}]}
        )
        split = {} if record.split is None else {"split": record.split}  # a column of the Data Manager
        tasks.append({"id": number_, "data": {"image": record.image, **split}, **given})
    write_file(path, json.dumps(tasks, indent=1, allow_nan=False).encode())
