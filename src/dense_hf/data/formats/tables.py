"""Tables as people and spreadsheets write them: encodings, separators, decimal commas.

What is tried: a byte order mark, else UTF-8, else UTF-16 if every other byte is 0, else Windows-1252, which is said;
of comma, semicolon, tab and bar the one that is in the first line most often, outside of quotes. A line "sep=;" above
the header, by which Excel is told, says it.
"""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import InvalidDataError
from ...reading import read_bytes
from ..table_cells import text_of_cell
from .entries import parsed

MAX_TABLE_BYTES = 2**30
_MAX_CELL = 2**27


@dataclass(frozen=True)
class Row:
    """A line of a table: its number, and its cells."""

    line: int
    cells: list[str]

    def __getitem__(self, column: int | None) -> str:
        return "" if column is None or column >= len(self.cells) else self.cells[column]


class Table:
    """A table whose first line is its header.

    Attributes:
        header: The names of the columns as they are written.
        decimal_comma: Whether "10,5" may be a number.
        guessed: Said of the encoding if nothing proves it, else "".
    """

    def __init__(self, path: Path):
        self.path = path
        text, self.guessed = _decoded(path, read_bytes(path, MAX_TABLE_BYTES))
        # a line may end in "\r\n", "\n" or, from old spreadsheets, "\r"; within quotes all of them are text
        told = re.match(r"[\r\n]*sep=([,;\t|])[ \t]*(?:\r\n|\r|\n)", text, re.IGNORECASE)
        self._begin = 0 if told is None else len(told[0].splitlines())
        text = text if told is None else text[told.end() :]
        self._text = text
        line = text.lstrip("\r\n")[:10_000].splitlines()[0] if text.strip() else ""
        outside = "".join(line.split('"')[::2])
        often = max(",;\t|", key=lambda letter: (outside.count(letter), letter == ","))
        self.delimiter = often if told is None else told[1]
        self.decimal_comma = self.delimiter != ","
        rows = self._rows()
        header = next(rows, None)
        if header is None:
            raise InvalidDataError(path, "a table with a header, such as the columns image,x,y", "an empty file")
        self.header = [cell.strip() for cell in header.cells]
        self._left = rows

    def _rows(self) -> Iterator[Row]:
        reader = csv.reader(io.StringIO(self._text, newline=""), delimiter=self.delimiter, strict=True)
        try:
            while (cells := _next(reader)) is not None:
                if any(cell.strip() for cell in cells):
                    yield Row(self._begin + reader.line_num, [text_of_cell(cell) for cell in cells])
        except csv.Error as error:
            raise InvalidDataError(
                self.path, "a CSV file", f"line {self._begin + reader.line_num}: {error}"
            ) from error

    def __iter__(self) -> Iterator[Row]:
        """The lines behind the header."""
        return self._left

    def number(self, text: str, what: str) -> float:
        """A number of a cell.

        Raises:
            BadEntry: it is none.
        """
        return parsed(text, what, self.decimal_comma)


def _next(reader: Any) -> list[str] | None:
    """The next line; a cell of Label Studio may have all regions of a picture, which is more than the usual limit."""
    before = csv.field_size_limit(_MAX_CELL)
    try:
        return next(reader, None)
    finally:
        csv.field_size_limit(before)


def _decoded(path: Path, content: bytes) -> tuple[str, str]:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding, guessed = "utf-16", ""
    elif content[1:200:2].count(0) > len(content[1:200:2]) // 2:
        encoding, guessed = "utf-16-le", ""
    else:
        encoding, guessed = "utf-8-sig", ""
    try:
        return content.decode(encoding), guessed
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig" or 0 in content:
            raise InvalidDataError(path, "a table in UTF-8, UTF-16 or Windows-1252", error) from error
    try:
        return content.decode("cp1252"), "read as Windows-1252, because it is no UTF-8"
    except UnicodeDecodeError as error:
        raise InvalidDataError(path, "a table in UTF-8, UTF-16 or Windows-1252", error) from error
