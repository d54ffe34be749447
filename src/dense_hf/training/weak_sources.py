"""The images of a training run of chapter 3: a target set, and perhaps others (thesis sections 3.4.2 and 3.4.3)."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ..data.images import read_image_header
from ..data.voc_folder import voc_list_path
from ..data.weak_folder import WeakFolder, join_folders, read_label_list
from ..data.weak_source import is_voc, read_weak_split
from ..errors import InvalidDataError
from .first_process import check_in_first_process


@dataclass(frozen=True)
class WeakSource:
    """More images: a folder that `read_weak_split` reads, or a list with lines `name c1 c2 ...` and its images.

    Attributes:
        data_dir: the folder.
        split: of the folder.
        list: the list, instead of a folder; its numbers are classes of the target set.
        images_dir: the images of the list.
        first_class: the number of the first class in the list.
        domain: where the images come from: 0 is that of the target set.

    Raises:
        ValueError: neither a folder nor a list, or both.
    """

    data_dir: str | None = None
    split: str = "train"
    list: str | None = None
    images_dir: str | None = None
    first_class: int = 0
    domain: int = 0

    def __post_init__(self):
        is_list = self.list is not None and self.images_dir is not None and self.data_dir is None
        is_folder = self.data_dir is not None and self.list is None and self.images_dir is None
        if not is_list and not is_folder:
            raise ValueError(f"A source must have data_dir, or list and images_dir. Received: {self}")
        if any(not isinstance(number, int) or number < 0 for number in (self.domain, self.first_class)):
            raise ValueError(f"domain and first_class of a source must be whole numbers from 0. Received: {self}")

    def read(self, class_names: Sequence[str]) -> WeakFolder:
        """Its images, with classes of the target set.

        Raises:
            InvalidDataError: as `read_weak_split` and `read_label_list`, or if the classes are others.
        """
        if self.data_dir is None:
            return read_label_list(str(self.list), str(self.images_dir), class_names, self.domain, self.first_class)
        folder = read_weak_split(self.data_dir, self.split, domain=self.domain)
        require_classes(folder, class_names, self.data_dir)
        return folder


def parse_sources(texts: Sequence[str]) -> list[WeakSource]:
    """Sources of JSON objects, `{"data_dir": "web", "domain": 1}`.

    Raises:
        ValueError: no such objects, or keys that a source has not.
    """
    known = [entry.name for entry in fields(WeakSource)]
    sources = []
    for text in texts:
        try:
            values: Any = json.loads(text)
        except ValueError as error:
            raise ValueError(f"A source must be a JSON object. Received: {text!r} ({error})") from error
        if not isinstance(values, Mapping) or not values.keys() <= set(known):
            raise ValueError(f"A source must be a JSON object with keys among {', '.join(known)}. Received: {text}")
        sources.append(WeakSource(**values))
    return sources


def read_training_images(data_dir: str | os.PathLike, sources: Sequence[WeakSource] = ()) -> WeakFolder:
    """All images to train on, of the target set first.

    Raises:
        InvalidDataError: a folder, a list or a table is bad.
        ValueError: two images have the same name.
    """
    target = read_weak_split(data_dir, "train")
    return join_folders([target, *(source.read(target.class_names) for source in sources)])


def read_evaluation_images(data_dir: str | os.PathLike, split: str, class_names: Sequence[str]) -> WeakFolder | None:
    """The images of a split, or `None` if the folder has no such split.

    Raises:
        InvalidDataError: it is bad, or has other classes.
    """
    place = voc_list_path(data_dir, split) if is_voc(data_dir) else Path(data_dir) / split / "labels.csv"
    if not place.exists():
        return None
    folder = read_weak_split(data_dir, split)
    require_classes(folder, class_names, place)
    return folder


def require_classes(folder: WeakFolder, class_names: Sequence[str], source: str | os.PathLike) -> None:
    """Nothing, if the classes are the same in the same order.

    Raises:
        InvalidDataError: else.
    """
    if tuple(folder.class_names) != tuple(class_names):
        expected = f"the classes of the training images, {', '.join(class_names)} (write them into classes.txt)"
        raise InvalidDataError(source, expected, ", ".join(folder.class_names))


def check_images(folders: Sequence[WeakFolder], progress: bool = True) -> None:
    """Read the header of every image, in the first process, so that no epoch ends at a bad file.

    Raises:
        InvalidDataError: an image is missing or broken; all processes raise it.
    """
    paths = [image.path for folder in folders for image in folder.images]

    def check() -> None:
        for path in tqdm(paths, desc="Checking images", unit="image", disable=not progress):
            read_image_header(path)

    check_in_first_process(check)
