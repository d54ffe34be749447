"""`--shard I/N`, and several processes of one machine: what commands that run a model over many files share."""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..inference.console import say, shown
from .errors import CommandError

if TYPE_CHECKING:
    from ..inference.run_records import RunRecord
    from ..inference.shards import MergedRun

# of each command, in its folder of results
RECORDS = {"count": "counts.jsonl", "localize": "areas.jsonl"}


def add_shard_option(parser: argparse.ArgumentParser) -> None:
    """`--shard`."""
    parser.add_argument(
        "--shard",
        metavar="I/N",
        help="only part I of N, into DIR/shards/I-of-N; `dense-hf merge DIR` makes of all parts what one run gives. "
        "Which part a file belongs to depends on its name alone. The processes of `accelerate launch -m dense_hf ...` "
        "do this by themselves",
    )


class Part:
    """The part of a run that this process does: all of it, unless there are several.

    Args:
        args: `output`, `shard` and `device` of the command.

    Attributes:
        shard: which part; `None` for all.
        folder: where its results go.

    Raises:
        CommandError: no such part, or `--shard` in one of several processes.
    """

    def __init__(self, args: argparse.Namespace):
        from ..inference.shards import Shard

        self.output: Path = args.output
        self.shard: Shard | None = None
        self._is_process = int(os.environ.get("WORLD_SIZE", "1")) > 1
        if self._is_process and args.shard is not None:
            raise CommandError(f"--shard: several processes share the work by themselves. Received: {args.shard}")
        try:
            if self._is_process:
                self.shard = Shard(int(os.environ["RANK"]) + 1, int(os.environ["WORLD_SIZE"]))
            elif args.shard is not None:
                self.shard = Shard.parse(args.shard)
        except ValueError as error:
            raise CommandError(f"--shard: {shown(str(error))}") from error
        self.folder = self.output if self.shard is None else self.shard.folder(self.output)

    @property
    def device(self) -> str | None:
        """One GPU for each process of a machine, where nobody has named one."""
        import torch

        if not self._is_process or not torch.cuda.is_available():
            return None
        return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"

    def excluded(self) -> set[Path]:
        """What is not looked for files: the results of all parts."""
        from ..inference.shards import SHARDS

        return {self.output / SHARDS}

    def takes(self, name: str) -> bool:
        """Whether the file of this name belongs to it."""
        return self.shard is None or self.shard.takes(name)

    def settings(self, names: Mapping[str, str]) -> dict[str, Any]:
        """What its record has besides the settings of the run; `names` are those of all files."""
        return {} if self.shard is None else self.shard.settings(names)

    def run(
        self,
        names: Mapping[str, str],
        problems: dict[str, str],
        settings: dict[str, Any],
        work: Callable[[dict[str, str]], int],
        merge: Callable[[], int],
        tables: Mapping[str, Any] | None = None,
    ) -> int:
        """Do the work; of a part, say that it is complete; of the processes of one run, merge the parts.

        Args:
            names: of all files, in their order, to what is shown of them.
            problems: what was wrong with files before any was taken.
            settings: for the tables.
            work: takes what is wrong with files and adds to it; returns the exit code.
            merge: puts all parts together; returns the exit code.
            tables: which ones there are, for `merge`.
        """
        from ..inference.shards import COMPLETE

        if self.shard is None:
            return work(problems)
        (self.folder / COMPLETE).unlink(missing_ok=True)
        errors, code = dict(problems), 1 if problems else 0
        if any(map(self.takes, names)):
            try:
                code = work(errors)
            except CommandError:  # none of its files can be used, which may be so
                if len(errors) == len(problems):
                    raise
                code = 1
        self.shard.complete(self.folder, names, problems, errors, settings, tables or {})
        if not self._is_process:
            say(f"part {self.shard} is complete; with all parts: dense-hf merge {shown(self.output)}")
            return code
        from ..inference.processes import closes_process_group, start_processes

        @closes_process_group
        def together() -> int:
            state = start_processes()
            state.wait_for_everyone()  # all parts are complete behind this
            return merge() if state.is_main_process else code

        return together()


def merge_counts(output: Path, overwrite: bool = False) -> int:
    """The tables of `count`, maps and the overlays of all parts. Returns the exit code."""
    from ..inference.count_tables import CountTables, RecordedRows, TableKinds
    from ..inference.shards import merge_shards

    def kinds(merged: "MergedRun") -> TableKinds:
        stored: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in merged.tables.items()
        }
        return TableKinds(**stored)

    def finish(merged: "MergedRun", record: "RunRecord") -> int:
        rows = RecordedRows(record, list(merged.items), merged.items)
        with CountTables(output, (), kinds(merged)) as tables:
            tables.finish(rows, merged.errors, merged.settings)
        say(f"{sum(row.count for row in rows)} objects in {len(rows)} images; results in {shown(output)}")
        return _code(rows, merged.errors)

    return merge_shards(output, RECORDS["count"], lambda merged: kinds(merged).files, finish, overwrite)


def merge_masks(output: Path, overwrite: bool = False) -> int:
    """`areas.csv`, `areas.json`, maps, masks and overlays of all parts. Returns the exit code."""
    from ..inference.mask_outputs import TABLES, MaskRow, MaskTables
    from ..inference.shards import merge_shards

    def finish(merged: "MergedRun", record: "RunRecord") -> int:
        rows = [MaskRow(**record.stored(name)) for name in merged.items]
        with MaskTables(output, ()) as tables:
            tables.finish(rows, merged.errors, merged.settings)
        say(f"{len(rows)} masks; results in {shown(output)}")
        return _code(rows, merged.errors)

    return merge_shards(output, RECORDS["localize"], lambda merged: TABLES, finish, overwrite)


def _code(rows: Sequence[Any], errors: Mapping[str, str]) -> int:
    return 2 if not rows else 1 if errors else 0
