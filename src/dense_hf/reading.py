"""Reading small files that strangers wrote: regular files only, of a bounded size, as so many plain values at most.

Whatever is wrong with one is an `InvalidDataError`.
"""

import codecs
import io
import json
import os
import re
import stat
import sys
import tarfile
from collections.abc import Hashable, Iterable
from importlib import import_module
from typing import Any

from .errors import InvalidDataError

MAX_YAML_BYTES = 2**18  # the parser takes a second for as much
MAX_VALUES = 400_000  # names of 65,535 classes, and what a program needs to copy all of it within a second
_MAX_YAML_VALUES = 20_000
_MAX_DEPTH = 50

H5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def check_regular_file(path: str | os.PathLike, max_bytes: int) -> None:
    """Refuse what is not a readable regular file of at most `max_bytes`, without opening it.

    Opening a FIFO would wait for a writer for ever; reading a device may never end.

    Raises:
        InvalidDataError: if the file is missing, of another kind, or too large.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        raise InvalidDataError(path, "an existing file", error) from error
    if not stat.S_ISREG(status.st_mode):
        raise InvalidDataError(path, "a regular file", stat.filemode(status.st_mode))
    if status.st_size > max_bytes:
        raise InvalidDataError(path, f"a file of at most {max_bytes} bytes", f"{status.st_size} bytes")


class TarMember(io.RawIOBase):
    """A file that lies in a tar that is not compressed, "FILE.tar/MEMBER", to be read where it lies.

    Raises:
        InvalidDataError: there is no such tar, or no such regular file in it.
    """

    def __init__(self, path: str):
        tar, name = tar_and_member(path) or (path, "")
        check_regular_file(tar, sys.maxsize)
        try:
            with tarfile.open(tar, mode="r:") as archive:
                found = next((member for member in archive if member.name == name), None)
        except (tarfile.TarError, OSError) as error:
            raise InvalidDataError(tar, "a tar that is not compressed", error) from error
        if found is None or not found.isreg() or found.issparse():
            raise InvalidDataError(
                tar, f"a regular file {name!r} in it", "something else" if found else "nothing of that name"
            )
        self.size = found.size
        self._start, self._place = found.offset_data, 0
        self._file = open(tar, "rb")  # noqa: SIM115  `close` closes it

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file."""
        self._place = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size}[whence])
        return self._place

    def tell(self) -> int:
        """As of any file."""
        return self._place

    def readinto(self, buffer: Any) -> int:
        """As of any file."""
        self._file.seek(self._start + self._place)
        content = self._file.read(max(0, min(len(buffer), self.size - self._place)))
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)

    def close(self) -> None:
        """Close the tar, too."""
        if not self.closed:
            self._file.close()
        super().close()


def tar_and_member(path: str | os.PathLike) -> tuple[str, str] | None:
    """FILE.tar and MEMBER of "FILE.tar/MEMBER", where FILE.tar is a file; `None` for what is no such path."""
    path = os.fspath(path)
    for found in re.finditer(r"\.tar(?=/.)", path, flags=re.IGNORECASE):
        if os.path.isfile(path[: found.end()]):
            return path[: found.end()], path[found.end() + 1 :]
    return None


def read_bytes(path: str | os.PathLike, max_bytes: int) -> bytes:
    """The content of a regular file of at most `max_bytes`; the size is checked before anything is read.

    Raises:
        InvalidDataError: as `check_regular_file`, or if the file cannot be read.
    """
    check_regular_file(path, max_bytes)
    try:
        with open(path, "rb") as file:
            content = file.read(max_bytes + 1)  # a file may grow after the check
    except OSError as error:
        raise InvalidDataError(path, "a readable file", error) from error
    if len(content) > max_bytes:
        raise InvalidDataError(path, f"a file of at most {max_bytes} bytes", "a file that is still growing")
    return content


def read_text(path: str | os.PathLike, max_bytes: int) -> str:
    """The content of a file as text.

    Raises:
        InvalidDataError: as `read_bytes`, or if it is not UTF-8.
    """
    content = read_bytes(path, max_bytes)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        is_utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        received = "UTF-16; save it as UTF-8" if is_utf_16 else str(error)[-200:]
        raise InvalidDataError(path, "UTF-8 text", received) from error


