"""What a program and its children use while they run, looked at from outside (/proc, so Linux only)."""

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

PROC = Path("/proc")
SECONDS = 0.5  # between two looks


class Sample(NamedTuple):
    """What a program and its children use at a time, together."""

    seconds: float
    megabytes: float
    files: int
    threads: int


class Watched(NamedTuple):
    """A program that has ended."""

    code: int
    """Its exit status."""
    samples: list[Sample]
    peak: float
    """Megabytes: what Linux keeps as the largest size of the program itself, or the largest sample."""


def family(pid: int) -> Iterator[int]:
    """A process and all that it has started."""
    yield pid
    for thread in os.listdir(PROC / str(pid) / "task"):
        for child in (PROC / str(pid) / "task" / thread / "children").read_text().split():
            yield from family(int(child))


def look(pid: int) -> tuple[float, int, int, float]:
    """Megabytes, open files and threads of a process, and the most megabytes that it has had.

    Raises:
        OSError, KeyError: it has ended.
    """
    own = PROC / str(pid)
    status = dict(line.split(":", 1) for line in (own / "status").read_text().splitlines())
    now, most = (int(status[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, len(os.listdir(own / "fd")), int(status["Threads"]), most


def watch(words: Sequence[str], stdin: int | IO | None = subprocess.DEVNULL) -> Watched:
    """Run a program to its end and look at it twice a second.

    Args:
        words: the program and its arguments; what it prints goes nowhere.
        stdin: what it reads, as for `subprocess.Popen`.
    """
    samples: list[Sample] = []
    peak = 0.0
    start = time.monotonic()
    with subprocess.Popen(words, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            try:
                own, *others = [look(pid) for pid in family(process.pid)]
            except (OSError, KeyError):  # the program ends, or a child has: the next look says which
                time.sleep(SECONDS)
                continue
            megabytes, files, threads, _ = (sum(column) for column in zip(own, *others))
            samples.append(Sample(time.monotonic() - start, megabytes, int(files), int(threads)))
            peak = max(peak, megabytes, own[3])
            time.sleep(SECONDS)
    return Watched(process.returncode, samples, peak)
