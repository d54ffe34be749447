"""Predicted label maps as PNG files, one per image (H x W: size of an image).

DIRECTORY/NAME.png            numbers as in masks and pseudo labels: 0 background, class id + 1; with a palette
DIRECTORY/predictions.json    which model and which settings they are of
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..data.files import write_file
from ..data.images import read_image_header
from ..data.label_files import label_map_png
from ..data.labels import LabelRule, read_mask
from ..data.weak_folder import WeakImage
from .predictions_manifest import claim_folder


class SegmentationPredictions:
    """A folder of predictions that an evaluation can be continued with after a stop.

    The file of an image is whole or not there.

    Args:
        directory: a new folder, or one that the same maker has begun to fill.
        rule: what the numbers mean, see `mask_rule`.
        maker: what makes the predictions: `describe_maker`, and settings that change them.

    Raises:
        InvalidDataError: the folder has predictions of another maker, or no manifest at all.
    """

    def __init__(self, directory: str | os.PathLike, rule: LabelRule, maker: Mapping[str, Any]):
        self.directory = Path(directory)
        self.rule = rule
        claim_folder(self.directory, maker)

    def read(self, image: WeakImage) -> np.ndarray | None:
        """Labels uint8 [H, W] of an image; `None` if they are not there yet.

        Raises:
            InvalidDataError: the file is not a label map of this image.
        """
        path = self._path(image)
        if not path.is_file():
            return None
        header = read_image_header(image.path)
        return read_mask(path, (header.width, header.height), self.rule)

    def write(self, image: WeakImage, labels: np.ndarray) -> None:
        """Write labels uint8 [H, W] of an image."""
        write_file(self._path(image), label_map_png(labels))

    def _path(self, image: WeakImage) -> Path:
        return self.directory / f"{image.name}.png"
