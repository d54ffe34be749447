"""What all readers of annotations share: collecting objects, everything that is wrong, and all that is left out."""

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from xml.etree.ElementTree import Element

import numpy as np

from ...errors import InvalidDataError, brief
from ...reading import check_regular_file, read_bytes, read_json
from ..points import parse_xml
from .entries import BadEntry, number
from .names import plain_name, split_of_folders, split_of_name, without_common_folder
from .records import AnnotatedImage, AnnotatedImages, InvalidAnnotationsError
from .runs import Pixels

MAX_JSON_BYTES = 2**29  # instances_train2017.json of COCO has 450 MB
MAX_XML_BYTES = 2**28
MAX_FILE_BYTES = 2**30
MAX_FILES = 200_000
MAX_SIDE = 2**31  # of a picture whose size nobody knows
_MAX_ERRORS = 10_000
_SHOWN = 8

PolygonPoint = Literal["box", "centroid"]
Part = Sequence[tuple[float, float]] | np.ndarray


@dataclass
class Picture:
    """A picture whose objects are being read; the arguments of its methods are pixels."""

    reading: "Reading"
    name: str | None
    absolute: bool
    size: tuple[int, int] | None
    source: Path
    split: str | None
    points: list[tuple[float, float]] = field(default_factory=list)
    classes: list[str | None] = field(default_factory=list)
    boxes: list[Sequence[float]] = field(default_factory=list)
    polygons: list[tuple[np.ndarray, ...]] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    masks: list[Pixels | None] = field(default_factory=list)

    def add(
        self,
        point: tuple[float, float],
        class_name: str | None,
        where: str,
        box: Sequence[float] | None = None,
        polygon: Sequence[Part] = (),
        mask: Pixels | None = None,
    ) -> None:
        """An object at a point."""
        self.points.append((number(point[0], "x"), number(point[1], "y")))
        self.classes.append(class_name)
        self.boxes.append((np.nan,) * 4 if box is None else tuple(box))
        self.polygons.append(tuple(np.asarray(part, np.float64) for part in polygon))
        self.places.append(where)
        self.masks.append(mask)

    def add_box(
        self, box: Sequence[float], class_name: str | None, where: str, point: tuple[float, float] | None = None
    ) -> None:
        """An object in a box (xmin, ymin, xmax, ymax), at its centre or at a point of its own.

        Raises:
            BadEntry: for a box without area or the wrong way round.
        """
        left, top, right, bottom = (number(value, "side of a box") for value in box)
        if right <= left or bottom <= top:
            raise BadEntry("a box with a width and a height above 0", f"{left:g}, {top:g} to {right:g}, {bottom:g}")
        self.add(point or ((left + right) / 2, (top + bottom) / 2), class_name, where, (left, top, right, bottom))

    def add_polygon(
        self,
        parts: Sequence[Part],
        class_name: str | None,
        where: str,
        point: tuple[float, float] | None = None,
    ) -> None:
        """One object of one or several parts; its point is what the reader was asked for, or one of its own.

        Raises:
            BadEntry: for parts of fewer than three corners, or without area.
        """
        corners = [np.asarray(part, np.float64).reshape(-1, 2) for part in parts]
        if not corners or any(len(part) < 3 for part in corners):
            raise BadEntry("polygons of at least 3 corners", f"{min(map(len, corners), default=0)} corners")
        if not all(np.all(np.abs(part) < 1e9) for part in corners):
            raise BadEntry("finite corners", [part.tolist() for part in corners])
        every = np.concatenate(corners)
        box = (*every.min(0).tolist(), *every.max(0).tolist())
        if box[2] <= box[0] or box[3] <= box[1]:
            raise BadEntry("a polygon with an area above 0", every.tolist())
        if point is None:
            centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
            point = centre if self.reading.polygon_point == "box" else centroid(corners)
        self.add(point, class_name, where, box, corners)

    def add_pixels(self, pixels: Pixels, class_name: str | None, where: str) -> None:
        """An object that is a set of pixels; its point as of a polygon.

        Raises:
            BadEntry: for a mask without pixels.
        """
        box = pixels.box()
        centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        point = centre if self.reading.polygon_point == "box" else pixels.centroid()
        self.add(point, class_name, where, box, mask=pixels)


