"""One run at a time in a folder or for a file. A lock ends with its process, also with one that is killed."""

import errno
import os
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where nothing is locked
    fcntl = None

# "_": what a training folder pushes to the Hub leaves out files that begin with it
FOLDER_LOCK = "_lock"


def lock_file(descriptor: int, of: str | os.PathLike) -> None:
    """Lock an open file until this process closes it, or ends. Its children do not hold the lock.

    Args:
        descriptor: of a file that is open for writing.
        of: what the lock is for, for the message.

    Raises:
        ValueError: another process has it.
    """
    if fcntl is None:
        return
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        owner = ""
        with suppress(OSError):
            owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        process = f" (process {owner})" if owner.isdigit() else ""
        raise ValueError(f"{of} is in use by another run{process}; wait for it, or choose another folder") from error


def lock_folder(folder: str | os.PathLike) -> None:
    """Keep other processes out of a folder until this one ends; it is made if it is not there.

    Args:
        folder: where `_lock` names the process. The file stays; it means nothing once its process is gone.

    Raises:
        ValueError: another process has locked the folder.
        OSError: a folder that cannot be made or written to.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    # never closed: the lock is to last as long as the process
    descriptor = os.open(Path(folder, FOLDER_LOCK), os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    try:
        lock_file(descriptor, folder)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BaseException:
        os.close(descriptor)
        raise
