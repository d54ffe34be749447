"""Where the results of `dense-hf segment` go, and what earlier runs, or parts of a run (`--shard`), have left."""

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..errors import InvalidDataError
from ..inference.run_records import RunRecord, read_record, record_of
from ..inference.shards import Shard
from ..inference.video_outputs import VIDEO_SUFFIXES, KeptLabels, label_folder


class Targets:
    """Where the results of a run go, each with the record of what it is of; nobody else can have them.

    Args:
        args: the options of the command.
        video: its name.
        settings: what all results depend on.
        files: the records are closed with them.
        frames: names of the frames of a part, which may stand between those of other parts; `None` for all.

    Raises:
        InvalidDataError: results of other settings, which cannot be gone on with.
        ValueError: another run writes there, or files are in the way that no earlier run has written.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        video: str,
        settings: dict[str, Any],
        files: ExitStack,
        frames: set[str] | None = None,
    ):
        self.label_folder = None if args.labels_dir is None else label_folder(args.labels_dir, video)
        self.records: dict[Path | None, RunRecord] = {}
        self._has_parts = False
        for path in (args.output, self.label_folder, args.table):
            if path is None or (path.exists() and not path.is_file() and not path.is_dir()):  # a pipe is no file
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            is_file = path == args.table or (path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir())
            # no folder is mixed: which pictures there will be is not known yet
            inside = list(path.iterdir()) if path.is_dir() else []
            place, of_parts = record_of(path), {}
            if path == self.label_folder and frames is not None:
                place = part_record(path, Shard.parse(args.shard))
                inside = [file for file in inside if file.stem in frames]
            elif path == self.label_folder and args.resume and not place.exists():
                of_parts = files_of_parts(path, settings)
                known = {file for own in of_parts.values() for file in own}
                inside = [file for file in inside if f"{path.name}/{file.name}" not in known]
            record = RunRecord(
                place,
                "segment",
                settings,
                resume=args.resume,
                overwrite=args.overwrite,
                files=[path.name] if is_file else [],
                reserved=[f"{path.name}/{file.name}" for file in inside if file.suffix.lower() in (".jpg", ".png")],
            )
            for name, own in of_parts.items():
                record.begin(name, own)
            self._has_parts |= bool(of_parts)
            self.records[path] = files.enter_context(record)
            # only with --overwrite there are any
            if path == self.label_folder and not (record.resumed or of_parts or frames is not None):
                for file in path.glob("*.png"):
                    file.unlink()

    @property
    def resumed(self) -> bool:
        """Whether there is a run to go on with."""
        return self._has_parts or any(record.resumed for record in self.records.values())

    def finished(self, max_frames: int | None) -> int | None:
        """The exit code of an earlier run with all frames; None if there is something to do."""
        there = all(path is not None and path.exists() for path in self.records)
        codes = [(record.result("", [max_frames]) or {}).get("code") for record in self.records.values()]
        return codes[0] if there and codes and None not in codes else None

    def finish(self, max_frames: int | None, code: int) -> None:
        """All frames are done."""
        for record in self.records.values():
            record.add("", [max_frames], {"code": code})
        if self.label_folder is None and (kept := self.kept_labels()) is not None:
            kept.remove()

    def kept_labels(self) -> KeptLabels | None:
        """Labels to go on from, beside the first of the results; empty for a new run."""
        paths = [path for path in self.records if path is not None]
        if not paths:
            return None
        kept = KeptLabels(paths[0].with_name(f".{paths[0].name}.labels"))
        if not self.resumed:
            kept.remove()
        return kept


def part_record(folder: Path, shard: Shard) -> Path:
    """The record of a part of the labels."""
    return folder.with_name(f".{folder.name}.{shard.index}-of-{shard.number}.run.jsonl")


def files_of_parts(folder: Path, settings: dict[str, Any]) -> dict[str, list[str]]:
    """The files of each frame that parts of a run have written, in a folder of labels.

    Raises:
        InvalidDataError: a part with other settings than these.
    """
    found: dict[str, list[str]] = {}
    for path in sorted(folder.parent.glob(f".{folder.name}.*-of-*.run.jsonl")):
        header, _, own = read_record(path)
        of_part = header["settings"]
        names = (of_part | settings).keys() - {"shard", "opacity", "keep_audio"}  # which labels do not depend on
        if differing := sorted(name for name in names if of_part.get(name) != settings.get(name)):
            raise InvalidDataError(path, "a part of a run with the same settings", f"other {', '.join(differing)}")
        found |= own
    return found
