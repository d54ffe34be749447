"""All splits of a set with image-level labels (thesis section 3.4.1), and extra images of other domains beside them.

The layouts are those of `weak_source.py`. The split "train" has no masks, whatever the folder has: image-level labels
are all that MCIS learns from. "validation" and "test" have them, to judge results by.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from transformers.utils import logging

from ..errors import InvalidDataError
from .files import files_digest, require_folder
from .image_lists import read_ids, split_suffix
from .voc_folder import voc_mask_path
from .weak_folder import WeakFolder, WeakImage, join_folders, require_classes
from .weak_source import is_voc, read_weak_split, weak_list_path

logger = logging.get_logger(__name__)

# split of the datasets library to the name in the folder
SPLIT_NAMES = {"train": "train", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class WeakSet:
    """Images with image-level labels, by split.

    Attributes:
        directory: the folder.
        class_names: K names, those of every split.
        splits: split to its images, in the order of `SPLIT_NAMES`; only the splits that the folder has.
        lists: split to the list or table that names its images.
    """

    directory: Path
    class_names: tuple[str, ...]
    splits: dict[str, WeakFolder]
    lists: dict[str, Path]

    def with_extra(self, extra: Sequence[WeakFolder], join: bool = True) -> "WeakSet":
        """The same with more images, such as single-label (section 3.4.2) and web images (section 3.4.3).

        Args:
            extra: more images, with the classes of this set; see `read_label_list`, `WeakSource.read`.
            join: put them into "train", behind its own. False: into splits "domain_1", "domain_2", ..., by domain.

        Raises:
            ValueError: if there is no "train", the classes differ, or a name is in "train" or in extra images already.
            InvalidDataError: if one of them is in another split.
        """
        if not extra:
            return self
        if "train" not in self.splits:
            raise ValueError(f'extra images need a split "train" to join. Received: {list(self.splits)}')
        train = self.splits["train"]
        both = join_folders([train, *extra])
        if join:
            splits = {**self.splits, "train": both}
        else:
            # sorting is stable, so that images of a domain stay in order
            added = sorted(both.images[len(train) :], key=_domain)
            parts = {f"domain_{domain}": tuple(images) for domain, images in groupby(added, key=_domain)}
            splits = self.splits | {name: WeakFolder(self.class_names, images) for name, images in parts.items()}
        _check_apart(splits, self.directory)
        return replace(self, splits=splits)

    def digest(self) -> str:
        """A short hash that changes when an image, a mask or a label does, see `files_digest`."""
        images = [
            ((split, image.path, image.labels, image.domain), (image.path, image.mask_path))
            for split, folder in self.splits.items()
            for image in folder.images
        ]
        return files_digest([(self.class_names, ()), *images])


def read_weak_set(data_dir: str | os.PathLike) -> WeakSet:
    """The splits that a folder has: all lists and tables are read, and that their images exist; no image is decoded.

    In VOC, "train" is the longest list that there is (`weak_list_path`), "validation" and "test" take their labels
    from the masks. "test" is left out, with a warning, if none of its masks is there: nobody but VOC's server has
    them. In your own layout, a split other than "train" has masks if it has a folder masks/.

    Raises:
        InvalidDataError: for a list, table, annotation or mask that is missing or bad, an image in two splits, and
            splits with different classes.
    """
    directory = Path(data_dir)
    require_folder(directory)
    lists = {split: weak_list_path(directory, name) for split, name in SPLIT_NAMES.items()}
    lists = {split: path for split, path in lists.items() if path.is_file()}
    if "test" in lists and is_voc(directory) and not _has_any_mask(directory, lists["test"]):
        logger.warning(f'{lists["test"]}: none of its masks is in {directory}, so there is no split "test"')
        del lists["test"]
    if not lists:
        expected = "labels.csv, or train/labels.csv, or JPEGImages/ with ImageSets/Segmentation/trainaug.txt"
        raise InvalidDataError(directory, expected, sorted(os.listdir(directory))[:10])
    splits: dict[str, WeakFolder] = {}
    for split, path in lists.items():
        with_masks = split != "train" and (is_voc(directory) or (path.parent / "masks").is_dir())
        splits[split] = read_weak_split(directory, SPLIT_NAMES[split], with_masks)
        require_classes(splits[split], next(iter(splits.values())).class_names, path)
    _check_apart(splits, directory)
    return WeakSet(directory, next(iter(splits.values())).class_names, splits, lists)


def _domain(image: WeakImage) -> int:
    return image.domain


def _has_any_mask(directory: Path, list_path: Path) -> bool:
    return any(os.path.lexists(voc_mask_path(directory, split_suffix(name)[0])) for name in read_ids(list_path))


def _check_apart(splits: dict[str, WeakFolder], directory: Path) -> None:
    seen: dict[Path, str] = {}
    shared: dict[tuple[str, str], list[str]] = {}
    for split, folder in splits.items():
        for image in folder.images:
            other = seen.setdefault(image.path, split)
            if other != split:
                shared.setdefault((other, split), []).append(image.name)
    for (first, second), names in shared.items():
        received = f"{len(names)} in {first} and {second}: {', '.join(names[:5])}"
        raise InvalidDataError(directory, "each image in one split only", received)
