"""What an evaluation has found out so far, beside its file of numbers, so that one that was stopped can go on.

.NUMBERS.json.run.jsonl      of process 0, see `run_records.py`: what the numbers are of, and a line per item
.NUMBERS.json.run-R.jsonl    of process R, while the evaluation runs
"""

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState

from ..errors import InvalidDataError
from .run_records import RunRecord, read_results, record_of


class EvaluationRecord(AbstractContextManager):
    """States of metrics by item. Every process appends its own, and sees those that all had before a stop.

    Args:
        output: the file of numbers; None for an evaluation that writes none and keeps nothing.
        settings: what the states depend on, in values that JSON has.
        resume: whether to go on with an evaluation that was stopped.
        overwrite: whether a file of numbers may be replaced that no evaluation has written.

    Raises:
        InvalidDataError: an evaluation of something else, which cannot be gone on with, or one that still runs.
        ValueError: a file of numbers that no evaluation has written.
    """

    def __init__(self, output: str | None, settings: Mapping[str, Any], resume: bool = False, overwrite: bool = False):
        self._record: RunRecord | None = None
        self._before: dict[str, Any] = {}
        self._output = output
        if output is None:
            if resume:
                raise ValueError("--resume needs --output, the file beside which an evaluation keeps what is done")
            return
        state = PartialState()
        first = record_of(Path(output))
        rank = state.process_index
        path = first if rank == 0 else first.with_name(f".{Path(output).name}.run-{rank}.jsonl")
        if state.is_main_process:
            first.parent.mkdir(parents=True, exist_ok=True)
        state.wait_for_everyone()
        if resume:
            for one in {first, *_of_others(Path(output))} - {path}:
                self._before |= read_results(one, "evaluate", settings)
        state.wait_for_everyone()  # all have read before anybody writes
        self._record = RunRecord(
            path,
            "evaluate",
            settings,
            resume=resume,
            overwrite=overwrite,
            files=[Path(output).name] if rank == 0 else [],
        )
        self._before |= dict(self._record.results())

    def get(self, item: str) -> Any | None:
        """The state of an item; None if it must be made."""
        return self._before.get(item)

    def add(self, item: str, state: Mapping[str, Any]) -> None:
        """Keep the state of an item of this process, in values that JSON has."""
        if self._record is not None:
            self._record.add(item, None, state)

    def finish(self) -> None:
        """The numbers are written: what the other processes kept is of no use any more."""
        self.close()
        PartialState().wait_for_everyone()
        if self._output is not None and PartialState().is_main_process:
            for path in _of_others(Path(self._output)):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the files."""
        if self._record is not None:
            self._record.close()

    def __exit__(self, *error: object) -> None:
        self.close()


def _of_others(output: Path) -> list[Path]:
    """What processes other than the first keep beside a file of numbers, also those of an earlier run."""
    pattern = re.compile(rf"\.{re.escape(output.name)}\.run-\d+\.jsonl")
    return [path for path in sorted(output.parent.glob(".*.run-*.jsonl")) if pattern.fullmatch(path.name)]


def sparse(matrix: np.ndarray) -> list[list[int]]:
    """The entries of a matrix of whole numbers that are not 0, as [row, column, value]."""
    rows, columns = np.nonzero(matrix)
    return [[int(row), int(column), int(matrix[row, column])] for row, column in zip(rows, columns)]


def dense(entries: list[list[int]], size: int) -> np.ndarray:
    """The matrix int64 [size, size] again.

    Raises:
        InvalidDataError: entries that are none of it.
    """
    matrix = np.zeros((size, size), np.int64)
    try:
        for row, column, value in entries:
            matrix[row, column] = value
    except (IndexError, TypeError, ValueError) as error:
        raise InvalidDataError("the record of an evaluation", f"entries of a {size} x {size} matrix", error) from error
    return matrix
