"""What all evaluations do: the model's mode, the name of a split, and at the end a table and a file of numbers."""

import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import PreTrainedModel

from ..data.weak_source import weak_list_path
from .console import say
from .result_folders import write_json

_SAME_SPLIT = {"val": "validation", "validation": "val"}


@contextmanager
def evaluation_mode(model: PreTrainedModel) -> Generator[None]:
    """Inside, a model is in evaluation mode; after it, also after an error, as it was."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def split_of(name: str, exists: Callable[[str], bool]) -> str:
    """A split as its data set calls it: "val" and "validation" are the same, whichever is there.

    Args:
        name: what the user calls it.
        exists: whether the data set has a split of a name.
    """
    other = _SAME_SPLIT.get(name, name)
    return other if not exists(name) and exists(other) else name


def weak_split_of(data_dir: str | os.PathLike, name: str) -> str:
    """The same for a set with image-level labels, see `read_weak_split`."""
    return split_of(name, lambda split: os.path.lexists(weak_list_path(data_dir, split)))


def prepare_output(output: str | os.PathLike | None) -> None:
    """Make the folder of a file of numbers before the work, not after it.

    Raises:
        OSError: it cannot be.
    """
    if output is not None and PartialState().is_main_process:
        Path(output).parent.mkdir(parents=True, exist_ok=True)


def publish(text: str, numbers: Mapping[str, Any], output: str | os.PathLike | None) -> None:
    """Print tables, and write the numbers, in process 0.

    Args:
        text: what is printed.
        numbers: what the JSON file has; null for NaN.
        output: the file, or None.
    """
    if not PartialState().is_main_process:
        return
    if output is not None:
        write_json(output, numbers)
    say(text)
