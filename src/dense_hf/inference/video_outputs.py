"""What `dense-hf segment` writes, frame by frame: the overlay, the labels and the table.

K: number of classes; labels are whole numbers [height, width] below K.
"""

import csv
import io
import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image
from transformers.utils import logging

from ..data import VideoWriter, write_file
from ..data.images import png_bytes
from ..data.video_folder import CLASS_FILE
from ..visualization import draw_labels
from ..visualization.labels import largest_labels, legend_lines

logger = logging.get_logger(__name__)

VIDEO_SUFFIXES = (".m4v", ".mkv", ".mov", ".mp4")
_MEMORY = 0.9  # of how large a class was, from frame to frame


class Overlay:
    """The frames with the colours of their classes and a legend, as a video or as a folder of JPEG files.

    A damaged frame, and in a video one of another size, does not change the time or the size of the others: the one
    before it is shown again, the other is resized.

    Args:
        path: a video by its ending; a folder without one.
        fps: of the video.
        names: of the K classes.
        palette: uint8 [K, 3].
        opacity: of the colours, in [0, 1].
    """

    def __init__(self, path: Path, fps: Fraction, names: Sequence[str], palette: np.ndarray, opacity: float):
        self.path, self.fps, self.names, self.palette, self.opacity = path, fps, names, palette, opacity
        self.is_video = path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir()
        self._video: VideoWriter | None = None
        self._last: np.ndarray | None = None
        self._pixels = np.zeros(len(names))

    def write(self, name: str, frame: np.ndarray | None, labels: np.ndarray | None) -> None:
        """Append a frame, uint8 [height, width, 3]; `None` for a damaged one."""
        if frame is not None and labels is not None:
            legend = self._legend(labels, frame.shape[1::-1])
            image = Image.fromarray(frame)
            image = draw_labels(image, labels, self.names, self.palette, self.opacity, legend)
            if not self.is_video:
                content = io.BytesIO()
                image.save(content, "JPEG", quality=95)
                write_file(self.path / f"{name}.jpg", content.getvalue())
                return
            if self._video is None:
                self._video = VideoWriter(self.path, self.fps, image.size)
            if image.size != self._video.size:
                image = image.resize(self._video.size, Image.Resampling.BICUBIC)
            self._last = np.asarray(image)
        if self._video is not None and self._last is not None:
            self._video.write(self._last)

    def _legend(self, labels: np.ndarray, size: tuple[int, int]) -> list[int]:
        """All classes if they fit, else those that were large lately, so that lines do not come and go."""
        if len(self.names) <= legend_lines(size):
            return list(range(len(self.names)))
        pixels = np.bincount(labels.ravel(), minlength=len(self.names)) / labels.size
        self._pixels = _MEMORY * self._pixels + (1 - _MEMORY) * pixels
        return largest_labels(np.where(self._pixels > 0.001, self._pixels, 0), size)

    def close(self) -> None:
        """Complete the video."""
        if self._video is not None:
            self._video.close()


class LabelFolder:
    """Labels as `data.read_video_folder` reads them: data/VIDEO/mask/NAME.png, the names of the classes beside data.

    As in VSPW, number k + 1 in a file is label k. The files have colours, for the eye.

    Args:
        directory: the folder; it may have other videos.
        video: name of the video.
        names: of the K classes, at most 254.
        palette: uint8 [K, 3].
    """

    def __init__(self, directory: Path, video: str, names: Sequence[str], palette: np.ndarray):
        self.folder = directory / "data" / video / "mask"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.palette = np.concatenate([np.zeros((1, 3), np.uint8), palette])
        numbers = {"others": 0} | {name: number for number, name in enumerate(names, start=1)}
        write_file(directory / CLASS_FILE, json.dumps(numbers, indent=1, ensure_ascii=False).encode())

    def write(self, name: str, labels: np.ndarray) -> None:
        """Write the labels of a frame."""
        image = Image.fromarray((labels + 1).astype(np.uint8))
        image.putpalette(self.palette.flatten().tolist())
        write_file(self.folder / f"{name}.png", png_bytes(image))


class ShareTable:
    """A CSV file with a line per frame: number, name, seconds, the share of each class in [0, 1], what was wrong.

    Lines are there as soon as they are written, so a process that is killed leaves whole ones.
    """

    def __init__(self, path: Path, fps: Fraction, names: Sequence[str]):
        self.fps, self.names = fps, names
        self._file = open(path, "w", newline="", encoding="utf-8", buffering=1)  # noqa: SIM115  see `close`
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(["frame", "name", "seconds", *names, "error"])

    def write(self, number: int, name: str, labels: np.ndarray | None, error: str = "") -> None:
        """Append a frame; `labels` is `None` for a damaged one, whose shares stay empty."""
        shares: list[object] = [""] * len(self.names)
        if labels is not None:
            pixels = np.bincount(labels.ravel(), minlength=len(self.names))
            shares = [f"{share:.6g}" for share in pixels / labels.size]
        self._writer.writerow([number, name, f"{float(number / self.fps):.3f}", *shares, error])

    def close(self) -> None:
        """Complete the file."""
        self._file.close()
