"""Images of which only the classes are known (thesis section 3.3: the training data of MCIS).

images/        cat_1.jpg ...
labels.csv     image,labels     one line per image, classes separated by ";"
classes.txt    optional: one class per line, in the order of their ids

K: number of classes, without a background. An image may have none of them.
"""

import csv
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

from transformers.utils import logging

from ..errors import InvalidDataError, first_of
from .class_names import check_class_names
from .image_lists import ImageNames, check_name, read_text, split_suffix

logger = logging.get_logger(__name__)

HEADER = ("image", "labels")
CLASS_FILE = "classes.txt"


@dataclass(frozen=True)
class WeakImage:
    """One image.

    Attributes:
        name: its file name without suffix, unique within a folder; what is computed for it is stored under this name.
        path: of the file.
        labels: ids of its classes, sorted, from 0; may be empty.
        domain: where the image comes from (section 3.4.2: 0 the target set, 1 single-label, 2 web, for example).
        mask_path: its mask, for evaluation only; `None` where nobody drew one or nobody asked.
        source: the place of its folder among those that were joined, see `join_folders`: 0 is the target set. Several
            may have the same domain.
    """

    name: str
    path: Path
    labels: tuple[int, ...]
    domain: int = 0
    mask_path: Path | None = None
    source: int = 0


@dataclass(frozen=True)
class WeakFolder:
    """Images and the names of their classes.

    Attributes:
        class_names: K names; a class id is the place of its name.
        images: in the order of their list.
        warnings: what may be meant as it is, but often is not. They have also been logged.
    """

    class_names: tuple[str, ...]
    images: tuple[WeakImage, ...]
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def image_labels(self) -> dict[str, tuple[int, ...]]:
        """Name to classes, as `dense_hf.weak_segmentation.ImageGroup` takes them."""
        return {image.name: image.labels for image in self.images}

    def image_domains(self) -> dict[str, int]:
        """Name to domain, for the same."""
        return {image.name: image.domain for image in self.images}

    def images_per_source(self) -> list[int]:
        """The number of images of each source, the target set first, up to the last source that has any."""
        counts = Counter(image.source for image in self.images)
        return [counts[source] for source in range(max(counts, default=0) + 1)]

    def with_masks(self, masks_dir: str | os.PathLike) -> "WeakFolder":
        """The same images, each with the path of its mask, `masks_dir`/NAME.png, which must be there.

        Raises:
            InvalidDataError: else; it counts those that are missing and names the first.
        """
        require_masks(masks_dir, [image.name for image in self.images])
        images = tuple(replace(image, mask_path=Path(masks_dir) / f"{image.name}.png") for image in self.images)
        return replace(self, images=images)


def read_labels_csv(
    csv_path: str | os.PathLike,
    images_dir: str | os.PathLike | Mapping[str, Any],
    class_names: Sequence[str] | None = None,
    domain: int = 0,
) -> WeakFolder:
    """The images of a CSV file with the header `image,labels`.

    ```text
    image,labels
    cat_1.jpg,cat
    room_3,cat;potted plant
    street_7.jpg,
    ```

    An image is named with or without suffix, see `read_ids`. Names of classes may contain spaces, so ";" separates
    them; white space around a name does not count.

    Args:
        csv_path: the file, UTF-8.
        images_dir: the folder with the images; or, of images that are no files, what stands for the path of each, by
            its name with and without suffix.
        class_names: the classes in the order of their ids. Defaults to those of `classes.txt` beside the CSV file;
            without that, all names in the CSV file, sorted.
        domain: where all of the images come from.

    Raises:
        InvalidDataError: with the number of the line, for a class that is not among the names, an image that is
            missing or listed twice, a path instead of a name, a class twice in one image, or if it is not such a CSV
            file; also if no image has any class.
    """
    rows = _read_rows(csv_path)
    require_class_names(csv_path, sorted({name for _, _, names in rows for name in names}))
    class_file = Path(csv_path).with_name(CLASS_FILE)
    if class_names is None and os.path.lexists(class_file):
        class_names = read_class_names(class_file)
    elif class_names is None:
        class_names = sorted({name for _, _, names in rows for name in names})
    ids = {name: class_id for class_id, name in enumerate(class_names)}
    for line, _, names in rows:
        for name in names:
            if name not in ids:
                expected = f"one of the classes {first_of(list(ids), 50)}"
                raise InvalidDataError(csv_path, expected, f"line {line}: {name[:100]!r}")
    entries = [(line, image, tuple(ids[name] for name in names)) for line, image, names in rows]
    return collect_images(csv_path, entries, images_dir, class_names, domain)