def read_json(
    path: str | os.PathLike, max_bytes: int, expected: str = "JSON", max_values: int | None = MAX_VALUES
) -> Any:
    """The content of a JSON file.

    Args:
        path: the file.
        max_bytes: of it.
        expected: what it should be, for the message.
        max_values: of it; None if `max_bytes` is bound enough.

    Raises:
        InvalidDataError: as `read_text`, or if it is not JSON, has a key twice, NaN, or more values.
    """
    text = read_text(path, max_bytes)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _check_unique(path, [key for key, _ in pairs])
        return dict(pairs)

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    try:
        content = json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except InvalidDataError:
        raise
    except (ValueError, RecursionError) as error:  # ValueError: also thousands of digits
        raise InvalidDataError(path, expected, error) from error
    if max_values is not None:
        check_number_of_values(path, content, max_values)
    return content


def read_yaml(path: str | os.PathLike) -> Any:
    """The content of a YAML file, `{}` if it is empty: mappings, lists, text, numbers, true, false and null.

    Raises:
        InvalidDataError: as `read_text`, or if it is not YAML, has a key twice, values of other kinds (dates), or too
            many.
    """
    import yaml

    text = read_text(path, MAX_YAML_BYTES)

    class Loader(yaml.SafeLoader):
        """As the safe one, which takes the last of equal keys, and minutes for thousands of brackets."""

        def fetch_flow_collection_start(self, TokenClass: Any) -> None:
            if self.flow_level == _MAX_DEPTH:
                raise ValueError(f"more than {_MAX_DEPTH} brackets inside each other")
            super().fetch_flow_collection_start(TokenClass)

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
            _check_unique(path, [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
            return super().construct_mapping(node, deep)

    try:
        content = yaml.load(text, Loader)  # noqa: S506  a safe one
    except InvalidDataError:
        raise
    except Exception as error:  # "!!float abc", impossible dates, thousands of brackets: anything
        raise InvalidDataError(path, "a YAML file", error) from error
    check_number_of_values(path, content, _MAX_YAML_VALUES)
    return {} if content is None else content


def _check_unique(path: str | os.PathLike, keys: list[Any]) -> None:
    seen: set[Any] = set()
    for key in keys:
        if key in seen:
            raise InvalidDataError(path, "each key once", f"{(key[-1] if isinstance(key, tuple) else key)!r} twice")
        seen.add(key)


def check_number_of_values(path: str | os.PathLike, content: Any, most: int) -> None:
    """Nothing, if these are plain values, and not too many: a list that is named often is as many lists.

    Raises:
        InvalidDataError: else.
    """
    count, left = 0, [content]
    while left:
        value = left.pop()
        inside: Iterable[Any] = ()
        if isinstance(value, dict):
            inside = [*value, *value.values()]
        elif isinstance(value, list):
            inside = value
        elif not isinstance(value, str | int | float | None):
            raise InvalidDataError(path, "text, numbers, true, false and null", f"a {type(value).__name__}: {value}")
        count += 1
        if count + len(left) > most:
            raise InvalidDataError(path, f"at most {most} values", "more")
        left.extend(inside)


def is_h5_file(path: str | os.PathLike) -> bool:
    """Whether a regular file begins as HDF5 does."""
    with open(path, "rb") as file:
        return file.read(len(H5_SIGNATURE)) == H5_SIGNATURE


def read_h5_arrays(path: str | os.PathLike, max_bytes: int) -> dict[str, Any]:
    """The arrays of numbers of an HDF5 file, by name, as numpy has them.

    Raises:
        InvalidDataError: if the file is missing, too large, damaged, or has something else than arrays of its own.
        ImportError: without h5py.
    """
    check_regular_file(path, max_bytes)
    try:
        h5py: Any = import_module("h5py")
    except ImportError as error:
        raise ImportError(f"{path} is an HDF5 file, which needs h5py: pip install 'dense_hf[h5]'") from error
    expected, arrays, left = "an HDF5 file of named arrays of numbers", {}, 4 * os.path.getsize(path)
    try:
        with h5py.File(path, "r") as file:
            for name in file:
                if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                    raise InvalidDataError(path, expected, f"{name!r:.100}, a link")
                data = file[name]
                if not isinstance(data, h5py.Dataset) or data.dtype.kind not in "fiu" or not data.dtype.isnative:
                    raise InvalidDataError(path, expected, f"{name!r:.100}, something else")
                left -= data.nbytes
                if data.is_virtual or data.external or left < 0:
                    raise InvalidDataError(
                        path, expected, f"{name!r:.100}, which is not in the file as large as it says"
                    )
                arrays[name] = data[()]
    except InvalidDataError:
        raise
    except Exception as error:  # damaged files raise anything
        raise InvalidDataError(path, expected, f"a damaged file ({type(error).__name__})") from error
    return arrays
