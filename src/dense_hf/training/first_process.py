"""Work that one process does for all."""

from collections.abc import Callable
from typing import Any, TypeVar

from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from ..errors import InvalidDataError

T = TypeVar("T")


def check_in_first_process(check: Callable[[], T]) -> T:
    """Run a check of data in the first process; all processes get its result, which can be pickled.

    Raises:
        InvalidDataError: in all processes, if the check raises it.
    """
    outcome: list[Any] = [None, None]
    if PartialState().is_main_process:
        try:
            outcome[0] = check()
        except InvalidDataError as error:
            outcome[1] = error
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]
