"""Class names, the rule from numbers in a mask to labels of a model, and label maps as PNG files with a palette.

H, W: size of a mask; K: number of labels. A label is 0 to K - 1, or `IGNORED` for pixels that no loss and no metric
looks at.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image, ImageOps

from ..errors import InvalidDataError
from ..reading import read_json
from .class_names import check_class_names
from .images import DEFAULT_MAX_PIXELS, opened_image, png_bytes

IGNORED = 255
MAX_CLASS_FILE_BYTES = 2**20


@dataclass(frozen=True)
class LabelRule:
    """Which label each number in a mask means.

    Attributes:
        names: name of each label, K of them.
        labels: number in the mask to label, or to `IGNORED`; other numbers must not occur.
    """

    names: tuple[str, ...]
    labels: Mapping[int, int]

    @property
    def num_labels(self) -> int:
        """K."""
        return len(self.names)

    @cached_property
    def _table(self) -> np.ndarray:
        table = np.full(257, -1, dtype=np.int16)  # the last entry stands for all numbers from 256 on
        for number, label in self.labels.items():
            table[number] = label
        return table

    def apply(self, path: object, numbers: np.ndarray) -> np.ndarray:
        """Labels uint8 [H,W] of the numbers [H,W] in a mask.

        Args:
            path: the mask file, for the message.
            numbers: unsigned integers.

        Raises:
            InvalidDataError: for a number that no class has; it is named with a pixel that has it.
        """
        # 256 stands for more: numpy will not compare 8 bits with it
        labels = self._table[numbers if numbers.dtype == np.uint8 else np.minimum(numbers.astype(np.int64), 256)]
        if labels.size and labels.min() < 0:
            y, x = np.argwhere(labels < 0)[0]
            expected = f"class numbers {_as_ranges(self.labels)}"
            raise InvalidDataError(path, expected, f"{numbers[y, x]} at x={x}, y={y}")
        return labels.astype(np.uint8)


def class_rule(names: Mapping[int, str], ignore_zero: bool) -> LabelRule:
    """The rule for numbers that count up: from 1 with `ignore_zero` (number k is label k - 1), else from 0.

    Args:
        names: number to name, without gaps.
        ignore_zero: number 0 means "others", which no label has.
    """
    first = 1 if ignore_zero else 0
    labels = {number: number - first for number in names}
    labels |= {0: labels.get(0, IGNORED), 255: IGNORED}
    return LabelRule(tuple(names[number] for number in sorted(names)), labels)


def read_class_file(path: str | os.PathLike, ignore_zero: bool = True) -> LabelRule:
    """The rule of a file such as VSPW's label_num_dic_final.json: a JSON object of names to numbers in the masks.

    ```json
    {"others": 0, "wall": 1, "ceiling": 2}
    ```

    Numbers may be written as text ("1"). The classes count up from 1, or from 0 with `ignore_zero=False`; then 0 is a
    class of its own. An entry for 255, pixels without a class, may be there.

    Raises:
        InvalidDataError: if it is not such a file: not JSON, a name or a number twice, a gap, more than 254 classes.
    """

    expected = "a JSON object of class names to numbers"
    content = read_json(path, MAX_CLASS_FILE_BYTES, expected)
    if not isinstance(content, dict):
        raise InvalidDataError(path, expected, content)
    check_class_names(path, content)
    names: dict[int, str] = {}
    for name, value in content.items():
        is_number = isinstance(value, int) and not isinstance(value, bool)
        is_text = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 3
        if not (is_number or is_text) or not 0 <= int(str(value)) <= IGNORED:
            raise InvalidDataError(path, "whole numbers from 0 to 255", f"{name!r}: {value!r:.50}")
        number = int(str(value))
        if number in names:
            raise InvalidDataError(path, "each number once", f"{number} for {names[number]!r} and {name!r}")
        names[number] = name
    names.pop(IGNORED, None)
    if ignore_zero:
        names.pop(0, None)
    first = 1 if ignore_zero else 0
    if not names or sorted(names) != list(range(first, first + len(names))):
        raise InvalidDataError(path, f"classes numbered from {first} on without gaps", _as_ranges(names) or "none")
    return class_rule(names, ignore_zero)


def read_mask(
    path: str | os.PathLike, size: tuple[int, int], rule: LabelRule, max_pixels: int = DEFAULT_MAX_PIXELS
) -> np.ndarray:
    """The labels uint8 [H,W] of a mask: a PNG whose gray values or palette indices are class numbers.

    8 and 16 bits are read as they are. The orientation tag is applied, as it is to the frame.

    Args:
        path: the file.
        size: (width, height) of its frame, seen upright.
        rule: what the numbers mean.
        max_pixels: see `open_image`.

    Raises:
        InvalidDataError: if it is missing, broken, of another size, a picture in colors, or has a number that is
            not a class.
    """
    with opened_image(path, max_pixels) as image:
        if image.format != "PNG":
            raise InvalidDataError(path, "a PNG, because others change numbers", f"a {image.format} file")
        if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
            expected = "a mask with one class number per pixel (gray or palette)"
            raise InvalidDataError(path, expected, f"a picture of mode {image.mode}")
        image.load()
        numbers = np.asarray(ImageOps.exif_transpose(image))
    height, width = numbers.shape
    if (width, height) != tuple(size):
        raise InvalidDataError(path, f"the size of its frame, {size[0]} x {size[1]}", f"{width} x {height}")
    return rule.apply(path, numbers.astype(np.uint8) if numbers.dtype == bool else numbers)


def _as_ranges(numbers: Mapping[int, object]) -> str:
    """ "0-124, 255" of the keys."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1][1:] = [number]
        else:
            ranges.append([number])
    return ", ".join("-".join(map(str, ends)) for ends in ranges)


def label_map_png(numbers: np.ndarray) -> bytes:
    """The content of a PNG file whose palette indices are the class numbers uint8 [H,W]."""
    image = Image.fromarray(numbers, mode="P")
    image.putpalette(distinct_colors(256).flatten().tolist())
    return png_bytes(image)


def distinct_colors(count: int) -> np.ndarray:
    """uint8 [count,3]: the colors of PASCAL VOC. Bits 0, 3 and 6 of the number are the highest of red, and so on."""
    numbers = np.arange(count)[:, None]
    colors = np.zeros((count, 3), dtype=np.int64)
    for bit in range(8):
        colors |= ((numbers >> (3 * bit + np.arange(3))) & 1) << (7 - bit)
    return colors.astype(np.uint8)
