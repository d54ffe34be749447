"""A command ends the same way by Ctrl-C and by SIGTERM (a limit of Slurm, `docker stop`): what is written is whole."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager


class Terminated(KeyboardInterrupt):
    """SIGTERM, where it ends what Ctrl-C would end."""


@contextmanager
def ending_on_terminate() -> Generator[None]:
    """Inside, SIGTERM raises `Terminated`."""

    def handle(number: int, stack: object) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():  # only the main thread is told
        yield
        return
    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Stop(threading.Event):
    """Set by the first signal.

    Attributes:
        code: the exit code that tells which one it was.
    """

    code = 130


@contextmanager
def stopping() -> Generator[Stop]:
    """An event that the first Ctrl-C or SIGTERM sets. A second one raises, as it does elsewhere."""
    stop = Stop()

    def handle(number: int, stack: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated
        stop.code = 128 + number
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