def read_label_list(
    list_path: str | os.PathLike,
    images_dir: str | os.PathLike,
    class_names: Sequence[str],
    domain: int = 0,
    first_class: int = 0,
) -> WeakFolder:
    """The images of a list of the released code: `name c1 c2 ...` per line, classes as numbers.

    Args:
        list_path: the list (train_cls.txt).
        images_dir: the folder with the images.
        class_names: the classes in the order of their ids.
        domain: where all of the images come from.
        first_class: the number of the first class: 0 in the released lists of PASCAL VOC, 1 in that of single-label
            images.

    Raises:
        InvalidDataError: as `read_labels_csv`, or for numbers that no class has.
    """
    entries: list[tuple[int, str, tuple[int, ...]]] = []
    last_class = first_class + len(class_names) - 1
    for line, text in enumerate(StringIO(read_text(list_path), newline="\n"), start=1):
        if not (words := text.split()):
            continue
        numbers = [int(word) if word.isascii() and word.isdigit() and len(word) < 6 else -1 for word in words[1:]]
        for word, number in zip(words[1:], numbers):
            if not first_class <= number <= last_class:
                expected = f"a name and class numbers from {first_class} to {last_class}"
                raise InvalidDataError(list_path, expected, f"line {line}: {word[:50]!r}")
        entries.append((line, words[0], tuple(number - first_class for number in numbers)))
    return collect_images(list_path, entries, images_dir, class_names, domain)


def read_class_names(path: str | os.PathLike) -> tuple[str, ...]:
    """The lines of a classes.txt; blank ones do not count.

    Raises:
        InvalidDataError: if there are none, or a name stands there twice.
    """
    names = [name for line in read_text(path).split("\n") if (name := line.strip())]
    if not names:
        raise InvalidDataError(path, "one class per line", "an empty file")
    if bad := [name for name in names if ";" in name]:
        raise InvalidDataError(path, "names without ';'", [name[:100] for name in bad[:10]])
    return tuple(require_class_names(path, names))


def require_class_names(path: str | os.PathLike, names: Sequence[str]) -> Sequence[str]:
    """The names, if they can be those of classes whose labels beside them include a background.

    Raises:
        InvalidDataError: as `check_class_names`; also for a background, which is label 0 of every mask already.
    """
    check_class_names(path, names)
    for name in names:
        if name.strip().casefold() in ("background", "_background_", "__ignore__"):
            raise InvalidDataError(path, "classes of things; the background is label 0 of its own", f"{name!r}")
    return names


def join_folders(folders: Sequence[WeakFolder]) -> WeakFolder:
    """All images of folders that have the same classes, such as a target set and extra ones of other domains.

    Each has the place of its folder as its `source`.

    Raises:
        ValueError: if the classes differ, or a name occurs in two folders.
    """
    names = [folder.class_names for folder in folders]
    if len(set(names)) != 1:
        raise ValueError(f"folders to join must have the same classes. Received: {names}")
    counts = Counter(image.name for folder in folders for image in folder.images)
    if repeated := [name for name, count in counts.items() if count > 1]:
        raise ValueError(
            f"names of images must be unique over all folders, rename them. Received: {len(repeated)} repeated, "
            f"{sorted(repeated)[:5]}"
        )
    images = tuple(replace(image, source=place) for place, folder in enumerate(folders) for image in folder.images)
    return WeakFolder(names[0], images, tuple(warning for folder in folders for warning in folder.warnings))


def collect_images(
    list_path: str | os.PathLike,
    entries: Sequence[tuple[int, str, tuple[int, ...]]],
    images_dir: str | os.PathLike | Mapping[str, Any],
    class_names: Sequence[str],
    domain: int = 0,
) -> WeakFolder:
    """Find the images of a list in their folder, and look at the list as a whole.

    Args:
        list_path: the list, for messages.
        entries: line, id of the image, and ids of its classes.
        images_dir, class_names, domain: as in `read_labels_csv`.

    Raises:
        InvalidDataError: as `read_labels_csv`.
    """
    find, place = _places(images_dir)
    images: list[WeakImage] = []
    missing: list[str] = []
    first_line: dict[str, int] = {}
    for line, image_id, labels in entries:
        check_name(list_path, image_id, f"line {line}: ")
        name = split_suffix(image_id)[0]
        if name in first_line:
            received = f"{image_id!r} on line {line}, and already on line {first_line[name]}"
            raise InvalidDataError(list_path, "each image once", received)
        first_line[name] = line
        if len(set(labels)) < len(labels):
            twice = next(class_names[label] for label in labels if labels.count(label) > 1)
            raise InvalidDataError(list_path, "each class of an image once", f"line {line}: {twice!r} twice")
        if (path := find(image_id)) is None:
            missing.append(f"line {line}: {image_id!r}")
        else:
            images.append(WeakImage(name, path, tuple(sorted(labels)), domain))
    require_images(list_path, place, missing)
    if not any(image.labels for image in images):
        raise InvalidDataError(list_path, "at least one image with a class", f"{len(images)} images, none with one")
    warnings = _warnings(list_path, images, class_names)
    for warning in warnings:
        logger.warning(warning)
    return WeakFolder(tuple(class_names), tuple(images), warnings)


