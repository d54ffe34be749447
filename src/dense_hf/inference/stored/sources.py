"""From what a user types to pictures, wherever they are: files, Parquet files, tars, and folders of stores.

Each has a name like that of a file, FILE.parquet/ROW (from 0), FILE.tar/MEMBER or the address, so that tables,
records, parts of a run and resuming treat it like one. Only the bytes of one picture, or one row group of a Parquet
file, are in memory. A data set of the Hub is a folder of a store, hf://datasets/NAME, with Parquet files, tars or
pictures in it.
"""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...data.images import MAX_IMAGE_BYTES
from ...errors import InvalidDataError
from ..console import shown
from ..image_files import IMAGE_SUFFIXES, find_images
from .containers import Container, parquet_rows, tar_members
from .pictures import Picture, StoredPicture

_ADDRESS = "://"
_CONTAINERS = {".parquet": parquet_rows, ".tar": tar_members}


def is_stored(source: str) -> bool:
    """Whether it names a Parquet file, a tar or an address, not files and folders of this machine."""
    return _kind_of(source) is not None


def is_container(source: str) -> bool:
    """Whether it names a Parquet file or a tar of this machine."""
    return _kind_of(source) is _of_file


def find_pictures(
    sources: Sequence[str],
    recursive: bool = False,
    exclude: Collection[str | os.PathLike] = (),
    left_out: Counter[str] | None = None,
) -> tuple[list[Any], dict[str, str]]:
    """As `find_images`, and also of sources that are Parquet files, tars or addresses.

    Args:
        sources: as typed; FILE.parquet, FILE.tar, or an address that fsspec knows, such as s3://bucket/survey; of a
            folder there pictures, Parquet files and tars.
        recursive, exclude, left_out: as for `find_images`.

    Returns:
        Files, and a `StoredPicture` for each other one, which can be used like their paths; and what is wrong.
    """
    found: dict[str, Picture] = {}
    problems: dict[str, str] = {}
    for source in sources:
        expand = _kind_of(source)
        if expand is None:
            pictures, wrong = find_images([source], recursive, exclude, left_out)
            problems |= wrong
        else:
            try:
                pictures = list(expand(source, recursive))
                if not pictures:
                    problems[shown(source)] = "no images found"
            except FileNotFoundError:
                pictures, problems[shown(source)] = [], "nothing there"
            except (ValueError, OSError, ImportError) as error:
                pictures, problems[shown(source)] = [], shown(str(error))
        for picture in pictures:
            found.setdefault(os.path.abspath(picture), picture)
    return list(found.values()), problems


def _kind_of(source: str) -> Callable[[str, bool], Iterator[StoredPicture]] | None:
    if _ADDRESS in source:
        return _of_address
    if os.path.isdir(source) or Path(source).suffix.lower() not in _CONTAINERS:
        return None
    return _of_file


def _of_file(source: str, recursive: bool) -> Iterator[StoredPicture]:
    status = os.stat(source)
    container = Container(source, (status.st_size, status.st_mtime_ns), partial(open, source, "rb"))
    return _CONTAINERS[Path(source).suffix.lower()](container)


def _of_address(source: str, recursive: bool) -> Iterator[StoredPicture]:
    """What a folder, or the file, that fsspec finds there has; sorted."""
    import fsspec

    files, path = fsspec.core.url_to_fs(source)
    if files.isdir(path):
        listed = files.find(path, maxdepth=None if recursive else 1, detail=True)
    else:
        listed = {path: files.info(path)}
    for name, details in sorted(listed.items()):
        version = details.get("ETag") or details.get("blob_id") or details.get("mtime") or details.get("created")
        stamp = (details.get("size"), str(version))
        label, suffix = files.unstrip_protocol(name), Path(name).suffix.lower()
        if suffix in _CONTAINERS:
            yield from _CONTAINERS[suffix](Container(label, stamp, partial(files.open, name, "rb")))
        elif name == path or suffix in IMAGE_SUFFIXES:
            yield StoredPicture(label, list(stamp), _Remote(files, name, details.get("size")))


@dataclass(frozen=True)
class _Remote:
    """A file of a store."""

    files: Any
    path: str
    size: int | None

    def __call__(self) -> bytes:
        if (self.size or 0) > MAX_IMAGE_BYTES:
            raise InvalidDataError(self.path, f"pictures of at most {MAX_IMAGE_BYTES:,} bytes", f"{self.size:,}")
        return self.files.cat_file(self.path)
