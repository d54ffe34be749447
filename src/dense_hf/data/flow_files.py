"""Optical flow from one frame of a video to the one before, in files of Middlebury's format, as most tools write it.

DIRECTORY/VIDEO/FRAME.flo: "PIEH", width and height as int32, then a float32 pair for each pixel, row by row: how many
pixels to the right and down the same thing is in the frame before. All little-endian. H x W pixels of a frame.
"""

import os
from pathlib import Path

import numpy as np

from ..errors import InvalidDataError
from ..reading import read_bytes
from .videos import Video

_MAGIC, _HEADER = b"PIEH", 12
UNKNOWN = 1e9  # what the format calls unknown is larger


def read_flow(path: str | os.PathLike, size: tuple[int, int]) -> np.ndarray:
    """The flow [2,H,W], float32, of a file.

    Args:
        path: the file.
        size: (width, height) of the frames.

    Raises:
        InvalidDataError: not such a file, one of another size, or one with pixels whose flow is unknown.
    """
    width, height = size
    content = read_bytes(path, _HEADER + 8 * width * height)
    found = np.frombuffer(content[4:_HEADER], "<i4") if len(content) >= _HEADER else []
    if content[:4] != _MAGIC or list(found) != [width, height]:
        expected = f"a .flo file of {width} x {height} pixels"
        raise InvalidDataError(path, expected, f"{content[:4]!r} and {' x '.join(map(str, found)) or 'nothing'}")
    values = np.frombuffer(content[_HEADER:], "<f4")
    if values.size != 2 * width * height or not (np.abs(values) <= UNKNOWN).all():
        raise InvalidDataError(path, f"{2 * width * height} numbers, all of them known", f"{values.size} numbers")
    return values.reshape(height, width, 2).transpose(2, 0, 1)


class FlowFolder:
    """The flow of frames of videos from a folder.

    Args:
        directory: see above.
    """

    def __init__(self, directory: str | os.PathLike):
        self.directory = Path(directory)

    def __call__(self, video: Video, number: int, size: tuple[int, int]) -> np.ndarray:
        """Flow [2,H,W] from frame `number` to the one before; errors as of [`read_flow`]."""
        return read_flow(self.directory / video.video_id / f"{video.frames[number].frame_id}.flo", size)
