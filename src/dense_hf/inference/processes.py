"""The processes of a distributed run: work that one does for all, and how they part."""

import functools
import gc
import inspect
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from torch import distributed

from ..errors import InvalidDataError
from .console import accept_any_letter, say, shown
from .signals import Terminated, ending_on_terminate

P = ParamSpec("P")
T = TypeVar("T")


def closes_process_group(main: Callable[P, T]) -> Callable[P, T]:
    """Decorates the main function of a script that may run as several processes: the group ends before Python does.

    A thread of gloo may be the last to hold a tensor that Python made. Letting go of it while the interpreter shuts
    down aborts the process ("terminate called without an active exception", exit code -6) although its work is done
    (pytorch/pytorch#190489). After an exception the group stays as it is: another process may wait in it for this one,
    and ends when this one is gone.
    """

    @functools.wraps(main)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        result = main(*args, **kwargs)
        if distributed.is_available() and distributed.is_initialized():
            distributed.destroy_process_group()
            gc.collect()  # cycles of a trainer hold the group, and it ends its threads only when nobody does
        return result

    return run


def one_line_errors(main: Callable[P, T]) -> Callable[P, T]:
    """Decorates the main function of a script: what is wrong with files and options, or not installed, ends it with
    one line.

    Ctrl-C ends it with exit code 130 and SIGTERM with 143; what was written until then is whole. Where there are
    several processes, SIGTERM stays as it is: the one that waits for others in a library could not answer it.
    """
    script = Path(inspect.getfile(main)).name

    @functools.wraps(main)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        accept_any_letter()
        alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
        try:
            with ending_on_terminate() if alone else nullcontext():
                return main(*args, **kwargs)
        except (OSError, ValueError, FloatingPointError, ImportError) as error:  # InvalidDataError is a ValueError
            sys.exit(f"{script}: {shown(str(error))}")
        except KeyboardInterrupt as error:
            say(f"{script}: stopped; what was written is whole", error=True)
            sys.exit(143 if isinstance(error, Terminated) else 130)

    return run


def start_processes() -> PartialState:
    """The state of this process among the others.

    Without `cpu`, torchrun on a machine without a GPU starts independent runs instead of one (accelerate 1.15).
    """
    return PartialState(cpu=not torch.accelerator.is_available())


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
