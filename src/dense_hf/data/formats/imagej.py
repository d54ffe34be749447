"""ImageJ and Fiji: .roi, a RoiSet.zip, or the table of Analyze > Measure ("Results.csv").

Sub-pixels: a point has no offset (a whole number is that pixel, as ImageJ since 1.52u stores it); areas are relative
to the corners of pixels. Both are taken as they are. Points placed without sub-pixels are rounded down by ImageJ.

A region without an own name carries the class by the counter of the multi-point tool (a number). Neither file has
the size of the picture; a region file has its name only in its own: reef_01.roi, reef_01_RoiSet.zip. Results are in
the unit of the picture's scale, and nothing in them says so: remove the scale (Analyze > Set Scale) before measuring.
"""

import io
import re
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import InvalidDataError
from .entries import BadEntry, class_name
from .reading import Picture, Reading
from .tables import Table

SUFFIXES = (".roi", ".zip", ".csv", ".tsv", ".txt", ".xls")
_MAX_ROI_BYTES = 2**26
_MAX_ROIS = 100_000
_POLYGON, _RECT, _OVAL, _LINE, _FREELINE, _POLYLINE, _NO_ROI, _FREEHAND, _TRACED, _ANGLE, _POINT = range(11)
_LINES = (_LINE, _FREELINE, _POLYLINE, _ANGLE)
_SUB_PIXEL = 128
_OWN_NAME = re.compile(r"^\d+(-\d+)*$")  # ImageJ names regions after their place: 0012-0034
_ENDINGS = re.compile(r"[ _-]*(?:roi[ _-]?set|rois?|results?)$", re.IGNORECASE)


@dataclass(frozen=True)
class Roi:
    """What a region file has: kind, name, box, corners or points [n, 2], and the counter of each point."""

    kind: int
    name: str
    box: tuple[float, float, float, float]
    points: np.ndarray
    counters: np.ndarray
    position: int


def is_results(header: list[str]) -> bool:
    """Whether a first line is that of a table of ImageJ: X and Y behind the number of the line."""
    return len(header) > 2 and header[0].strip() in ("", "#") and {"X", "Y"} <= set(header)


def parse_roi(content: bytes) -> Roi:
    """A region file (big endian: header of 64 bytes, coordinates, second header).

    Raises:
        BadEntry: broken, or no such file.
    """
    try:
        return _parse(content)
    except (struct.error, IndexError, ValueError) as error:
        raise BadEntry("a complete region file of ImageJ", error) from error


def _parse(content: bytes) -> Roi:
    def short(at: int) -> int:
        return struct.unpack_from(">h", content, at)[0]

    def integer(at: int) -> int:
        return struct.unpack_from(">i", content, at)[0]

    def floats(at: int, count: int) -> np.ndarray:
        return np.frombuffer(content, ">f4", count, at).astype(np.float64)

    if content[:4] != b"Iout":
        raise BadEntry("a region file of ImageJ, which begins with Iout", content[:4])
    version, kind = short(4), content[6]
    top, left, bottom, right = (float(short(at)) for at in (8, 10, 12, 14))
    number = struct.unpack_from(">H", content, 16)[0]
    options, second = short(50), integer(60)
    sub_pixel = bool(options & _SUB_PIXEL) and version >= 222
    composite = integer(36) > 0
    box = (left, top, right, bottom)
    if sub_pixel and kind in (_RECT, _OVAL) and version >= 223:
        x, y, width, height = floats(18, 4)
        box = (float(x), float(y), float(x + width), float(y + height))
    points = np.empty((0, 2))
    if not composite and kind in (_POLYGON, _FREEHAND, _TRACED, _POINT):
        if number == 0 and kind == _POINT:
            number = integer(18)  # more than 65,535
        if not 0 < number <= (len(content) - 64) // 4:
            raise BadEntry("as many coordinates as the header says", f"{number} in {len(content)} bytes")
        if sub_pixel:
            start = 64 + 4 * number
            points = np.stack([floats(start, number), floats(start + 4 * number, number)], 1)
        else:
            values = np.frombuffer(content, ">i2", 2 * number, 64).astype(np.float64)
            points = np.stack([values[:number] + left, values[number:] + top], 1)
    name, counters, position = "", np.zeros(len(points), np.int64), 0
    if 0 < second <= len(content) - 52:
        name_at, length, counters_at = integer(second + 16), integer(second + 20), integer(second + 48)
        position = max(integer(second + at) for at in (4, 8, 12)) or integer(56)
        if length > 0 and 0 < name_at <= len(content) - 2 * length:
            name = content[name_at : name_at + 2 * length].decode("utf-16-be", "replace")
        if counters_at > 0 and kind == _POINT:
            counters = np.frombuffer(content, ">i4", len(points), counters_at).astype(np.int64) & 0xFF
    return Roi(kind, name, box, points, counters, position)


