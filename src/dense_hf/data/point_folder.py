"""The layout of IOCfish5K, and of any folder with images and points.

images/          fish_1.jpg ...
annotations/     fish_1.xml ...          see `points.py`
train_id.txt, val_id.txt, test_id.txt    see `image_lists.py`; at least one of them
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import InvalidDataError, first_of
from .files import files_digest
from .image_lists import ImageNames, read_split_lists, split_suffix
from .images import DEFAULT_MAX_PIXELS, read_size
from .points import read_points

SPLIT_LISTS = {"train": "train_id.txt", "validation": "val_id.txt", "test": "test_id.txt"}


@dataclass(frozen=True)
class PointImage:
    """One image of a folder: file name in images/, and paths of the image and its annotation."""

    image_id: str
    image_path: Path
    annotation_path: Path


@dataclass(frozen=True)
class ImageSummary:
    """What the statistics of a data set need of one image; `count` without the dropped points."""

    split: str
    image_id: str
    width: int
    height: int
    count: int
    num_dropped: int


class PointFolder:
    """A folder in the layout above. Reading the lists and checking them for overlap happens here and now.

    Args:
        directory: the folder.
        max_pixels: the most pixels of an image, see `open_image`.

    Raises:
        InvalidDataError: if there is no list, a list is bad (`read_ids`), or an image is in two lists.
    """

    def __init__(self, directory: str | os.PathLike, max_pixels: int = DEFAULT_MAX_PIXELS):
        self.directory = Path(directory)
        self.max_pixels = max_pixels
        if not self.directory.is_dir():
            raise InvalidDataError(directory, "a folder with images/, annotations/ and train_id.txt", "no folder")
        self.ids = read_split_lists(
            self.directory, SPLIT_LISTS, "images/ and annotations/", "image", same=lambda name: split_suffix(name)[0]
        )

    @property
    def list_lengths(self) -> dict[str, int]:
        """Split to its number of ids."""
        return {split: len(ids) for split, ids in self.ids.items()}

    @cached_property
    def _image_names(self) -> ImageNames:
        return ImageNames(self.directory / "images")

    def images(self, split: str) -> list[PointImage]:
        """The images of a split in the order of its list; an image that is missing keeps the name in the list.

        Raises:
            InvalidDataError: if an id without suffix stands for several images.
        """
        images = []
        for image_id in self.ids[split]:
            stem = split_suffix(image_id)[0]
            name = self._image_names.find(image_id) or image_id
            images.append(
                PointImage(name, self.directory / "images" / name, self.directory / "annotations" / f"{stem}.xml")
            )
        return images

    def missing_files(self) -> list[str]:
        """What the lists name and the folder does not have, as paths inside the folder, in the order of the lists."""
        images = [image for split in self.ids for image in self.images(split)]
        paths = [path for image in images for path in (image.image_path, image.annotation_path)]
        return [path.relative_to(self.directory).as_posix() for path in paths if not path.exists()]

    def check_complete(self) -> None:
        """Raise `InvalidDataError`, with the number of missing files and the names of the first, unless all exist."""
        if missing := self.missing_files():
            received = f"{len(missing)} missing: {first_of(missing)}"
            raise InvalidDataError(self.directory, "all files of its lists", received)

    def digest(self) -> str:
        """A short hash that changes when a list, an image or an annotation does, see `files_digest`."""
        return files_digest(
            ((split, image.image_id), (image.image_path, image.annotation_path))
            for split in self.ids
            for image in self.images(split)
        )

    def summarize_image(self, split: str, image: PointImage, decode: bool = False) -> ImageSummary:
        """Read the annotation and the header of one image, or all of it with `decode`.

        Raises:
            InvalidDataError: if one of the two files is missing or bad.
        """
        width, height = read_size(image.image_path, self.max_pixels, decode)
        annotation = read_points(image.annotation_path, (width, height))
        return ImageSummary(split, image.image_id, width, height, len(annotation), annotation.num_dropped)
