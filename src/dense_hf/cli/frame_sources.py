"""From what a user types to frames: a video file, a folder of pictures, an address or a camera."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np

from ..data import open_image
from ..data.video_files import VideoReader, is_address, is_camera
from ..errors import InvalidDataError, first_of
from ..inference.console import shown
from ..inference.image_files import find_images
from ..inference.result_folders import hash_of
from ..pipelines.video_semantic_segmentation import list_frames
from .common import report_left_out, stamp_of
from .errors import CommandError


@dataclass(frozen=True)
class FrameSource:
    """Frames, one after the other.

    Attributes:
        video: a name for all of them.
        fps: frames per second.
        num_frames: how many there will be, as far as that is known.
        frames: name of a frame and its pixels, uint8 [height, width, 3], or what is wrong with it.
        stamp: tells whether the source has changed since.
    """

    video: str
    fps: Fraction
    num_frames: int | None
    frames: Iterator[tuple[str, np.ndarray | InvalidDataError]]
    stamp: str


def open_source(source: str, start: int, max_frames: int | None, fps: Fraction | None) -> FrameSource:
    """The frames from number `start` on, at most `max_frames` of them. Nothing but the first is read yet.

    Args:
        source: what the user typed.
        start: frames that are passed over.
        max_frames: `None` for all.
        fps: of a folder, which has no time; 25 by default.

    Raises:
        CommandError: no frames there or before `start`, or `fps` for what has its own.
    """
    try:
        if os.path.isdir(source):
            check_folder(source)
            paths = list_frames(source)
            stamp = hash_of((path.name, stamp_of(path)) for path in paths)
            if len({path.stem for path in paths}) < len(paths):
                raise CommandError(f"{source} has two pictures of the same name with different endings")
            found, total, fps = ((path.stem, _read(path)) for path in paths[start:]), len(paths), fps or Fraction(25)
            skipped = min(start, total)
        else:
            if fps is not None:
                raise CommandError(f"--fps is for a folder of frames; {source} has its own")
            reader = VideoReader(source)
            stamp = "" if is_live(source) else hash_of([stamp_of(Path(source))])
            total, fps = reader.num_frames, reader.fps
            skipped = reader.skip(start)
            found = ((f"{number:08}", frame) for number, frame in enumerate(reader.with_errors(), start))
    except (ValueError, OSError, ImportError) as error:
        raise CommandError(shown(str(error))) from error
    if skipped < start or start == total:
        raise CommandError(f"--start {start}: {source} has {skipped} frames")
    # a header may tell fewer frames than there are
    left = None if total is None else max(0, total - start)
    num_frames = left if max_frames is None else max_frames if left is None else min(left, max_frames)
    return FrameSource(video_name(source), fps, num_frames, islice(found, max_frames), stamp)


def check_folder(folder: str) -> None:
    """Say what of a folder is no frame.

    Raises:
        CommandError: links to frames that are not there.
    """
    left_out: Counter[str] = Counter()
    _, problems = find_images([folder], left_out=left_out)
    report_left_out(left_out)
    if broken := [name for name in problems if name != shown(folder)]:
        raise CommandError(f"{len(broken)} frames are links to nothing: {first_of(broken, 5)}")


def is_live(source: str) -> bool:
    """Whether the frames come once: a camera or an address."""
    return is_camera(source) or is_address(source)


def video_name(source: str) -> str:
    """A name for a folder: "street" for "videos/street.mp4", "videos/street" and "videos/street/origin"."""
    if is_live(source):
        return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in source).strip("._")
    path = Path(os.path.abspath(source))
    if not path.is_dir():
        return path.stem
    return path.parent.name if path.name == "origin" else path.name  # VSPW


def _read(path: Path) -> np.ndarray | InvalidDataError:
    try:
        return np.asarray(open_image(path))
    except InvalidDataError as error:
        return error
