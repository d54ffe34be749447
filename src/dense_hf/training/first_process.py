"""Work that one process does for all."""

from collections.abc import Callable

from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from ..errors import InvalidDataError


def check_in_first_process(check: Callable[[], None]) -> None:
    """Run a check of data in the first process; all processes raise the `InvalidDataError` that it raises."""
    outcome: list[InvalidDataError | None] = [None]
    if PartialState().is_main_process:
        try:
            check()
        except InvalidDataError as error:
            outcome = [error]
    broadcast_object_list(outcome)
    if outcome[0] is not None:
        raise outcome[0]
