"""Writing files and folders that are either whole or not there. (`..reading` reads them.)"""

import hashlib
import math
import os
import secrets
import shutil
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import InvalidDataError
from ..reading import check_regular_file as check_regular_file
from ..reading import read_bytes as read_bytes


def require_folder(path: str | os.PathLike) -> None:
    """Nothing, if it is a folder.

    Raises:
        InvalidDataError: else.
    """
    if not os.path.isdir(path):
        raise InvalidDataError(path, "a folder", "a file" if os.path.exists(path) else "nothing there")


def files_digest(entries: Iterable[tuple[object, Iterable[Path | None]]]) -> str:
    """A short hash that changes when a text, anything with a `repr`, or its files do (by name, size, time of change).

    The cache of the datasets library goes by a folder's name alone and would serve old files for ever.
    """
    digest = hashlib.sha256()
    for text, paths in entries:
        digest.update(f"{text!r}\0".encode())
        for path in paths:
            if path is not None and path.exists():
                status = path.stat()
                digest.update(f"{path.name!r}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:16]


def write_file(path: str | os.PathLike, content: bytes) -> None:
    """Write the whole file or nothing: under a temporary name beside it, then renamed over `path`."""
    path = Path(path).absolute()
    temporary = _beside(path)
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def new_directory(path: str | os.PathLike) -> Generator[Path]:
    """A folder to fill that appears as `path` only when the block ends without an error.

    Yields a temporary folder beside `path`; after an error it is removed and `path` is as before. A process that is
    killed leaves the temporary folder (".NAME.*.partial"), never half of `path`.

    Raises:
        ValueError: if `path` exists and is not an empty folder. Nothing of a user's is overwritten.
    """
    path = Path(path).absolute()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"the output must be a new or empty folder, choose another or remove it. Received: {path}")
    temporary = _beside(path)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if path.exists():
            path.rmdir()
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _beside(path: Path) -> Path:
    """A name in the same folder (the same file system, so that renaming is one step) that nobody else has."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")


def without_nan(value: Any) -> Any:
    """JSON has no NaN: null for a class that does not occur."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
