"""The layout of PASCAL VOC 2012, of which MCIS uses the image-level labels only (thesis section 3.4.1).

JPEGImages/         2007_000027.jpg ...
Annotations/        2007_000027.xml ...           boxes and their classes; here only which classes there are
SegmentationClass/  2007_000032.png ...           0 background, 1-20 classes, 255 no class
ImageSets/Segmentation/  train.txt, val.txt, trainaug.txt     trainaug: train and what SBD adds, 10,582 images
"""

import os
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from ..errors import InvalidDataError
from .class_names import VOC_NAMES
from .image_lists import ImageNames, read_ids, read_text, split_suffix
from .images import read_size
from .labels import LabelRule, class_rule, read_mask
from .points import parse_xml
from .weak_folder import WeakFolder, collect_images, read_label_list, require_images, require_masks

MASKS = "SegmentationClass"
LABEL_SOURCES = ("annotations", "masks")
# numbers in a mask are labels of a segmentation model: 0 is the background, which is no image-level class
VOC_MASK_RULE: LabelRule = class_rule(dict(enumerate(("background", *VOC_NAMES))), ignore_zero=False)


def read_voc_weak(
    root: str | os.PathLike,
    split_list: str | os.PathLike = "trainaug",
    labels: str = "annotations",
    domain: int = 0,
    with_masks: bool = False,
) -> WeakFolder:
    """Images of PASCAL VOC 2012 and which of its 20 classes they show.

    Args:
        root: the folder VOC2012.
        split_list: a name for ImageSets/Segmentation/NAME.txt, or the path of a list. Lines are names, or
            `name c1 c2 ...` with classes from 0, the released format; then `labels` does not count.
        labels: `"annotations"` (objects of the XML file, difficult ones too) or `"masks"` (numbers that occur in
            the mask, which must exist then).
        domain: where the images come from.
        with_masks: whether images get the path of their mask, which must exist: for evaluation.

    Raises:
        InvalidDataError: if the list or a file it names is missing or bad.
        ValueError: for another source of labels.
    """
    if labels not in LABEL_SOURCES:
        raise ValueError(f"labels must be one of {LABEL_SOURCES}. Received: {labels!r}")
    root = Path(root)
    list_path = voc_list_path(root, split_list)
    images_dir = root / "JPEGImages"
    if any(len(line.split()) > 1 for line in read_text(list_path).split("\n")):
        folder = read_label_list(list_path, images_dir, VOC_NAMES, domain)
    else:
        read = _labels_of_annotation if labels == "annotations" else _labels_of_mask
        known = ImageNames(images_dir)
        found = {image_id: known.find(image_id) for image_id in read_ids(list_path)}
        require_images(list_path, images_dir, [repr(image_id) for image_id, name in found.items() if name is None])
        if labels == "masks":
            require_masks(root / MASKS, [split_suffix(image_id)[0] for image_id in found])
        progress = tqdm(found.items(), desc=f"Reading {list_path.name}", unit=" images", disable=None)
        entries = [
            (line, image_id, read(root, images_dir / str(name)))
            for line, (image_id, name) in enumerate(progress, start=1)
        ]
        folder = collect_images(list_path, entries, images_dir, VOC_NAMES, domain)
    if not with_masks:
        return folder
    return folder.with_masks(root / MASKS)


def voc_list_path(root: str | os.PathLike, split_list: str | os.PathLike) -> Path:
    """ImageSets/Segmentation/NAME.txt for a plain name, else the path itself."""
    text = os.fspath(split_list)
    is_name = os.sep not in text and not text.endswith(".txt")
    return Path(root) / "ImageSets" / "Segmentation" / f"{text}.txt" if is_name else Path(text)


def voc_mask_path(root: str | os.PathLike, name: str) -> Path:
    """Where the mask of an image is, if it has one."""
    return Path(root) / MASKS / f"{name}.png"


def read_voc_mask(mask_path: str | os.PathLike, size: tuple[int, int]) -> np.ndarray:
    """Labels uint8 [H,W]: 0 background, 1-20 classes, 255 no class. `size` is (width, height) of the image."""
    return read_mask(mask_path, size, VOC_MASK_RULE)


def _labels_of_annotation(root: Path, image_path: Path) -> tuple[int, ...]:
    xml_path = root / "Annotations" / f"{split_suffix(image_path.name)[0]}.xml"
    # parts of a person (head, hand, foot) are nodes inside of the object and have names of their own
    names = {(node.text or "").strip() for node in parse_xml(xml_path).findall("./object/name")}
    if unknown := names - set(VOC_NAMES):
        raise InvalidDataError(xml_path, f"objects of the classes {', '.join(VOC_NAMES)}", sorted(unknown)[:5])
    return tuple(VOC_NAMES.index(name) for name in names)


def _labels_of_mask(root: Path, image_path: Path) -> tuple[int, ...]:
    mask = read_voc_mask(voc_mask_path(root, split_suffix(image_path.name)[0]), read_size(image_path))
    return tuple(int(number) - 1 for number in np.unique(mask) if 1 <= number <= len(VOC_NAMES))
