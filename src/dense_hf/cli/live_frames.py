"""Frames of a live source: opened again when it is lost, and only the newest where the camera is faster."""

import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from ..data.video_files import VideoReader
from ..errors import InvalidDataError
from ..inference.console import say, shown

_LONGEST_PAUSE = 30.0  # seconds between two tries


class NamedFrame(NamedTuple):
    """A frame: number and name, when it is shown, and uint8 [height, width, 3], or what is wrong with it."""

    number: int
    name: str
    seconds: Fraction
    pixels: np.ndarray | InvalidDataError


def frames_of(reader: VideoReader, first: int, every: int = 1) -> Iterator[NamedFrame]:
    """Every so manieth frame; the reader is closed at the end.

    Args:
        reader: of the frames.
        first: number of the first one.
        every: 1 for all.
    """
    number = first
    for pixels in reader.with_errors():
        yield NamedFrame(number, f"{number:08}", reader.seconds, pixels)
        number += 1 + reader.skip(every - 1)


def reconnected(
    reader: VideoReader,
    patience: float,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], object] = time.sleep,
    again: Callable[[str], VideoReader] = VideoReader,
) -> Iterator[NamedFrame]:
    """The frames of a source, which is opened again when it ends, until no frame came for so long.

    Numbers go on, and times go on with the clock. A model that remembers frames sees the first new one after the last
    old one.

    Args:
        reader: of the source.
        patience: seconds without a frame after which it is given up.
        clock, wait: seconds since some moment, and what lets them pass.
        again: opens the source.
    """
    number, begin, seen, pause = 0, Fraction(0), clock(), 1.0
    while True:
        last = begin
        for frame in frames_of(reader, number):
            last, seen, pause = begin + frame.seconds, clock(), 1.0
            number = frame.number + 1
            yield frame._replace(seconds=last)
        say(f"{shown(reader.source)}: no frames any more; trying again for {patience:g} s", error=True)
        while True:
            if clock() - seen + pause > patience:
                return
            wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            try:
                reader = again(reader.source)
                break
            except InvalidDataError:
                continue
        begin = last + Fraction(clock() - seen).limit_denominator(1000)


class NewestFrames(Iterator[NamedFrame]):
    """Frames as they come; those that a newer one has overtaken before they were asked for are dropped.

    Args:
        frames: read in a thread, as fast as they come.

    Attributes:
        dropped: how many so far.
    """

    def __init__(self, frames: Iterator[NamedFrame]):
        self.dropped = 0
        self._newest: NamedFrame | None = None
        self._error: BaseException | None = None
        self._ended = False
        self._changed = threading.Condition()
        threading.Thread(target=self._read, args=(frames,), daemon=True).start()

    def _read(self, frames: Iterator[NamedFrame]) -> None:
        try:
            for frame in frames:
                with self._changed:
                    self.dropped += self._newest is not None
                    self._newest = frame
                    self._changed.notify()
        except BaseException as error:  # is that of the thread that asks
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify()

    def __next__(self) -> NamedFrame:
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._ended)
            frame, self._newest = self._newest, None
        if frame is not None:
            return frame
        if self._error is not None:
            raise self._error
        if self.dropped:
            say(f"{self.dropped} frames were dropped, as newer ones had come")
            self.dropped = 0
        raise StopIteration
