"""Where pictures with points come from: a folder in the layout of IOCfish5K, or annotations of any format.

Splits come from one of: lists or folders of the data (train/, valid/, test/), a file for each, or random shares. A
share is drawn from the sorted names, so that it is the same whatever format they come from.
"""

import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from transformers.utils import logging

from ..errors import InvalidDataError, first_of
from .counting_examples import CountingExample, read_examples
from .formats import AnnotatedImage, read_annotations
from .formats.iocfish5k import is_folder
from .formats.matching import float32_inside, match_pictures
from .point_folder import SPLIT_LISTS

logger = logging.get_logger(__name__)
Item = TypeVar("Item")


@dataclass(frozen=True)
class PointSource:
    """What to read.

    Attributes:
        data_dir: The folder, or the annotation file.
        images_dir: The folder of the pictures, if it is not that of the annotations.
        format: Of the annotations; found from the content if None.
        polygon_point: "box" or "centroid", see `read_annotations`.
        validation_data, test_data: Annotations of these splits.
        validation, test: Shares of the pictures that go to these splits.
        seed: Of the shares.
        reading: How the pictures are to be read: `white`, `bands` and `nodata` of `open_image`.
    """

    data_dir: str | os.PathLike
    images_dir: str | os.PathLike | None = None
    format: str | None = None
    polygon_point: Any = "box"
    validation_data: str | os.PathLike | None = None
    test_data: str | os.PathLike | None = None
    validation: float = 0.0
    test: float = 0.0
    seed: int = 0
    reading: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_point_folder(self) -> bool:
        """Whether it is a folder with lists of its splits."""
        return self.format in (None, "iocfish5k") and Path(self.data_dir).is_dir() and is_folder(Path(self.data_dir))

    def find_problems(self) -> list[str]:
        """What cannot work, one sentence each."""
        problems = []
        if not (self.validation >= 0 and self.test >= 0 and self.validation + self.test <= 1):
            problems.append(
                f"validation and test must be shares with a sum of at most 1, received {self.validation}, {self.test}"
            )
        for name in ("validation", "test"):
            if getattr(self, name) and getattr(self, f"{name}_data") is not None:
                problems.append(f"{name} and {name}_data exclude each other")
        return problems

    def read(
        self, whole: str = "train", progress: bool = True, class_names: Sequence[str] | None = None
    ) -> dict[str, list[CountingExample]]:
        """The pictures of each split that there is, as trainings and evaluations take them.

        Args:
            whole: The split of all pictures if nothing else is said.
            progress: Whether to show a bar.
            class_names: Names of the classes that points shall have, in order. Without, all points are alike.

        Raises:
            InvalidDataError: A file that cannot be used; the message lists what is wrong, such as points of other
                classes.
            ValueError: Options that cannot work.
        """
        names = None if class_names is None else tuple(class_names)
        read = partial(self._examples, progress=progress, class_names=names)
        if names is None and self.is_point_folder:
            first = read_examples(self.data_dir, self._lists(), progress)
        else:
            first = read(self.data_dir)
        found = self._split(first, whole, lambda item: item.path, read)
        return {split: [replace(one, reading=self.reading) for one in items] for split, items in found.items()}

    def read_records(
        self, whole: str = "train", progress: bool = True
    ) -> dict[str, list[tuple[AnnotatedImage, Path]]]:
        """The same with classes, boxes and polygons: records, and the file of each picture."""
        first = self._records(self.data_dir, progress)
        return self._split(first, whole, lambda item: item[1], lambda path: self._records(path, progress))

    def _lists(self) -> list[str]:
        return [split for split, name in SPLIT_LISTS.items() if Path(self.data_dir, name).exists()]

    def _split(
        self,
        examples: dict[str, list[Item]],
        whole: str,
        file_of: Callable[[Item], Path],
        read: Callable[[str | os.PathLike], dict[str, list[Item]]],
    ) -> dict[str, list[Item]]:
        if problems := self.find_problems():
            raise ValueError("; ".join(problems))
        # one split alone is how the file happens to be called, unless it is a list
        found = {whole: next(iter(examples.values()))} if len(examples) == 1 and not self.is_point_folder else examples
        if self.validation or self.test:
            if len(found) > 1:
                expected = "one list of pictures, of which validation and test are shares"
                raise InvalidDataError(self.data_dir, expected, f"the splits {', '.join(found)}")
            items = sorted(next(iter(found.values())), key=lambda item: file_of(item).as_posix())
            found = random_splits(items, self.validation, self.test, self.seed)
        for split, path in (("validation", self.validation_data), ("test", self.test_data)):
            if path is not None:
                if split in found and len(found) > 1:
                    raise InvalidDataError(self.data_dir, f"no pictures of {split}, as {split}_data has them", "some")
                found[split] = [item for items in read(path).values() for item in items]
        seen: dict[Path, str] = {}
        for split, items in found.items():
            for item in items:
                if (other := seen.setdefault(file_of(item).resolve(), split)) != split:
                    raise InvalidDataError(file_of(item), f"a picture of {other} or of {split}", "both")
        return found

    def _records(self, path: str | os.PathLike, progress: bool) -> dict[str, list[tuple[AnnotatedImage, Path]]]:
        annotations = read_annotations(path, self.format, self.polygon_point, self.images_dir)
        matched = match_pictures(annotations, path, self.images_dir, progress)
        for problem in (*annotations.problems, *matched.problems):
            logger.warning(f"{path}: {problem}")
        named = {record.split for record in matched.records}
        found: dict[str, list[tuple[AnnotatedImage, Path]]] = {}
        for record, file in zip(matched.records, matched.paths):
            found.setdefault(record.split or "train" if len(named) > 1 else "train", []).append((record, file))
        return {split: found[split] for split in SPLIT_LISTS if split in found}

    def _examples(
        self, path: str | os.PathLike, progress: bool, class_names: tuple[str, ...] | None = None
    ) -> dict[str, list[CountingExample]]:
        found: dict[str, list[CountingExample]] = {}
        for split, items in self._records(path, progress).items():
            for record, file in items:
                size = record.size or (0, 0)  # that of the picture, since `match_pictures`
                points = float32_inside(record.points, size)
                classes = None if class_names is None else _numbers_of(record, class_names, path)
                found.setdefault(split, []).append(CountingExample(file, size, points, classes))
        return found


def _numbers_of(record: AnnotatedImage, names: tuple[str, ...], path: str | os.PathLike) -> np.ndarray:
    """The number of each object's class."""
    if unknown := sorted({str(name) for name in record.classes if name not in names}):
        expected = f"objects of the classes {first_of(names)}"
        raise InvalidDataError(record.source or path, expected, f"{first_of(unknown)} in {record.image}")
    return np.array([names.index(name) for name in record.classes if name is not None], dtype=np.int64)


def random_splits(items: Sequence[Item], validation: float, test: float, seed: int) -> dict[str, list[Item]]:
    """Random shares of items, the same for the same seed; the order is kept within a split, empty splits left out."""
    shuffled = random.Random(seed).sample(range(len(items)), len(items))
    num_validation, num_test = round(validation * len(items)), round(test * len(items))
    chosen = {
        "train": set(shuffled[num_validation + num_test :]),
        "validation": set(shuffled[:num_validation]),
        "test": set(shuffled[num_validation : num_validation + num_test]),
    }
    return {
        split: [item for index, item in enumerate(items) if index in members]
        for split, members in chosen.items()
        if members
    }
