"""Labels of cells that localisation maps are certain of, as files: what AffinityNet learns from (section 3.4.4)."""

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
from accelerate import PartialState

from ..data.files import write_file
from ..data.images import open_image, read_image_header
from ..data.labels import label_map_png, read_mask
from ..data.weak_folder import WeakFolder
from ..data.weak_source import mask_rule
from ..errors import InvalidDataError
from ..weak_segmentation.affinity_labels import CertainLabels
from .localization_maps import describe_maps, read_maps, require_maps
from .result_folders import SETTINGS_FILE, claim_folder
from .shares import each_of_share


def make_certain_labels(
    images: WeakFolder, maps: Path, directory: Path, settings: CertainLabels, progress: bool = True
) -> None:
    """Make the labels that are not there yet, and wait until all processes have; each takes every n-th image.

    Args:
        images: the images.
        maps: folder of their localisation maps.
        directory: new, or begun with the same maps, images and settings.
        settings: how labels are made.
        progress: whether process 0 shows a bar.

    Raises:
        InvalidDataError: images or maps that are missing or bad, or labels in the folder that were made otherwise.
    """
    require_maps(maps, images)
    rule = mask_rule(images.class_names)
    made_with = {**describe_maps(maps, images), **asdict(settings)}
    with claim_folder(directory, made_with, SETTINGS_FILE, "labels"):
        for image in each_of_share(images.images, "Certain labels", " images", progress):
            path, header = directory / f"{image.name}.png", read_image_header(image.path)
            if path.exists():
                with suppress(InvalidDataError):  # a damaged one is made again
                    read_mask(path, (header.width, header.height), rule)
                    continue
            label = settings(read_maps(maps, image), np.asarray(open_image(image.path)))
            write_file(path, label_map_png(label))
        PartialState().wait_for_everyone()
