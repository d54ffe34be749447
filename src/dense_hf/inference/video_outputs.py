"""What `dense-hf segment` writes, frame by frame: the overlay, the labels and the table.

K: number of classes; labels are whole numbers [height, width] below K.
"""

import io
import json
import os
import shutil
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image
from transformers.utils import logging

from ..data import VideoWriter, write_file
from ..data.files import read_bytes
from ..data.images import png_bytes
from ..data.video_folder import CLASS_FILE
from ..data.video_writer import VIDEO_SUFFIXES
from ..errors import InvalidDataError, first_of
from ..visualization import draw_labels
from ..visualization.labels import largest_labels, legend_lines
from .appending import AppendedTable
from .run_records import RunRecord

logger = logging.get_logger(__name__)

_MAX_CLASS_FILE_BYTES = 2**22
_MEMORY = 0.9  # of how large a class was, from frame to frame


class FrameTimes(Protocol):
    """What a video is written by, see `VideoReader`."""

    @property
    def fps(self) -> Fraction: ...  # noqa: D102

    @property
    def time_base(self) -> Fraction | None: ...  # noqa: D102

    @property
    def sample_aspect_ratio(self) -> Fraction: ...  # noqa: D102


class Overlay:
    """The frames with the colours of their classes and a legend, as a video or as a folder of JPEG files.

    A damaged frame, and in a video one of another size, does not change the time or the size of the others: the one
    before it is shown again, or the first one that is not damaged, and the other is resized.

    Args:
        path: a video by its ending; a folder without one.
        source: has the `fps`, `time_base` and `sample_aspect_ratio` of a video.
        names: of the K classes.
        palette: uint8 [K, 3].
        opacity: of the colours, in [0, 1].
        record: where the pictures of a folder are listed.
        audio: a file whose sound a video gets.
    """

    def __init__(
        self,
        path: Path,
        source: "FrameTimes",
        names: Sequence[str],
        palette: np.ndarray,
        opacity: float,
        record: RunRecord | None = None,
        audio: str | None = None,
    ):
        self.path, self.source, self.names, self.palette, self.opacity = path, source, names, palette, opacity
        self._record = record
        self._audio = audio
        self.is_video = path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir()
        self._video: VideoWriter | None = None
        self._last: np.ndarray | None = None
        self._begin: Fraction | None = None  # the time of the first frame
        self._waiting: list[Fraction] = []  # times, from then on, of damaged frames before the first whole one
        self._pixels = np.zeros(len(names))

    def write(self, name: str, seconds: Fraction, frame: np.ndarray | None, labels: np.ndarray | None) -> None:
        """Append a frame, uint8 [height, width, 3], with its time in the source; `None` for a damaged one."""
        self._begin = seconds if self._begin is None else self._begin
        if frame is not None and labels is not None:
            legend = self._legend(labels, frame.shape[1::-1])
            image = Image.fromarray(frame)
            image = draw_labels(image, labels, self.names, self.palette, self.opacity, legend)
            if not self.is_video:
                content = io.BytesIO()
                image.save(content, "JPEG", quality=95)
                if self._record is not None:
                    self._record.begin(name, [f"{self.path.name}/{name}.jpg"])
                write_file(self.path / f"{name}.jpg", content.getvalue())
                return
            if self._video is None:
                times, ratio = self.source.time_base, self.source.sample_aspect_ratio
                self._video = VideoWriter(
                    self.path,
                    self.source.fps,
                    image.size,
                    time_base=times,
                    sample_aspect_ratio=ratio,
                    audio=self._audio,
                    audio_start=self._begin,
                )
            if image.size != self._video.size:
                image = image.resize(self._video.size, Image.Resampling.BICUBIC)
            self._last = np.asarray(image)
        if self.is_video:
            self._waiting.append(seconds - self._begin)
        if self._video is not None and self._last is not None:
            for time in self._waiting:
                self._video.write(self._last, time)
            self._waiting.clear()

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


