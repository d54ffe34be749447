"""YOLO: a text file per picture, a line per object: class x y width height, or corners, or keypoints.

    labels/train/reef_01.txt     0 0.4994 0.5761 0.1 0.0833
    images/train/reef_01.png     its size makes pixels of shares
    data.yaml                    the names of the classes; or obj.names, classes.txt

What a line is: 5 numbers a box, 6 with a score; as many as `kpt_shape` of data.yaml asks for (or 8, the last of them
0, 1 or 2) a box with keypoints; an odd number from 7 on a polygon.

Sub-pixels: numbers are shares of the sides of the upright picture, from the outer corner, so share x width is pixels.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ...errors import InvalidDataError
from ...reading import read_text, read_yaml
from ..files import new_directory, write_file
from ..image_lists import ImageNames, split_suffix
from ..images import read_size
from .entries import BadEntry, flat_pairs, parsed
from .names import split_of_name
from .pictures import PictureFolder
from .reading import Picture, Reading
from .records import AnnotatedImage

_LISTS = ("train", "val", "valid", "test", "trainval")
_CLASS_FILES = ("obj.names", "classes.txt", "_darknet.labels", "classes.names")
_MAX_TEXT = 2**26


def is_yolo_folder(folder: Path) -> bool:
    """Whether a folder has what YOLO writes: names of classes and label files."""
    named = _yaml_of(folder) is not None or any((folder / name).is_file() for name in _CLASS_FILES)
    return named or (folder / "labels").is_dir() or any(folder.glob("*/labels/*.txt"))


def looks_like_labels(text: str) -> bool:
    """Whether a text has only lines of at least five numbers."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    try:
        return bool(lines) and all(len(line) >= 5 and [parsed(one, "") for one in line] for line in lines)
    except BadEntry:
        return False


def to_pixels(x: float, y: float, size: tuple[int, int]) -> tuple[float, float]:
    """Shares of the sides to pixels."""
    return x * size[0], y * size[1]


def to_shares(x: float, y: float, size: tuple[int, int]) -> tuple[float, float]:
    """Pixels to shares of the sides."""
    return x / size[0], y / size[1]


def _yaml_of(folder: Path) -> Path | None:
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        content = read_yaml(path)
        if isinstance(content, dict) and "names" in content:
            return path
    return None


def read(reading: Reading) -> None:
    """A folder, its data.yaml, or one label file."""
    _YOLO(reading).read()