def centroid(parts: Sequence[np.ndarray]) -> tuple[float, float]:
    """The centre of the area of polygons [k, 2], which may wind in either direction; of a line, of its corners."""
    areas, centres = [], []
    for part in parts:
        start = part[0]  # relative to it, so that far away corners do not cost digits
        x, y = (part - start).T
        cross = x * np.roll(y, -1) - np.roll(x, -1) * y
        area = cross.sum() / 2
        if abs(area) < 1e-12:
            areas.append(0.0)
            centres.append(part.mean(0))
            continue
        moment = [((x + np.roll(x, -1)) * cross).sum(), ((y + np.roll(y, -1)) * cross).sum()]
        areas.append(abs(area))
        centres.append(np.array(moment) / (6 * area) + start)
    weights = np.array(areas) if sum(areas) else np.ones(len(areas))
    x, y = np.average(np.array(centres), axis=0, weights=weights)
    return float(x), float(y)


class Reading:
    """One call of `read_annotations`.

    Args:
        root: the file or the folder.
        polygon_point: where the point of a polygon or a mask is: centre of its "box", or its "centroid".
        images: the folder of the pictures, for formats whose numbers are shares of their sides.
    """

    def __init__(self, root: Path, polygon_point: PolygonPoint = "box", images: Path | None = None):
        self.root = root
        self.polygon_point = polygon_point
        self.images = images
        self.many_pictures_a_file = True  # so that a file may be called after a split; a picture's own may not
        self.pictures: list[Picture] = []
        self.errors: list[str] = []
        self.num_dropped = 0
        self._reasons: dict[str, tuple[int, list[str]]] = {}
        self._json: tuple[Path, Any] | None = None

    # files

    def files(self, *suffixes: str) -> list[Path]:
        """The file itself, or the files of a folder with these endings, sorted.

        Raises:
            InvalidDataError: if there is none.
        """
        if not self.root.is_dir():
            return [self.root]
        found = []
        for path in self.root.rglob("*"):
            hidden = any(part.startswith((".", "__MACOSX")) for part in path.relative_to(self.root).parts)
            if path.suffix.lower() in suffixes and path.is_file() and not hidden:
                found.append(path)
                if len(found) > MAX_FILES:
                    raise InvalidDataError(self.root, f"at most {MAX_FILES} annotation files", "more")
        if not found:
            raise InvalidDataError(self.root, f"files that end in {', '.join(suffixes)}", "none")
        return sorted(found)

    def json(self, path: Path) -> Any:
        """The content of a JSON file; the last one is kept, as guessing a format reads it, too."""
        if self._json is None or self._json[0] != path:
            self._json = (path, read_json(path, MAX_JSON_BYTES, max_values=None))
        return self._json[1]

    def begins(self, path: Path) -> bytes:
        """The first letter of a file that is no white space: { or [ of JSON, < of XML."""
        return self.start(path).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]

    def start(self, path: Path) -> bytes:
        """The first bytes of a regular file."""
        check_regular_file(path, MAX_FILE_BYTES)
        with open(path, "rb") as file:
            return file.read(512)

    def xml(self, path: Path) -> Element:
        """The root of an XML file without DTD and entities."""
        return parse_xml(path, MAX_XML_BYTES)

    def bytes(self, path: Path, most: int = 2**28) -> bytes:
        """The content of a file."""
        return read_bytes(path, most)

    # what is found

    def picture(
        self,
        name: Any,
        size: tuple[int, int] | None,
        source: Path,
        split: str | None = None,
        named: bool = True,
    ) -> Picture:
        """A new picture.

        Args:
            name: as the file has it.
            size: (width, height).
            source: the file.
            split: where the file says so; default by the names of file and folders.
            named: False if `name` is the stem of the file, or None.

        Raises:
            BadEntry: for what is no name of a picture.
        """
        absolute = False
        if named:
            name, absolute = plain_name(name)
        relative = source.relative_to(self.root) if self.root in source.parents else Path(source.name)
        if split is None and self.many_pictures_a_file:
            split = split_of_name(relative.name)
        picture = Picture(self, name, absolute, size, source, split or split_of_folders(relative.parts[:-1]))
        self.pictures.append(picture)
        return picture

    @contextmanager
    def entry(self, source: Path, where: str) -> Generator[None]:
        """Inside, one entry is read; what is wrong with it is kept, and reading goes on behind."""
        try:
            yield
        except BadEntry as error:
            self.error(source, where, error.expected, error.received)
        except RecursionError:
            self.error(source, where, "values that are nested less deeply", "hundreds of brackets")
        except InvalidAnnotationsError:
            raise  # too many errors to go on
        except InvalidDataError as error:
            other = "" if Path(error.path).name == source.name else f"of {error.path}: "
            self.error(source, where, other + error.expected, error.received)

    def error(self, source: Path, where: str, expected: str, received: object) -> None:
        """Something that nobody may overlook; `finish` raises it with all others."""
        file = source.relative_to(self.root) if self.root in source.parents else Path(source.name)
        place = f"{file}, {where}" if where else str(file)
        self.errors.append(brief(f"{place}: expected {expected}. Received: {brief(received, 200)}", 600))
        if len(self.errors) >= _MAX_ERRORS:
            raise self._failure()

    def drop(self, reason: str, where: str, number: int = 1) -> None:
        """Entries that are no objects of the picture: they are left out, counted and named."""
        self.num_dropped += number
        self._say(f"left out: {reason}", where, number)

    def notice(self, reason: str, where: str, number: int = 1) -> None:
        """Entries that are kept although somebody may wonder."""
        self._say(f"kept: {reason}", where, number)

    def _say(self, reason: str, where: str, number: int) -> None:
        count, places = self._reasons.get(reason, (0, []))
        if len(places) < _SHOWN and where and where not in places:
            places.append(brief(where, 120))
        self._reasons[reason] = (count + number, places)

    def finish(self, format: str) -> AnnotatedImages:
        """The records.

        Raises:
            InvalidAnnotationsError: entries were wrong; the error has all of them.
        """
        absolute = [picture for picture in self.pictures if picture.absolute]
        for picture, name in zip(absolute, without_common_folder([str(one.name) for one in absolute])):
            picture.name = name
        self._check_names()
        images = tuple(self._record(picture) for picture in self.pictures)
        if not self.pictures and not self.errors:
            raise InvalidDataError(self.root, f"at least one image in {format} annotations", "none")
        if self.errors:
            raise self._failure()
        problems = []
        for reason, (count, places) in self._reasons.items():
            more = ", ..." if count > len(places) else ""
            problems.append(f"{count} {reason}" + (f" ({'; '.join(places)}{more})" if places else ""))
        return AnnotatedImages(images, format, self.num_dropped, tuple(problems))

    def _check_names(self) -> None:
        seen: dict[tuple[Path, str], Picture] = {}
        for picture in self.pictures:
            if picture.name is not None:
                key = (picture.source.parent, picture.name)
                if (other := seen.setdefault(key, picture)) is not picture:
                    both = picture.source.name, other.source.name
                    received = f"{picture.name!r} twice" + ("" if both[0] == both[1] else f", also in {both[1]}")
                    self.error(picture.source, "", "each picture once", received)

    def _record(self, picture: Picture) -> AnnotatedImage:
        record = AnnotatedImage(
            image=picture.name,
            size=picture.size,
            points=np.array(picture.points, np.float64).reshape(-1, 2),
            classes=tuple(picture.classes),
            boxes=np.array(picture.boxes, np.float64).reshape(-1, 4),
            polygons=tuple(picture.polygons),
            split=picture.split,
            source=picture.source,
            places=tuple(picture.places),
            masks=tuple(picture.masks) if any(picture.masks) else (),
        )
        kept, outside = record.inside(picture.size or (MAX_SIDE, MAX_SIDE))
        for place in outside:
            self.drop("outside of the picture", place)
        return replace(kept, size=picture.size)

    def _failure(self) -> InvalidDataError:
        if len(self.errors) == 1:
            place, _, rest = self.errors[0].partition(": expected ")
            expected, _, received = rest.partition(". Received: ")
            folder = self.root if self.root.is_dir() else self.root.parent
            return InvalidAnnotationsError(folder / place, expected, received, self.errors)
        shown: list[str] = []
        for error in self.errors:
            if sum(map(len, shown)) + len(error) > 450:
                break
            shown.append(error)
        shown = shown or [brief(self.errors[0], 450)]
        left = len(self.errors) - len(shown)
        more = f"\n  and {left} more; `dense-hf annotations check` lists all" if left else ""
        received = f"{len(self.errors)} that cannot:" + "".join(f"\n  {one}" for one in shown) + more
        return InvalidAnnotationsError(self.root, "entries that can be read", received, self.errors)


def first(values: Iterable[Any], default: Any = None) -> Any:
    """The first that is not None."""
    return next((value for value in values if value is not None), default)
