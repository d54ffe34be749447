"""One run at a time in a folder, and finding the last checkpoint that was written to its end.

A killed run can leave a folder whose files are missing or cut off; resuming from it would fail hours later or, worse,
go on without its optimizer. Completeness is judged by content, so copies and checkpoints of the stock Trainer count.
"""

import json
import os
import re
import zipfile
from functools import partial
from pathlib import Path

from safetensors import SafetensorError, safe_open
from transformers.utils import logging

from ..errors import InvalidDataError
from ..inference.locks import FOLDER_LOCK, lock_folder
from ..inference.processes import check_in_first_process

logger = logging.get_logger(__name__)

_FOLDER = re.compile(r"checkpoint-(\d+)")
_WRITTEN_AT_THE_END = ("README.md", "config.json", "model.safetensors", "preprocessor_config.json", "results.json")
# trainer_state.json is the last file that a checkpoint gets (see CalendarTrainer._save_rng_state)
_TORCH_FILES = ("optimizer.pt", "scheduler.pt")


def lock_output(output_dir: str | Path) -> None:
    """Keep other trainings out of a folder until this process ends, however it does; process 0 does it for all.

    Raises:
        InvalidDataError: in all processes, if another training works there, or there are files that no training has
            written and this one would replace.
    """
    check_in_first_process(partial(_lock_own, Path(output_dir)))


def _lock_own(folder: Path) -> None:
    begun = os.path.lexists(folder / FOLDER_LOCK) or any(folder.glob("checkpoint-*"))
    if not begun and (taken := [name for name in _WRITTEN_AT_THE_END if os.path.lexists(folder / name)]):
        received = f"files that a training would replace: {', '.join(taken)}"
        raise InvalidDataError(folder, "an output_dir that is new, or that a training has begun", received)
    lock_folder(folder)


def checkpoint_problem(folder: Path) -> str | None:
    """Why training cannot resume from `folder`, or `None` if it can."""
    try:
        state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        if not isinstance(state, dict) or "global_step" not in state:
            return "trainer_state.json has no global_step"
    except OSError:
        return "trainer_state.json is missing"
    except ValueError:
        return "trainer_state.json is cut off"
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        return "model.safetensors is missing"
    for file in weights:
        try:
            with safe_open(file, framework="pt"):  # compares the header with the length of the file
                pass
        except (SafetensorError, OSError) as error:
            return f"{file.name} is cut off ({error})"
    random_states = sorted(folder.glob("rng_state*.pth"))
    if not random_states:
        return "rng_state.pth is missing"
    for file in (*(folder / name for name in _TORCH_FILES), *random_states):
        if not file.is_file():
            return f"{file.name} is missing"
        if not zipfile.is_zipfile(file):  # torch.save writes the zip directory last
            return f"{file.name} is cut off"
    return None


def last_complete_checkpoint(output_dir: str | Path) -> Path | None:
    """The checkpoint of the highest step that training can resume from; `None` if there is none.

    Each incomplete one that is passed over is named in a warning.
    """
    folders = [
        path for path in Path(output_dir).glob("checkpoint-*") if path.is_dir() and _FOLDER.fullmatch(path.name)
    ]
    for folder in sorted(folders, key=lambda path: int(path.name.rpartition("-")[2]), reverse=True):
        problem = checkpoint_problem(folder)
        if problem is None:
            return folder
        logger.warning(f"Skipping the incomplete checkpoint {folder}: {problem}")
    return None


def resolve_checkpoint(choice: str | None, output_dir: str | Path) -> Path | None:
    """What `--resume_from_checkpoint` means: a folder, or "auto" for the last complete one, if any.

    Raises:
        ValueError: A named folder cannot be resumed from, or nothing was chosen and `output_dir` has checkpoints: a
            new run among them would mix up what is best and what is last.
    """
    if choice is None:
        if any(Path(output_dir).glob("checkpoint-*")):
            raise ValueError(
                f"output_dir has checkpoints of an earlier run; resume_from_checkpoint=auto goes on with it, another "
                f"folder starts anew. Received: {output_dir}"
            )
        return None
    if choice.lower() in ("auto", "true", "yes"):
        return last_complete_checkpoint(output_dir)
    folder = Path(choice)
    if not folder.is_dir():
        raise ValueError(f"resume_from_checkpoint must be a checkpoint folder or 'auto'. Received: {choice}")
    problem = checkpoint_problem(folder)
    if problem is not None:
        raise ValueError(f"Cannot resume from {folder}: {problem}. 'auto' finds the last complete checkpoint.")
    return folder
