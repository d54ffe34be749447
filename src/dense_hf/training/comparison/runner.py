"""Train every row of a table with every seed, judge each once, and keep what is done (see `dense-hf compare`).

Nothing here knows what is compared: a `Task` does. A folder of results:

OUTPUT/settings.json              what all numbers depend on; a run with other settings is refused
OUTPUT/ROW/seed_S/training.json   what training and choosing on validation items gave; the run goes on without it
OUTPUT/ROW/seed_S/test.json       what the test items say, which are looked at once, after all trainings
OUTPUT/results.json               all of it, the table and the page are made of that
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from transformers.utils import logging

from ...errors import brief
from ...inference.result_folders import claim_folder, write_json
from ...reading import read_json

logger = logging.get_logger(__name__)
TRAINING, TEST, RESULTS = "training.json", "test.json", "results.json"
MAX_BYTES = 2**26  # of a file of results


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        name: of its folder, and on the command line.
        title: in the table.
        about: what it is, in a few words.
        learns: whether seeds matter; a row whose numbers are the same for all seeds is made once.
    """

    name: str
    title: str
    about: str = ""
    learns: bool = True


class Task(Protocol):
    """What is compared: `comparison.counting.CountingTask`, `video.VideoTask`, `weak.WeakTask`."""

    name: str

    @property
    def columns(self) -> Mapping[str, tuple[str, str, bool | None]]:
        """Key of a number -> its title, its format and whether less is better, None if there is no better."""
        ...

    def rows(self) -> Sequence[Row]:
        """The rows, in the order of the table."""
        ...

    def settings(self) -> dict[str, Any]:
        """All that the numbers of any row depend on, in values that JSON has: data, splits, budget."""
        ...

    def train(self, row: Row, seed: int, folder: Path) -> dict[str, Any]:
        """Train, or go on with what is in the folder, and choose on validation items. The test is not looked at."""
        ...

    def judge(self, row: Row, seed: int, folder: Path) -> dict[str, Any]:
        """The numbers of the test items."""
        ...

    def is_judged(self, numbers: Mapping[str, Any]) -> bool:
        """Whether what `judge` gave once has all that it would give now."""
        ...

    def draw(self, rows: Sequence[tuple[Row, Path]], folder: Path) -> list[dict[str, str]]:
        """Pictures of what trained rows predict beside the truth: `file` in the folder and `about` of each."""
        ...


def compare(task: Task, output: Path, seeds: Sequence[int], say: Callable[[str], None]) -> dict[str, Any]:
    """Do what is not done yet, and write results.json after each step.

    A row that fails is said and left out, the others go on; the next start tries it again.

    Args:
        task: what is compared.
        output: the folder.
        seeds: of the trainings.
        say: tells the person who waits what begins.

    Returns:
        What results.json has.

    Raises:
        InvalidDataError: the folder has results of other settings, or another run works in it.
        ValueError: no seeds, or the same twice.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be one or more different numbers. Received: {list(seeds)}")
    rows, failures = list(task.rows()), {}
    with claim_folder(output, task.settings(), "settings.json", "a comparison"):
        for step, file in ((task.train, TRAINING), (task.judge, TEST)):
            left = [place for place in _places(rows, seeds, output) if not _is_done(task, place[2] / file)]
            for number, (row, seed, folder) in enumerate(left, start=1):
                if not (file == TRAINING or (folder / TRAINING).is_file()):
                    continue  # it failed
                verb = "training" if file == TRAINING else "test"
                say(f"{verb} {number} of {len(left)}: {row.title}, seed {seed}")
                folder.mkdir(parents=True, exist_ok=True)
                try:
                    write_json(folder / file, step(row, seed, folder))
                except (ValueError, ArithmeticError, ImportError, RuntimeError) as error:
                    failures[f"{row.name}, seed {seed}"] = brief(error, 300)
                    say(f"{row.title}, seed {seed}, failed: {brief(error, 300)}")
                write_json(output / RESULTS, collect(task, rows, seeds, output, failures))
        results = collect(task, rows, seeds, output, failures)
        trained = [(row, folder) for row, seed, folder in _places(rows, seeds[:1], output) if _done(folder)]
        results["pictures"] = task.draw(trained, output)
        write_json(output / RESULTS, results)
    return results


def collect(
    task: Task, rows: Sequence[Row], seeds: Sequence[int], output: Path, failures: Mapping[str, str]
) -> dict[str, Any]:
    """What is known so far."""
    found: dict[str, Any] = {}
    for row in rows:
        of_seeds = {}
        for _, seed, folder in _places([row], seeds, output):
            parts = {name: folder / file for name, file in (("training", TRAINING), ("test", TEST))}
            of_seeds[str(seed)] = {name: read_json(path, MAX_BYTES) for name, path in parts.items() if path.is_file()}
        of_seeds = {seed: numbers for seed, numbers in of_seeds.items() if numbers}
        found[row.name] = {"title": row.title, "about": row.about, "learns": row.learns, "seeds": of_seeds}
    columns = {key: list(column) for key, column in task.columns.items()}
    return {
        "task": task.name,
        "settings": task.settings(),
        "columns": columns,
        "rows": found,
        "failures": dict(failures),
    }


def _places(rows: Sequence[Row], seeds: Sequence[int], output: Path) -> Iterator[tuple[Row, int, Path]]:
    """Seed by seed, so that a whole table, if of one seed, is there early."""
    for number, seed in enumerate(seeds):
        for row in rows:
            if row.learns or number == 0:
                yield row, seed, output / row.name / (f"seed_{seed}" if row.learns else "any_seed")


def _is_done(task: Task, file: Path) -> bool:
    return file.is_file() and (file.name == TRAINING or task.is_judged(read_json(file, MAX_BYTES)))


def _done(folder: Path) -> bool:
    return (folder / TRAINING).is_file() and (folder / TEST).is_file()
