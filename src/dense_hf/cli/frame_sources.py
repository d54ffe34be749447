"""From what a user types to frames: a video file, also one in a tar; pictures in a folder, tar or Parquet file; an
address, a camera.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..data.image_lists import check_name
from ..data.video_files import STANDARD_INPUT, VideoReader, is_live
from ..errors import InvalidDataError, first_of
from ..inference.console import shown
from ..inference.image_files import find_images
from ..inference.result_folders import hash_of
from ..inference.stored import find_pictures, is_container, open_picture
from ..pipelines.video_semantic_segmentation import list_frames
from ..reading import tar_and_member
from .common import report_left_out, stamp_of
from .errors import CommandError
from .live_frames import NamedFrame, NewestFrames, frames_of, reconnected


@dataclass(frozen=True)
class FrameSource:
    """Frames, one after the other.

    Attributes:
        video: a name for all of them.
        fps: frames per second, on average.
        num_frames: how many there will be, as far as that is known.
        frames: the frames.
        stamp: tells whether the source has changed since.
        name_of: the name of a frame by its number.
        time_base, sample_aspect_ratio: of a video, see `VideoReader`.
    """

    video: str
    fps: Fraction
    num_frames: int | None
    frames: Iterator[NamedFrame]
    stamp: str
    name_of: Callable[[int], str]
    time_base: Fraction | None = None
    sample_aspect_ratio: Fraction = Fraction(1)


def open_source(
    source: str,
    start: int,
    max_frames: int | None,
    fps: Fraction | None,
    every: int = 1,
    latest: bool = False,
    patience: float | None = None,
    **reading: Any,
) -> FrameSource:
    """Every so manieth frame from number `start` on, at most `max_frames` of them. Only the first is read yet.

    Args:
        source: what the user typed.
        start: frames that are passed over.
        max_frames: `None` for all.
        fps: of a folder, which has no time; 25 by default.
        every: 1 for all.
        latest: of a live source, whether frames that a newer one has overtaken are dropped.
        patience: of an address, seconds without a frame until it is no longer opened again.
        reading: how `open_image` reads the pictures of a folder.

    Raises:
        CommandError: no frames there or before `start`, or `fps` for what has its own.
    """
    try:
        if os.path.isdir(source) or is_container(source):
            paths = pictures_of(source)
            stamp = hash_of((path.name, stamp_of(path)) for path in paths)
            if len({path.stem for path in paths}) < len(paths):
                raise CommandError(f"{source} has two pictures of the same name with different endings")
            times, ratio, total, fps = None, Fraction(1), len(paths), fps or Fraction(25)
            found = _read_all(paths, range(start, total, every), fps, reading)
            skipped, name_of = min(start, total), lambda number: paths[number].stem
        else:
            if fps is not None:
                raise CommandError(f"--fps is for a folder of frames; {source} has its own")
            if any(value is not None for value in reading.values()):
                raise CommandError(f"--page and --white are for a folder of frames. Received: {source}")
            reader = VideoReader(source)
            tar = tar_and_member(source)
            stamp = "" if is_live(source) else hash_of([stamp_of(Path(tar[0] if tar else source))])
            total, fps = reader.num_frames, reader.fps
            skipped, name_of = reader.skip(start), "{:08}".format
            times, ratio = reader.time_base, reader.sample_aspect_ratio
            found = frames_of(reader, start, every) if patience is None else reconnected(reader, patience)
            if latest:
                found = NewestFrames(found)
    except (ValueError, OSError, ImportError) as error:
        raise CommandError(shown(str(error))) from error
    if skipped < start or start == total:
        raise CommandError(f"--start {start}: {source} has {skipped} frames")
    # a header may tell fewer frames than there are
    left = None if total is None or patience is not None else -(-max(0, total - start) // every)
    num_frames = left if max_frames is None else max_frames if left is None else min(left, max_frames)
    fps /= every
    return FrameSource(video_name(source), fps, num_frames, islice(found, max_frames), stamp, name_of, times, ratio)


def pictures_of(source: str) -> list[Any]:
    """The frames of a folder, by the numbers in their names, or those of a tar or a Parquet file, as they stand there.

    Raises:
        CommandError: no frames, or links to some that are not there.
        InvalidDataError: a tar or a Parquet file that is none, or a name in it that no file can have.
    """
    if os.path.isdir(source):
        check_folder(source)
        return list_frames(source)
    found, problems = find_pictures([source])
    if problems:
        hint = "" if found or not source.lower().endswith(".tar") else "; a video in it is FILE.tar/MEMBER"
        raise CommandError("; ".join(f"{name}: {problem}" for name, problem in problems.items()) + hint)
    for picture in found:
        check_name(source, picture.stem)
    return found


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


def video_name(source: str) -> str:
    """A name for a folder: "street" for "videos/street.mp4", "videos/street" and "videos/street/origin"."""
    if source == STANDARD_INPUT:
        return "stdin"
    if is_live(source):
        return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in source).strip("._")
    path = Path(os.path.abspath(source))
    if not path.is_dir():
        return path.stem
    return path.parent.name if path.name == "origin" else path.name  # VSPW


def _read_all(
    paths: Sequence[Any], numbers: Iterable[int], fps: Fraction, reading: Mapping[str, Any]
) -> Iterator[NamedFrame]:
    for number in numbers:
        pixels: np.ndarray | InvalidDataError
        try:
            pixels = np.asarray(open_picture(paths[number], **reading))
        except InvalidDataError as error:
            pixels = error
        yield NamedFrame(number, paths[number].stem, number / fps, pixels)
