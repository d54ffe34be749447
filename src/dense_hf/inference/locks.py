"""One run at a time in a folder or for a file. A lock ends with its process, also with one that is killed."""

import errno
import os
import weakref
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from ..errors import InvalidDataError

try:
    import fcntl
except ImportError:  # Windows, where nothing is locked
    fcntl = None

# "_": what a training folder pushes to the Hub leaves out files that begin with it
FOLDER_LOCK = "_lock"


class Lock(AbstractContextManager):
    """Keeps other processes out until it is closed, forgotten, or this process ends. Children do not have it.

    Args:
        path: a file that is there.
        of: what the lock is for, for the message.

    Raises:
        InvalidDataError: another process has it.
    """

    def __init__(self, path: str | os.PathLike, of: str | os.PathLike):
        descriptor = os.open(path, os.O_RDWR)
        self.close = weakref.finalize(self, os.close, descriptor)
        lock_file(descriptor, of)

    def __exit__(self, *error: object) -> None:
        self.close()


def lock_file(descriptor: int, of: str | os.PathLike) -> None:
    """Lock an open file until this process closes it (or the same file, opened once more), or ends.

    Args:
        descriptor: of a file that is open for writing.
        of: what the lock is for, for the message.

    Raises:
        InvalidDataError: another process has it.
    """
    if fcntl is None:
        return
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        expected = "what no other run works with; wait for it, or choose another place"
        raise InvalidDataError(of, expected, "in use by another process") from error


@contextmanager
def shared_folder(folder: Path, leftovers: str) -> Generator[None]:
    """Inside, this run is one of those that fill a folder, each with files of its own.

    Args:
        folder: is there.
        leftovers: a pattern of files that are half written. A run that comes when nobody else is there removes them:
            their writer was killed.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # in use, or a file system without such locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for path in list(folder.glob(leftovers)):
                path.unlink(missing_ok=True)
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def lock_folder(folder: str | os.PathLike) -> None:
    """Keep other processes out of a folder until this one ends; it is made if it is not there.

    Args:
        folder: gets an empty file `_lock`. It stays, and means nothing once its process is gone.

    Raises:
        InvalidDataError: another process has locked the folder.
        OSError: a folder that cannot be made or written to.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    # never closed: the lock is to last as long as the process
    descriptor = os.open(Path(folder, FOLDER_LOCK), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        lock_file(descriptor, folder)
    except BaseException:
        os.close(descriptor)
        raise
