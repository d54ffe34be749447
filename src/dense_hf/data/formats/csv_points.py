"""A table with a line per object: image, x, y and, if there is one, a class; or the sides of a box instead of x, y.

    image,x,y,label
    reef_1.jpg,120,43.5,fish
    sand_2.jpg,,,

A picture without objects has one line with x and y empty. Names of columns may be in either case, in any order, and
are those that people use ("filename", "x_center", "species", ...); a score is not read, other columns are said. Tables
of `dense-hf count` are read back: pictures of the counts.csv beside a points.csv that has no line of them are empty.

Sub-pixels: numbers are pixels of the upright picture from its outer corner, as `dense-hf count` writes them.
"""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from ..files import write_file
from ..images import read_size
from ..table_cells import cell
from .entries import BadEntry, class_name, size_of
from .names import written_split
from .pictures import PictureFolder
from .reading import Picture, Reading
from .records import AnnotatedImage
from .tables import Row, Table

SUFFIXES = (".csv", ".tsv", ".txt")
COLUMNS = {
    "image": "image imagename imagefile imagefilename imagepath filename file filepath path img imgname picture "
    "pictures photo photoname photopath imgpath fname imageid bild bildname datei dateiname fichier imagen archivo",
    "x": "x xcenter xcentre centerx centrex cx xc xpx xpixel xcoord xcoordinate xkoordinate coordx pointx xpos posx",
    "y": "y ycenter ycentre centery centrey cy yc ypx ypixel ycoord ycoordinate ykoordinate coordy pointy ypos posy",
    "label": "label labelname class classname category categoryname species speciesname type taxon objectclass "
    "étiquette etiquette klasse clase espèce espece especie etiqueta art",
    "xmin": "xmin x1 left xtl bboxxmin",
    "ymin": "ymin y1 top ytl bboxymin",
    "xmax": "xmax x2 right xbr bboxxmax",
    "ymax": "ymax y2 bottom ybr bboxymax",
    "bboxx": "bboxx boxx",
    "bboxy": "bboxy boxy",
    "bboxwidth": "bboxwidth boxwidth bboxw",
    "bboxheight": "bboxheight boxheight bboxh",
    "split": "split subset",
    "width": "imagewidth imgwidth imagew width",
    "height": "imageheight imgheight imageh height",
}
_MEANING = {word: name for name, words in COLUMNS.items() for word in words.split()}
_IGNORED = {"", "index", "id", "unnamed0", "score", "confidence", "conf", "probability", "mapx", "mapy"}
_SIDES = {"width", "height", "w", "h"}  # beside x and y: of a box, or of the picture?
_SHAPES = (("x", "y"), ("xmin", "ymin", "xmax", "ymax"), ("bboxx", "bboxy", "bboxwidth", "bboxheight"))
UNITS = {"pixel": None, "percent": 100, "fraction": 1}


def columns_of(header: Sequence[str]) -> dict[str, int]:
    """What each column that is known means, to its place.

    Raises:
        BadEntry: two columns mean the same.
    """
    found: dict[str, int] = {}
    for index, written in enumerate(header):
        name = _MEANING.get(re.sub(r"[\W_]+", "", written.lower()))
        if name is not None and name in found:
            raise BadEntry(f"one column that is the {name}", f"{header[found[name]]!r} and {written!r}")
        if name is not None:
            found[name] = index
    return found


def is_table(header: Sequence[str]) -> bool:
    """Whether a first line is the header of such a table."""
    try:
        found = columns_of(header)
    except BadEntry:
        return True  # reading it tells what is wrong
    return "image" in found and any(all(name in found for name in shape) for shape in _SHAPES)


def read(reading: Reading, unit: str | None = None) -> None:
    """All tables of a file or a folder."""
    for path in reading.files(*SUFFIXES):
        if path.name in ("counts.csv", "classes.txt") and reading.root.is_dir():
            continue  # of `dense-hf count`: read with its points.csv; of YOLO
        _Points(reading, path, unit).read()


