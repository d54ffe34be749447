"""A picture that is no file, and how it is opened like one."""

import os
import tempfile
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ...data.images import MAX_IMAGE_BYTES, open_image
from ...errors import InvalidDataError

if TYPE_CHECKING:
    from PIL import Image

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

    @property
    def stem(self) -> str:
        """Its last part without the ending."""
        return os.path.splitext(self.name)[0]

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
