"""Finding the picture that an annotation file means, in a folder of pictures."""

import os
from pathlib import Path, PurePosixPath

from ...errors import InvalidDataError, first_of
from ..image_lists import split_suffix
from .names import without_upload

_MAX_PICTURES = 1_000_000


class PictureFolder:
    """The pictures of a folder and of the folders in it, by all the names that annotation files have for them.

    Raises:
        InvalidDataError: no folder.
    """

    def __init__(self, directory: Path):
        if not directory.is_dir():
            raise InvalidDataError(directory, "a folder of pictures", "a file" if directory.exists() else "nothing")
        self.directory = directory
        self.paths: list[str] = []
        for folder, folders, files in os.walk(directory):
            folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
            inside = Path(folder).relative_to(directory).as_posix()
            names = (name for name in sorted(files) if split_suffix(name)[1] and not name.startswith("."))
            self.paths += [name if inside == "." else f"{inside}/{name}" for name in names]
            if len(self.paths) > _MAX_PICTURES:
                raise InvalidDataError(directory, f"at most {_MAX_PICTURES} pictures", "more")
        self._known = set(self.paths)
        self._by_end: dict[str, list[str]] = {}
        for path in self.paths:
            name = PurePosixPath(path).name
            for key in {name, split_suffix(name)[0]}:
                self._by_end.setdefault(key, []).append(path)

    def find(self, name: str) -> Path | None:
        """The file, or None.

        A name with folders means the file at that place, else the only one whose path ends like it, else the only one
        with its last part; a name without a suffix the only one with that stem. Eight hexadecimal digits that Label
        Studio puts in front may be missing from the file.

        Raises:
            InvalidDataError: it means several files.
        """
        if name in self._known:
            return self.directory / name
        for last in dict.fromkeys((PurePosixPath(name).name, without_upload(name))):
            found = self._by_end.get(last, [])
            parts = PurePosixPath(name).parts[:-1]
            while len(found) > 1 and parts:
                closer = [path for path in found if PurePosixPath(path).parts[-1 - len(parts) : -1] == parts]
                if closer:
                    found = closer
                    break
                parts = parts[1:]
            if len(found) > 1:
                expected = f"one picture that {name!r} can mean"
                raise InvalidDataError(self.directory, expected, f"{len(found)}: {first_of(found, 5)}")
            if found:
                return self.directory / found[0]
        return None
