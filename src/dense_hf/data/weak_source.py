"""One way to say where images with image-level labels are: PASCAL VOC, or a user's own folder with a table.

VOC2012/                      JPEGImages/, ImageSets/Segmentation/SPLIT.txt, ... (see `voc_folder.py`)
own/SPLIT/                    images/, labels.csv, perhaps masks/NAME.png        (see `weak_folder.py`)
own/                          the same without splits: everything is in the split "train"
own/classes.txt               optional, beside a labels.csv or beside the splits

Masks are for evaluation: 0 background, class id + 1, 255 for pixels that do not count.

Training may take in more images than those of its target set (thesis sections 3.4.2 and 3.4.3): [`WeakSource`].
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InvalidDataError
from .files import require_folder
from .images import read_size
from .labels import LabelRule, class_rule, read_mask
from .voc_folder import MASKS, read_voc_weak, voc_list_path
from .weak_folder import (
    CLASS_FILE,
    WeakFolder,
    WeakImage,
    join_folders,
    read_class_names,
    read_label_list,
    read_labels_csv,
    require_classes,
)

VOC_TRAIN_LISTS = ("train_cls", "trainaug", "train")  # the first that there is: 10,582 images, or VOC's own 1,464


def is_voc(data_dir: str | os.PathLike) -> bool:
    """Whether a folder has the layout of PASCAL VOC 2012."""
    return (Path(data_dir) / "JPEGImages").is_dir()


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

    @property
    def name(self) -> str:
        """What a card calls it: the name of its folder, or that of its list with the list's folder."""
        if self.data_dir is not None:
            return Path(self.data_dir).resolve().name
        return "/".join(Path(str(self.list)).resolve().parts[-2:])

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

    @classmethod
    def parse(cls, value: "str | Mapping[str, Any] | WeakSource") -> "WeakSource":
        """A source from how a user says it: `{"data_dir": "web", "domain": 1}`, as JSON on a command line.

        Raises:
            ValueError: no such object, or keys that a source has not.
        """
        if isinstance(value, WeakSource):
            return value
        try:
            values: Any = json.loads(value) if isinstance(value, str) else value
        except ValueError as error:
            raise ValueError(f"A source must be a JSON object. Received: {value!r} ({error})") from error
        known = [entry.name for entry in fields(cls)]
        if not isinstance(values, Mapping) or not values.keys() <= set(known):
            raise ValueError(f"A source must be an object with keys among {', '.join(known)}. Received: {value}")
        return cls(**values)


def read_weak_split(
    data_dir: str | os.PathLike, split: str = "train", with_masks: bool = False, domain: int = 0
) -> WeakFolder:
    """The images of one split and their classes, in either layout.

    Args:
        data_dir: the folder.
        split: "train", "val", "test" or any name. In VOC it names a list; there "train" is the longest list of
            `VOC_TRAIN_LISTS` that the folder has.
        with_masks: whether every image must have a mask, whose path it then carries.
        domain: where the images come from, see `WeakImage`.

    Raises:
        InvalidDataError: for a folder, list, table, image or mask that is missing or bad.
    """
    data_dir = Path(data_dir)
    require_folder(data_dir)
    if is_voc(data_dir):
        labels = "masks" if with_masks else "annotations"
        return read_voc_weak(data_dir, weak_list_path(data_dir, split), labels, domain, with_masks)
    folder = _split_folder(data_dir, split)
    shared = data_dir / CLASS_FILE
    names = read_class_names(shared) if shared.is_file() and not (folder / CLASS_FILE).is_file() else None
    images = read_labels_csv(folder / "labels.csv", folder / "images", names, domain)
    return images.with_masks(folder / "masks") if with_masks else images


def weak_list_path(data_dir: str | os.PathLike, split: str = "train") -> Path:
    """The list, or the table in a folder of one's own, that says which images a split has; it may be missing."""
    if not is_voc(data_dir):
        return _split_folder(Path(data_dir), split) / "labels.csv"
    lists = [path for name in VOC_TRAIN_LISTS if (path := voc_list_path(data_dir, name)).is_file()]
    return lists[0] if split == "train" and lists else voc_list_path(data_dir, split)


def weak_masks_dir(data_dir: str | os.PathLike, split: str = "train") -> Path:
    """Where the mask NAME.png of an image of a split is, if it has one."""
    return Path(data_dir) / MASKS if is_voc(data_dir) else _split_folder(Path(data_dir), split) / "masks"


def read_weak_training(
    data_dir: str | os.PathLike,
    extra_sources: Sequence[str | Mapping[str, Any] | WeakSource] = (),
    split: str = "train",
) -> WeakFolder:
    """All images to train on: those of a split of the target set, then those of the other sources.

    All steps read them with this function, so that what makes maps, labels and masks sees the same images as what is
    trained on them (section 3.3.2: pseudo labels of "all the training samples").

    Args:
        data_dir: the target set, see `read_weak_split`.
        extra_sources: more images, see [`WeakSource.parse`].
        split: of the target set; a source says its own.

    Raises:
        InvalidDataError: a folder, a list or a table is bad.
        ValueError: a source is none, or two images have the same name.
    """
    sources = [WeakSource.parse(source) for source in extra_sources]
    target = read_weak_split(data_dir, split)
    return join_folders([target, *(source.read(target.class_names) for source in sources)])


def read_weak_evaluation(data_dir: str | os.PathLike, split: str, class_names: Sequence[str]) -> WeakFolder | None:
    """The images of a split, or `None` if the folder has no such split, or its labels are not public (VOC's test).

    Raises:
        InvalidDataError: it is bad, or has other classes.
    """
    voc = is_voc(data_dir)
    place = voc_list_path(data_dir, split) if voc else Path(data_dir) / split / "labels.csv"
    if not os.path.lexists(place) or (voc and split == "test"):
        return None
    folder = read_weak_split(data_dir, split)
    require_classes(folder, class_names, place)
    return folder


def mask_rule(class_names: tuple[str, ...]) -> LabelRule:
    """What numbers mean in masks and pseudo labels of these classes; label 0 is the background."""
    return class_rule(dict(enumerate(("background", *class_names))), ignore_zero=False)


def read_weak_mask(image: WeakImage, rule: LabelRule) -> np.ndarray:
    """The mask of an image, labels uint8 [H, W], upright as the image is read.

    Raises:
        InvalidDataError: if it is bad, of another size, or the image has none.
    """
    if image.mask_path is None:
        raise InvalidDataError(image.path, "an image with a mask", "one without")
    return read_mask(image.mask_path, read_size(image.path), rule)


def _split_folder(data_dir: Path, split: str) -> Path:
    return data_dir / split if (data_dir / split / "labels.csv").is_file() or split != "train" else data_dir
