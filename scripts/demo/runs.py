"""What the demos and their trainings share: options, scripts that run once with a seed, and results kept in files."""

import argparse
import json
import os
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from bundling import ROOT, bundle, remember_start
from make_model_cards import describe
from PIL import Image

from dense_hf import InvalidDataError
from dense_hf.data import write_file
from dense_hf.visualization import draw_points
from dense_hf.visualization.sheets import draw_sheet

SCRIPTS = Path(__file__).parents[1]
SEEDS = (1, 2, 3)
Results = dict[str, Any]


def parser_of(manual: str | None, maker: str, output: str) -> argparse.ArgumentParser:
    """The options of all; `maker` is the file of dataset_scripts/ that makes the data."""
    parser = argparse.ArgumentParser(description=manual, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help=f"Folder that dataset_scripts/{maker} made.")
    parser.add_argument("--output", type=Path, default=Path(output), help=f"Folder for results (default: {output}).")
    return parser


def run_demo(
    parser: argparse.ArgumentParser,
    arguments: list[str] | None,
    checkpoint: str,
    make: Callable[[Namespace], Results],
    show: Callable[[Results], None],
    file: str,
    pictures: str,
) -> int:
    """Make the results of a checkpoint, keep them in a file and show them; returns the exit status."""
    bundled = str(ROOT / "checkpoints" / checkpoint)
    parser.add_argument("--model", default=bundled, help="Checkpoint folder (default: the bundled one).")
    options = parser.parse_args(arguments)
    try:
        results = make(options)
    except (ImportError, OSError, ValueError) as error:
        return _say(error)
    write_file(options.output / file, json.dumps(results, indent=2).encode())
    show(results)
    print(f"\n{pictures} and {file} are in {options.output}")
    return 0


def run_training(
    parser: argparse.ArgumentParser,
    arguments: list[str] | None,
    make: Callable[[Namespace], Results],
    bundled: str,
    **options_of_bundle: Any,
) -> int:
    """Train and judge, given the options; keep the results, `bundle` one run; returns the exit status."""
    parser.add_argument("--jobs", type=int, default=2, help="Runs at a time, one thread each (default: 2).")
    options = parser.parse_args(arguments)
    output = options.output
    output.mkdir(parents=True, exist_ok=True)
    made = remember_start(output)
    try:
        results = make(options) | {"made": made}
        write_file(output / "results.json", json.dumps(results, indent=2).encode())
        bundle(output / bundled, output / results["checkpoint"], results, **options_of_bundle)
    except (ImportError, OSError, ValueError) as error:
        return _say(error)
    print(f"\n{describe(results)['table']}\n\nresults.json and {results['checkpoint']}/ are in {output}")
    return 0


def _say(error: Exception) -> int:
    print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
    return 1


def run_all(
    work: Callable[[str, int], float | None], names: Iterable[str], jobs: int, seeds: Sequence[int] = SEEDS
) -> None:
    """`work(name, seed)` for all names and seeds, some at a time; what is stopped has whole seeds."""
    runs = [(name, seed) for seed in seeds for name in names]
    with ThreadPoolExecutor(jobs) as pool:
        for (name, seed), seconds in zip(runs, pool.map(lambda run: work(*run), runs)):
            took = "was there already" if seconds is None else f"{seconds / 60:.1f} minutes"
            print(f"{name}, seed {seed}: {took}", flush=True)


def run_script(output: Path, name: str, script: str, *words: object) -> float | None:
    """Run a script to its end, once; the seconds it took, None if it has been there before.

    In one thread, so that weights are the same on every run. What it prints goes to OUTPUT/logs/NAME.log.

    Raises:
        InvalidDataError: it fails.
    """
    finished, log = output / "finished" / name, output / "logs" / f"{name}.log"
    if finished.is_file():
        return None
    for file in (finished, log):
        file.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with open(log, "a") as printed:
        command = [sys.executable, str(SCRIPTS / script), *map(str, words)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, stdout=printed, stderr=subprocess.STDOUT)  # noqa: S603
    if done.returncode:
        raise InvalidDataError(log, "a run that comes to its end", f"exit code {done.returncode}")
    finished.touch()
    return time.monotonic() - start


def training_words(config: Path, data: Path, folder: Path, seed: int) -> tuple[object, ...]:
    """Options of any training script, which goes on where it was stopped."""
    where = ("--config", config, "--data_dir", data, "--output_dir", folder)
    return (*where, "--seed", seed, "--resume_from_checkpoint", "auto")


def beside_truth(image: Image.Image, annotated: np.ndarray, found: np.ndarray) -> Image.Image:
    """The picture twice, with the points [n, 2] that people set and with those that a model found."""
    panels = [
        (draw_points(image, points), f"{title}: {len(points)}")
        for title, points in (("annotated", annotated), ("found", found))
    ]
    return draw_sheet(panels, image.width, columns=2)


def read_json(file: Path) -> Results:
    """What a script has written."""
    return json.loads(file.read_text(encoding="utf-8"))


def over_seeds(values: Sequence[float]) -> dict[str, float]:
    """What is said of one number of several seeds."""
    deviation = stdev(values) if len(values) > 1 else 0.0
    return {"mean": mean(values), "standard_deviation": deviation, "lowest": min(values), "highest": max(values)}