class KeptLabels:
    """The labels of the frames so far, to go on from after a stop.

    Args:
        folder: DIR/NAME.png, number k for label k.
    """

    offset = 0

    def __init__(self, folder: Path):
        self.folder = folder

    def write(self, name: str, labels: np.ndarray) -> None:
        """Write the labels of a frame."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_file(self._path(name), self._png(labels))

    def read(self, name: str, size: tuple[int, int]) -> np.ndarray | None:
        """The labels of a frame of this width and height; None if they are not there, or not whole."""
        try:
            with Image.open(self._path(name)) as image:
                labels = np.asarray(image)
        except (OSError, ValueError, SyntaxError):  # Pillow on a file that is not there, or damaged
            return None
        return labels - labels.dtype.type(self.offset) if labels.shape == size[::-1] else None

    def remove(self) -> None:
        """Remove all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.png"

    def _png(self, labels: np.ndarray) -> bytes:
        return png_bytes(Image.fromarray(labels))


class LabelFolder(KeptLabels):
    """Labels as `data.read_video_folder` reads them: data/VIDEO/mask/NAME.png, the names of the classes beside data.

    As in VSPW, number k + 1 in a file is label k. The files have colours, for the eye.

    Args:
        directory: the folder; it may have other videos, of a model with the same classes.
        video: name of the video.
        names: of the K classes, at most 254.
        palette: uint8 [K, 3].
        record: where the files are listed.

    Raises:
        InvalidDataError: the folder has the labels of other classes.
    """

    offset = 1

    def __init__(
        self, directory: Path, video: str, names: Sequence[str], palette: np.ndarray, record: RunRecord | None = None
    ):
        super().__init__(label_folder(directory, video))
        self._record = record
        self.palette = np.concatenate([np.zeros((1, 3), np.uint8), palette])
        check_class_file(directory, names)
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (directory / CLASS_FILE).exists():
            write_file(directory / CLASS_FILE, json.dumps(_numbers(names), indent=1, ensure_ascii=False).encode())

    def write(self, name: str, labels: np.ndarray) -> None:
        """Write the labels of a frame."""
        if self._record is not None:
            self._record.begin(name, [f"{self.folder.name}/{name}.png"])
        super().write(name, labels)

    def _png(self, labels: np.ndarray) -> bytes:
        image = Image.fromarray((labels + 1).astype(np.uint8))
        image.putpalette(self.palette.flatten().tolist())
        return png_bytes(image)


def label_folder(directory: Path, video: str) -> Path:
    """Where the labels of a video are."""
    return directory / "data" / video / "mask"


def check_class_file(directory: Path, names: Sequence[str]) -> None:
    """Nothing, if a folder has no labels yet, or labels of these classes.

    Raises:
        InvalidDataError: it has those of others, which would change their meaning.
    """
    path = directory / CLASS_FILE
    if not os.path.lexists(path):
        return
    expected = "the classes of this model, in their order, or another folder"
    try:
        found = json.loads(read_bytes(path, _MAX_CLASS_FILE_BYTES))
    except ValueError as error:
        raise InvalidDataError(path, expected, "another file") from error
    if found != _numbers(names):
        received = first_of(list(found), 5) if isinstance(found, dict) else f"{found!r:.100}"
        raise InvalidDataError(path, expected, f"{received:.300}")


def _numbers(names: Sequence[str]) -> dict[str, int]:
    return {"others": 0} | {name: number for number, name in enumerate(names, start=1)}


class ShareTable:
    """A CSV file with a line per frame: number, name, seconds, the share of each class in [0, 1], what was wrong.

    Lines are whole and on the disk as soon as they are written.
    """

    def __init__(self, path: Path, names: Sequence[str]):
        self.names = names
        self._table = AppendedTable(path, ["frame", "name", "seconds", *names, "error"], line_end="\n")

    def write(self, number: int, name: str, seconds: Fraction, labels: np.ndarray | None, error: str = "") -> None:
        """Append a frame, shown `seconds` after the start; `labels` is `None` for a damaged one without shares."""
        shares: list[object] = [""] * len(self.names)
        if labels is not None:
            pixels = np.bincount(labels.ravel(), minlength=len(self.names))
            shares = [f"{share:.6g}" for share in pixels / labels.size]
        self._table.add([[number, name, f"{float(seconds):.3f}", *shares, error]])

    def close(self) -> None:
        """Complete the file."""
        self._table.close()
