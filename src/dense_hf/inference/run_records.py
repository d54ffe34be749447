"""What a run has written and found out so far, so that the next one replaces nothing else, and can go on.

A record is a file of one JSON object per line:

{"made_by": "dense_hf", "command": ..., "settings": {...}, "files": [...]}    what runs, and its tables
{"item": "reef.jpg", "files": ["overlays/reef.jpg_points.png"]}               before the files of an item are written
{"item": "reef.jpg", "stamp": [...], "result": {...}}                         after that

Lines are appended and on the disk before a run goes on. A process that is killed leaves at most one torn line at the
end, which is dropped. Files are named relative to the folder of the record.
"""

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from ..data.files import read_bytes
from ..errors import InvalidDataError, first_of
from .appending import append_whole
from .console import shown
from .locks import lock_file

_MADE_BY = "dense_hf"
_BEGIN = b'{"made_by": "dense_hf"'  # as json writes it
_MAX_BYTES = 2**31
_PARTIAL = re.compile(r"\.(.+)\.[0-9a-f]{16}\.partial")


class RunRecord(AbstractContextManager):
    """The record of a run; nobody else can have it at the same time.

    Args:
        path: of the record; its folder must be there.
        command: what runs.
        settings: all that results depend on besides their item, in values that JSON has.
        resume: go on with what is there. Without it, the files of the run before are removed.
        overwrite: whether files that no record lists are replaced.
        files: what the run writes besides the files of items, in the folder.
        reserved: files of items that are known already.

    Attributes:
        resumed: whether the run goes on with what was there.

    Raises:
        InvalidDataError: a file that is no record, or the record of a run with other settings.
        ValueError: another run has it, or there are files in the way.
    """

    def __init__(
        self,
        path: Path,
        command: str,
        settings: Mapping[str, Any],
        *,
        resume: bool = False,
        overwrite: bool = False,
        files: Collection[str] = (),
        reserved: Collection[str] = (),
    ):
        self.path, self.folder, self._overwrite = path, path.parent, overwrite
        # item -> what its result was made from, and where the line with it is: results of a survey fill memories
        self._places: dict[str, tuple[Any, int, int]] = {}
        self._files: dict[str, list[str]] = {}
        header = json.loads(
            json.dumps({"made_by": _MADE_BY, "command": command, "settings": dict(settings), "files": list(files)})
        )
        lines, _ = _read(path, overwrite)  # what is no record is not touched
        self._check_free((*files, *reserved), listed_files(path, lines))
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            lock_file(self._descriptor, self.path)
            lines, length = _read(path, overwrite, self._descriptor)
            if resume and lines:
                _check_same(path, lines[0], header)
            earlier = listed_files(path, lines) - {path}
            _remove_partial(earlier)
            self.resumed = resume and bool(lines)
            if self.resumed:
                os.ftruncate(self._descriptor, length)
                offset = 0
                for text in os.pread(self._descriptor, length, 0).splitlines(keepends=True):
                    if offset:
                        self._take(json.loads(text), offset, len(text))
                    offset += len(text)
            else:
                # what this run writes anew stays until then
                _remove(earlier - {self.folder / file for file in files}, self.folder)
                os.ftruncate(self._descriptor, 0)
                self._append(header)
        except BaseException:
            self.close()
            raise

    def result(self, item: str, stamp: Any) -> Any | None:
        """The result of an item that an earlier run has made from the same; None if it must be made."""
        if item not in self._places or self._places[item][0] != stamp:
            return None
        made = all((self.folder / file).is_file() for file in self._files.get(item, ()))
        return self.stored(item) if made else None

    def stored(self, item: str) -> Any:
        """The result of an item, whatever it was made from."""
        if self._descriptor is None:
            raise ValueError(f"The results of a record are read until it is closed. Received: {self.path}")
        _, offset, length = self._places[item]
        return json.loads(os.pread(self._descriptor, length, offset))["result"]

    def results(self) -> Iterator[tuple[str, Any]]:
        """All items that have a result, and the result."""
        for item in self._places:
            yield item, self.stored(item)

    def begin(self, item: str, files: Collection[str]) -> None:
        """Say which files of an item are written now."""
        line = {"item": item, "files": list(files)}
        self._take(line, *self._append(line))

    def add(self, item: str, stamp: Any, result: Mapping[str, Any]) -> None:
        """Keep the result of an item, whose files are whole."""
        line = json.loads(json.dumps({"item": item, "stamp": stamp, "result": result}))
        self._take(line, *self._append(line))

    def remove_others(self, items: Collection[str]) -> None:
        """Remove the files of all items but these: an earlier run had them."""
        kept = {file for item in items for file in self._files.get(item, ())}
        others = {file for item, files in self._files.items() if item not in items for file in files}
        _remove({self.folder / file for file in others - kept if _is_inside(file)}, self.folder)

    def close(self) -> None:
        """Let go of the record; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __exit__(self, *error: object) -> None:
        self.close()

    def _append(self, line: Mapping[str, Any]) -> tuple[int, int]:
        """Where the line is then, and its length."""
        content = json.dumps(line, allow_nan=False).encode() + b"\n"
        if self._descriptor is None:
            return 0, 0
        offset = os.fstat(self._descriptor).st_size
        append_whole(self._descriptor, content)
        return offset, len(content)

    def _take(self, line: Mapping[str, Any], offset: int, length: int) -> None:
        item = line.get("item")
        if isinstance(item, str) and isinstance(line.get("files"), list):
            self._files[item] = line["files"]
            self._places.pop(item, None)  # its files are being replaced
        elif isinstance(item, str) and isinstance(line.get("result"), dict):
            self._places[item] = (line.get("stamp"), offset, length)

    def _check_free(self, files: Iterable[str], earlier: Collection[Path]) -> None:
        if self._overwrite:
            return
        paths = [self.folder / file for file in files]
        if taken := [path for path in paths if os.path.lexists(path) and path not in earlier]:
            raise ValueError(
                f"{len(taken)} files are in the way that no earlier run of this command has written; choose another "
                f"place, or replace them with --overwrite. Received: {shown(first_of(list(map(str, taken)), 5))}"
            )


def record_of(target: Path) -> Path:
    """Where the record of a single file, or of a folder that only has what it is for, is: beside it."""
    return target.with_name(f".{target.name}.run.jsonl")


def listed_files(path: Path, lines: Iterable[Mapping[str, Any]] | None = None) -> set[Path]:
    """The files that a record lists, with the record itself; none for what is no record."""
    if lines is None:
        try:
            lines, _ = _read(path)
        except InvalidDataError:
            return set()
    found = [file for line in lines for file in line.get("files", ()) if _is_inside(file)]
    return {path.parent / file for file in found} | ({path} if found or path.is_file() else set())


def read_results(path: Path, command: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The results in a record that another process has written; none of one that is not there.

    Raises:
        InvalidDataError: a file that is no record, or that of a run with other settings.
    """
    lines, _ = _read(path)
    if not lines:
        return {}
    _check_same(path, lines[0], {"command": command, "settings": json.loads(json.dumps(dict(settings)))})
    return {line["item"]: line["result"] for line in lines[1:] if "result" in line and isinstance(line["item"], str)}