class _Points:
    def __init__(self, reading: Reading, path: Path, unit: str | None):
        self.reading, self.path, self.unit = reading, path, unit
        self.table = Table(path)
        self.found: dict[str, int] = {}
        self.shape: tuple[str, ...] = ()
        self.pictures: dict[str, Picture] = {}
        self.empty: dict[str, int] = {}
        self.values: list[float] = []

    def read(self) -> None:
        with self.reading.entry(self.path, "line 1"):
            self._read_header()
            for row in self.table:
                with self.reading.entry(self.path, f"line {row.line}"):
                    self._read_row(row)
            for name, line in self.empty.items():
                if self.pictures[name].points:
                    expected = f"no points for {name!r}, which line {line} calls empty"
                    self.reading.error(self.path, f"line {line}", expected, "points")
            self._refuse_fractions()
            self._add_counted()
            if self.unit not in (None, "pixel"):
                self._scale(float(UNITS[str(self.unit)] or 1))

    def _read_header(self) -> None:
        header = self.table.header
        self.found = columns_of(header)
        shapes = [shape for shape in _SHAPES if all(name in self.found for name in shape)]
        if "image" not in self.found or not shapes:
            expected = "a header with the columns image,x,y (and label), or image,xmin,ymin,xmax,ymax"
            hint = " (the first line looks like a point: put the header above it)" if _has_number(header) else ""
            raise BadEntry(expected, repr(self.table.delimiter.join(header)) + hint)
        if len(shapes) > 1:
            raise BadEntry("one of x,y and the sides of a box", ", ".join(name for one in shapes for name in one))
        self.shape = shapes[0]
        if self.shape == ("x", "y") and _SIDES & {name.lower() for name in header}:
            expected = "image_width,image_height if that is the picture; bbox_x,bbox_y,bbox_width,bbox_height of boxes"
            raise BadEntry(expected, ",".join(header))
        if self.table.guessed:
            self.reading.notice(self.table.guessed, self.path.name)
        known = set(self.found.values())
        others = [
            name
            for index, name in enumerate(header)
            if index not in known and re.sub(r"[\W_]+", "", name.lower()) not in _IGNORED
        ]
        if others:
            self.reading.notice("tables with columns that are not read", f"{self.path.name}: {', '.join(others)}")

    def _read_row(self, row: Row) -> None:
        if len(row.cells) != len(self.table.header):
            raise BadEntry(f"{len(self.table.header)} values, as in the header", row.cells)
        written = row[self.found["image"]]
        if (picture := self.pictures.get(written)) is None:
            size = size_of(row[self.found.get("width")].strip(), row[self.found.get("height")].strip())
            split = written_split(row[self.found.get("split")])
            picture = self.pictures[written] = self.reading.picture(written, size, self.path, split)
        cells = [row[self.found[name]] for name in self.shape]
        if not any(one.strip() for one in cells):
            self.empty[written] = row.line
            return
        values = [self.table.number(one, name) for one, name in zip(cells, self.shape)]
        label = class_name(row[self.found.get("label")].strip())
        self.values += values
        if len(values) == 2:
            picture.add((values[0], values[1]), label, f"line {row.line}")
        else:
            if self.shape[0] == "bboxx":
                values[2:] = values[0] + values[2], values[1] + values[3]
            picture.add_box(values, label, f"line {row.line}")

    def _refuse_fractions(self) -> None:
        values = self.values
        if self.unit is None and values and min(values) >= 0 and max(values) <= 1 and any(one % 1 for one in values):
            number = len(values) // len(self.shape)
            expected = "coordinates in pixels, or --unit fraction (--unit pixel if they are pixels all the same)"
            self.reading.error(self.path, "", expected, f"{number} points with numbers from 0 to 1 only")

    def _add_counted(self) -> None:
        counts = self.path.with_name("counts.csv")
        if self.path.name == "points.csv" and counts.is_file():
            table = Table(counts)
            found = columns_of(table.header)
            if "image" in found and "count" in table.header:
                for row in table:
                    written = row[found["image"]]
                    if written not in self.pictures:
                        size = size_of(row[found.get("width")], row[found.get("height")])
                        self.pictures[written] = self.reading.picture(written, size, self.path)

    def _scale(self, whole: float) -> None:
        if self.reading.images is None:
            raise BadEntry("the folder of the pictures (images), for numbers that are shares of their sides", "none")
        folder = PictureFolder(self.reading.images)
        for picture in self.pictures.values():
            path = folder.find(str(picture.name))
            if path is None:
                self.reading.error(self.path, "", f"{picture.name} in {folder.directory}", "no such picture")
                continue
            width, height = picture.size = read_size(path)
            picture.points = [(x * width / whole, y * height / whole) for x, y in picture.points]
            sides = (width / whole, height / whole) * 2
            picture.boxes = [[value * side for value, side in zip(box, sides)] for box in picture.boxes]


def _has_number(cells: Sequence[str]) -> bool:
    return any(re.fullmatch(r"[+-]?[0-9]+([.,][0-9]+)?", cell.strip()) for cell in cells)


def write(records: Sequence[AnnotatedImage], path: Path) -> None:
    """Columns image, x, y, label and, where one is known, split; numbers in full.

    Raises:
        ValueError: a record without name.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    with_split = any(record.split is not None for record in records)
    writer.writerow(("image", "x", "y", "label", *(["split"] if with_split else [])))
    for record in records:
        if record.image is None:
            raise ValueError(f"CSV needs the name of each picture. Received: none, with {len(record)} points")
        split = [record.split or ""] if with_split else []
        if not len(record):
            writer.writerow((cell(record.image), "", "", "", *split))
        for (x, y), name in zip(record.points.tolist(), record.classes):
            writer.writerow((cell(record.image), repr(x), repr(y), cell(name or ""), *split))
    write_file(path, text.getvalue().encode())
