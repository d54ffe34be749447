"""The images of a split of a counting data set, all checked before training starts."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm.auto import tqdm
from transformers.utils import logging

from ..errors import InvalidDataError
from .images import open_image, read_size
from .point_folder import SPLIT_LISTS, PointFolder
from .points import read_points

logger = logging.get_logger(__name__)


@dataclass(frozen=True)
class CountingExample:
    """One annotated image; its pixels stay in the file.

    Attributes:
        path: The image file.
        size: (width, height) in pixels.
        points: float32 [n, 2], (x, y) in pixels, all inside the image.
        classes: int64 [n], of each point; None where nobody asked for them.
        reading: how the file is to be read, see `open_image`.
    """

    path: Path
    size: tuple[int, int]
    points: np.ndarray
    classes: np.ndarray | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)

    def counts(self, num_labels: int = 1) -> list[int]:
        """How many points there are of each class.

        Raises:
            ValueError: several classes of points without any.
        """
        if num_labels == 1:
            return [len(self.points)]
        if self.classes is None:
            raise ValueError(f"{self.path}: {num_labels} classes need points that have some. Received: none")
        return np.bincount(self.classes, minlength=num_labels).tolist()

    def open(self) -> Image.Image:
        """The image, upright and RGB."""
        return open_image(self.path, **self.reading)


def read_examples(
    data_dir: str | os.PathLike, splits: list[str], progress: bool = True
) -> dict[str, list[CountingExample]]:
    """Read all annotations and image headers of splits in the IOCfish5K layout (see `PointFolder`).

    Args:
        data_dir: The folder.
        splits: Among "train", "validation" and "test".
        progress: Whether to show a bar.

    Returns:
        Split to its examples, in the order of its list.

    Raises:
        InvalidDataError: A list, an image or an annotation is missing or broken; the message names the file.
    """
    folder = PointFolder(data_dir)
    for split in splits:
        if split not in folder.ids:
            raise InvalidDataError(folder.directory / SPLIT_LISTS[split], f"the list of the {split} images", "no file")
    folder.check_complete()
    examples: dict[str, list[CountingExample]] = {}
    for split in splits:
        num_dropped = 0
        examples[split] = []
        for image in tqdm(folder.images(split), desc=f"Reading {split}", unit="image", disable=not progress):
            size = read_size(image.image_path)
            annotation = read_points(image.annotation_path, size)
            num_dropped += annotation.num_dropped
            examples[split].append(CountingExample(image.image_path, size, annotation.points))
        if num_dropped:
            logger.warning(f"{num_dropped} points of the {split} images lie outside of their image and do not count.")
    return examples