def read_record(path: Path) -> tuple[dict[str, Any], dict[str, tuple[int, int]], dict[str, list[str]]]:
    """The first line of a record; of each item where the line with its result is, for `read_line`, and its files.

    Raises:
        InvalidDataError: no record.
    """
    lines, length = _read(path)
    if not lines or not isinstance(lines[0].get("command"), str) or not isinstance(lines[0].get("settings"), dict):
        raise InvalidDataError(path, "the record of a run", "none")
    places: dict[str, tuple[int, int]] = {}
    files: dict[str, list[str]] = {}
    offset = 0
    for line, text in zip(lines, read_bytes(path, _MAX_BYTES)[:length].splitlines(keepends=True)):
        item = line.get("item")
        if isinstance(item, str) and isinstance(line.get("files"), list):
            files[item] = [file for file in line["files"] if _is_inside(file)]
            places.pop(item, None)
        elif isinstance(item, str) and isinstance(line.get("result"), dict):
            places[item] = offset, len(text)
        offset += len(text)
    return lines[0], places, files


def read_line(path: Path, place: tuple[int, int]) -> dict[str, Any]:
    """A line of a record by its offset and length: it has `stamp` and `result`."""
    with path.open("rb") as file:
        file.seek(place[0])
        return json.loads(file.read(place[1]))


def _is_inside(file: Any) -> bool:
    """Whether it is a name below the folder of the record: others are not touched, whatever a record says."""
    return isinstance(file, str) and not PurePosixPath(file).is_absolute() and ".." not in PurePosixPath(file).parts


def _read(path: Path, overwrite: bool = False, descriptor: int | None = None) -> tuple[list[dict[str, Any]], int]:
    """The whole lines of a record, and their length in bytes; nothing of one that is not there, or is overwritten.

    Args:
        path: of the record.
        overwrite: whether it may be anything.
        descriptor: of the same file. It is read instead: opening and closing it once more would end the lock.
    """
    if descriptor is None and not os.path.lexists(path):
        return [], 0
    if descriptor is None:
        content = read_bytes(path, _MAX_BYTES)
    else:
        content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    begun = content[: len(_BEGIN)] == _BEGIN[: len(content)]
    content = content[: content.rfind(b"\n") + 1]
    try:
        lines = [json.loads(line) for line in content.splitlines()]
        ours = begun and all(isinstance(line, dict) for line in lines)
    except (ValueError, RecursionError):
        lines, ours = [], False
    if not ours and not overwrite:
        raise InvalidDataError(path, "the record of an earlier run, or --overwrite to replace it", "another file")
    return (lines, len(content)) if ours else ([], 0)


def _check_same(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    if before.get("command") != now["command"]:
        raise InvalidDataError(path, f"a run of {now['command']}", f"one of {before.get('command')!s:.100}")
    old = before.get("settings")
    old, new = old if isinstance(old, dict) else {}, now["settings"]
    if differing := [name for name in new | old if new.get(name) != old.get(name)]:
        told = [f"{name} {old.get(name)!s:.60}, not {new.get(name)!s:.60}" for name in differing]
        raise InvalidDataError(path, "a run with the same settings to go on with", shown(first_of(told, 5, "; ")))


def _remove(files: Iterable[Path], folder: Path) -> None:
    """Remove files of an earlier run, and the folders that are empty then."""
    root = folder.resolve()
    for file in files:
        if file.parent.resolve().is_relative_to(root) and (file.is_file() or file.is_symlink()):
            file.unlink()
    for parent in sorted({file.parent for file in files}, reverse=True):
        while parent != folder and parent.resolve().is_relative_to(root):
            with suppress(OSError):
                parent.rmdir()
            if parent.exists():
                break
            parent = parent.parent


def _remove_partial(files: Iterable[Path]) -> None:
    """Remove what a killed process has left of these files under temporary names."""
    names: dict[Path, set[str]] = {}
    for file in files:
        names.setdefault(file.parent, set()).add(file.name)
    for parent, known in names.items():
        for path in list(parent.iterdir()) if parent.is_dir() else ():
            if (match := _PARTIAL.fullmatch(path.name)) and match[1] in known:
                path.unlink(missing_ok=True)
