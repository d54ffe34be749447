"""Predicted label maps as PNG files in the layout of VSPW, a video at a time (H x W: size of a frame).

DIRECTORY/data/VIDEO/mask/FRAME.png    the numbers of the data set's own masks, with a palette
DIRECTORY/predictions.json             which model they are of
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..data.files import new_directory, write_file
from ..data.images import read_image_header
from ..data.label_files import label_map_png
from ..data.labels import read_mask
from ..data.videos import Video, VideoSet
from .predictions_manifest import claim_folder


class VideoPredictions:
    """A folder of predictions that an evaluation can be continued with after a stop.

    A video's folder appears when all of its maps are written.

    Args:
        directory: a new folder, or one that the same model has begun to fill.
        videos: the set, whose rule says which number in a mask each label is.
        maker: what makes the predictions, see `predictions_manifest.describe_maker`.

    Raises:
        InvalidDataError: the folder has predictions of another model, or no manifest at all.
    """

    def __init__(self, directory: str | os.PathLike, videos: VideoSet, maker: Mapping[str, Any]):
        self.directory = Path(directory)
        self.videos = videos
        numbers = {label: number for number, label in videos.rule.labels.items()}
        self._numbers = np.array([numbers[label] for label in range(videos.rule.num_labels)], dtype=np.uint8)
        claim_folder(self.directory, maker)

    def _folder(self, video: Video) -> Path:
        return self.directory / "data" / video.video_id / "mask"

    def read(self, video: Video) -> dict[int, np.ndarray]:
        """Labels uint8 [H,W] of every frame of a video, by frame number; nothing for a video that is not there yet.

        Raises:
            InvalidDataError: a map is missing, or is not a map of this data.
        """
        folder = self._folder(video)
        if not folder.is_dir():
            return {}
        maps = {}
        for number, frame in enumerate(video.frames):
            header = read_image_header(frame.image_path, self.videos.max_pixels)
            path, size = folder / f"{frame.frame_id}.png", (header.width, header.height)
            maps[number] = read_mask(path, size, self.videos.rule, self.videos.max_pixels)
        return maps

    def write(self, video: Video, maps: Mapping[int, np.ndarray]) -> None:
        """Write labels uint8 [H,W] of all frames of a video, by frame number."""
        folder = self._folder(video)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with new_directory(folder) as temporary:
            for number, labels in maps.items():
                png = label_map_png(self._numbers[labels])
                write_file(temporary / f"{video.frames[number].frame_id}.png", png)
