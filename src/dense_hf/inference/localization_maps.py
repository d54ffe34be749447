"""Localisation maps of a data set as files: what a trained classifier has seen where (thesis section 3.3.2).

MAPS/NAME_ID.png          of image NAME and the class with this id, gray, at the size of the image
MAPS/settings.json        what they are made with; written first
MAPS/localization.json    the same and counts; written last, so it says that the folder is complete

H x W: size of an image, upright.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..data.files import read_bytes
from ..data.images import open_image, read_gray_map, read_image_header, write_gray_map
from ..data.weak_folder import WeakFolder, WeakImage
from ..errors import InvalidDataError
from ..reading import read_json
from ..weak_segmentation.feature_cache import DEFAULT_BYTES
from ..weak_segmentation.image_group import ImageGroup
from ..weak_segmentation.localization import LocalizationSettings, Localizer
from ..weak_segmentation.pseudo_labels import PseudoLabelSettings, default_background_score
from .class_names import order_labels
from .finite_outputs import judging
from .result_folders import SETTINGS_FILE, claim_folder, describe_maker, finish_folder, hash_of
from .shares import each_of_share

SUMMARY_FILE = "localization.json"
SUMMARY_FILES = (SUMMARY_FILE, "refinement.json")  # of maps as they were made, and of refined ones


def map_path(directory: str | os.PathLike, name: str, class_id: int) -> Path:
    """The file of an image's map of a class."""
    return Path(directory) / f"{name}_{class_id}.png"


def read_maps(directory: str | os.PathLike, image: WeakImage) -> dict[int, np.ndarray]:
    """The maps of all classes of an image: class id -> uint8 [H, W].

    Raises:
        InvalidDataError: the image, or one of its maps, is missing or bad.
    """
    header = read_image_header(image.path)
    size = header.width, header.height
    return {class_id: read_gray_map(map_path(directory, image.name, class_id), size) for class_id in image.labels}


def background_score_of(directory: str | os.PathLike) -> float:
    """The score of the background that belongs to the classifier that made the maps; the released one of others.

    Raises:
        InvalidDataError: what says how the maps were made cannot be read.
    """
    released = PseudoLabelSettings.background_score
    path = next((path for name in SUMMARY_FILES if (path := Path(directory) / name).is_file()), None)
    if path is None:
        return released
    summary = read_json(path, 2**26, max_values=None)
    score = summary.get("background_score", released) if isinstance(summary, dict) else None
    if not isinstance(score, int | float) or not 0 <= score <= 1:
        raise InvalidDataError(path, "a background_score from 0 to 1", score)
    return score


def require_maps(directory: str | os.PathLike, images: WeakFolder) -> None:
    """Nothing, if there is a file for each class of each image.

    Raises:
        InvalidDataError: maps are missing (the released code would leave out their classes).
    """
    there = set(os.listdir(directory)) if Path(directory).is_dir() else set()
    paths = [map_path(directory, image.name, class_id) for image in images.images for class_id in image.labels]
    if missing := [path.name for path in paths if path.name not in there]:
        received = f"{len(missing)} of {len(paths)} missing: {', '.join(missing[:5])}"
        raise InvalidDataError(directory, "a map NAME_ID.png for each class of each image", received)


def describe_maps(directory: str | os.PathLike, images: WeakFolder) -> dict[str, str]:
    """What results of maps depend on: their folder, a hash of what they were made with, and one of the images."""
    manifests = sorted(Path(directory).glob("*.json"))
    return {
        "maps": str(directory),
        "maps_hash": hash_of(read_bytes(path, 2**26).hex() for path in manifests),
        "images": hash_of((image.name, image.labels) for image in images.images),
    }


def make_maps(
    model: Any,
    processor: Any,
    images: WeakFolder,
    directory: str | os.PathLike,
    settings: LocalizationSettings,
    model_name: str,
    cache_bytes: int = DEFAULT_BYTES,
    cache_folder: str | os.PathLike | None = None,
    progress: bool = True,
    resume: bool = True,
) -> dict[str, Any]:
    """Make the maps that are not there yet, and wait until all processes have.

    Each process takes every n-th image and may compare it with any other, so the number of processes changes nothing.
    A file is written whole or not at all; one that cannot be read is made again.

    Args:
        model: on its device, the same weights in all processes.
        processor: of the model.
        images: with the classes of the model.
        directory: new, or begun with the same model, images and settings.
        settings: how maps are made.
        model_name: for the files of the folder.
        cache_bytes, cache_folder: of [`Localizer`], of each process.
        progress: whether process 0 shows a bar.
        resume: whether the directory may have been begun.

    Returns:
        What localization.json holds, in every process.

    Raises:
        InvalidDataError: an image that cannot be read, or maps in the folder that were made otherwise.
        ValueError: classes that are not the model's, or settings that it has no layers for.
    """
    order_labels(model, images.class_names, model_name)
    group = image_group(images, with_domains=getattr(model.config, "num_domains", 1) > 1)
    maker = {
        **describe_maker(model_name, model, processor),
        "images": hash_of((image.name, image.labels, image.domain) for image in images.images),
        **asdict(settings),
    }
    with (
        Localizer(model, processor, group, settings, cache_bytes, cache_folder) as localizer,
        claim_folder(Path(directory), maker, SETTINGS_FILE, "maps", resume),
    ):
        write_maps(directory, images, lambda image: localizer.attention(image.name), "Maps", progress)
        score = default_background_score(model.config, settings.num_references)
        summary = {**maker, "background_score": score, **_counts(images)}
        finish_folder(directory, SUMMARY_FILE, summary)
    return summary


def write_maps(
    directory: str | os.PathLike,
    images: WeakFolder,
    attention_of: Callable[[WeakImage], Mapping[int, np.ndarray]],
    description: str,
    progress: bool,
) -> None:
    """Write the maps of this process' share that are not there yet, or cannot be read.

    Args:
        directory: where they go.
        images: the images, the same in every process.
        attention_of: makes the maps of an image: class id -> uint8 [H, W].
        description: text of the bar.
        progress: whether process 0 shows one.
    """
    for image in each_of_share(images.images, description, " images", progress):
        with suppress(InvalidDataError):
            read_maps(directory, image)
            continue
        with judging(image.path):
            maps = attention_of(image)
        for class_id, attention in maps.items():
            write_gray_map(map_path(directory, image.name, class_id), attention)


def _counts(images: WeakFolder) -> dict[str, Any]:
    found = [class_id for image in images.images for class_id in image.labels]
    without = [image.name for image in images.images if not image.labels]
    return {
        "num_images": len(images),
        "num_maps": len(found),
        "maps_per_class": {name: found.count(class_id) for class_id, name in enumerate(images.class_names)},
        "num_images_without_label": len(without),
        "images_without_label": without,
    }


def image_group(images: WeakFolder, with_domains: bool = True) -> ImageGroup:
    """The images of a folder as each other's references.

    Args:
        images: the images.
        with_domains: whether the model tells domains apart. One with `num_domains=1` does not, as in its training.
    """
    paths = {image.name: image.path for image in images.images}
    domains = images.image_domains() if with_domains else {}
    return ImageGroup(images.image_labels(), lambda name: open_image(paths[name]), domains)