def read(reading: Reading) -> None:
    """All region files, sets of them and tables."""
    for path in reading.files(*SUFFIXES):
        with reading.entry(path, ""):
            content = reading.bytes(path)
            stem = _ENDINGS.sub("", path.stem) or None
            if content[:4] == b"Iout":
                picture = reading.picture(stem, None, path, named=False)
                with reading.entry(path, "region"):
                    _read_roi(reading, picture, parse_roi(content), "", "region")
            elif content[:2] == b"PK":
                _read_set(reading, reading.picture(stem, None, path, named=False), path, content)
            else:
                _read_results(reading, path, stem)


def _is_region(name: str) -> bool:
    """Whether a file of a set is a region: macOS packs a second one with other contents beside each."""
    return name.lower().endswith(".roi") and not name.startswith("__MACOSX/") and "/._" not in f"/{name}"


def _read_set(reading: Reading, picture: Picture, path: Path, content: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = [one for one in archive.infolist() if _is_region(one.filename)]
            if len(entries) > _MAX_ROIS or sum(one.file_size for one in entries) > 4 * _MAX_ROI_BYTES:
                raise BadEntry(f"at most {_MAX_ROIS} regions of {4 * _MAX_ROI_BYTES} bytes together", "more")
            if not entries:
                raise BadEntry("regions (.roi) in the set (unpack what other tools export)", archive.namelist()[:10])
            for entry in entries:
                with reading.entry(path, entry.filename):
                    file_name = Path(entry.filename).name[: -len(".roi")]
                    _read_roi(reading, picture, parse_roi(archive.read(entry)), file_name, entry.filename)
    except InvalidDataError:
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        EOFError,
        RuntimeError,
        ValueError,
        OverflowError,
        struct.error,
    ) as error:
        raise BadEntry("a set of regions (zip)", error) from error


def _read_roi(reading: Reading, picture: Picture, roi: Roi, file_name: str, where: str) -> None:
    place = f"{picture.name}, {where}"
    written = roi.name or file_name
    name = None if _OWN_NAME.match(written) else class_name(re.sub(r"^\d{4,}-(?=\D)", "", written))
    if roi.position > 1:
        reading.notice("on another page of a stack than the first", place)
    if roi.kind in _LINES:
        return reading.drop("lines", place)
    if roi.kind == _POINT:
        by_counter = bool(roi.counters.any())
        if by_counter:
            reading.notice("of classes that are only numbers (counters)", place)
        for point, counter in zip(roi.points.tolist(), roi.counters.tolist()):
            picture.add((point[0], point[1]), str(counter) if by_counter else name, where)
        return None
    if len(roi.points):
        return picture.add_polygon([roi.points], name, where)
    if roi.kind in (_RECT, _OVAL, _POLYGON, _FREEHAND, _TRACED):
        return picture.add_box(roi.box, name, where)
    raise BadEntry("a point, an area or a line", f"a region of kind {roi.kind}")


def _read_results(reading: Reading, path: Path, stem: str | None) -> None:
    table = Table(path)
    if not is_results(table.header):
        raise BadEntry("a table of ImageJ, with X and Y", ",".join(table.header))
    column = {name: index for index, name in enumerate(table.header)}
    reading.notice("tables in the unit of the picture's scale, which they do not say: taken for pixels", path.name)
    if "Label" not in column:
        reading.notice("tables without the names of pictures (measure with 'Display label'), by the file's", path.name)
    pictures: dict[str | None, Picture] = {}
    for row in table:
        where = f"line {row.line}"
        with reading.entry(path, where):
            # title:region:page, as far as there are regions and pages
            name = row[column["Label"]].split(":")[0].strip() if "Label" in column else stem
            if name not in pictures:
                pictures[name] = reading.picture(name, None, path, named="Label" in column)
            point = table.number(row[column["X"]], "X"), table.number(row[column["Y"]], "Y")
            pictures[name].add(point, class_name(row[column.get("Counter")].strip()), where)
