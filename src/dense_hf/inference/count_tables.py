"""What `dense-hf count` knows about an image, as a JSON file and as tables for R, pandas or a spreadsheet."""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from itertools import zip_longest
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..data.geo.map_frames import MapFrame
from ..data.geo.map_points import MappedPoints, write_map
from .appending import AppendedTable, write_document, write_table
from .run_records import RunRecord


@dataclass(frozen=True)
class CountRow:
    """One image. Lengths are pixels, points are (x right, y down, score).

    `place` is where it is on a map: `crs`, `transform` and `area_m2` of what is seen. `regions` are rows of
    regions.csv. A range is there of a calibrated model, `class_counts` and `labels` of one with several classes.
    """

    file: str
    width: int
    height: int
    count: int
    density_count: float | None
    mean_score: float | None
    crowded_tiles: int
    points: list[tuple[float, float, float]] = field(default_factory=list, repr=False)
    range_low: int | None = None
    range_high: int | None = None
    level: float | None = None
    unlike: str | None = None
    class_counts: list[int] = field(default_factory=list)
    labels: list[str] = field(default_factory=list, repr=False)
    place: dict[str, Any] | None = None
    regions: list[dict[str, Any]] = field(default_factory=list, repr=False)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From what a record keeps of it."""
        return cls(**{one.name: values[one.name] for one in fields(cls) if one.name in values})

    @property
    def frame(self) -> MapFrame | None:
        """Its place on a map."""
        return None if self.place is None else MapFrame(tuple(self.place["transform"]), self.place["crs"])


_NO_COLUMNS = ("points", "class_counts", "labels", "place", "regions")
IMAGE_COLUMNS = tuple(one.name for one in fields(CountRow) if one.name not in _NO_COLUMNS)
POINT_COLUMNS = ("file", "x", "y", "score")
TABLES = ("counts.csv", "points.csv", "counts.json")
PLACE_COLUMNS = ("crs", "area_m2", "per_m2", "per_hectare")
MAP_COLUMNS = ("map_x", "map_y")
REGION_TABLE = "regions.csv"
REGION_COLUMNS = ("file", "region", "count", "density_count", "pixels", *PLACE_COLUMNS[1:])
MAP_NAME = "points"
_OF_REGION = ("name", "count", "density_count", "pixels")


@dataclass(frozen=True)
class TableKinds:
    """What tables have besides images and points.

    Attributes:
        places: whether images may lie on a map; their columns are there, then.
        regions: whether there is a table of them.
        maps: the files of maps, "points.geojson" and "points.gpkg".
        map_crs: the system of their coordinates; None: that of the images.
        class_names: of a model with several classes: each gets a column `count_NAME`, and points get one, `label`.
    """

    places: bool = False
    regions: bool = False
    maps: tuple[str, ...] = ()
    map_crs: str | None = None
    class_names: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """All tables and maps."""
        return (*TABLES, *([REGION_TABLE] if self.regions else []), *self.maps)


class RecordedRows(Sequence[CountRow]):
    """The rows of a run, read from its record whenever they are asked for.

    Args:
        record: of the run.
        names: of all images, in their order.
        counted: has those that were counted; it may grow.
    """

    def __init__(self, record: RunRecord, names: Iterable[str], counted: Container[str]):
        self._record, self._all, self._counted = record, names, counted

    def __len__(self) -> int:
        return sum(name in self._counted for name in self._all)

    def __getitem__(self, index: Any) -> Any:
        return CountRow.of(self._record.stored([name for name in self._all if name in self._counted][index]))

    def __iter__(self) -> Iterator[CountRow]:
        return (CountRow.of(self._record.stored(name)) for name in self._all if name in self._counted)


class CountTables(ExitStack):
    """`counts.csv` (one line per image) and `points.csv` (one line per point) grow; `counts.json` has both at the end.

    Args:
        folder: where they go.
        rows: images that were counted before.
        kinds: what else there is; `regions.csv` grows, too, and maps are written at the end.
    """

    def __init__(self, folder: Path, rows: Sequence[CountRow], kinds: TableKinds = TableKinds()):
        super().__init__()
        self.folder, self._kinds = folder, kinds
        for file in (TABLES[2], *kinds.maps):
            (folder / file).unlink(missing_ok=True)
        self._point_columns = (*POINT_COLUMNS, *(["label"] if kinds.class_names else []))
        image_columns = (*IMAGE_COLUMNS, *(f"count_{name}" for name in kinds.class_names))
        self._tables: list[tuple[Path, tuple[str, ...], Callable[[Sequence[CountRow]], list[tuple[object, ...]]]]] = [
            (folder / TABLES[1], (*self._point_columns, *(MAP_COLUMNS if kinds.places else ())), self._points),
            (folder / TABLES[0], (*image_columns, *(PLACE_COLUMNS if kinds.places else ())), self._images),
        ]
        if kinds.regions:
            self._tables.insert(0, (folder / REGION_TABLE, REGION_COLUMNS, _regions))
        self._growing = [
            self.enter_context(AppendedTable(path, columns, _each(lines, rows)))
            for path, columns, lines in self._tables
        ]

    def add(self, row: CountRow) -> None:
        """Append an image."""
        for table, (_, _, lines) in zip(self._growing, self._tables):
            table.add(lines([row]))

    def finish(self, rows: Sequence[CountRow], errors: Mapping[str, str], settings: Mapping[str, Any]) -> None:
        """Write all in the order of the images, each whole.

        Args:
            rows: the images that were counted.
            errors: what was wrong with each of the others.
            settings: how it was counted; goes to the JSON file, so that a count can be repeated.
        """
        self.close()
        failures = [{"file": file, "error": error} for file, error in errors.items()]
        document = {**settings, "images": [], "errors": failures}
        # row by row: those of a survey may be more than memory holds
        for path, columns, lines in self._tables:
            write_table(path, columns, _each(lines, rows))
        for file in self._kinds.maps:
            write_map(self.folder / file, [mapped for row in rows for mapped in _mapped(row)], self._kinds.map_crs)
        write_document(self.folder / TABLES[2], document, "images", map(self._image, rows))

    def _image(self, row: CountRow) -> dict[str, Any]:
        image = asdict(row)
        labels, counts = image.pop("labels"), image.pop("class_counts")
        points = ((*point, *label) for point, label in zip_longest(image["points"], zip(labels), fillvalue=()))
        image["points"] = [dict(zip(self._point_columns[1:], point)) for point in points]
        return image | ({"class_counts": dict(zip(self._kinds.class_names, counts))} if counts else {})

    def _images(self, rows: Sequence[CountRow]) -> list[tuple[object, ...]]:
        lines = []
        for row in rows:
            line = [*(getattr(row, name) for name in IMAGE_COLUMNS), *row.class_counts]
            if self._kinds.places:
                line += [None] * 4 if row.place is None else [row.place["crs"], *per_area(row.count, row.place)]
            lines.append(tuple(line))
        return lines

    def _points(self, rows: Sequence[CountRow]) -> list[tuple[object, ...]]:
        lines: list[tuple[object, ...]] = []
        for row in rows:
            points = [
                (row.file, *point, *label) for point, label in zip_longest(row.points, zip(row.labels), fillvalue=())
            ]
            if not self._kinds.places:
                lines += points
                continue
            xy = np.array(row.points, np.float64).reshape(-1, 3)[:, :2]
            places = [(None, None)] * len(xy) if row.frame is None else row.frame.to_map(xy).tolist()
            lines += [(*point, *place) for point, place in zip(points, places)]
        return lines


def _each(lines: Callable[[Sequence[CountRow]], list[tuple[object, ...]]], rows: Iterable[CountRow]) -> Iterator[Any]:
    return (line for row in rows for line in lines([row]))


def per_area(count: float, measured: Mapping[str, Any]) -> tuple[float | None, float | None, float | None]:
    """Square meters, objects per square meter, and per hectare."""
    area = measured.get("area_m2")
    return (area, count / area, 1e4 * count / area) if area else (area, None, None)


def _regions(rows: Sequence[CountRow]) -> list[tuple[object, ...]]:
    return [
        (row.file, *(region[name] for name in _OF_REGION), *per_area(region["count"], region))
        for row in rows
        for region in row.regions
    ]


def _mapped(row: CountRow) -> list[MappedPoints]:
    if row.frame is None:
        return []
    values = np.array(row.points, np.float64).reshape(-1, 3)
    return [MappedPoints(row.file, row.frame, values[:, :2], values[:, 2].tolist())]
