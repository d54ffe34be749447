"""From what a user types to image files, and names for what is made of them."""

import glob
import os
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

from .console import shown

IMAGE_SUFFIXES = frozenset(
    (".avif", ".bmp", ".heic", ".heif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
)


def find_images(
    sources: Iterable[str],
    recursive: bool = False,
    exclude: str | os.PathLike | Collection[str | os.PathLike] = (),
    left_out: Counter[str] | None = None,
) -> tuple[list[Path], dict[str, str]]:
    """Image files of files, folders and globs, each once, in the order of the sources and sorted within one.

    Args:
        sources: A file is taken whatever its name is (also if it does not exist: reading it tells). Of a folder or a
            glob, such as "reef/**/*.jpg", the files with the ending of an image are taken.
        recursive: whether folders inside folders are searched. Links to folders are not.
        exclude: files that are not taken from folders and globs, such as those of an earlier run; of a folder all.
        left_out: gets the number of the other files of each kind, see `kind_left_out`.

    Returns:
        The files; and what is wrong with each folder and glob without any, and with each link to nothing.
    """
    found: dict[str, Path] = {}
    problems: dict[str, str] = {}
    excluded = {
        Path(os.path.abspath(path)) for path in ([exclude] if isinstance(exclude, (str, os.PathLike)) else exclude)
    }
    for source in sources:
        path = Path(source)
        if path.is_dir():
            matches = path.rglob("*") if recursive else path.iterdir()
        elif glob.has_magic(source) and not os.path.lexists(path):
            matches = map(Path, glob.iglob(source, recursive=True))
        else:
            found.setdefault(os.path.abspath(path), path)
            continue
        images = []
        try:
            for match in sorted(matches):
                absolute = Path(os.path.abspath(match))
                if absolute in excluded or not excluded.isdisjoint(absolute.parents):
                    continue
                kind = kind_left_out(match, IMAGE_SUFFIXES)
                if kind is None:
                    images.append(match)
                elif not match.exists():
                    problems[shown(match)] = "a link to nothing"
                elif left_out is not None and not (kind == FOLDERS and recursive):
                    left_out[kind] += 1
        except OSError as error:  # a folder that may not be read
            images, problems[shown(source)] = [], shown(str(error))
        if not images:
            problems.setdefault(shown(source), "no images found")
        for image in images:
            found.setdefault(os.path.abspath(image), image)
    return list(found.values()), problems


FOLDERS, LINKED_FOLDERS, NO_SUFFIX, APPLE_DOUBLE = "folders", "links to folders", "without an ending", "._ of macOS"


def kind_left_out(path: Path, suffixes: Collection[str]) -> str | None:
    """What a file of a folder is, if it is not taken for a picture: its ending, or one of the above.

    Args:
        path: the file.
        suffixes: the endings of pictures, in small letters.
    """
    if path.is_dir():
        return LINKED_FOLDERS if path.is_symlink() else FOLDERS
    if path.name.startswith("._"):
        return APPLE_DOUBLE
    if path.suffix.lower() in suffixes and path.is_file():
        return None
    return path.suffix or NO_SUFFIX


def tell_left_out(left_out: Counter[str]) -> list[str]:
    """Sentences with the number of each kind, the most frequent first."""
    files = {kind: number for kind, number in left_out.items() if kind not in (FOLDERS, LINKED_FOLDERS)}
    kinds = ", ".join(
        f"{number} {shown(kind)}" for kind, number in sorted(files.items(), key=lambda item: (-item[1], item[0]))
    )
    total = sum(files.values())
    told = [f"{total} file{'' if total == 1 else 's'} left out: {kinds}"] if total else []
    folders = [f"{left_out[kind]} {kind}" for kind in (FOLDERS, LINKED_FOLDERS) if left_out[kind]]
    return told + ([f"not searched: {', '.join(folders)}"] if folders else [])


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
