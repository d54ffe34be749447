"""The layout of IOCfish5K, and of any folder with images and points.

images/          fish_1.jpg ...
annotations/     fish_1.xml ...          see `points.py`
train_id.txt, val_id.txt, test_id.txt    see `image_lists.py`; at least one of them
"""

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import InvalidDataError
from .image_lists import ImageNames, read_ids, split_suffix
from .images import DEFAULT_MAX_PIXELS, open_image, read_image_header
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
        lists = {split: self.directory / name for split, name in SPLIT_LISTS.items()}
        self.ids = {split: read_ids(path) for split, path in lists.items() if os.path.lexists(path)}
        if not self.ids:
            expected = f"at least one of {', '.join(SPLIT_LISTS.values())} beside images/ and annotations/"
            raise InvalidDataError(directory, expected, sorted(os.listdir(directory))[:10])
        seen: dict[str, str] = {}
        for split, ids in self.ids.items():
            for image_id in ids:
                other = seen.setdefault(split_suffix(image_id)[0], split)
                if other != split:
                    raise InvalidDataError(lists[split], f"no image of {lists[other].name}", repr(image_id))

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
            names = ", ".join(missing[:10]) + (", ..." if len(missing) > 10 else "")
            raise InvalidDataError(self.directory, "all files of its lists", f"{len(missing)} missing: {names}")

    def digest(self) -> str:
        """A short hash that changes when a list, an image or an annotation does (by name, size and time of change).

        The cache of the datasets library goes by the folder's name alone and would serve old points for ever.
        """
        digest = hashlib.sha256()
        for split in self.ids:
            for image in self.images(split):
                digest.update(f"{split}\0{image.image_id}\0".encode())
                for path in (image.image_path, image.annotation_path):
                    status = path.stat() if path.exists() else None
                    digest.update(f"{status and (status.st_size, status.st_mtime_ns)}\0".encode())
        return digest.hexdigest()[:16]

    def summarize_image(self, split: str, image: PointImage, decode: bool = False) -> ImageSummary:
        """Read the annotation and the header of one image, or all of it with `decode`.

        Raises:
            InvalidDataError: if one of the two files is missing or bad.
        """
        if decode:
            width, height = open_image(image.image_path, self.max_pixels).size
        else:
            header = read_image_header(image.image_path, self.max_pixels)
            width, height = header.width, header.height
        annotation = read_points(image.annotation_path, (width, height))
        return ImageSummary(split, image.image_id, width, height, len(annotation), annotation.num_dropped)
