"""Pictures that are no files: rows of Parquet files, members of WebDataset tars, files of object stores.

Each has a name like that of a file, FILE.parquet/ROW (from 0), FILE.tar/MEMBER or the address, so that tables,
records, parts of a run and resuming treat it like one. Only the bytes of one picture, or one row group of a Parquet
file, are in memory.
"""

import os
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ...data.images import MAX_IMAGE_BYTES, open_image
from ...errors import InvalidDataError
from ..console import shown
from ..image_files import IMAGE_SUFFIXES, find_images

if TYPE_CHECKING:
    from PIL import Image

_ADDRESS = "://"
T = TypeVar("T")


@dataclass(frozen=True)
class StoredPicture(os.PathLike):
    """A picture by its name.

    Attributes:
        label: its name.
        stamp: tells whether it is as it was when a result was made of it.
        read: its content; it raises InvalidDataError or OSError.
    """

    label: str
    stamp: list[Any]
    read: Callable[[], bytes] = field(repr=False, compare=False)

    def __fspath__(self) -> str:
        return self.label

    def __str__(self) -> str:
        return self.label

    @property
    def name(self) -> str:
        """Its last part."""
        return self.label.rpartition("/")[2]

    @contextmanager
    def as_file(self) -> Generator[str]:
        """Inside, a file with the content; what is wrong with it is said of this picture.

        Raises:
            InvalidDataError: the content cannot be read, or is too large.
        """
        try:
            content = self.read()
        except OSError as error:
            raise InvalidDataError(self.label, "a picture that can be read", error) from error
        if len(content) > MAX_IMAGE_BYTES:
            raise InvalidDataError(self.label, f"at most {MAX_IMAGE_BYTES:,} bytes", f"{len(content):,}")
        with tempfile.NamedTemporaryFile() as file:  # some formats are read from files only
            file.write(content)
            file.flush()
            try:
                yield file.name
            except InvalidDataError as error:
                raise self.named(error) from error

    def named(self, error: InvalidDataError) -> InvalidDataError:
        """What is wrong with its file, said of it by its own name."""
        return InvalidDataError(self.label, error.expected, error.received.replace(error.path, self.label))


Picture = Path | StoredPicture


def find_pictures(
    sources: Sequence[str],
    recursive: bool = False,
    exclude: Collection[str | os.PathLike] = (),
    left_out: Counter[str] | None = None,
) -> tuple[list[Any], dict[str, str]]:
    """As `find_images`, and also of sources that are Parquet files, tars or addresses.

    Args:
        sources: as typed; FILE.parquet, FILE.tar, or an address that fsspec knows, such as s3://bucket/survey.
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


def open_picture(picture: Picture, **options: Any) -> "Image.Image":
    """`open_image` of a file, or the same of a stored picture."""
    with _file_of(picture) as path:
        return open_image(path, **options)


@contextmanager
def opened_picture(picture: Picture, opener: Callable[..., AbstractContextManager[T]], **options: Any) -> Generator[T]:
    """Inside, what `opener` makes of the file of a picture, with these options."""
    with _file_of(picture) as path, opener(path, **options) as opened:
        yield opened


def _file_of(picture: Picture) -> AbstractContextManager[Any]:
    return picture.as_file() if isinstance(picture, StoredPicture) else nullcontext(picture)


def _kind_of(source: str) -> Callable[[str, bool], Iterator[StoredPicture]] | None:
    if _ADDRESS in source:
        return _of_address
    if os.path.isdir(source):
        return None
    return {".parquet": _of_parquet, ".tar": _of_tar}.get(Path(source).suffix.lower())


def _of_tar(source: str, recursive: bool) -> Iterator[StoredPicture]:
    """The pictures of a tar, in its order, by where their bytes are."""
    stamp = _stamp_of_file(source)
    try:
        with tarfile.open(source, "r:") as archive:  # a compressed one has no places
            for member in archive:
                if member.isreg() and Path(member.name).suffix.lower() in IMAGE_SUFFIXES:
                    place = (source, member.offset_data, member.size)
                    yield StoredPicture(f"{source}/{member.name}", [*stamp, member.offset_data], _Bytes(*place))
    except tarfile.TarError as error:
        raise InvalidDataError(source, "a tar that is not compressed", error) from error


@dataclass(frozen=True)
class _Bytes:
    """A piece of a file."""

    path: str
    offset: int
    size: int

    def __call__(self) -> bytes:
        if self.size > MAX_IMAGE_BYTES:
            raise InvalidDataError(self.path, f"pictures of at most {MAX_IMAGE_BYTES:,} bytes", f"{self.size:,}")
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


def _of_parquet(source: str, recursive: bool) -> Iterator[StoredPicture]:
    """The rows of a Parquet file with a column of pictures, as the datasets library writes it."""
    import pyarrow.parquet as pq

    stamp = _stamp_of_file(source)
    try:
        with pq.ParquetFile(source) as file:
            column = _picture_column(file.schema_arrow)
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    except Exception as error:  # pyarrow has its own exceptions
        raise InvalidDataError(source, "a Parquet file with a column of pictures", error) from error
    row = 0
    for group, size in enumerate(sizes):
        for place in range(size):
            yield StoredPicture(f"{source}/{row}", [*stamp, row], _Cell(source, column, group, place))
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

    path: str
    column: str
    group: int
    place: int

    def __call__(self) -> bytes:
        value = _row_group(self.path, self.column, self.group)[self.place].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if content is None:
            raise InvalidDataError(f"{self.path}, column {self.column}", "the bytes of pictures", "none, or a path")
        return content


@lru_cache(maxsize=1)  # rows are read in their order
def _row_group(path: str, column: str, group: int) -> Any:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return file.read_row_group(group, columns=[column]).column(column)


def _of_address(source: str, recursive: bool) -> Iterator[StoredPicture]:
    """The pictures of a folder, or the one, that fsspec finds there, sorted."""
    import fsspec

    files, path = fsspec.core.url_to_fs(source)
    if files.isdir(path):
        listed = files.find(path, maxdepth=None if recursive else 1, detail=True)
    else:
        listed = {path: files.info(path)}
    for name, details in sorted(listed.items()):
        if name == path or Path(name).suffix.lower() in IMAGE_SUFFIXES:
            stamp = [details.get("size"), str(details.get("ETag") or details.get("mtime") or details.get("created"))]
            yield StoredPicture(files.unstrip_protocol(name), stamp, _Remote(files, name, details.get("size")))


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


def _stamp_of_file(path: str) -> list[Any]:
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns]
