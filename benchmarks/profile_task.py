"""Where the time goes from file to file: `dense-hf count`, `segment` or `localize` under two profilers.

    make profile TASK=segment                                     # a bundled model and a file of noise
    python benchmarks/profile_task.py count --input photos --model org/iocformer --rows 30

The command runs twice in this process; the first run, which loads what is loaded once, is not counted. Two tables:
functions of the package with the time spent in them, what they call included (Python's profiler), and operations of
PyTorch with their own CPU time. The profilers themselves take time: compare rows, not runs.
"""

import argparse
import cProfile
import pstats
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.profiler import ProfilerActivity, profile

import dense_hf
from dense_hf.cli import main as run_command
from dense_hf.data import VideoWriter
from dense_hf.markdown import table

ROOT = Path(__file__).parents[1]
PACKAGE = str(Path(dense_hf.__file__).parent)
MODELS = {"count": "iocformer-trees", "segment": "cffm-street", "localize": "mcis-crops"}
SIZE, FRAMES = (640, 480), 12


def make_input(task: str, folder: Path) -> Path:
    """A folder with a picture of noise, or a video of it."""
    pictures = np.random.default_rng(0).integers(0, 256, (FRAMES, SIZE[1], SIZE[0], 3), dtype=np.uint8)
    if task == "segment":
        with VideoWriter(folder / "noise.mp4", 25, SIZE) as video:
            for picture in pictures:
                video.write(picture)
        return folder / "noise.mp4"
    path = folder / "pictures" / "noise.png"
    path.parent.mkdir()
    Image.fromarray(pictures[0]).save(path)
    return path.parent


def command_of(task: str, model: str, source: Path, output: Path) -> list[str]:
    """The arguments of `dense-hf`."""
    target = output / "overlay.mp4" if task == "segment" else output
    options = ["--threshold", "0.5", "--num-references", "0"] if task == "localize" else []
    return [task, str(source), "--model", model, "--output", str(target), "--overwrite", *options]


def profiled(command: list[str]) -> tuple[pstats.Stats, profile]:
    """One run under both profilers.

    Raises:
        SystemExit: the command failed.
    """
    if code := run_command(command):
        raise SystemExit(code)
    functions = cProfile.Profile()
    with profile(activities=[ProfilerActivity.CPU]) as operations:
        functions.runcall(run_command, command)
    return pstats.Stats(functions), operations


def functions_table(stats: pstats.Stats, rows: int) -> str:
    """Functions of the package by the time spent in them and in what they call."""
    own = [
        (f"{Path(file).relative_to(PACKAGE)}:{name}", calls, own_time, whole)
        for (file, _, name), (_, calls, own_time, whole, _) in stats.stats.items()  # ty: ignore[unresolved-attribute]
        if file.startswith(PACKAGE)
    ]
    own.sort(key=lambda row: -row[3])
    cells = [(name, calls, f"{own_time:.3f}", f"{whole:.3f}") for name, calls, own_time, whole in own[:rows]]
    return table(("function", "calls", "own s", "with calls s"), cells)


def operations_table(operations: profile, rows: int) -> str:
    """Operations of PyTorch by their own time."""
    found = sorted(operations.key_averages(), key=lambda one: -one.self_cpu_time_total)
    total = sum(one.self_cpu_time_total for one in found) or 1
    cells = [
        (one.key, one.count, f"{one.self_cpu_time_total / 1e6:.3f}", f"{one.self_cpu_time_total / total:.0%}")
        for one in found[:rows]
    ]
    return table(("operation", "calls", "own s", "share"), cells)


def main(argv: list[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=MODELS)
    parser.add_argument("--input", type=Path, help="a folder of pictures, or a video; default: 640 x 480 of noise")
    parser.add_argument("--model", help="default: the bundled one")
    parser.add_argument("--rows", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    model = arguments.model or str(ROOT / "checkpoints" / MODELS[arguments.task])
    with tempfile.TemporaryDirectory() as folder:
        source = arguments.input or make_input(arguments.task, Path(folder))
        command = command_of(arguments.task, model, source, Path(folder, "results"))
        stats, operations = profiled(command)
    print(functions_table(stats, arguments.rows), operations_table(operations, arguments.rows), sep="\n\n")


if __name__ == "__main__":
    main()
