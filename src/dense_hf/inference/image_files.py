"""From what a user types to image files, and names for what is made of them."""

import glob
import os
from collections.abc import Iterable
from pathlib import Path

IMAGE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))


def find_images(
    sources: Iterable[str], recursive: bool = False, exclude: str | os.PathLike | None = None
) -> tuple[list[Path], dict[str, str]]:
    """Image files of files, folders and globs, each once, in the order of the sources and sorted within one.

    Args:
        sources: A file is taken whatever its name is (also if it does not exist: reading it tells). Of a folder or a
            glob, such as "reef/**/*.jpg", the files with the ending of an image are taken.
        recursive: whether folders inside folders are searched.
        exclude: a folder whose files are not taken from folders and globs: the output of an earlier run.

    Returns:
        The files; and for each folder and glob without any, why.
    """
    found: dict[str, Path] = {}
    problems: dict[str, str] = {}
    excluded = None if exclude is None else Path(exclude).absolute()
    for source in sources:
        path = Path(source)
        if path.is_dir():
            matches = path.rglob("*") if recursive else path.iterdir()
        elif glob.has_magic(source) and not os.path.lexists(path):
            matches = map(Path, glob.iglob(source, recursive=True))
        else:
            found.setdefault(os.path.abspath(path), path)
            continue
        try:
            images = sorted(
                match
                for match in matches
                if match.suffix.lower() in IMAGE_SUFFIXES
                and match.is_file()
                and not (excluded is not None and match.absolute().is_relative_to(excluded))
            )
        except OSError as error:  # a folder that may not be read
            images, problems[source] = [], str(error)
        if not images:
            problems.setdefault(source, "no images found")
        for image in images:
            found.setdefault(os.path.abspath(image), image)
    return list(found.values()), problems


def shown(path: str | os.PathLike) -> str:
    """A path, or a message with one, as text for people and tables: bytes that are no UTF-8 become a question mark."""
    return os.fsencode(path).decode("utf-8", "replace")


def output_names(paths: Iterable[Path]) -> list[Path]:
    """A different relative name for each of the files: its path below the deepest folder that holds all of them.

    So `monday/1.jpg` and `tuesday/1.jpg` do not meet, nor `1.jpg` and `1.png`.
    """
    absolute = [os.path.abspath(path) for path in paths]
    if not absolute:
        return []
    if len({Path(path).drive for path in absolute}) > 1:  # Windows only
        return [Path(path.replace(":", "")) for path in absolute]
    root = os.path.commonpath([os.path.dirname(path) for path in absolute])
    return [Path(os.path.relpath(path, root)) for path in absolute]
