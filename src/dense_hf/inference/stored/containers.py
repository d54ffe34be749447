"""Files that hold many pictures: Parquet as the datasets library writes it, and tars of WebDataset.

They may lie on this machine or in a store; of a store only the parts that are asked for are fetched.
"""

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...data.images import MAX_IMAGE_BYTES
from ...errors import InvalidDataError
from ..image_files import IMAGE_SUFFIXES
from .pictures import StoredPicture


@dataclass(frozen=True)
class Container:
    """A file that holds pictures.

    Attributes:
        label: its name, or its address.
        stamp: tells whether it has changed.
        open: a binary file that can seek.
    """

    label: str
    stamp: tuple[Any, ...]
    open: Callable[[], Any] = field(repr=False, compare=False)


def tar_members(tar: Container) -> Iterator[StoredPicture]:
    """The pictures of a tar, in its order, by where their bytes are.

    Raises:
        InvalidDataError: no tar, or a compressed one, which has no places.
    """
    try:
        with tar.open() as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if member.isreg() and Path(member.name).suffix.lower() in IMAGE_SUFFIXES:
                    content = _Bytes(tar, member.offset_data, member.size)
                    yield StoredPicture(f"{tar.label}/{member.name}", [*tar.stamp, member.offset_data], content)
    except tarfile.TarError as error:
        raise InvalidDataError(tar.label, "a tar that is not compressed", error) from error


@dataclass(frozen=True)
class _Bytes:
    """A piece of a file."""

    tar: Container
    offset: int
    size: int

    def __call__(self) -> bytes:
        if self.size > MAX_IMAGE_BYTES:
            raise InvalidDataError(self.tar.label, f"pictures of at most {MAX_IMAGE_BYTES:,} bytes", f"{self.size:,}")
        with self.tar.open() as file:
            file.seek(self.offset)
            return file.read(self.size)


def parquet_rows(parquet: Container) -> Iterator[StoredPicture]:
    """The rows of a Parquet file with a column of pictures.

    Raises:
        InvalidDataError: it is none.
    """
    import pyarrow.parquet as pq

    try:
        with parquet.open() as source, pq.ParquetFile(source) as file:
            column = _picture_column(file.schema_arrow)
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    except FileNotFoundError:
        raise
    except Exception as error:  # pyarrow has its own exceptions
        raise InvalidDataError(parquet.label, "a Parquet file with a column of pictures", error) from error
    row = 0
    for group, size in enumerate(sizes):
        for place in range(size):
            content = _Cell(parquet, column, group, place)
            yield StoredPicture(f"{parquet.label}/{row}", [*parquet.stamp, row], content)
            row += 1


def _picture_column(schema: Any) -> str:
    """The first column of {bytes, path}, or of bytes.

    Raises:
        ValueError: there is none.
    """
    import pyarrow as pa

    for one in schema:
        if pa.types.is_binary(one.type) or pa.types.is_large_binary(one.type):
            return one.name
        if pa.types.is_struct(one.type) and "bytes" in {part.name for part in one.type}:
            return one.name
    raise ValueError(f"columns {', '.join(schema.names)}, none of bytes")


@dataclass(frozen=True)
class _Cell:
    """A picture of a row."""

    parquet: Container
    column: str
    group: int
    place: int

    def __call__(self) -> bytes:
        value = _row_group(self.parquet, self.column, self.group)[self.place].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if content is None:
            where = f"{self.parquet.label}, column {self.column}"
            raise InvalidDataError(where, "the bytes of pictures", "none, or a path")
        return content


@lru_cache(maxsize=1)  # rows are read in their order
def _row_group(parquet: Container, column: str, group: int) -> Any:
    import pyarrow.parquet as pq

    with parquet.open() as source, pq.ParquetFile(source) as file:
        return file.read_row_group(group, columns=[column]).column(column)
