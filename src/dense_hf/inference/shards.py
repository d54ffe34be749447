"""A run of a command in parts, on as many machines as there are, and the results of all parts as those of one run.

OUT/shards/2-of-4/           what `--shard 2/4` wrote: a folder of results like any other, with its record
OUT/shards/2-of-4/complete.json    written last: this part is done; what was wrong with files, and the order of its own

A file belongs to the part that a hash of its name says, whatever other files there are, so that parts need nothing of
each other. The hash of all names stands in the records: parts of different sets of files are not put together.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from ..errors import InvalidDataError, first_of
from ..reading import read_json
from .result_folders import hash_of, write_json
from .run_records import RunRecord, read_line, read_record

SHARDS, COMPLETE = "shards", "complete.json"
MOST_SHARDS = 100_000
_FOLDER = re.compile(r"([1-9]\d{0,5})-of-([1-9]\d{0,5})")
_MAX_BYTES = 2**31
T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """Part `index` of `number`, from 1."""

    index: int
    number: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """From "2/4".

        Raises:
            ValueError: no such text, or a part that there is not.
        """
        index, _, number = text.partition("/")
        if not (index.isascii() and number.isascii() and index.isdecimal() and number.isdecimal()):
            raise ValueError(f"a shard is I/N, such as 2/4. Received: {text!r:.100}")
        shard = cls(int(index), int(number))
        if not 1 <= shard.index <= shard.number <= MOST_SHARDS:
            raise ValueError(f"the shards of N are 1/N to N/N, N at most {MOST_SHARDS:,}. Received: {text!r:.100}")
        return shard

    def __str__(self) -> str:
        return f"{self.index}/{self.number}"

    def takes(self, name: str) -> bool:
        """Whether the file of this name is of this part."""
        digest = hashlib.sha256(os.fsencode(name)).digest()
        return int.from_bytes(digest[:8], "big") % self.number == self.index - 1

    def folder(self, output: Path) -> Path:
        """Where its results go."""
        return output / SHARDS / f"{self.index}-of-{self.number}"

    def settings(self, names: Iterable[str]) -> dict[str, Any]:
        """What the record of a part has besides the settings of the run; `names` are those of all files."""
        return {"shard": str(self), "inputs": hash_of(names)}

    def complete(
        self,
        folder: Path,
        names: Mapping[str, str],
        problems: Mapping[str, str],
        errors: Mapping[str, str],
        settings: Mapping[str, Any],
        tables: Mapping[str, Any],
    ) -> None:
        """Say that this part is done.

        Args:
            folder: of its results.
            names: of all files, in their order, to what is shown of them.
            problems: what was wrong with files before any was taken, the same in all parts.
            errors: what was wrong with own files, by what is shown of them.
            settings: for the tables.
            tables: which ones there are.
        """
        order = {name: number for number, name in enumerate(names) if self.takes(name)}
        failed = [[order[name], names[name], errors[names[name]]] for name in order if names[name] in errors]
        write_json(
            folder / COMPLETE,
            {"order": order, "errors": failed, "problems": dict(problems)}
            | {"settings": dict(settings), "tables": dict(tables)},
        )


@dataclass(frozen=True)
class MergedRun:
    """The results of all parts.

    Attributes:
        items: name of each and where its result is, a record and a place for `read_line`, in the order of a run that
            was not parted.
        files: of each item, by name: where they are, and where they go below the folder.
        errors: what was wrong with files, by what is shown of them, in the order of such a run.
        settings: of its tables.
        tables: which ones there are.
        record_settings: of its record.
        command: that made them.
    """

    items: dict[str, tuple[Path, tuple[int, int]]]
    files: dict[str, list[tuple[Path, str]]]
    errors: dict[str, str]
    settings: dict[str, Any]
    tables: dict[str, Any]
    record_settings: dict[str, Any]
    command: str


def read_shards(output: Path, record_name: str) -> MergedRun:
    """What all parts have found.

    Args:
        output: the folder of the run.
        record_name: of the records of its parts.

    Raises:
        InvalidDataError: no parts, some that are missing or not complete, or such that do not belong together.
    """
    folders = _folders(output)
    command, settings, first = "", {}, {}
    found: list[tuple[int, str, Path, tuple[int, int]]] = []
    failed: list[tuple[int, str, str]] = []
    files: dict[str, list[tuple[Path, str]]] = {}
    for folder in folders:
        path = folder / record_name
        header, items, own = read_record(path)
        marker = _read_marker(folder / COMPLETE)
        of_part = dict(header["settings"])
        of_part.pop("shard", None)
        if not first:
            command, settings, first = header["command"], of_part, marker
        differing = [key for key in of_part | settings if of_part.get(key) != settings.get(key)]
        if header["command"] != command or differing or marker["problems"] != first["problems"]:
            told = ", ".join(differing) or "another command"
            raise InvalidDataError(path, f"a part of the same run as {folders[0].name}", f"one that differs in {told}")
        for name, number in marker["order"].items():
            if name in items:
                found.append((number, name, path, items[name]))
                files[name] = [(folder / file, file) for file in own.get(name, ())]
        failed += [tuple(error) for error in marker["errors"]]
    found.sort(key=lambda item: item[0])
    settings.pop("inputs", None)
    return MergedRun(
        {name: (path, place) for _, name, path, place in found},
        files,
        first["problems"] | {shown: text for _, shown, text in sorted(failed)},
        first["settings"],
        first["tables"],
        settings,
        command,
    )


def merge_shards(
    output: Path,
    record_name: str,
    tables: Callable[[MergedRun], Sequence[str]],
    finish: Callable[[MergedRun, RunRecord], T],
    overwrite: bool = False,
) -> T:
    """Put the results of all parts into the folder of the run, which is then as if it had not been parted.

    Files are linked where the disk can do that, else copied; the parts stay as they are.

    Args:
        output: the folder of the run.
        record_name: of its record, and of those of its parts.
        tables: gives the names of the files that `finish` writes.
        finish: writes the tables of what the record has by then; its result is returned.
        overwrite: whether files that no earlier run has written are replaced.

    Raises:
        InvalidDataError: as `read_shards`.
        ValueError: files in the way, or another run that works in the folder.
    """
    merged = read_shards(output, record_name)
    reserved = [file for own in merged.files.values() for _, file in own]
    with RunRecord(
        output / record_name,
        merged.command,
        merged.record_settings,
        overwrite=overwrite,
        files=tables(merged),
        reserved=reserved,
    ) as record:
        for name, place in merged.items.items():
            record.begin(name, [file for _, file in merged.files[name]])
            for source, file in merged.files[name]:
                _link(source, output / file)
            line = read_line(*place)
            record.add(name, line["stamp"], line["result"])
        return finish(merged, record)


def _folders(output: Path) -> list[Path]:
    """The folders of all parts, each of which is complete."""
    there = {}
    for path in sorted((output / SHARDS).iterdir()) if (output / SHARDS).is_dir() else ():
        if match := _FOLDER.fullmatch(path.name):
            there[Shard(int(match[1]), int(match[2]))] = path
    numbers = sorted({shard.number for shard in there})
    if len(numbers) != 1:
        received = f"parts of {', '.join(map(str, numbers))}" if numbers else "none"
        raise InvalidDataError(output / SHARDS, "the parts of one run, of --shard 1/N to N/N", received)
    wanted = [Shard(index, numbers[0]) for index in range(1, numbers[0] + 1)]
    missing = [str(one) for one in wanted if one not in there or not (there[one] / COMPLETE).is_file()]
    if missing:
        received = f"{len(missing)} of {numbers[0]} missing or not complete: {first_of(missing, 10)}"
        raise InvalidDataError(output / SHARDS, "all parts complete (go on with --shard I/N --resume)", received)
    return [there[one] for one in wanted]


def _read_marker(path: Path) -> dict[str, Any]:
    marker = read_json(path, _MAX_BYTES, max_values=None)
    kinds = {"order": dict, "errors": list, "problems": dict, "settings": dict, "tables": dict}
    if not isinstance(marker, dict) or not all(isinstance(marker.get(key), kind) for key, kind in kinds.items()):
        raise InvalidDataError(path, "what a complete part of a run writes", "another JSON file")
    return marker


def _link(source: Path, target: Path) -> None:
    """The same file at another place, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{'0' * 16}.partial")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, temporary)
    os.replace(temporary, target)
    temporary.unlink(missing_ok=True)  # of two links to one file, replacing does nothing
