"""One way to say where images with image-level labels are: PASCAL VOC, or a user's own folder with a table.

VOC2012/                      JPEGImages/, ImageSets/Segmentation/SPLIT.txt, ... (see `voc_folder.py`)
own/SPLIT/                    images/, labels.csv, perhaps masks/NAME.png        (see `weak_folder.py`)
own/                          the same without splits: everything is in the split "train"
own/classes.txt               optional, beside a labels.csv or beside the splits

Masks are for evaluation: 0 background, class id + 1, 255 for pixels that do not count.
"""

import os
from pathlib import Path

import numpy as np

from ..errors import InvalidDataError
from .images import read_image_header
from .labels import LabelRule, class_rule, read_mask
from .voc_folder import read_voc_weak, voc_list_path
from .weak_folder import CLASS_FILE, WeakFolder, WeakImage, read_class_names, read_labels_csv

VOC_TRAIN_LISTS = ("train_cls", "trainaug", "train")  # the first that there is: 10,582 images, or VOC's own 1,464


def is_voc(data_dir: str | os.PathLike) -> bool:
    """Whether a folder has the layout of PASCAL VOC 2012."""
    return (Path(data_dir) / "JPEGImages").is_dir()


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
    if not data_dir.is_dir():
        raise InvalidDataError(data_dir, "a folder", "nothing there" if not data_dir.exists() else "a file")
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
    header = read_image_header(image.path)
    return read_mask(image.mask_path, (header.width, header.height), rule)


def _split_folder(data_dir: Path, split: str) -> Path:
    return data_dir / split if (data_dir / split / "labels.csv").is_file() or split != "train" else data_dir
