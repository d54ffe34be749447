"""Why a request gets no answer: a status and a sentence."""

from starlette.exceptions import HTTPException

from ..errors import InvalidDataError, brief
from ..inference.console import shown


class Refusal(HTTPException):
    """A request is not answered.

    Args:
        status: of HTTP.
        sentence: for people.
        retry_after: seconds after which it may be, if it may.
        close: whether its connection ends, because some of it was not read.
    """

    def __init__(self, status: int, sentence: str, retry_after: int | None = None, close: bool = False):
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        super().__init__(status, sentence, headers | ({"Connection": "close"} if close else {}))


def sentence_of(error: Exception | str) -> str:
    """One line, without control characters and not endless; of a bad file without the place where it was kept."""
    if isinstance(error, InvalidDataError):
        error = f"{error.path}: expected {error.expected}. Received: {error.received}"
    return brief(shown(" ".join(str(error).split())), 600)
