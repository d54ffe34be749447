"""Values of an entry of a file, taken apart strictly: what is wrong with one entry does not hide the next one."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import brief

MAX_COORDINATE = 1e9
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")


class BadEntry(Exception):
    """One entry cannot be used; `Reading.entry` says in which file and where."""

    def __init__(self, expected: str, received: object):
        super().__init__(expected, received)
        self.expected = expected
        self.received = brief(received, 200)


def number(value: Any, what: str) -> float:
    """A finite number of JSON.

    Raises:
        BadEntry: for text, true and false, null, NaN, and more than `MAX_COORDINATE`.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_COORDINATE:
        raise BadEntry(f"a finite number as {what}", repr(value) if isinstance(value, str) else value)
    return float(value)


def parsed(text: str | None, what: str, decimal_comma: bool = False) -> float:
    """A finite number of a text file: ASCII digits, with an exponent if need be.

    Raises:
        BadEntry: for anything else, among them nan, inf, "1_000" and other scripts' digits.
    """
    stripped = (text or "").strip(" \t\r\n")
    written = stripped.replace(",", ".", 1) if decimal_comma and "." not in stripped else stripped
    value = float(written) if _NUMBER.fullmatch(written) else math.nan
    if not abs(value) <= MAX_COORDINATE:
        raise BadEntry(f"a number like 17 or 17.5 as {what}", repr(stripped))
    return value


def numbers(value: Any, what: str, count: int | None = None) -> list[float]:
    """A list of finite numbers, of so many if `count` is given.

    Raises:
        BadEntry: else.
    """
    values = items(value, what)
    if count is not None and len(values) != count:
        raise BadEntry(f"{count} numbers as {what}", value)
    return [number(one, what) for one in values]


def pairs(value: Any, what: str, least: int = 1) -> list[tuple[float, float]]:
    """A list of at least so many [x, y].

    Raises:
        BadEntry: else.
    """
    found = [numbers(one, what) for one in items(value, what)]
    if len(found) < least or any(len(one) < 2 for one in found):
        raise BadEntry(f"at least {least} [x, y] as {what}", value)
    return [(one[0], one[1]) for one in found]


def flat_pairs(values: Sequence[float], what: str, least: int = 1) -> list[tuple[float, float]]:
    """[x1, y1, x2, y2, ...] as a list of (x, y).

    Raises:
        BadEntry: for an odd number of them, or fewer points than `least`.
    """
    if len(values) % 2 or len(values) < 2 * least:
        raise BadEntry(f"x1, y1, x2, y2, ... of at least {least} points as {what}", f"{len(values)} numbers")
    return list(zip(values[::2], values[1::2]))


def identity(value: Any, what: str) -> int | str:
    """A number or text that stands for an entry.

    Raises:
        BadEntry: for anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise BadEntry(f"a number or text as {what}", value)
    return value


def named(value: Any, key: str = "id") -> str:
    """The id of an entry for a message, whatever it is."""
    return brief(value.get(key) if isinstance(value, dict) else value, 60)


def items(value: Any, what: str) -> list[Any]:
    """A list.

    Raises:
        BadEntry: for anything else.
    """
    if not isinstance(value, list):
        raise BadEntry(f"a list as {what}", value)
    return value


def mapping(value: Any, what: str) -> Mapping[str, Any]:
    """An object of JSON.

    Raises:
        BadEntry: for anything else.
    """
    if not isinstance(value, dict):
        raise BadEntry(f"an object as {what}", value)
    return value


def text(value: Any, what: str) -> str:
    """Text that is not empty.

    Raises:
        BadEntry: for anything else.
    """
    if not isinstance(value, str) or not value.strip():
        raise BadEntry(f"text as {what}", repr(value))
    return value


def class_name(value: Any) -> str | None:
    """The name of a class, without outer spaces; none for null and empty text.

    Raises:
        BadEntry: for what is no name.
    """
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadEntry("the name of a class", value)
    return str(value).strip() or None


def size_of(width: Any, height: Any) -> tuple[int, int] | None:
    """(width, height) of a picture; none if the file does not say, which some tools write as null or 0.

    Raises:
        BadEntry: for other values than whole numbers.
    """
    if width in (None, "", 0, "0") and height in (None, "", 0, "0"):
        return None
    found = []
    for value, what in ((width, "width of the picture"), (height, "height of the picture")):
        side = parsed(value, what) if isinstance(value, str) else number(value, what)
        if side < 1 or side != int(side):
            raise BadEntry(f"a whole number above 0 as {what}", value)
        found.append(int(side))
    return found[0], found[1]
