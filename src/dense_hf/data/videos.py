"""Videos as folders of frames, some or all with a mask, and what is wrong with their files.

A set of videos is read in two steps: its folders are listed, which tells names and sizes of files (`VideoSet`); and
files are decoded, one by one or all of them by `check_videos`.
"""

import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..errors import InvalidDataError, first_of
from .files import files_digest
from .image_lists import split_suffix
from .images import DEFAULT_MAX_PIXELS, read_size
from .labels import IGNORED, LabelRule, read_mask


@dataclass(frozen=True, slots=True)  # VSPW has 250,000 of them
class Frame:
    """One picture of a video: the name of its file without suffix, its path, and its mask if it has one."""

    frame_id: str
    image_path: Path
    mask_path: Path | None


@dataclass(frozen=True)
class Video:
    """Frames in the order of time."""

    video_id: str
    frames: tuple[Frame, ...]

    @property
    def labelled(self) -> list[int]:
        """Numbers, from 0, of the frames that have a mask."""
        return [number for number, frame in enumerate(self.frames) if frame.mask_path is not None]


@dataclass
class VideoSet:
    """The videos of a folder, by split.

    Attributes:
        directory: where they are.
        rule: from numbers in masks to labels, with the class names.
        splits: split to its videos, without the frames that `problems` names.
        problems: a sentence for each file that is missing or empty.
        max_pixels: the most pixels of a frame, see `open_image`.
    """

    directory: Path
    rule: LabelRule
    splits: dict[str, list[Video]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    max_pixels: int = DEFAULT_MAX_PIXELS

    def digest(self) -> str:
        """A short hash that changes when a frame, a mask, a list or the rule does, see `files_digest`."""
        videos = [(split, video) for split, members in self.splits.items() for video in members]
        files = [
            ((split, video.video_id), [path for frame in video.frames for path in (frame.image_path, frame.mask_path)])
            for split, video in videos
        ]
        return files_digest([((self.rule.names, sorted(self.rule.labels.items())), ()), *files])

    def check_complete(self) -> None:
        """Raise `InvalidDataError`, with the number of problems and the first of them, if there are any."""
        if self.problems:
            received = f"{len(self.problems)} missing or empty: {first_of(self.problems, separator='; ')}"
            raise InvalidDataError(self.directory, "all frames and masks of its videos", received)


@dataclass
class VideoSummary:
    """What is known about a video whose files were read.

    Attributes:
        split, video_id: which video.
        num_frames, num_labelled: of those that could be read.
        size: (width, height) of its frames.
        pixels: int64 [256], annotated pixels of each label, the last for ignored ones.
        problems: the message for each file that could not be read.
    """

    split: str
    video_id: str
    num_frames: int
    num_labelled: int
    size: tuple[int, int]
    pixels: np.ndarray
    problems: list[str]


def check_videos(
    videos: VideoSet, splits: Iterable[str] | None = None, decode_frames: bool = False, num_threads: int = 4
) -> Iterator[VideoSummary]:
    """Read every mask, and of every frame the header or all; summaries come in the order of the set.

    Nothing is raised for a bad file: its message is in the summary.

    Args:
        videos: the set.
        splits: which ones; all by default.
        decode_frames: whether frames are decoded too; a truncated file shows only then.
        num_threads: decoding frees the interpreter, so threads are enough.
    """
    todo = [
        (split, video) for split in (videos.splits if splits is None else splits) for video in videos.splits[split]
    ]
    with ThreadPoolExecutor(num_threads) as pool:
        yield from pool.map(partial(_summarize, videos, decode_frames), todo)


def _summarize(videos: VideoSet, decode_frames: bool, place: tuple[str, Video]) -> VideoSummary:
    split, video = place
    summary = VideoSummary(split, video.video_id, 0, 0, (0, 0), np.zeros(256, dtype=np.int64), [])
    for frame in video.frames:
        try:
            size = read_size(frame.image_path, videos.max_pixels, decode_frames)
            check_frame_size(frame, size, summary.size if summary.num_frames else size)
            if frame.mask_path is not None:
                labels = read_mask(frame.mask_path, size, videos.rule, videos.max_pixels)
                summary.pixels += np.bincount(labels.ravel(), minlength=256)
                summary.num_labelled += 1
            summary.size = size
            summary.num_frames += 1
        except InvalidDataError as error:
            summary.problems.append(str(error))
    return summary


def absent_classes(videos: VideoSet, split: str, summaries: Iterable[VideoSummary]) -> list[str]:
    """The names of the classes that no mask of a split has a pixel of.

    Raises:
        InvalidDataError: all pixels are ignored, or the masks have 0 and 255 only although 0 is not the only class:
            whoever saves objects as 255 would learn, and be judged on, what is around them.
    """
    names = videos.rule.names
    pixels = np.sum([summary.pixels for summary in summaries] or [np.zeros(256, dtype=np.int64)], axis=0)
    found = [label for label in range(len(names)) if pixels[label]]
    received = "ignored pixels only (numbers 255, perhaps 0)" if not found else None
    if found == [videos.rule.labels.get(0)] and pixels[IGNORED] and len(names) > 1:
        received = f"0 and 255 only: {names[found[0]]}, and pixels that do not count"
    if received is not None:
        raise InvalidDataError(videos.directory, f"{split} masks with pixels of {first_of(list(names), 20)}", received)
    return [name for label, name in enumerate(names) if label not in found]


def check_frame_size(frame: Frame, size: tuple[int, int], expected: tuple[int, int]) -> None:
    """Raise `InvalidDataError` unless a frame has the size, (width, height), of those before it."""
    if size != expected:
        received = f"{size[0]} x {size[1]}"
        raise InvalidDataError(frame.image_path, f"the size of its video, {expected[0]} x {expected[1]}", received)


def numbering_gaps(video: Video) -> list[str]:
    """A sentence for each place where numbers of frames are left out, with and without masks.

    Only for names that are numbers nearly all of which (9 of 10) follow each other with the same step; nobody can say
    what is missing between others.
    """
    names = [frame.frame_id for frame in video.frames]
    if not all(name.isascii() and name.isdigit() for name in names):
        return []
    steps = [int(after) - int(before) for before, after in pairwise(names)]
    common = max(set(steps), key=steps.count, default=0)
    if common < 1 or steps.count(common) < 0.9 * len(steps):
        return []
    return [
        f"{video.video_id}: {step // common - 1} frames between {before} and {after}"
        for (before, after), step in zip(pairwise(names), steps)
        if step >= 2 * common
    ]


def list_files(directory: Path) -> dict[str, os.DirEntry]:
    """Names in a folder, sorted, to their entries, without hidden files; nothing for a folder that is not there."""
    if not directory.is_dir():
        return {}
    try:
        with os.scandir(directory) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise InvalidDataError(directory, "a folder that can be read", error) from error
    return {entry.name: entry for entry in sorted(visible, key=lambda entry: entry.name)}


def list_images(directory: Path) -> dict[str, os.DirEntry]:
    """Names without suffix of the images in a folder, in the order of time, to their entries.

    Raises:
        InvalidDataError: if two names differ in the suffix only, or if numbers are not padded with zeros: "frame10"
            sorts before "frame9", and the released code and everybody else sorts by name.
    """
    images: dict[str, os.DirEntry] = {}
    for name, entry in list_files(directory).items():
        stem, suffix = split_suffix(name)
        if suffix and stem in images:
            raise InvalidDataError(directory, "one image for each frame", f"{images[stem].name} and {name}")
        if suffix:
            images[stem] = entry
    stems = sorted(images)
    if stems != sorted(stems, key=_natural_order):
        first, second = next((a, b) for a, b in pairwise(stems) if _natural_order(a) > _natural_order(b))
        raise InvalidDataError(directory, "numbers padded with zeros, 009 and 010", f"{first} before {second}")
    return {stem: images[stem] for stem in stems}


def _natural_order(name: str) -> list[tuple[int, int | str]]:
    parts = re.split(r"([0-9]+)", name)
    return [(1, int(part)) if part.isdigit() and part.isascii() else (0, part) for part in parts]
