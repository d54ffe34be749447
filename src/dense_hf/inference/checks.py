"""What a training or an evaluation reads is checked before its first step, once for all processes.

Label maps are LABELS/NAME.png, gray or palette: 0 background, class id + 1, 255 for pixels that do not count. Pseudo
labels and masks that people have drawn have the same format, so either may be learned from.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm
from transformers.utils import logging

from ..data.images import read_image_header
from ..data.labels import IGNORED, LabelRule
from ..data.videos import VideoSet, absent_classes, check_videos
from ..data.weak_folder import WeakFolder, WeakImage
from ..data.weak_source import mask_rule, read_weak_mask
from ..errors import InvalidDataError, first_of
from .processes import check_in_first_process

logger = logging.get_logger(__name__)

NUM_THREADS = 4


def with_pseudo_labels(folder: WeakFolder, labels_dir: str | os.PathLike, progress: bool = True) -> WeakFolder:
    """The images that something can be learned from, each with its label map as `mask_path`.

    Images without a file (such as those without saliency, for which the released code makes none) and images whose
    pixels are all ignored are left out, with a warning that counts them.

    Args:
        folder: the images.
        labels_dir: a folder with NAME.png for images of these names; what else is in it does not matter.
        progress: whether process 0 shows a bar.

    Raises:
        InvalidDataError: the folder is none, a label map cannot be used, or no image is left.
    """
    labels_dir = Path(labels_dir)
    if not labels_dir.is_dir():
        received = "nothing there" if not labels_dir.exists() else "a file"
        raise InvalidDataError(labels_dir, "a folder of label maps NAME.png", received)
    placed = [replace(image, mask_path=labels_dir / f"{image.name}.png") for image in folder.images]
    present = check_in_first_process(lambda: [os.path.lexists(str(image.mask_path)) for image in placed])
    found = [image for image, exists in zip(placed, present) if exists]
    rule = mask_rule(folder.class_names)
    occurring = check_label_maps(found, rule, "Checking labels", progress)
    images = tuple(image for image, labels in zip(found, occurring) if labels)
    without, empty = len(placed) - len(found), len(found) - len(images)
    if not images:
        raise InvalidDataError(
            labels_dir,
            f"a label map NAME.png with a labelled pixel for at least one of {len(placed)} images",
            f"{without} images without a file, {empty} whose pixels are all {IGNORED}",
        )
    warnings = []
    seen = set().union(*occurring)
    if never := [name for label, name in enumerate(rule.names) if label not in seen]:
        hint = " (masks of 0 and 255? 255 does not count)" if len(never) >= len(rule.names) - 1 else ""
        warnings.append(f"{labels_dir}: no label map has a pixel of {first_of(never)}; that cannot be learned{hint}")
    lacking = [
        image.name
        for image, labels in zip(found, occurring)
        if labels and any(class_id + 1 not in labels for class_id in image.labels)
    ]
    if lacking:
        warnings.append(
            f"{labels_dir}: {len(lacking)} of {len(placed)} label maps lack a class of their image "
            f"({first_of(lacking, 3)})"
        )
    if without:
        warnings.append(f"{labels_dir}: {without} of {len(placed)} images have no label map and are left out")
    if empty:
        warnings.append(f"{labels_dir}: {empty} of {len(placed)} label maps are all {IGNORED} and are left out")
    for warning in warnings:
        logger.warning(warning)
    return WeakFolder(folder.class_names, images, (*folder.warnings, *warnings))


def check_label_maps(
    images: Sequence[WeakImage], rule: LabelRule, description: str, progress: bool = True
) -> list[frozenset[int]]:
    """Read the label map of every image, once for all processes.

    Args:
        images: with `mask_path`.
        rule: what the numbers mean.
        description: text of the bar.
        progress: whether to show a bar.

    Returns:
        For each image, the labels that its pixels have; none if all are ignored.

    Raises:
        InvalidDataError: a map is broken, of another size than its image, or has a number that no class has.
    """

    def read_all() -> list[frozenset[int]]:
        with ThreadPoolExecutor(NUM_THREADS) as threads:
            results = threads.map(partial(_labels_of, rule=rule), images)
            try:
                return list(tqdm(results, desc=description, unit="image", total=len(images), disable=not progress))
            except InvalidDataError:
                threads.shutdown(cancel_futures=True)
                raise

    return check_in_first_process(read_all)


def _labels_of(image: WeakImage, rule: LabelRule) -> frozenset[int]:
    return frozenset(np.unique(read_weak_mask(image, rule)).tolist()) - {IGNORED}


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


def require_readable_videos(
    videos: VideoSet,
    splits: Sequence[str],
    skip_incomplete: bool = False,
    num_threads: int = 4,
    progress: bool = True,
) -> None:
    """Read every mask and the header of every frame of some splits, and look at which classes there are.

    Args:
        videos: the set.
        splits: among those of the set.
        skip_incomplete: frames that are missing or empty are left out with a warning; otherwise they are an error.
        num_threads: threads that read.
        progress: whether to show a bar.

    Raises:
        InvalidDataError: if a split is missing or has no video, files are missing or empty, or a mask or a frame
            cannot be used; the message counts the bad files and names the first ten, with what is wrong. Also for
            masks that say nothing, see `absent_classes`.
    """
    for split in splits:
        if not videos.splits.get(split):
            raise InvalidDataError(videos.directory, f"videos of the split {split}", sorted(videos.splits))
    if not skip_incomplete:
        videos.check_complete()
    elif videos.problems:
        logger.warning(f"{len(videos.problems)} files are missing or empty: {'; '.join(videos.problems[:20])}")
    total = sum(len(videos.splits[split]) for split in splits)
    read = check_videos(videos, splits, num_threads=num_threads)
    summaries = list(tqdm(read, desc="Checking masks", unit=" videos", total=total, disable=not progress))
    if problems := [problem for summary in summaries for problem in summary.problems]:
        first = "; ".join(problems[:10]) + ("; ..." if len(problems) > 10 else "")
        raise InvalidDataError(videos.directory, "frames and masks that fit", f"{len(problems)} that do not: {first}")
    for split in splits:
        absent = absent_classes(videos, split, (summary for summary in summaries if summary.split == split))
        masks, done = ("training masks", "learned") if split == "train" else (f"masks of {split}", "measured")
        if absent:
            logger.warning(
                f"{videos.directory}: {len(absent)} of {len(videos.rule.names)} classes do not occur in the {masks} "
                f"and cannot be {done}: {first_of(absent, 20)}"
            )
