"""Folders of results say what made them, so that no run goes on with those of another.

DIRECTORY/predictions.json    what made predictions
DIRECTORY/settings.json       what made other results; written first, so that a stopped run can go on
DIRECTORY/SUMMARY.json        the same and counts; written last, so it says that the folder is complete
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import PreTrainedModel

from ..data.files import read_bytes, without_nan, write_file
from ..errors import InvalidDataError
from .locks import Lock

MANIFEST, SETTINGS_FILE = "predictions.json", "settings.json"
_MAX_MANIFEST_BYTES = 2**16
_NAMES_OF_PROCESSORS = ("auto_map", "image_processor_type", "processor_class")


def claim_folder(
    directory: Path,
    maker: Mapping[str, Any],
    manifest: str = MANIFEST,
    what: str = "predictions",
    resume: bool = True,
) -> AbstractContextManager:
    """Make a folder for what `maker` makes, or find that it is one.

    Args:
        directory: the folder.
        maker: all that its content depends on, in values that JSON has.
        manifest: the file that says so.
        what: its content, for the message.
        resume: whether it may have been begun.

    Returns:
        A lock: until it is closed or forgotten, no other run can claim the folder.

    Raises:
        InvalidDataError: the folder has files of another maker, or no manifest at all, or another run works in it.
    """
    state = PartialState()
    with state.main_process_first():
        if state.is_main_process and not resume and os.path.lexists(directory / manifest):
            raise InvalidDataError(directory, f"a new or empty folder for {what}, or --resume", "one that was begun")
        _check_maker(directory, dict(maker), directory / manifest, what)
        return Lock(directory / manifest, directory) if state.is_main_process else nullcontext()


def finish_folder(directory: str | os.PathLike, name: str, summary: Mapping[str, Any]) -> None:
    """Wait until all processes have done their share, and write the summary that says so; all see it then.

    Without the second wait, a process that reads the folder next may find it without its summary, and take it for
    another folder than process 0 does (`describe_maps`).
    """
    PartialState().wait_for_everyone()
    if PartialState().is_main_process:
        for path in Path(directory).glob(".*.partial"):  # of a process that was killed
            path.unlink(missing_ok=True)
        write_json(Path(directory, name), summary)
    PartialState().wait_for_everyone()


def write_json(path: str | os.PathLike, values: Mapping[str, Any]) -> None:
    """The whole file or nothing; null for NaN."""
    write_file(path, (json.dumps(without_nan(dict(values)), indent=2) + "\n").encode())


def hash_of(items: Iterable[Any]) -> str:
    """32 hexadecimal digits of values that JSON has."""
    return hashlib.sha256(json.dumps(list(items), default=str).encode()).hexdigest()[:32]


def _check_maker(directory: Path, maker: dict[str, Any], manifest: Path, what: str) -> None:
    if manifest.exists():
        try:
            found = json.loads(read_bytes(manifest, _MAX_MANIFEST_BYTES))
        except ValueError as error:
            raise InvalidDataError(manifest, "a JSON object", error) from error
        if not isinstance(found, dict):
            raise InvalidDataError(manifest, "a JSON object", f"{found!r:.100}")
        if differing := [key for key in maker | found if maker.get(key) != found.get(key)]:
            expected, received = ({key: one.get(key) for key in differing} for one in (maker, found))
            raise InvalidDataError(manifest, f"{what} of {expected}; choose another folder", received)
        return
    # a process that was killed may have left a part of the manifest
    if directory.exists() and any(path.suffix != ".partial" for path in directory.iterdir()):
        raise InvalidDataError(directory, f"a new or empty folder, or one with {manifest.name}", "other files")
    directory.mkdir(parents=True, exist_ok=True)
    write_file(manifest, (json.dumps(maker, indent=2, sort_keys=True) + "\n").encode())


def describe_maker(name: str, model: PreTrainedModel, processor: Any) -> dict[str, Any]:
    """The name of a model, and a hash of its weights and of its processor: nothing else changes its predictions."""
    digest = hashlib.sha256()
    for key, tensor in model.state_dict().items():
        digest.update(key.encode())
        digest.update(tensor.numpy(force=True).tobytes())
    # under which name it was saved is not what it does
    settings = {key: value for key, value in processor.to_dict().items() if key not in _NAMES_OF_PROCESSORS}
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    return {"model": name, "hash": digest.hexdigest()[:32]}
