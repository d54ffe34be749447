"""An image folder of the datasets library: metadata.jsonl beside the pictures, with a column `objects`.

    {"file_name": "reef_01.png", "objects": {"bbox": [[0, 13, 4, 12]], "categories": [0], "points": [[2, 19]]}}

Sub-pixels: boxes are those of COCO, [x, y, width, height] in pixels from the outer corner; points, a column of
people's own, are pixels as well and win over boxes. Numbers of categories have no names in the file and stay numbers.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...reading import read_text
from .entries import BadEntry, class_name, items, mapping, numbers, pairs, size_of
from .reading import MAX_JSON_BYTES, Reading

SUFFIXES = (".jsonl",)


def read(reading: Reading) -> None:
    """All files of JSON lines."""
    for path in reading.files(*SUFFIXES):
        with reading.entry(path, ""):
            for number, line in enumerate(read_text(path, MAX_JSON_BYTES).split("\n"), start=1):
                if line.strip():
                    with reading.entry(path, f"line {number}"):
                        try:
                            content = json.loads(line)
                        except (ValueError, RecursionError) as error:
                            raise BadEntry("JSON in each line", error) from error
                        _read_line(reading, path, mapping(content, "line"), f"line {number}")


def _read_line(reading: Reading, path: Path, line: Mapping[str, Any], where: str) -> None:
    picture = reading.picture(line.get("file_name"), size_of(line.get("width"), line.get("height")), path)
    if "objects" not in line:
        raise BadEntry("objects, with points or bbox", sorted(line))
    written = mapping(line["objects"] or {}, "objects")
    named = next((key for key in ("categories", "category", "label", "labels") if key in written), None)
    boxes = [numbers(box, "bbox", 4) for box in items(written.get("bbox") or [], "bbox")]
    points = pairs(written["points"], "points", 0) if written.get("points") else []
    count = max(len(boxes), len(points))
    names = [None] * count if named is None else [class_name(one) for one in items(written[named], str(named))]
    if len(names) != count or (points and boxes and len(points) != len(boxes)):
        received = f"{len(points)} points, {len(boxes)} boxes, {len(names)} classes"
        raise BadEntry("as many points, boxes and classes", received)
    for index, name in enumerate(names):
        place = f"{where}, object {index + 1}"
        with reading.entry(path, place):
            if boxes:
                x, y, width, height = boxes[index]
                picture.add_box((x, y, x + width, y + height), name, place, points[index] if points else None)
            else:
                picture.add(points[index], name, place)