class _YOLO:
    def __init__(self, reading: Reading):
        self.reading = reading
        self.folder = reading.root if reading.root.is_dir() else reading.root.parent
        self.names: dict[int, str] | None = None
        self.keypoint_numbers: int | None = None
        self.keypoint_size = 3
        self.folders: dict[Path, ImageNames] = {}
        self.given = None if reading.images is None else PictureFolder(reading.images)

    def read(self) -> None:
        single = self.reading.root.suffix.lower() == ".txt" and self.reading.root.is_file()
        labels = [self.reading.root] if single else self._label_files()
        for folder in dict.fromkeys([self.folder, *(list(labels[0].parents)[:3] if single else [])]):
            if self._read_names(folder):
                break
        else:
            self.reading.notice("sets without the names of their classes (data.yaml), named 0, 1, ...", "")
        lists = self._lists()
        labelled: dict[Path, set[str]] = {}
        for path in labels:
            image = None
            with self.reading.entry(path, ""):
                image = self._image_of(path)
                labelled.setdefault(image.parent, set()).add(image.name)
            with self.reading.entry(path, ""):
                self._read_file(path, image, lists.get(path.stem))
        for folder, names in labelled.items() if not single else ():
            beside = folder in self.folders and any(self._mirror(path.parent) == folder for path in labels)
            for name in self.folders[folder].all() if beside else ():
                if name not in names:
                    reason = "pictures without a label file (an empty one says that there is nothing)"
                    self.reading.drop(reason, name)

    def _label_files(self) -> list[Path]:
        root = Reading(self.folder)
        files = [
            path
            for path in root.files(".txt")
            if not (path.stem.lower() in _LISTS or path.name in _CLASS_FILES or path.stem.lower().startswith("readme"))
        ]
        inside = [
            path for path in files if any(_is_label_folder(part) for part in path.relative_to(self.folder).parts)
        ]
        if not files:
            raise InvalidDataError(self.folder, "label files of YOLO (labels/NAME.txt)", "none")
        return inside or files

    def _read_names(self, folder: Path) -> bool:
        if (path := _yaml_of(folder)) is not None:
            content: Mapping[str, Any] = read_yaml(path)
            names = content["names"]
            entries = dict(enumerate(names)) if isinstance(names, list) else names
            if not isinstance(entries, dict) or not all(
                isinstance(key, int) and isinstance(name, str | int) for key, name in entries.items()
            ):
                raise InvalidDataError(path, "names as a list, or as numbers with names", names)
            self.names = {key: str(name) for key, name in entries.items()}
            shape = content.get("kpt_shape")
            if shape is not None:
                if not (isinstance(shape, list) and len(shape) == 2 and shape[0] in range(1, 1000)) or (
                    shape[1] not in (2, 3)
                ):
                    raise InvalidDataError(path, "kpt_shape as [number, 2 or 3]", shape)
                self.keypoint_numbers, self.keypoint_size = shape
            return True
        for name in _CLASS_FILES:
            if (folder / name).is_file():
                lines = [line.strip() for line in read_text(folder / name, _MAX_TEXT).splitlines()]
                self.names = dict(enumerate(line for line in lines if line))
                return True
        return False

    def _lists(self) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        for name in _LISTS:
            path = self.folder / f"{name}.txt"
            if path.is_file() and not looks_like_labels(text := read_text(path, _MAX_TEXT)):
                for line in text.splitlines():
                    if line.strip():
                        found[split_suffix(Path(line.strip().replace("\\", "/")).name)[0]] = split_of_name(name)
        return found

    def _mirror(self, folder: Path) -> Path:
        """The folder of pictures that belongs to a folder of labels: the last "labels" is "images"."""
        parts = list(folder.parts)
        for index in range(len(parts) - 1, -1, -1):
            if parts[index] == "labels":
                return Path(*parts[:index], "images", *parts[index + 1 :])
        return folder

    def _image_of(self, path: Path) -> Path:
        if self.given is not None:
            found = self.given.find(path.stem)
            if found is None:
                raise BadEntry(f"a picture {path.stem} in {self.given.directory}, whose size is needed", "none")
            return found
        mirror = self._mirror(path.parent)
        base = self.folder
        for folder in dict.fromkeys((path.parent, mirror, base, base / "images", base.parent / "images")):
            if folder not in self.folders:
                self.folders[folder] = ImageNames(folder)
            if name := self.folders[folder].find(path.stem):
                return folder / name
        expected = (
            f"the picture {path.stem} in {mirror}: numbers are shares of its sides (or name a folder of pictures)"
        )
        raise BadEntry(expected, "no such picture")

    def _read_file(self, path: Path, image: Path | None, split: str | None) -> None:
        name, size = path.stem, (1, 1)  # without a picture, lines are read for what else is wrong
        if image is not None:
            size = read_size(image)
            name = image.relative_to(self.folder).as_posix() if self.folder in image.parents else image.name
        picture = self.reading.picture(name, size, path, split)
        for number, line in enumerate(read_text(path, _MAX_TEXT).splitlines(), start=1):
            if line.strip():
                with self.reading.entry(path, f"line {number}"):
                    self._read_line(picture, line.split(), f"line {number}", size)

    def _read_line(self, picture: Picture, words: list[str], where: str, size: tuple[int, int]) -> None:
        values = [parsed(word, "number") for word in words]
        label = values[0]
        if label != int(label) or label < 0 or (self.names is not None and int(label) not in self.names):
            known = "" if self.names is None else f" among {sorted(self.names)[:20]}"
            raise BadEntry(f"the number of a class{known}", words[0])
        name = str(int(label)) if self.names is None else self.names[int(label)]
        rest = values[1:]
        of_keypoints = len(rest) == 7 and rest[-1] in (0, 1, 2)
        if self.keypoint_numbers is not None:
            of_keypoints = len(rest) == 4 + self.keypoint_numbers * self.keypoint_size
        if of_keypoints:
            return self._read_keypoints(picture, rest, name, where, size)
        if len(rest) in (4, 5):
            return picture.add_box(_box(rest, size), name, where)
        if len(rest) < 6 or len(rest) % 2:
            raise BadEntry("class x y width height, or a class and at least three corners", f"{len(words)} numbers")
        return picture.add_polygon([[to_pixels(x, y, size) for x, y in flat_pairs(rest, "corners")]], name, where)

    def _read_keypoints(
        self, picture: Picture, rest: list[float], name: str, where: str, size: tuple[int, int]
    ) -> None:
        step = self.keypoint_size
        keypoints = [rest[i : i + step] for i in range(4, len(rest), step)]
        box = _box(rest, size)
        box = box if box[2] > box[0] and box[3] > box[1] else None
        if len(keypoints) > 1:
            reason = "objects with several keypoints, one object each, at the centre of its box"
            self.reading.notice(reason, f"{picture.name}, {where}")
            return picture.add_box(_box(rest, size), name, where)
        if step == 3 and keypoints[0][2] == 0:
            return self.reading.drop("keypoints that are not labelled (v = 0)", f"{picture.name}, {where}")
        return picture.add(to_pixels(keypoints[0][0], keypoints[0][1], size), name, where, box)


