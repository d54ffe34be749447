"""What the benchmarks share: two things measured in turn (A B A B ...), and the memory of this process (Linux)."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from dense_hf.markdown import spread


def compare(
    name: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    repeats: int,
    clock: Callable[[], float] = time.process_time,
) -> float:
    """Print the median of the ratios of pairs of runs, after one run of each that does not count.

    Args:
        name: of the row.
        ours, theirs: what is measured, and what it is compared to.
        repeats: pairs of runs.
        clock: seconds since some moment; by default those that the CPU was busy.

    Returns:
        the median seconds of ours.
    """
    times: list[tuple[float, float]] = []
    for repeat in range(repeats + 1):
        start = clock()
        ours()
        middle = clock()
        theirs()
        if repeat:
            times.append((middle - start, clock() - middle))
    ratios = [a / b for a, b in times]
    seconds, others = (statistics.median(column) for column in zip(*times))
    shown = spread(statistics.median(ratios), min(ratios), max(ratios))
    print(f"{name:24s} {shown:24s} {seconds:.2f} s / {others:.2f} s", flush=True)
    return seconds


def resident_mebibytes(entry: str = "VmRSS") -> float:
    """Size of this process now, or with "VmHWM" the largest so far; not ru_maxrss, which a child inherits."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(entry))
    return int(line.split()[1]) / 1024