def _places(images_dir: str | os.PathLike | Mapping[str, Any]) -> tuple[Callable[[str], Any], str | os.PathLike]:
    """From the name of an image to its path, or None; and where that is, for messages."""
    if isinstance(images_dir, Mapping):
        return images_dir.get, "that was given"
    known = ImageNames(images_dir)

    def find(image_id: str) -> Path | None:
        name = known.find(image_id)
        return None if name is None else Path(images_dir) / name

    return find, images_dir


def require_images(list_path: str | os.PathLike, images_dir: str | os.PathLike, missing: Sequence[str]) -> None:
    """Nothing, if no image is missing.

    Args:
        list_path, images_dir: as in `collect_images`.
        missing: ids of images, perhaps with their lines, that the folder does not have.

    Raises:
        InvalidDataError: else; it counts them and names the first.
    """
    if missing:
        received = f"{missing[0]} is not there"
        if len(missing) > 1:
            received = f"{len(missing):,} are missing, {received}, nor {first_of(missing[1:], 9)}"
        raise InvalidDataError(list_path, f"images of the folder {images_dir}", received)


def require_masks(masks_dir: str | os.PathLike, names: Sequence[str]) -> None:
    """Nothing, if a folder has the mask NAME.png of every image.

    Raises:
        InvalidDataError: else; it counts those that are missing and names the first.
    """
    if missing := [name for name in names if not os.path.lexists(Path(masks_dir) / f"{name}.png")]:
        received = f"{len(missing):,} missing: {first_of(missing, 5)}"
        raise InvalidDataError(masks_dir, "a mask NAME.png for each image", received)


def require_classes(folder: WeakFolder, class_names: Sequence[str], source: str | os.PathLike) -> None:
    """Nothing, if a folder has these classes in this order, so that its ids mean the same.

    Args:
        folder: what was read.
        class_names: of the images before it.
        source: where it was read, for the message.

    Raises:
        InvalidDataError: else.
    """
    if tuple(folder.class_names) != tuple(class_names):
        expected = f"the classes of the training images, {', '.join(class_names)} (write them into {CLASS_FILE})"
        raise InvalidDataError(source, expected, ", ".join(folder.class_names))


def _read_rows(csv_path: str | os.PathLike) -> list[tuple[int, str, tuple[str, ...]]]:
    """Line, image and names of classes of each row."""
    reader = csv.reader(StringIO(read_text(csv_path), newline=""), strict=True)
    rows: list[tuple[int, str, tuple[str, ...]]] = []
    try:
        header = [cell.strip() for cell in next(reader, [])]
        if tuple(header) != HEADER:
            raise InvalidDataError(csv_path, f"the header {','.join(HEADER)}", f"{','.join(header)[:200]!r}")
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(HEADER):
                received = f"line {reader.line_num}: {len(cells)} columns"
                raise InvalidDataError(csv_path, "two columns, classes separated by ';'", received)
            names = tuple(name for part in cells[1].split(";") if (name := part.strip()))
            rows.append((reader.line_num, cells[0].strip(), names))
    except csv.Error as error:
        raise InvalidDataError(csv_path, "a CSV file", f"line {reader.line_num}: {error}") from error
    return rows


def _warnings(path: str | os.PathLike, images: Sequence[WeakImage], class_names: Sequence[str]) -> tuple[str, ...]:
    warnings = []
    if empty := [image.name for image in images if not image.labels]:
        warnings.append(f"{path}: {len(empty)} of {len(images)} images have no class ({first_of(empty, 3)})")
    counts = Counter(label for image in images for label in image.labels)
    if alone := [name for label, name in enumerate(class_names) if counts[label] == 1]:
        warnings.append(f"{path}: classes with a single image, which will be paired with itself: {', '.join(alone)}")
    if unseen := [name for label, name in enumerate(class_names) if not counts[label]]:
        warnings.append(f"{path}: classes without an image: {', '.join(unseen)}")
    return tuple(warnings)
