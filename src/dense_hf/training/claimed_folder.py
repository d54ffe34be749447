"""Folders of results that a stopped run goes on with, and that never hold results of two different makers."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import PartialState

from ..data.files import read_bytes, write_file
from ..errors import InvalidDataError

_MAX_MANIFEST_BYTES = 2**20


def claim_folder(directory: str | os.PathLike, manifest: str, maker: Mapping[str, Any], what: str) -> Path:
    """A new folder whose manifest says what fills it, or one that the same maker has begun to fill.

    Args:
        directory: the folder.
        manifest: name of the JSON file in it that holds `maker`; it is the first file of the folder.
        maker: all that the results depend on; values that JSON has.
        what: what the results are, for the message.

    Raises:
        InvalidDataError: the folder has results of another maker, or files and no manifest.
    """
    directory = Path(directory)
    with PartialState().main_process_first():
        path = directory / manifest
        if path.exists():
            _compare(path, dict(maker), what)
        elif directory.exists() and any(not name.endswith(".partial") for name in os.listdir(directory)):
            raise InvalidDataError(directory, f"a new or empty folder, or one with {manifest}", "other files")
        else:
            directory.mkdir(parents=True, exist_ok=True)
            write_json(path, dict(maker))
    return directory


def _compare(path: Path, maker: dict[str, Any], what: str) -> None:
    try:
        found = json.loads(read_bytes(path, _MAX_MANIFEST_BYTES))
    except ValueError as error:
        raise InvalidDataError(path, "a JSON object", error) from error
    if not isinstance(found, dict):
        raise InvalidDataError(path, "a JSON object", f"{found!r:.100}")
    if differing := [key for key in maker | found if maker.get(key) != found.get(key)]:
        expected, received = ({key: one.get(key) for key in differing} for one in (maker, found))
        raise InvalidDataError(path, f"{what} of {expected}; choose another folder", received)


def write_json(path: str | os.PathLike, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all. JSON has no NaN: a number that is not defined becomes null."""
    write_file(path, (json.dumps(_without_nan(content), indent=2) + "\n").encode())


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
