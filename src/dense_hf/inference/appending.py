"""Tables that grow while a run goes on, and are whole whenever somebody looks at them."""

import csv
import io
import json
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from ..data.files import whole_file
from ..data.table_cells import cell


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


def csv_bytes(header: Sequence[str], lines: Iterable[Sequence[object]], line_end: str = "\r\n") -> bytes:
    """The content of a CSV file; no header if it is empty."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=line_end)
    writer.writerows([cell(value) for value in line] for line in ([header] if header else []))
    writer.writerows([cell(value) for value in line] for line in lines)
    return text.getvalue().encode()


def write_table(path: Path, header: Sequence[str], lines: Iterable[Sequence[object]], line_end: str = "\r\n") -> None:
    """A whole CSV file, line by line."""
    with whole_file(path) as file:
        file.write(csv_bytes(header, (), line_end))
        for line in lines:
            file.write(csv_bytes((), [line], line_end))


def write_document(path: Path, document: Mapping[str, Any], name: str, items: Iterable[Any]) -> None:
    """A whole JSON file, item by item: what `json.dumps` makes with an indent of 1.

    Args:
        path: the file.
        document: its content, with an empty list where the items go.
        name: key of that list.
        items: the items.
    """
    empty = f"{json.dumps(name)}: []"
    before, after = json.dumps(document, indent=1, allow_nan=False).split(f"\n {empty}")
    with whole_file(path) as file:
        file.write(f"{before}\n {empty[:-1]}".encode())
        separator = ""
        for item in items:
            text = json.dumps(item, indent=1, allow_nan=False).replace("\n", "\n  ")
            file.write(f"{separator}\n  {text}".encode())
            separator = ","
        file.write(f"{'' if not separator else chr(10) + ' '}]{after}".encode())


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
        piped = path.exists() and not path.is_file()
        if not piped:
            write_table(path, header, lines, line_end)
        self._descriptor: int | None = os.open(path, os.O_WRONLY | os.O_APPEND)
        if piped:
            append_whole(self._descriptor, csv_bytes(header, lines, line_end))

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
