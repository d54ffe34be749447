"""Lists of ids of images (train_id.txt, ...) or videos (train.txt, ...): one name per line, never a path."""

import os
import re
import unicodedata
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path

from .. import reading
from ..errors import InvalidDataError

# What an image file may end in. The lists of the released IOCfish5K carry ".jpg".
IMAGE_SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".png",
    ".tif",
    ".tiff",
    ".bmp",
    ".webp",
    ".jfif",
    ".jpe",
    ".heic",
    ".heif",
    ".avif",
)
MAX_LIST_BYTES = 64 * 2**20
MAX_IDS = 1_000_000  # which take 300 MB
_SEPARATORS = re.compile(r"[/\\:]")  # the colon: drive letters, URL schemes, alternate streams


def split_suffix(name: str) -> tuple[str, str]:
    """`("fish.2", ".jpg")` of "fish.2.jpg": only a known image suffix is one, in either case."""
    for suffix in IMAGE_SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)], name[-len(suffix) :]
    return name, ""


def check_name(path: object, name: str, where: str = "") -> str:
    """`name` itself if it is safe as the name of a file inside a folder.

    Args:
        path: the file that contains the name, for the message.
        name: what shall be a plain file name.
        where: the place in the file, for the message ("line 3: ").

    Raises:
        InvalidDataError: for separators, "..", absolute paths, drive letters, URL schemes, NUL and other control
            characters, spaces at the ends, and names longer than file systems take.
    """
    if not name or name in (".", "..") or _SEPARATORS.search(name):
        raise InvalidDataError(path, "names of files, not paths, drives or addresses", f"{where}{name[:200]!r}")
    if name != name.strip() or any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise InvalidDataError(path, "names without control characters or outer spaces", f"{where}{name[:200]!r}")
    if len(name.encode()) > 240:  # file systems take 255; the annotation's name may be longer than the image's
        raise InvalidDataError(path, "names of at most 240 bytes", f"{where}{name[:50]!r}...")
    return name


def read_text(list_path: str | os.PathLike) -> str:
    """The content of a list as text; errors as for `dense_hf.reading.read_text`."""
    return reading.read_text(list_path, MAX_LIST_BYTES)


class ImageNames:
    """Which image of a folder an id means (see `read_ids`). The folder is listed once; it may be missing.

    "é" is one letter in most lists and two in names of files that macOS has written; both mean the same image, unless
    the folder has a name that is exactly as the list says. `._a.jpg`, which macOS puts beside a.jpg, is no image.
    """

    def __init__(self, directory: str | os.PathLike):
        self.directory = Path(directory)
        self._by_stem: dict[str, list[str]] = {}
        for name in sorted(os.listdir(directory)) if self.directory.is_dir() else ():
            stem, suffix = split_suffix(name)
            if suffix and not name.startswith("._"):
                self._by_stem.setdefault(_composed(stem), []).append(name)

    def all(self) -> list[str]:
        """Every image, sorted."""
        return sorted(name for names in self._by_stem.values() for name in names)

    def find(self, image_id: str) -> str | None:
        """The name of the file, or `None` if there is none.

        Raises:
            InvalidDataError: if an id without suffix stands for several images.
        """
        stem, suffix = split_suffix(image_id)
        names = self._by_stem.get(_composed(stem), [])
        names = [name for name in names if split_suffix(name)[0] == stem] or names
        if suffix:
            return next((name for name in names if _composed(name) == _composed(image_id)), None)
        if len(names) > 1:
            expected = f"one image for the id {image_id!r}, write its suffix into the list"
            raise InvalidDataError(self.directory, expected, names)
        return names[0] if names else None


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def read_ids(list_path: str | os.PathLike, kind: str = "image") -> list[str]:
    """The ids of a list, as they are written there and in that order.

    One id per line; blank lines and white space around an id do not count. An id is the name of an image with or
    without its suffix (see `IMAGE_SUFFIXES`): "a.jpg" is images/a.jpg, "a" is whichever one of images/a.jpg,
    images/a.png, ... exists. Both mean the annotation annotations/a.xml, so a list with both has a duplicate.

    Args:
        list_path: the list.
        kind: what the ids stand for, for the message.

    Raises:
        InvalidDataError: if the file is not UTF-8 text, is empty, or has a duplicate or something that is not a
            plain name (see `check_name`).
    """
    ids: list[str] = []
    first_line: dict[str, int] = {}
    for number, line in enumerate(StringIO(read_text(list_path)), start=1):
        if not (name := line.strip(" \t\r\n")):
            continue
        check_name(list_path, name, f"line {number}: ")
        stem = split_suffix(name)[0]
        if stem in first_line:
            received = f"{name!r} on line {number}, and already on line {first_line[stem]}"
            raise InvalidDataError(list_path, f"each {kind} once", received)
        first_line[stem] = number
        ids.append(name)
        if len(ids) > MAX_IDS:
            raise InvalidDataError(list_path, f"at most {MAX_IDS} ids", "more")
    if not ids:
        raise InvalidDataError(list_path, f"at least one {kind} id", "an empty list")
    return ids


def read_split_lists(
    directory: Path, lists: Mapping[str, str], beside: str, kind: str, same: Callable[[str], str] = str
) -> dict[str, list[str]]:
    """The ids of each split whose list a folder has.

    Args:
        directory: the folder.
        lists: split to the name of its list.
        beside: what else the folder has, for the message.
        kind: what the ids stand for, for the message.
        same: what of an id must not be in two lists.

    Raises:
        InvalidDataError: if there is no list, a list is bad (`read_ids`), or an id is in two.
    """
    ids = {
        split: read_ids(directory / name, kind) for split, name in lists.items() if os.path.lexists(directory / name)
    }
    if not ids:
        expected = f"at least one of {', '.join(lists.values())} beside {beside}"
        raise InvalidDataError(directory, expected, sorted(os.listdir(directory))[:10])
    seen: dict[str, str] = {}
    for split, names in ids.items():
        for name in names:
            if (other := seen.setdefault(same(name), split)) != split:
                raise InvalidDataError(directory / lists[split], f"no {kind} of {lists[other]}", repr(name))
    return ids
