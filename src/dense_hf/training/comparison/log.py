"""What the folder of a row's training tells: curves of its log, and how long a training took that was killed."""

from pathlib import Path

from ...reading import read_json
from .runner import MAX_BYTES


def logged(model: Path, name: str) -> list[list[float]]:
    """Step and value of each line of the log of a training that has a number of this name, such as "loss"."""
    states = sorted(model.glob("checkpoint-*/trainer_state.json"), key=lambda path: int(path.parent.name[11:]))
    history = read_json(states[-1], MAX_BYTES)["log_history"] if states else []
    return [[int(line["step"]), float(line[name])] for line in history if name in line]


def seconds_before(folder: Path) -> float:
    """Of a training that was killed after its end was written."""
    path = folder / "seconds.json"
    return float(read_json(path, MAX_BYTES)["training"]) if path.is_file() else 0.0
