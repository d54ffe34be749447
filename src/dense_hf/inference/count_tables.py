"""What `dense-hf count` knows about an image, as a JSON file and as tables for R, pandas or a spreadsheet."""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from ..data import write_file
from .appending import AppendedTable, csv_bytes


@dataclass(frozen=True)
class CountRow:
    """One image. Lengths are pixels, points are (x right, y down, score)."""

    file: str
    width: int
    height: int
    count: int
    density_count: float | None
    mean_score: float | None
    crowded_tiles: int
    points: list[tuple[float, float, float]] = field(default_factory=list, repr=False)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From what a record keeps of it."""
        return cls(**{one.name: values[one.name] for one in fields(cls)})


IMAGE_COLUMNS = ("file", "width", "height", "count", "density_count", "mean_score", "crowded_tiles")
POINT_COLUMNS = ("file", "x", "y", "score")
TABLES = ("counts.csv", "points.csv", "counts.json")


class CountTables(ExitStack):
    """`counts.csv` (one line per image) and `points.csv` (one line per point) grow; `counts.json` has both at the end.

    Args:
        folder: where they go.
        rows: images that were counted before.
    """

    def __init__(self, folder: Path, rows: Sequence[CountRow]):
        super().__init__()
        self.folder = folder
        (folder / TABLES[2]).unlink(missing_ok=True)
        self._points = self.enter_context(AppendedTable(folder / TABLES[1], POINT_COLUMNS, _points(rows)))
        self._images = self.enter_context(AppendedTable(folder / TABLES[0], IMAGE_COLUMNS, _images(rows)))

    def add(self, row: CountRow) -> None:
        """Append an image."""
        self._points.add(_points([row]))
        self._images.add(_images([row]))

    def finish(self, rows: Sequence[CountRow], errors: Mapping[str, str], settings: Mapping[str, Any]) -> None:
        """Write all three in the order of the images, each whole.

        Args:
            rows: the images that were counted.
            errors: what was wrong with each of the others.
            settings: how it was counted; goes to the JSON file, so that a count can be repeated.
        """
        self.close()
        images = [asdict(row) for row in rows]
        for image in images:
            image["points"] = [dict(zip(POINT_COLUMNS[1:], point)) for point in image["points"]]
        failures = [{"file": file, "error": error} for file, error in errors.items()]
        document = {**settings, "images": images, "errors": failures}
        write_file(self.folder / TABLES[1], csv_bytes(POINT_COLUMNS, _points(rows)))
        write_file(self.folder / TABLES[0], csv_bytes(IMAGE_COLUMNS, _images(rows)))
        write_file(self.folder / TABLES[2], json.dumps(document, indent=1, allow_nan=False).encode())


def _images(rows: Sequence[CountRow]) -> list[tuple[object, ...]]:
    return [tuple(getattr(row, name) for name in IMAGE_COLUMNS) for row in rows]


def _points(rows: Sequence[CountRow]) -> list[tuple[object, ...]]:
    return [(row.file, *point) for row in rows for point in row.points]
