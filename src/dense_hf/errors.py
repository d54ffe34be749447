"""The one exception type for a user's bad file."""

from collections.abc import Sequence


class InvalidDataError(ValueError):
    """A file that a user gave cannot be used as it is.

    The message names the file, what was expected and what came. Every reader of this library raises it, and
    nothing else, for bad content.
    """

    def __init__(self, path: object, expected: str, received: object):
        self.path = str(path)
        self.expected = expected
        self.received = received
        super().__init__(f"{path}: expected {expected}. Received: {received}")

    def __reduce__(self):
        # data workers send the exception through a pipe; the default would call __init__ with the message alone
        return type(self), (self.path, self.expected, self.received)


def first_of(texts: Sequence[str], most: int = 10, separator: str = ", ") -> str:
    """The first of some texts for a message, and dots if there are more."""
    return separator.join(texts[:most]) + (f"{separator}..." if len(texts) > most else "")
