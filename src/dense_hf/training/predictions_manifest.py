"""Folders of predictions say which model they are of, so that no evaluation goes on with those of another.

DIRECTORY/predictions.json    what made them
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import PreTrainedModel

from ..data.files import read_bytes, write_file
from ..errors import InvalidDataError

MANIFEST = "predictions.json"
_MAX_MANIFEST_BYTES = 2**16
_NAMES_OF_PROCESSORS = ("auto_map", "image_processor_type", "processor_class")


def claim_folder(directory: Path, maker: Mapping[str, Any]) -> None:
    """Make a folder for predictions of `maker`, or find that it is one.

    Raises:
        InvalidDataError: the folder has predictions of another maker, or no manifest at all.
    """
    with PartialState().main_process_first():
        _check_maker(directory, dict(maker))


def _check_maker(directory: Path, maker: dict[str, Any]) -> None:
    manifest = directory / MANIFEST
    if manifest.exists():
        try:
            found = json.loads(read_bytes(manifest, _MAX_MANIFEST_BYTES))
        except ValueError as error:
            raise InvalidDataError(manifest, "a JSON object", error) from error
        if found != maker:
            raise InvalidDataError(manifest, f"predictions of {maker}; choose another folder", found)
        return
    if directory.exists() and any(directory.iterdir()):
        raise InvalidDataError(directory, f"a new or empty folder, or one with {MANIFEST}", "other files")
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
