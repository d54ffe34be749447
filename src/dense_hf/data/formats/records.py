"""What an annotation file says, in one form for all formats.

Coordinates are (x right, y down) in pixels of the upright picture; (0, 0) is the outer corner of its upper left pixel.
n: objects of a picture; k: corners of a part of a polygon.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np

from ...errors import InvalidDataError
from .runs import Pixels


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """One picture and its objects.

    Attributes:
        image: Its path relative to the root of the data, as the file names it; the file's own stem where the format
            has a file per picture and no name in it; None if neither tells.
        size: (width, height) in pixels; None where the file does not say.
        points: float64 [n, 2], one per object: the point, the centre of the box, or see `polygon_point`.
        classes: n names; None for an object without class.
        boxes: float64 [n, 4], (xmin, ymin, xmax, ymax); NaN for objects without one.
        polygons: n tuples of parts, each float64 [k, 2]; () for objects without one.
        split: "train", "validation" or "test", where the files say so.
        source: The file.
        places: Where in it each object is, for messages; () if nobody knows.
        masks: The pixels of each object that the file has as a mask; () if none has.
    """

    image: str | None
    size: tuple[int, int] | None
    points: np.ndarray
    classes: tuple[str | None, ...]
    boxes: np.ndarray
    polygons: tuple[tuple[np.ndarray, ...], ...]
    split: str | None = None
    source: Path | None = None
    places: tuple[str, ...] = ()
    masks: tuple[Pixels | None, ...] = ()

    @classmethod
    def of_points(
        cls,
        image: str | None,
        points: Any,
        size: tuple[int, int] | None = None,
        classes: Sequence[str | None] | None = None,
        split: str | None = None,
    ) -> "AnnotatedImage":
        """A record of points only.

        Args:
            image: name of the picture.
            points: [n, 2] of (x, y).
            size: (width, height).
            classes: n names; default None for each.
            split: of the picture.

        Raises:
            ValueError: numbers of points and classes differ.
        """
        points = np.asarray(points, np.float64).reshape(-1, 2)
        names = (None,) * len(points) if classes is None else tuple(classes)
        if len(names) != len(points):
            raise ValueError(f"classes must be {len(points)} names, one per point. Received: {len(names)}")
        return cls(image, size, points, names, np.full((len(points), 4), np.nan), ((),) * len(points), split)

    def __len__(self) -> int:
        return len(self.points)

    def inside(self, size: tuple[int, int]) -> tuple["AnnotatedImage", list[str]]:
        """The record of a picture of this size, and what of it lies outside: one text per object."""
        within = np.all((self.points >= 0) & (self.points < np.array(size)), axis=1)
        outside = [
            f"{self.image}, {self.places[index]}: {x:g}, {y:g}" if self.places else f"{self.image}: {x:g}, {y:g}"
            for index, (x, y) in enumerate(self.points.tolist())
            if not within[index]
        ]
        kept = np.flatnonzero(within).tolist()
        record = replace(
            self,
            size=size,
            points=self.points[within],
            classes=tuple(self.classes[index] for index in kept),
            boxes=self.boxes[within],
            polygons=tuple(self.polygons[index] for index in kept),
            places=tuple(self.places[index] for index in kept) if self.places else (),
            masks=tuple(self.masks[index] for index in kept) if self.masks else (),
        )
        return record, outside


@dataclass(frozen=True, eq=False)
class AnnotatedImages(Sequence[AnnotatedImage]):
    """All pictures of an annotation file, or of a folder of them.

    Attributes:
        images: The records, in the order of the files.
        format: Their format.
        num_dropped: How many entries were left out; `problems` names them.
        problems: What was left out and why, and what was kept although somebody may wonder (occluded objects, crowds,
            groups): one sentence per reason, with the number and the first places.
    """

    images: tuple[AnnotatedImage, ...]
    format: str
    num_dropped: int = 0
    problems: tuple[str, ...] = ()

    @overload
    def __getitem__(self, index: int) -> AnnotatedImage: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[AnnotatedImage, ...]: ...
    def __getitem__(self, index: int | slice) -> AnnotatedImage | tuple[AnnotatedImage, ...]:
        return self.images[index]

    def __iter__(self) -> Iterator[AnnotatedImage]:
        return iter(self.images)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def class_names(self) -> list[str]:
        """The names of the classes that occur, in the order of their first object."""
        return list(dict.fromkeys(name for one in self.images for name in one.classes if name is not None))


class InvalidAnnotationsError(InvalidDataError):
    """Entries of annotation files that cannot be used. The message has the first, `problems` has all of them."""

    def __init__(self, path: object, expected: str, received: object, problems: Sequence[str] = ()):
        super().__init__(path, expected, received)
        self.problems = tuple(problems)

    def __reduce__(self):
        return type(self), (self.path, self.expected, self.received, self.problems)
