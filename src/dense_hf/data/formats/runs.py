"""Masks as run lengths: of COCO (columns, plain or packed into text), CVAT (rows of a box), Label Studio (rows, bits).

Boxes and centres are taken from the runs themselves: a picture of 100 megapixels with 1,000 masks has no time for
1,000 pictures. A pixel (column, row) covers the square from there to (column + 1, row + 1).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .entries import BadEntry

MAX_SIDE = 200_000


@dataclass(frozen=True)
class Pixels:
    """A set of pixels as pieces of lines: `lines` [m], and in each from `starts` [m] to before `ends` [m].

    Lines are rows, or columns if `columns`.
    """

    lines: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    columns: bool = False

    @property
    def number(self) -> int:
        """How many pixels."""
        return int((self.ends - self.starts).sum())

    def box(self) -> tuple[float, float, float, float]:
        """(xmin, ymin, xmax, ymax), the outer sides of the pixels.

        Raises:
            BadEntry: no pixels.
        """
        if not self.number:
            raise BadEntry("a mask with at least one pixel", "none")
        along = float(self.starts.min()), float(self.ends.max())
        across = float(self.lines.min()), float(self.lines.max() + 1)
        x, y = (across, along) if self.columns else (along, across)
        return x[0], y[0], x[1], y[1]

    def centroid(self) -> tuple[float, float]:
        """The mean of the centres of the pixels."""
        weights = (self.ends - self.starts).astype(np.float64)
        along = float(np.average((self.starts + self.ends) / 2, weights=weights))
        across = float(np.average(self.lines + 0.5, weights=weights))
        return (across, along) if self.columns else (along, across)

    def moved(self, x: int, y: int) -> "Pixels":
        """The same pixels, so many to the right and down."""
        along, across = (y, x) if self.columns else (x, y)
        return Pixels(self.lines + across, self.starts + along, self.ends + along, self.columns)

    def mask(self, size: tuple[int, int]) -> np.ndarray:
        """bool [H, W] of a picture of `size` (width, height)."""
        width, height = size
        steps = np.zeros((width, height + 1) if self.columns else (height, width + 1), np.int8)
        np.add.at(steps, (self.lines, self.starts), 1)
        np.add.at(steps, (self.lines, self.ends), -1)
        filled = np.cumsum(steps[:, :-1], axis=1, dtype=np.int8) > 0
        return filled.T if self.columns else filled


def pixels_of_counts(counts: np.ndarray, length: int, num_lines: int, columns: bool = False) -> Pixels:
    """Pixels of alternating run lengths, background first, that go through lines of `length`.

    Raises:
        BadEntry: the runs are not as long as the lines together, or one is negative.
    """
    if max(length, num_lines) > MAX_SIDE:
        raise BadEntry(f"a mask of at most {MAX_SIDE} x {MAX_SIDE} pixels", f"{length} x {num_lines}")
    counts = np.asarray(counts, np.int64)
    if len(counts) and counts.min() < 0:
        raise BadEntry("run lengths of at least 0", int(counts.min()))
    if counts.sum() != length * num_lines:
        raise BadEntry(f"runs of {length} x {num_lines} pixels together", f"{int(counts.sum())} pixels")
    ends = np.cumsum(counts)[1::2]
    starts = ends - counts[1::2]
    starts, ends = starts[ends > starts], ends[ends > starts]
    first = starts // length
    pieces = (ends - 1) // length - first + 1
    index = np.repeat(np.arange(len(starts)), pieces)
    lines = first[index] + np.arange(len(index)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    begin = np.maximum(starts[index] - lines * length, 0)
    end = np.minimum(ends[index] - lines * length, length)
    return Pixels(lines, begin, end, columns)


def counts_of_text(packed: str) -> np.ndarray:
    """Run lengths of COCO's packed text: five bits a letter, from the third on as the difference to the last but one.

    Raises:
        BadEntry: for letters that do not belong to it, or text that ends within a number.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in packed:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise BadEntry("a packed run length", f"the letter {letter!r}")
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            value -= (1 << shift) if bits & 0x10 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise BadEntry("a packed run length", "text that ends within a number")
    try:
        return np.array(counts, np.int64)
    except OverflowError as error:
        raise BadEntry("a packed run length", "numbers of more than 64 bits") from error


def values_of_brush(packed: list[int], most: int) -> np.ndarray:
    """The bytes of a brush of Label Studio: RGBA of the pixels row by row, as its run-length code packs them.

    The code is a stream of bits: 32 for the number of values, 5 for the bits of a value minus 1, four times 4 for the
    bits of a run length of each of four kinds minus 1; then blocks: one bit for a run of equal values, two for the
    kind of its length, the length minus 1, and the value, or as many values.

    Raises:
        BadEntry: for a stream that ends too early, or more than `most` values.
    """
    try:
        bits = np.unpackbits(np.array(packed, np.uint8))
    except (OverflowError, ValueError, TypeError) as error:
        raise BadEntry("a list of bytes, from 0 to 255", error) from error
    position = 0

    def take(count: int) -> int:
        nonlocal position
        if position + count > len(bits):
            raise BadEntry("a complete brush", f"{len(packed)} bytes, which end too early")
        value = 0
        for bit in bits[position : position + count]:
            value = value << 1 | int(bit)
        position += count
        return value

    number, word = take(32), take(5) + 1
    lengths = [take(4) + 1 for _ in range(4)]
    if number > most:
        raise BadEntry(f"a brush of at most {most} values", number)
    if word != 8:
        raise BadEntry("values of 8 bits", f"{word} bits")
    values = np.zeros(number, np.uint8)
    done = 0
    while done < number:
        equal = take(1)
        run = take(lengths[take(2)]) + 1
        if done + run > number:
            raise BadEntry(f"{number} values", "more")
        if equal:
            values[done : done + run] = take(word)
        else:
            if position + run * word > len(bits):
                raise BadEntry("a complete brush", f"{len(packed)} bytes, which end too early")
            values[done : done + run] = np.packbits(bits[position : position + run * word])
            position += run * word
        done += run
    return values


def pixels_of_mask(mask: np.ndarray) -> Pixels:
    """Pixels of a mask, bool [H, W]."""
    steps = np.diff(mask.astype(np.int8), axis=1, prepend=0, append=0)
    lines, starts = np.nonzero(steps == 1)
    return Pixels(lines, starts, np.nonzero(steps == -1)[1])


def pixels_of_polygon(parts: Sequence[np.ndarray], size: tuple[int, int]) -> Pixels:
    """The pixels of a picture (width, height) whose centres are inside a polygon of parts [k, 2], by the odd rule."""
    width, height = size
    lines, crossings = [np.empty(0, np.int64)], [np.empty(0)]
    for part in parts:
        start, end = part, np.roll(part, -1, axis=0)
        for (x0, y0), (x1, y1) in zip(start.tolist(), end.tolist()):
            low, high = min(y0, y1), max(y0, y1)
            # rows whose centres are in [low, high): each corner counts for one of its two edges
            rows = np.arange(max(0, math.ceil(low - 0.5)), min(height, math.ceil(high - 0.5)))
            lines.append(rows)
            crossings.append(x0 + (rows + 0.5 - y0) / (y1 - y0) * (x1 - x0) if len(rows) else np.empty(0))
    line, x = np.concatenate(lines), np.concatenate(crossings)
    order = np.lexsort((x, line))
    line, x = line[order][::2], np.ceil(x[order] - 0.5)
    starts, ends = (np.clip(one, 0, width).astype(np.int64) for one in (x[::2], x[1::2]))
    kept = ends > starts
    return Pixels(line[kept], starts[kept], ends[kept])