def _box(values: Sequence[float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    x, y, width, height = values[:4]
    left, top = to_pixels(x - width / 2, y - height / 2, size)
    right, bottom = to_pixels(x + width / 2, y + height / 2, size)
    return left, top, right, bottom


def _is_label_folder(part: str) -> bool:
    return part == "labels" or (part.startswith("obj_") and part.endswith("_data"))


def write(records: Sequence[AnnotatedImage], path: Path) -> None:
    """labels/ and data.yaml; one keypoint per object, with its box.

    Raises:
        ValueError: a record without size or name.
    """
    names = list(dict.fromkeys(name or "object" for record in records for name in record.classes)) or ["object"]
    splits = {"train": "train", "validation": "val", "test": "test", None: "train"}
    with new_directory(path) as folder:
        used = []
        for record in records:
            if record.size is None or record.image is None:
                raise ValueError(f"YOLO needs the name and the size of each picture. Received: {record.image}")
            lines = []
            for (x, y), name, box in zip(record.points.tolist(), record.classes, record.boxes.tolist()):
                left, top, right, bottom = (x, y, x, y) if math.isnan(box[0]) else box
                centre = to_shares((left + right) / 2, (top + bottom) / 2, record.size)
                sides = to_shares(right - left, bottom - top, record.size)
                values = (*centre, *sides, *to_shares(x, y, record.size))
                lines.append(f"{names.index(name or 'object')} {' '.join(map(repr, values))} 2\n")
            split = splits[record.split]
            used.append(split)
            stem = split_suffix(Path(record.image).name)[0]
            file = folder / "labels" / split / f"{stem}.txt"
            if file.exists():
                raise ValueError(
                    f"YOLO needs names that differ in more than folder and suffix. Received: {stem} twice"
                )
            file.parent.mkdir(parents=True, exist_ok=True)
            write_file(file, "".join(lines).encode())
        content: dict[str, Any] = {"path": "."}
        content |= {split: f"images/{split}" for split in ("train", "val", "test") if split in used}
        content |= {"kpt_shape": [1, 3], "names": dict(enumerate(names))}
        write_file(folder / "data.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode())
