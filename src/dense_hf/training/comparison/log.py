"""What the folder of a row's training tells: the curve of the loss, and how long a training took that was killed."""

from pathlib import Path

from ...reading import read_json
from .runner import MAX_BYTES


def loss_curve(model: Path) -> list[list[float]]:
    """Step and loss of each line of the log of a training."""
    states = sorted(model.glob("checkpoint-*/trainer_state.json"), key=lambda path: int(path.parent.name[11:]))
    history = read_json(states[-1], MAX_BYTES)["log_history"] if states else []
    return [[int(line["step"]), float(line["loss"])] for line in history if "loss" in line]


def seconds_before(folder: Path) -> float:
    """Of a training that was killed after its end was written."""
    path = folder / "seconds.json"
    return float(read_json(path, MAX_BYTES)["training"]) if path.is_file() else 0.0
