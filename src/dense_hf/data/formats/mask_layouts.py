"""Label maps of any source as the folders that trainings read: with image-level labels, or of videos."""

import csv
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from ..files import new_directory, write_file
from ..image_lists import split_suffix
from ..labels import IGNORED, label_map_png
from .label_maps import LabelMaps

_WEAK_SPLITS = {"train": "train", "validation": "val", "test": "test"}


def write_weak_layout(maps: LabelMaps, output: Path) -> int:
    """images/, labels.csv, masks/ and classes.txt, in a folder per split where there are several; see `..weak_source`.

    Returns:
        The number of pictures.

    Raises:
        InvalidDataError: A mask cannot be read.
        ValueError: Names that differ in folder or suffix only, or `output` is taken.
    """
    splits = {split for _, split, _ in maps.items}
    with new_directory(output) as folder:
        write_file(folder / "classes.txt", "".join(f"{name}\n" for name in maps.class_names).encode())
        rows: dict[Path, list[tuple[str, str]]] = {}
        for path, split, labels in tqdm(maps, total=len(maps.items), desc="Drawing masks", unit="picture"):
            here = folder / _WEAK_SPLITS[split or "train"] if len(splits) > 1 else folder
            stem = split_suffix(path.name)[0]
            mask = here / "masks" / f"{stem}.png"
            if mask.exists():
                raise ValueError(f"pictures need names that differ in more than folder and suffix. Received: {path}")
            for one in (here / "images", here / "masks"):
                one.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, here / "images" / path.name)
            write_file(mask, label_map_png(labels))
            rows.setdefault(here, []).append((path.name, ";".join(_names_in(labels, maps.class_names))))
        for here, lines in rows.items():
            text = io.StringIO(newline="")
            csv.writer(text, lineterminator="\n").writerows([("image", "labels"), *lines])
            write_file(here / "labels.csv", text.getvalue().encode())
    return len(maps.items)


def _names_in(labels: np.ndarray, names: Sequence[str]) -> list[str]:
    return [names[number - 1] for number in np.unique(labels).tolist() if 0 < number < IGNORED]


def write_video_layout(maps: LabelMaps, output: Path, background: str | None = None) -> int:
    """The layout of VSPW (see `..video_folder`): each folder of pictures is a video, all in the list of its split.

    Args:
        maps: Of any source.
        output: A new or empty folder.
        background: The name of a class for pixels without one; None: they do not count.

    Returns:
        The number of pictures.

    Raises:
        InvalidDataError: A mask cannot be read.
        ValueError: `background` is the name of a class, frames of a video in two splits, or `output` is taken.
    """
    if background in maps.class_names:
        raise ValueError(f"the background must be none of the classes. Received: {background}")
    names = [*maps.class_names, *([] if background is None else [background])]
    lists: dict[str, str] = {}
    with new_directory(output) as folder:
        for path, split, labels in tqdm(maps, total=len(maps.items), desc="Drawing masks", unit="frame"):
            video = path.parent.name
            if lists.setdefault(video, split or "train") != (split or "train"):
                raise ValueError(f"all frames of a video must be of one split. Received: {path}")
            here = folder / "data" / video
            target = here / "origin" / path.name
            if target.exists():
                raise ValueError(
                    f"folders of pictures need different names. Received: {path.parent}, which is not one"
                )
            for one in (here / "origin", here / "mask"):
                one.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            numbers = labels if background is None else np.where(labels == 0, np.uint8(len(names)), labels)
            write_file(here / "mask" / f"{split_suffix(path.name)[0]}.png", label_map_png(numbers.astype(np.uint8)))
        file_names = {"train": "train.txt", "validation": "val.txt", "test": "test.txt"}
        for split in dict.fromkeys(lists.values()):
            members = [video for video, one in lists.items() if one == split]
            write_file(folder / file_names[split], "".join(f"{video}\n" for video in members).encode())
        content = {"others": 0} | {name: number for number, name in enumerate(names, start=1)}
        write_file(folder / "label_num_dic_final.json", json.dumps(content, ensure_ascii=False).encode())
    return len(maps.items)
