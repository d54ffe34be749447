"""What people read while something runs: no name or closed window ends a run, and no name steers a terminal."""

import io
import os
import sys
import unicodedata

# control characters, marks of direction, surrogates, separators of lines and paragraphs
_UNSEEN = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))


def shown(text: str | os.PathLike) -> str:
    """A path, or a message with one, as text for people and tables.

    Bytes that are no UTF-8 and characters that steer a terminal become "\ufffd", line breaks and tabs a space.
    """
    text = os.fsencode(text).decode("utf-8", "replace")
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        " " if letter in "\t\n\r" else "\ufffd" if unicodedata.category(letter) in _UNSEEN else letter
        for letter in text
    )


def say(text: str, error: bool = False) -> None:
    """Write a line above the progress bars, at once; to nobody once the reader has gone (`| head`).

    Args:
        text: the line.
        error: whether it goes to stderr, not to stdout.
    """
    stream = sys.stderr if error else sys.stdout
    try:
        from tqdm import tqdm
    except ImportError:  # exported models run without; then there are no bars, either
        write = print
    else:
        write = tqdm.write
    try:
        write(text, file=stream)
        stream.flush()
    except BrokenPipeError:
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, stream.fileno())
        os.close(silent)


def accept_any_letter() -> None:
    """From now on, what the console cannot encode becomes a question mark instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not what a notebook puts there
            stream.reconfigure(errors="replace")
