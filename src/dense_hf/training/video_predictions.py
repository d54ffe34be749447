"""Predicted label maps as PNG files in the layout of VSPW, a video at a time (H x W: size of a frame).

DIRECTORY/data/VIDEO/mask/FRAME.png    the numbers of the data set's own masks, with a palette
DIRECTORY/predictions.json             which model they are of
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from transformers import PreTrainedModel

from ..data.files import new_directory, write_file
from ..data.images import png_bytes, read_image_header
from ..data.labels import read_mask
from ..data.videos import Video, VideoSet
from .claimed_folder import claim_folder

MANIFEST = "predictions.json"
_NAMES_OF_PROCESSORS = ("auto_map", "image_processor_type", "processor_class")


class VideoPredictions:
    """A folder of predictions that an evaluation can be continued with after a stop.

    A video's folder appears when all of its maps are written.

    Args:
        directory: a new folder, or one that the same model has begun to fill.
        videos: the set, whose rule says which number in a mask each label is.
        maker: what makes the predictions, see `describe_maker`.

    Raises:
        InvalidDataError: the folder has predictions of another model, or no manifest at all.
    """

    def __init__(self, directory: str | os.PathLike, videos: VideoSet, maker: Mapping[str, Any]):
        self.directory = Path(directory)
        self.videos = videos
        numbers = {label: number for number, label in videos.rule.labels.items()}
        self._numbers = np.array([numbers[label] for label in range(videos.rule.num_labels)], dtype=np.uint8)
        claim_folder(self.directory, MANIFEST, maker, "predictions")

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
                image = Image.fromarray(self._numbers[labels], mode="P")
                image.putpalette(distinct_colours(256).flatten().tolist())
                write_file(temporary / f"{video.frames[number].frame_id}.png", png_bytes(image))


def describe_maker(name: str, model: PreTrainedModel, processor: Any) -> dict[str, Any]:
    """The name of a model, and a hash of its weights and of its processor: nothing else changes its predictions."""
    digest = hashlib.sha256()
    for key, tensor in model.state_dict().items():
        digest.update(key.encode())
        digest.update(tensor.numpy(force=True).tobytes())
    # under which name it was saved is not what it does
    settings = {key: value for key, value in processor.to_dict().items() if key not in _NAMES_OF_PROCESSORS}
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    return {"model": name, "hash": digest.hexdigest()[:32]}


def distinct_colours(count: int) -> np.ndarray:
    """uint8 [count,3]: the colours of PASCAL VOC. Bits 0, 3 and 6 of the number are the highest of red, and so on."""
    numbers = np.arange(count)[:, None]
    colours = np.zeros((count, 3), dtype=np.int64)
    for bit in range(8):
        colours |= ((numbers >> (3 * bit + np.arange(3))) & 1) << (7 - bit)
    return colours.astype(np.uint8)
