"""Masks of pictures as label maps uint8 [H, W]: 0 background, class number + 1, 255 for pixels that do not count.

From objects: polygons and masks of COCO, LabelMe, CVAT, Label Studio (brushes), QuPath, VIA, Darwin, in the order of
the file, so that a later one covers an earlier one; how many pixels two classes wanted is said.
From PNG files: colors with a labelmap.txt, as "Segmentation mask 1.1" of CVAT writes them; palettes and gray values
that are class numbers; 0 and 255 (or 0 and 1) of one class, if somebody says its name.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...errors import InvalidDataError, brief, first_of
from ...reading import read_text
from ..class_names import check_class_names
from ..images import DEFAULT_MAX_PIXELS, opened_image, read_size
from ..labels import IGNORED, distinct_colors
from .matching import MatchedPictures
from .pictures import PictureFolder
from .records import AnnotatedImage, InvalidAnnotationsError
from .runs import pixels_of_polygon

LABELMAP = "labelmap.txt"
_MAX_CLASSES = 254
Painter = Callable[[], np.ndarray]


@dataclass
class LabelMaps:
    """Pictures and their label maps, drawn when they are asked for.

    Attributes:
        class_names: Class number k + 1 is the k-th.
        items: File of the picture, its split, and what draws its labels uint8 [H, W].
        problems: What was found while drawing, one sentence per reason.
    """

    class_names: tuple[str, ...]
    items: list[tuple[Path, str | None, Painter]]
    problems: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[tuple[Path, str | None, np.ndarray]]:
        for path, split, paint in self.items:
            yield path, split, paint()


def label_maps_of_objects(matched: MatchedPictures, class_names: Sequence[str] | None = None) -> LabelMaps:
    """Label maps of objects that are polygons or masks.

    Args:
        matched: Of `match_pictures`.
        class_names: Classes in their order; default all that occur, sorted.

    Raises:
        InvalidAnnotationsError: Objects without an area or without a class, all of them listed.
    """
    errors = [
        f"{record.image}, {place}: expected {expected}. Received: {received}"
        for record in matched.records
        for place, expected, received in _wrong(record)
    ]
    if errors:
        received = f"{len(errors)} that have none: {first_of(errors, 3, '; ')}"
        raise InvalidAnnotationsError(matched.paths[0].parent, "objects with an area and a class", received, errors)
    found = sorted({str(name) for record in matched.records for name in record.classes})
    names = tuple(found if class_names is None else class_names)
    if unknown := sorted(set(found) - set(names)):
        raise InvalidDataError("classes", f"all classes of the objects among {', '.join(names)}", ", ".join(unknown))
    _check(names)
    maps = LabelMaps(names, [])
    for record, path in zip(matched.records, matched.paths):
        maps.items.append((path, record.split, _painter(record, names, maps.problems)))
    return maps


def _check(names: Sequence[str]) -> None:
    check_class_names("classes", names)
    if not 0 < len(names) <= _MAX_CLASSES:
        raise InvalidDataError("classes", f"1 to {_MAX_CLASSES} classes", len(names))


def _wrong(record: AnnotatedImage) -> Iterator[tuple[str, str, str]]:
    for index, name in enumerate(record.classes):
        place = record.places[index] if record.places else f"object {index + 1}"
        if not record.polygons[index] and not (record.masks and record.masks[index]):
            kind = "a point" if np.isnan(record.boxes[index]).any() else "a box"
            yield place, "a polygon or a mask", kind
        if name is None:
            yield place, "a class", "none"


def _painter(record: AnnotatedImage, names: Sequence[str], problems: list[str]) -> Painter:
    def paint() -> np.ndarray:
        width, height = size = record.size or (0, 0)
        labels = np.zeros((height, width), np.uint8)
        twice = 0
        for index, name in enumerate(record.classes):
            pixels = (record.masks[index] if record.masks else None) or pixels_of_polygon(record.polygons[index], size)
            number = names.index(str(name)) + 1
            for line, start, end in zip(pixels.lines.tolist(), pixels.starts.tolist(), pixels.ends.tolist()):
                if not 0 <= line < (width if pixels.columns else height):
                    continue
                span = slice(max(start, 0), max(end, 0))
                before = labels[span, line] if pixels.columns else labels[line, span]
                twice += int(((before != 0) & (before != number)).sum())
                before[:] = number
        if twice:
            problems.append(f"{record.image}: {twice} pixels of two classes have the later one")
        return labels

    return paint


def read_mask_files(
    folder: Path,
    images_dir: Path,
    class_names: Sequence[str] | None = None,
    foreground: str | None = None,
) -> LabelMaps:
    """Label maps of PNG files whose names are those of pictures.

    Args:
        folder: Of the files; or that of CVAT, with labelmap.txt and SegmentationClass/.
        images_dir: The folder of the pictures.
        class_names: Of the numbers from 1 on, without the background.
        foreground: The class of all pixels that are not 0, in files of 0 and 255 or 0 and 1.

    Raises:
        InvalidDataError: Neither of the three ways, no picture for a file; others when a file is read.
    """
    colors = _read_labelmap(folder / LABELMAP) if (folder / LABELMAP).is_file() else None
    inside = folder / "SegmentationClass"
    pictures, files = PictureFolder(images_dir), PictureFolder(inside if inside.is_dir() else folder)
    if (colors is not None) + (class_names is not None) + (foreground is not None) != 1:
        given = [
            name
            for name, value in (("labelmap.txt", colors), ("classes", class_names), ("foreground", foreground))
            if value is not None
        ]
        expected = "one of labelmap.txt in the folder, the names of the classes, or the name of the foreground"
        raise InvalidDataError(folder, expected, " and ".join(given) or "none")
    if colors is not None:
        names = tuple(name for name in colors if name != "background")
    else:
        names = tuple(class_names or [str(foreground)])
    _check(names)
    if missing := [name for name in files.paths if pictures.find(Path(name).stem) is None]:
        expected = f"a picture in {images_dir} for each mask"
        raise InvalidDataError(folder, expected, f"{len(missing)} without: {first_of(missing)}")
    maps = LabelMaps(names, [])
    for name in files.paths:
        path, picture = files.directory / name, pictures.find(Path(name).stem)
        if picture is not None:
            maps.items.append((picture, None, _reader(path, picture, names, colors, foreground)))
    if not maps.items:
        raise InvalidDataError(folder, "masks as PNG files", "none")
    used = {picture for picture, _, _ in maps.items}
    if alone := [name for name in pictures.paths if pictures.directory / name not in used]:
        maps.problems.append(f"{len(alone)} pictures without a mask are left out ({first_of(alone, 8)})")
    return maps


def _reader(
    path: Path, picture: Path, names: Sequence[str], colors: dict[str, tuple[int, ...]] | None, foreground: str | None
) -> Painter:
    def read() -> np.ndarray:
        values = _values(path, colors is not None)
        size = read_size(picture)
        if values.shape[:2] != size[::-1]:
            expected = f"the size of {picture.name}, {size[0]} x {size[1]}"
            raise InvalidDataError(path, expected, f"{values.shape[1]} x {values.shape[0]}")
        if colors is not None:
            return _of_colors(path, values, names, colors)
        found = np.unique(values).tolist()
        if foreground is not None:
            if len(found) > 2 or not set(found) <= {0, 1, 255}:
                raise InvalidDataError(path, "0 for the background and 255 (or 1) for the foreground", found[:20])
            return (values > 0).astype(np.uint8)
        if set(found) <= {0, IGNORED} and IGNORED in found:
            expected = "class numbers from 1 on; if 255 is the foreground, its name (--foreground NAME)"
            raise InvalidDataError(path, expected, "only 0 and 255, and 255 stands for pixels that do not count")
        if unknown := [value for value in found if value > len(names) and value != IGNORED]:
            raise InvalidDataError(path, f"class numbers 0 to {len(names)}, or 255", unknown[:20])
        return values.astype(np.uint8)

    return read


def _values(path: Path, in_color: bool) -> np.ndarray:
    with opened_image(path, DEFAULT_MAX_PIXELS) as image:
        if image.format != "PNG":
            raise InvalidDataError(path, "a PNG, because others change numbers", f"a {image.format} file")
        modes = ("RGB", "P") if in_color else ("1", "L", "P", "I;16", "I")
        if image.mode not in modes:
            expected = "colors without transparency" if in_color else "one number per pixel (gray or palette)"
            raise InvalidDataError(path, expected, f"a picture of mode {image.mode}")
        image.load()
        return np.asarray(image.convert("RGB") if in_color else image)


def _of_colors(path: Path, values: np.ndarray, names: Sequence[str], colors: dict[str, tuple[int, ...]]) -> np.ndarray:
    codes = values.astype(np.int64) @ np.array([65536, 256, 1])
    labels = np.full(codes.shape, IGNORED, np.uint8)
    done = np.zeros(codes.shape, bool)
    for name, (red, green, blue) in colors.items():
        here = codes == red * 65536 + green * 256 + blue
        labels[here] = 0 if name == "background" else names.index(name) + 1
        done |= here
    # the outline of VOC, which its label map does not list
    done |= codes == 224 * 65536 + 224 * 256 + 192
    if not done.all():
        y, x = np.argwhere(~done)[0]
        raise InvalidDataError(path, f"the colors of {LABELMAP}", f"{values[y, x].tolist()} at x={x}, y={y}")
    return labels


def _read_labelmap(path: Path) -> dict[str, tuple[int, ...]]:
    """Name of each class to its color: `fish:250,220,60::`; without colors those of PASCAL VOC, in the order."""
    found: dict[str, tuple[int, ...]] = {}
    lines = [line.strip() for line in read_text(path, 2**20).splitlines()]
    for line in (line for line in lines if line and not line.startswith("#")):
        name, _, rest = line.partition(":")
        written = rest.split(":")[0].split(",")
        color = tuple(int(one) for one in written if one.strip().isdecimal() and int(one) < 256)
        if written == [""]:
            color = tuple(distinct_colors(256)[min(len(found), 255)].tolist())
        if len(color) != 3 or name in found or color in found.values():
            raise InvalidDataError(path, "lines like fish:250,220,60::, each class and color once", brief(line, 200))
        found[name] = color
    if not found:
        raise InvalidDataError(path, "at least one class", "none")
    return found
