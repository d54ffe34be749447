"""Writing files and folders that are either whole or not there. (`..reading` reads them.)"""

import hashlib
import math
import os
import re
import secrets
import shutil
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import InvalidDataError
from ..reading import check_regular_file as check_regular_file
from ..reading import read_bytes as read_bytes

_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors(\.index\.json)?")  # the names of transformers
_TORCH_WRITER = ("PytorchStreamWriter", "inline_container.cc")  # in the words of its errors


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
    with whole_file(path) as file:
        file.write(content)


@contextmanager
def whole_file(path: str | os.PathLike) -> Generator[BinaryIO]:
    """A file to write piece by piece that is there, whole, when the block ends without an error; else nothing."""
    path = Path(path).absolute()
    temporary = _beside(path)
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(path)  # a full disk does not say for what
        raise


@contextmanager
def written_together(folder: str | os.PathLike) -> Generator[Path]:
    """Files that replace those of a folder when the block ends without an error; else the folder is as it was.

    New weights replace all that were there: an old model.safetensors would be read instead of new shards beside it.

    Yields a new folder inside of it, `_saving`, which is gone at the end; one of a killed process is replaced.

    Raises:
        OSError: as `one_kind_of_write_error`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / "_saving"  # "_": not pushed to the Hub with the folder
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        with one_kind_of_write_error(folder):
            yield temporary
        new = sorted(temporary.iterdir())
        for path in new:
            os.replace(path, folder / path.name)
        names = {path.name for path in new}
        if any(map(_WEIGHTS.fullmatch, names)):
            for path in list(folder.iterdir()):
                if _WEIGHTS.fullmatch(path.name) and path.name not in names:
                    path.unlink()
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def one_kind_of_write_error(path: str | os.PathLike) -> Generator[None]:
    """Inside, what safetensors and torch raise where they cannot write, on a full disk, is an `OSError`, too.

    Args:
        path: what is written.
    """
    from safetensors import SafetensorError  # here: who only reads pictures needs numpy and Pillow alone

    try:
        yield
    except SafetensorError as error:
        raise OSError(f"{path} cannot be written: {error}") from error
    except RuntimeError as error:
        if not any(word in str(error) for word in _TORCH_WRITER):
            raise
        raise OSError(f"{path} cannot be written to its end; the disk may be full") from error


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
        with one_kind_of_write_error(path):
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
