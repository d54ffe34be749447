"""The layout of VSPW, and of any folder with frames and masks.

data/VIDEO/origin/    00000001.jpg ...    frames, in the order of their names
data/VIDEO/mask/      00000001.png ...    masks, see `labels.py`
train.txt, val.txt, test.txt              names of videos, one per line; at least one of the lists
label_num_dic_final.json                  class names, see `read_class_file`

Without a folder data/ the videos are beside the lists. Videos of the test split may have no masks.
"""

import os
from pathlib import Path

from ..errors import InvalidDataError
from .class_names import VSPW_NAMES
from .image_lists import read_split_lists
from .images import DEFAULT_MAX_PIXELS
from .labels import LabelRule, class_rule, read_class_file
from .videos import Frame, Video, VideoSet, list_images

VIDEO_LISTS = {"train": "train.txt", "validation": "val.txt", "test": "test.txt"}
CLASS_FILE = "label_num_dic_final.json"


def read_video_folder(
    directory: str | os.PathLike,
    class_file: str | os.PathLike | None = None,
    ignore_zero: bool = True,
    sparse: bool = False,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> VideoSet:
    """List the videos of a folder in the layout above. No picture is opened.

    Frames without a mask, masks without a frame and empty files go to `problems`; frames that have one are left out.

    Args:
        directory: the folder.
        class_file: the class names; by default the folder's label_num_dic_final.json or, without one, VSPW's.
        ignore_zero: VSPW's rule, 0 is "others" and has no label, number k is label k - 1. Otherwise k is label k.
        sparse: frames may have no mask.
        max_pixels: the most pixels of a frame, see `open_image`.

    Raises:
        InvalidDataError: if there is no list, a list or the class file is bad, a video is in two lists, or the order
            of frames is unclear (`list_images`).
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise InvalidDataError(directory, "a folder with data/, train.txt and val.txt", "no folder")
    videos = VideoSet(directory, _rule(directory, class_file, ignore_zero), max_pixels=max_pixels)
    for split, names in read_split_lists(directory, VIDEO_LISTS, "data/", "video").items():
        videos.splits[split] = [
            _list_video(videos, name, needs_masks=not sparse and split != "test", sparse=sparse) for name in names
        ]
    return videos


def _rule(directory: Path, class_file: str | os.PathLike | None, ignore_zero: bool) -> LabelRule:
    if class_file is None and not (directory / CLASS_FILE).exists():
        return class_rule(dict(enumerate(VSPW_NAMES, start=1 if ignore_zero else 0)), ignore_zero)
    return read_class_file(directory / CLASS_FILE if class_file is None else class_file, ignore_zero)


def _list_video(videos: VideoSet, name: str, needs_masks: bool, sparse: bool) -> Video:
    """The frames of a video that are complete; what is not goes to `videos.problems`."""
    root = videos.directory / "data" if (videos.directory / "data").is_dir() else videos.directory
    folder = root / name
    images, masks = list_images(folder / "origin"), list_images(folder / "mask")
    masks = {stem: entry for stem, entry in masks.items() if entry.name.lower().endswith(".png")}
    needs_masks = needs_masks or (bool(masks) and not sparse)
    problems = [(stem, f"missing: {folder / 'origin' / stem}.jpg") for stem in masks if stem not in images]
    if needs_masks:
        problems += [(stem, f"missing: {folder / 'mask' / stem}.png") for stem in images if stem not in masks]
    problems += [
        (stem, f"empty: {entry.path}")
        for entries in (images, masks)
        for stem, entry in entries.items()
        if entry.is_file() and entry.stat().st_size == 0
    ]
    bad = {stem for stem, _ in problems}
    videos.problems += [problem for _, problem in sorted(problems)]
    if not images:
        videos.problems.append(f"missing: frames in {folder / 'origin'}")
    frames = [
        Frame(stem, Path(entry.path), Path(masks[stem].path) if stem in masks else None)
        for stem, entry in images.items()
        if stem not in bad
    ]
    return Video(name, tuple(frames))
