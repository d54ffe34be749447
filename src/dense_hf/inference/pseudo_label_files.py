"""Pseudo labels of a data set as files: localisation maps, perhaps with saliency, to masks (thesis section 3.3.2).

LABELS/NAME.png              palette PNG: 0 background, class id + 1, 255 for pixels that nobody should learn from
LABELS/settings.json         what they are made with; written first
LABELS/pseudo_labels.json    the same, counts, and how good they are where there are masks; written last

K: number of classes, without the background. H x W: size of an image, upright.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers.utils import logging

from ..data.files import write_file
from ..data.images import open_image, read_gray_map, read_image_header
from ..data.labels import IGNORED, label_map_png, read_mask
from ..data.weak_folder import WeakFolder, WeakImage
from ..data.weak_source import mask_rule, read_weak_mask
from ..errors import InvalidDataError
from ..metrics.pseudo_labels import PseudoLabelQuality
from ..weak_segmentation.pseudo_labels import PseudoLabelSettings
from .label_maps import say_what_never_occurs
from .localization_maps import describe_maps, read_maps, require_maps
from .result_folders import SETTINGS_FILE, claim_folder, finish_folder

logger = logging.get_logger(__name__)

SUMMARY_FILE = "pseudo_labels.json"


@dataclass(frozen=True)
class LabelMaker:
    """Makes the label of one image, or reads the one that is there. Can be sent to other processes.

    Attributes:
        class_names: K names.
        maps: folder of the maps.
        output: folder of the labels.
        settings: how they are made.
        saliency: folder with NAME.png, uint8 gray; without it the background has a score.
        masks: folder with NAME.png to compare with, for images of the target set that have one there.
    """

    class_names: tuple[str, ...]
    maps: Path
    output: Path
    settings: PseudoLabelSettings
    saliency: Path | None = None
    masks: Path | None = None

    def __call__(self, image: WeakImage) -> tuple[np.ndarray, Any] | None:
        """Pixels per number [256] and the state of a [`PseudoLabelQuality`], if there is a mask.

        Returns:
            None for an image without saliency: it gets no label (released).

        Raises:
            InvalidDataError: an image, map, saliency or mask that is missing or bad.
        """
        saliency_path = None if self.saliency is None else self.saliency / f"{image.name}.png"
        if saliency_path is not None and not os.path.lexists(saliency_path):
            return None
        header = read_image_header(image.path)
        size = header.width, header.height
        rule, path = mask_rule(self.class_names), self.output / f"{image.name}.png"
        label = None
        if path.exists():
            with suppress(InvalidDataError):  # a damaged one is made again
                label = read_mask(path, size, rule)
        if label is None:
            saliency = None if saliency_path is None else read_gray_map(saliency_path, size)
            picture = open_image(image.path)
            label = self.settings(read_maps(self.maps, image), saliency, len(self.class_names), picture)
            write_file(path, label_map_png(label))
        return np.bincount(label.ravel(), minlength=256), self._judge(image, label)

    def _judge(self, image: WeakImage, label: np.ndarray) -> Any:
        # images of other sources have no masks; the same name there would be that of another image
        if self.masks is None or image.source or not os.path.lexists(self.masks / f"{image.name}.png"):
            return None
        rule = mask_rule(self.class_names)
        mask = read_weak_mask(replace(image, mask_path=self.masks / f"{image.name}.png"), rule)
        return PseudoLabelQuality(rule.num_labels).update([label], [mask]).state


def make_labels(
    maker: LabelMaker, images: WeakFolder, num_workers: int = 0, progress: bool = True, resume: bool = True
) -> dict[str, Any]:
    """Make the labels that are not there yet.

    Args:
        maker: makes one. Its `output` is new, or begun with the same maps, images and settings.
        images: the images.
        num_workers: processes; 0 for this one. The files are the same.
        progress: whether there is a bar.
        resume: whether the output may have been begun.

    Returns:
        What pseudo_labels.json holds.

    Raises:
        InvalidDataError: files that are missing or bad; labels in the folder that were made otherwise.
        ValueError: a refinement together with saliency.
    """
    if maker.saliency is not None:
        maker.settings.check_with_saliency()
    check_files(maker, images)
    made_with = {
        **describe_maps(maker.maps, images),
        "saliency": None if maker.saliency is None else str(maker.saliency),
        **asdict(maker.settings),
    }
    with claim_folder(maker.output, made_with, SETTINGS_FILE, "pseudo labels", resume):
        return _make_all(maker, images, made_with, num_workers, progress)


def _make_all(
    maker: LabelMaker, images: WeakFolder, made_with: dict[str, Any], num_workers: int, progress: bool
) -> dict[str, Any]:
    pixels, judged = np.zeros(256, np.int64), PseudoLabelQuality(len(maker.class_names) + 1)
    skipped, ignored = [], []
    results = _run(maker, images.images, num_workers)
    for image, result in tqdm(
        zip(images.images, results), total=len(images), desc="Pseudo labels", unit=" images", disable=not progress
    ):
        if result is None:
            skipped.append(image.name)
            continue
        found, quality = result
        pixels += found
        if found[IGNORED] == found.sum():
            ignored.append(image.name)
        if quality is not None:
            judged.merge(quality)
    background = [] if maker.saliency is not None else [image.name for image in images.images if not image.labels]
    summary = {
        **made_with,
        "num_images": len(images),
        "images_per_source": images.images_per_source(),
        "num_labels": len(images) - len(skipped),
        "background_pixels": int(pixels[0]),
        "ignored_pixels": int(pixels[IGNORED]),
        "pixels_per_class": {name: int(pixels[number]) for number, name in enumerate(maker.class_names, start=1)},
        "images_without_saliency": skipped,
        "ignored_images": ignored,
        "images_without_label": background,
        "quality": _by_class(judged.compute(), maker.class_names) if judged.num_images else None,
    }
    if summary["quality"] is not None:
        say_what_never_occurs(summary["quality"]["per_class_recall"])
    for problem, members in (
        ("have no saliency and got no pseudo label", skipped),
        ("are ignored as a whole: too few pixels of their classes", ignored),
        ("have no class and are background", background),
    ):
        if members:
            names_of = ", ".join(members[:3]) + (", ..." if len(members) > 3 else "")
            logger.warning(f"{len(members)} of {len(images)} images {problem} ({names_of})")
    finish_folder(maker.output, SUMMARY_FILE, summary)
    return summary


def check_files(maker: LabelMaker, images: WeakFolder) -> None:
    """Before the first label: all maps are there, and some saliency.

    Raises:
        InvalidDataError: maps are missing (the released code would leave out their classes), or all saliency is.
    """
    require_maps(maker.maps, images)
    if maker.saliency is not None:
        there = set(os.listdir(maker.saliency)) if maker.saliency.is_dir() else set()
        if not any(f"{image.name}.png" in there for image in images.images):
            raise InvalidDataError(maker.saliency, "saliency NAME.png of the images", "none of them")


def _run(maker: LabelMaker, images: tuple[WeakImage, ...], num_workers: int) -> Iterator[Any]:
    if not num_workers:
        yield from map(maker, images)
        return
    # spawned, because a fork of a process with threads of torch may hang
    with ProcessPoolExecutor(num_workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        yield from pool.map(maker, images, chunksize=8)


def _by_class(quality: dict[str, Any], class_names: Sequence[str]) -> dict[str, Any]:
    """Lists of `PseudoLabelQuality` as mappings from the names of the classes, the background first."""
    names = ("background", *class_names)
    return {key: dict(zip(names, value)) if isinstance(value, list) else value for key, value in quality.items()}
