"""What `dense-hf count` knows about an image, as a JSON file and as tables for R, pandas or a spreadsheet."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..data import write_file


@dataclass(frozen=True)
class CountRow:
    """One image. Lengths are pixels, points are (x right, y down, score), `seconds` is wall time with the overlays."""

    file: str
    width: int
    height: int
    count: int
    density_count: float | None
    mean_score: float | None
    crowded_tiles: int
    seconds: float
    points: list[tuple[float, float, float]] = field(default_factory=list, repr=False)


IMAGE_COLUMNS = ("file", "width", "height", "count", "density_count", "mean_score", "crowded_tiles", "seconds")
POINT_COLUMNS = ("file", "x", "y", "score")


def write_tables(folder: Path, rows: Sequence[CountRow], errors: dict[str, str], settings: dict[str, Any]) -> None:
    """Write `counts.json`, `counts.csv` (one line per image) and `points.csv` (one line per point), each whole.

    Args:
        folder: where they go.
        rows: the images that were counted.
        errors: what was wrong with each of the others.
        settings: how it was counted; goes to the JSON file, so that a count can be repeated.
    """
    images = [asdict(row) for row in rows]
    for image in images:
        image["points"] = [dict(zip(POINT_COLUMNS[1:], point)) for point in image["points"]]
    failures = [{"file": file, "error": error} for file, error in errors.items()]
    document = {**settings, "images": images, "errors": failures}
    write_file(folder / "counts.json", json.dumps(document, indent=1, allow_nan=False).encode())
    write_file(
        folder / "counts.csv", csv_bytes(IMAGE_COLUMNS, ([image[name] for name in IMAGE_COLUMNS] for image in images))
    )
    points = ((row.file, *point) for row in rows for point in row.points)
    write_file(folder / "points.csv", csv_bytes(POINT_COLUMNS, points))


def csv_bytes(header: Sequence[str], lines: Iterable[Sequence[object]]) -> bytes:
    """The content of a CSV file."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(lines)
    return text.getvalue().encode()
