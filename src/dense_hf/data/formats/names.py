"""Names of pictures as annotation files have them: paths of two systems, addresses, what tools put in front.

A name that leaves here is relative, with "/" between folders and without "..", so that it stays below a folder that
it is looked up in.
"""

import posixpath
import re
import unicodedata
from collections.abc import Sequence
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from .entries import BadEntry

_DRIVE = re.compile(r"^[A-Za-z]:(?=/|$)")
_ADDRESS = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
_UPLOAD = re.compile(r"^[0-9a-f]{8}-(?=.)")  # Label Studio's, in front of what is uploaded

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


def plain_name(written: object) -> tuple[str, bool]:
    """A relative name with "/", and whether the file had an absolute one.

    "C:\\Survey\\a.png", "/data/survey/a.png" and "s3://bucket/survey/a.png" are absolute: which part of the path
    counts is only known with the other names of the file, see `without_common_folder`.

    Raises:
        BadEntry: for what is no name of a file.
    """
    if not isinstance(written, str) or not written.strip():
        raise BadEntry("the name of a picture", repr(written))
    name = written.strip()
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        raise BadEntry("the name of a picture without control characters", repr(name))
    try:
        # of Label Studio: /data/local-files/?d=folder/name.jpg
        if "local-files" in name and (local := parse_qs(urlsplit(name).query).get("d")):
            name = f"/{local[0]}"
        elif _ADDRESS.match(name):
            name = f"/{unquote(urlsplit(name).path)}"
    except ValueError as error:  # an address with half of a bracket
        raise BadEntry("the name or the address of a picture", repr(name)) from error
    name = name.replace("\\", "/")
    drive = _DRIVE.match(name)
    absolute = bool(drive) or name.startswith("/")
    parts = posixpath.normpath((name[2:] if drive else name).lstrip("/")).split("/")
    while parts and parts[0] in ("..", "."):
        parts = parts[1:]
    if not parts or not parts[-1]:
        raise BadEntry("the name of a picture", repr(written))
    return "/".join(parts), absolute


def without_common_folder(names: list[str]) -> list[str]:
    """Absolute names without the folders that all of them have: "survey/a.png", "survey/b/c.png" -> "a.png", ..."""
    folders = [name.split("/")[:-1] for name in names]
    shared = 0
    while folders and all(len(one) > shared and one[shared] == folders[0][shared] for one in folders):
        shared += 1
    return ["/".join(name.split("/")[shared:]) for name in names]


def without_upload(name: str) -> str:
    """The last part of a name, without the eight digits that Label Studio puts in front."""
    return _UPLOAD.sub("", PurePosixPath(name).name)


def split_of_name(name: str) -> str | None:
    """The split that a list, or a file of many pictures, is named after: "instances_train2017.json", "val.txt"."""
    words = [word for word in re.split(r"[^a-z]+", PurePosixPath(name).name.lower()) if word]
    found = {SPLITS[word] for word in words if word in SPLITS}
    return found.pop() if len(found) == 1 else None


def written_split(value: object) -> str | None:
    """The split that a value of a file is: "train", "Validation", "val"; None for anything else, such as "default"."""
    return SPLITS.get(value.strip().lower()) if isinstance(value, str) else None


def split_of_folders(folders: Sequence[str]) -> str | None:
    """The split that the innermost folder of that kind is: "valid", "train2017", but not "Test site"."""
    names = (re.sub(r"[\d_-]+$", "", folder.lower()) for folder in reversed(folders))
    return next((SPLITS[name] for name in names if name in SPLITS), None)
