"""What the folder of a row's training tells: curves of its log, and how long it took, interrupted or not."""

import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import TypeVar

from ...inference.result_folders import write_json
from ...reading import read_json
from .runner import MAX_BYTES

Result = TypeVar("Result")


def logged(model: Path, name: str) -> list[list[float]]:
    """Step and value of each line of the log of a training that has a number of this name, such as "loss"."""
    states = sorted(model.glob("checkpoint-*/trainer_state.json"), key=lambda path: int(path.parent.name[11:]))
    history = read_json(states[-1], MAX_BYTES)["log_history"] if states else []
    return [[int(line["step"]), float(line[name])] for line in history if name in line]


def timed(folder: Path, train: Callable[[], Result], every: float = 10.0) -> tuple[Result, float]:
    """What a training returns, and the processor's seconds of all runs of it until now, steps done twice included.

    Args:
        folder: of the row, where seconds.json keeps them.
        train: starts the training, or goes on with it.
        every: so many seconds they are written, and so many a run that is killed loses at most.
    """
    path, started, ended = folder / "seconds.json", time.process_time(), Event()
    before = float(read_json(path, MAX_BYTES)["training"]) if path.is_file() else 0.0

    def keep() -> float:
        seconds = before + time.process_time() - started
        write_json(path, {"training": seconds})
        return seconds

    def keep_on() -> None:
        while not ended.wait(every):
            keep()

    keeper = Thread(target=keep_on, daemon=True)
    keeper.start()
    try:
        result = train()
    finally:
        ended.set()
        keeper.join()
        seconds = keep()
    return result, seconds
