"""The one exception type for a user's bad file."""

import reprlib
from collections.abc import Sequence

_BRIEF = reprlib.Repr()
_BRIEF.maxlist = _BRIEF.maxtuple = _BRIEF.maxdict = _BRIEF.maxset = _BRIEF.maxfrozenset = 40
_BRIEF.maxstring = _BRIEF.maxother = _BRIEF.maxlong = 300
_BRIEF.maxlevel = 3


class InvalidDataError(ValueError):
    """A file that a user gave cannot be used as it is.

    The message names the file, what was expected and what came. Every reader of this library raises it, and
    nothing else, for bad content. However large that is, the message has at most 2,000 characters, none of which
    a terminal would obey.
    """

    def __init__(self, path: object, expected: str, received: object):
        self.path = brief(path, 300)
        self.expected = brief(expected, 1000)
        self.received = brief(received, 600)
        super().__init__(f"{self.path}: expected {self.expected}. Received: {self.received}")

    def __reduce__(self):
        # data workers send the exception through a pipe; the default would call __init__ with the message alone
        return type(self), (self.path, self.expected, self.received)


def brief(value: object, most: int) -> str:
    """A value as text for a message: at most so many characters, of which only line breaks control anything."""
    if isinstance(value, list | tuple | dict | set | frozenset | int | bytes):
        try:
            text = _BRIEF.repr(value)  # str() of nested lists may be larger than any memory
        except ValueError:
            text = "a number of thousands of digits"
    else:
        text = str(value)
    shown = [c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in _middle_left_out(text, most)]
    return _middle_left_out("".join(shown), most)


def _middle_left_out(text: str, most: int) -> str:
    half = (most - 3) // 2
    return text if len(text) <= most else f"{text[:half]}...{text[-half:]}"


def first_of(texts: Sequence[str], most: int = 10, separator: str = ", ") -> str:
    """The first of some texts for a message, and dots if there are more."""
    return separator.join(texts[:most]) + (f"{separator}..." if len(texts) > most else "")
