"""Tables that grow while a run goes on, and are whole whenever somebody looks at them."""

import csv
import io
import os
import re
import stat
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from ..data.files import write_file

_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def append_whole(descriptor: int, content: bytes) -> None:
    """Append to an open file, and to the disk: all of it or, after an error such as a full disk, nothing."""
    regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
    end = os.lseek(descriptor, 0, os.SEEK_END) if regular else 0
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]
        if regular:
            os.fsync(descriptor)
    except BaseException:
        if regular:
            with suppress(OSError):
                os.ftruncate(descriptor, end)
        raise


def cell(value: object) -> object:
    """A value of a table. A text that a spreadsheet would take for a formula gets a "'" in front; numbers do not."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def text_of_cell(text: str) -> str:
    """The text that `cell` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def csv_bytes(header: Sequence[str], lines: Iterable[Sequence[object]], line_end: str = "\r\n") -> bytes:
    """The content of a CSV file; no header if it is empty."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=line_end)
    writer.writerows([cell(value) for value in line] for line in ([header] if header else []))
    writer.writerows([cell(value) for value in line] for line in lines)
    return text.getvalue().encode()


class AppendedTable(AbstractContextManager):
    """A CSV file whose lines are on the disk when `add` returns.

    Args:
        path: the file, which is replaced; or a pipe, which is written to.
        header: names of the columns.
        lines: the first ones.
        line_end: of each line.
    """

    def __init__(
        self, path: Path, header: Sequence[str], lines: Iterable[Sequence[object]] = (), line_end: str = "\r\n"
    ):
        self._line_end = line_end
        content = csv_bytes(header, lines, line_end)
        piped = path.exists() and not path.is_file()
        if not piped:
            write_file(path, content)
        self._descriptor: int | None = os.open(path, os.O_WRONLY | os.O_APPEND)
        if piped:
            append_whole(self._descriptor, content)

    def add(self, lines: Iterable[Sequence[object]]) -> None:
        """Append lines, all of them or none."""
        if self._descriptor is not None and (content := csv_bytes((), lines, self._line_end)):
            append_whole(self._descriptor, content)

    def close(self) -> None:
        """Complete the file; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __exit__(self, *error: object) -> None:
        self.close()
