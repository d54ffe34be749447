"""The layout of Cityscapes with its video sequences: about one frame of 30 has a mask.

leftImg8bit_sequence/SPLIT/CITY/     CITY_SEQUENCE_FRAME_leftImg8bit.png, numbers of 6 digits
gtFine/SPLIT/CITY/                   CITY_SEQUENCE_FRAME_gtFine_labelTrainIds.png, or ..._labelIds.png

SPLIT is train, val or test. The masks of the test split are not public and are not looked for.
"""

import os
import re
from itertools import groupby
from pathlib import Path

from ..errors import InvalidDataError
from .class_names import CITYSCAPES_LABEL_IDS, CITYSCAPES_NAMES
from .images import DEFAULT_MAX_PIXELS
from .labels import IGNORED, LabelRule, class_rule
from .videos import Frame, Video, VideoSet, list_files

SPLIT_FOLDERS = {"train": "train", "validation": "val", "test": "test"}
_FRAME = re.compile(r"(?P<city>.+)_(?P<sequence>\d{6})_(?P<number>\d{6})_leftImg8bit\.(png|jpg)", re.ASCII)


def read_cityscapes_folder(
    directory: str | os.PathLike, label_ids: bool = False, max_pixels: int = DEFAULT_MAX_PIXELS
) -> VideoSet:
    """List the videos: frames of a city and sequence whose numbers follow each other. No picture is opened.

    A video is called CITY_SEQUENCE_FRAME after its first frame. Masks without their frame, masks that a training or
    validation video lacks altogether, and empty files go to `problems`.

    Args:
        directory: the folder.
        label_ids: read *_labelIds.png, the numbers of the original annotation, instead of *_labelTrainIds.png. Both
            give the same 19 labels.
        max_pixels: the most pixels of a frame, see `open_image`.

    Raises:
        InvalidDataError: if there is no split, or a frame's name is not as above.
    """
    directory = Path(directory)
    videos = VideoSet(directory, _label_ids_rule() if label_ids else _train_ids_rule(), max_pixels=max_pixels)
    suffix = "_gtFine_labelIds.png" if label_ids else "_gtFine_labelTrainIds.png"
    for split, name in SPLIT_FOLDERS.items():
        frames = directory / "leftImg8bit_sequence" / name
        if frames.is_dir():
            cities = [entry.name for entry in list_files(frames).values() if entry.is_dir()]
            masks = directory / "gtFine" / name
            videos.splits[split] = [
                video
                for city in cities
                for video in _list_city(videos, frames / city, None if split == "test" else masks / city, suffix)
            ]
    if not videos.splits:
        raise InvalidDataError(directory, "a folder with leftImg8bit_sequence/train or val", "none of them")
    return videos


def _train_ids_rule() -> LabelRule:
    return class_rule(dict(enumerate(CITYSCAPES_NAMES)), ignore_zero=False)


def _label_ids_rule() -> LabelRule:
    """Numbers 0 to 33 are known to the annotation; 15 of them are not evaluated."""
    labels = dict.fromkeys([*range(34), IGNORED], IGNORED)
    return LabelRule(CITYSCAPES_NAMES, labels | {number: label for label, number in enumerate(CITYSCAPES_LABEL_IDS)})


def _list_city(videos: VideoSet, folder: Path, mask_folder: Path | None, suffix: str) -> list[Video]:
    named = []
    for name, entry in list_files(folder).items():
        if not (match := _FRAME.fullmatch(name)):
            expected = "frames named CITY_000000_000000_leftImg8bit.png"
            raise InvalidDataError(folder, expected, repr(name))
        named.append(((match["city"], match["sequence"]), int(match["number"]), entry))
    masks = {} if mask_folder is None else list_files(mask_folder)
    masks = {name[: -len(suffix)]: entry for name, entry in masks.items() if name.endswith(suffix)}
    frames = {name.rsplit("_", 1)[0] for name in (entry.name for _, _, entry in named)}
    videos.problems += [f"missing: {folder / stem}_leftImg8bit.png" for stem in masks if stem not in frames]

    found = []
    # numbers that follow each other have the same difference to their place in the list
    numbered = enumerate(sorted(named, key=lambda item: item[:2]))
    for _, run in groupby(numbered, key=lambda item: (item[1][0], item[1][1] - item[0])):
        members = []
        for _, (_, _, entry) in run:
            stem = entry.name.rsplit("_", 1)[0]
            mask = masks.get(stem)
            empty = [file for file in (entry, mask) if file and file.is_file() and file.stat().st_size == 0]
            videos.problems += [f"empty: {file.path}" for file in empty]
            if not empty:
                members.append(Frame(stem, Path(entry.path), Path(mask.path) if mask else None))
        if not members:
            continue
        if mask_folder is not None and not any(frame.mask_path for frame in members):
            first, last = members[0].frame_id, members[-1].frame_id
            videos.problems.append(f"missing: a mask in {mask_folder} of any frame from {first} to {last} ({suffix})")
        found.append(Video(members[0].frame_id, tuple(members)))
    return found
