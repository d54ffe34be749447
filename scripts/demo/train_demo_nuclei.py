"""Train the bundled counter of nuclei from scratch, with three seeds, and write what came out.

    make train-demo-nuclei DATA=data/dsb2018/dark            # what dataset_scripts/dsb2018.py made of a download
    python scripts/demo/train_demo_nuclei.py data/dsb2018/dark --output runs/nuclei --jobs 2

Three runs of scripts/train_iocformer.py with scripts/configs/iocformer/nuclei.yaml, one thread each so that the
weights are the same on every run. Every run ends with its last weights and takes its threshold from the training
images; the validation images are to look at, the test images are counted once, at the end. The bundled checkpoint
is that of seed 1, decided before any result was seen.

With `--elsewhere demo_data/nuclei` (dataset_scripts/nuclei_picture.py) each seed counts the picture of `make demo`.

OUTPUT gets a folder per run with its card, results.json, and iocformer-nuclei, which is what lies in checkpoints/. An
interrupted run goes on where it was.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import runs
from demo_nuclei import evaluate

from dense_hf.data.counting_examples import read_examples
from dense_hf.metrics import CountingMetrics

BUNDLED = 1  # the seed whose weights are
CONFIG = runs.SCRIPTS / "configs" / "iocformer" / "nuclei.yaml"


def train(data: Path, output: Path, name: str, seed: int) -> float | None:
    """One run; the seconds it took, None if it was finished already."""
    folder = f"seed_{seed}"
    words = runs.training_words(CONFIG, data, output / folder, seed)
    return runs.run_script(output, folder, "train_iocformer.py", *words)


def best_constant(data: Path) -> dict[str, Any]:
    """Size of each split, and the errors on the test images of the number that is best on the training images."""
    splits = read_examples(data, ["train", "validation", "test"], progress=False)
    counts = {split: [len(example.points) for example in examples] for split, examples in splits.items()}
    constant = float(np.median(counts["train"]))
    metrics = CountingMetrics()
    metrics.update([constant] * len(counts["test"]), counts["test"])
    sizes = {split: {"images": len(one), "objects": sum(one)} for split, one in counts.items()}
    return {"splits": sizes, "constant": {"count": constant} | metrics.compute()}


def train_and_judge(
    data: Path, output: Path, jobs: int, elsewhere: Path | None, chosen: Sequence[int]
) -> dict[str, Any]:
    """All runs and what came out of them."""
    runs.run_all(partial(train, data, output), ["nuclei"], jobs, chosen)
    seeds = []
    for seed in chosen:
        folder = output / f"seed_{seed}"
        run = runs.read_json(folder / "results.json")
        row = {"seed": seed} | {key: run[key] for key in ("threshold", "validation", "test")}
        if elsewhere is not None:
            row["elsewhere"] = evaluate(folder, elsewhere, output / f"seed_{seed}_pictures")
        seeds.append(row)
    run = runs.read_json(output / f"seed_{BUNDLED}" / "results.json")
    return {"checkpoint": "iocformer-nuclei", "nuclei": best_constant(data) | {"seeds": seeds}, "run": run}


def main(arguments: list[str] | None = None) -> int:
    """Train, judge, write; returns the exit status."""
    parser = runs.parser_of(__doc__, "dsb2018.py", "runs/nuclei")
    parser.add_argument("--elsewhere", type=Path, help="Folder that dataset_scripts/nuclei_picture.py made.")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=runs.SEEDS, help=f"Of the runs, {BUNDLED} among them (default: 1 2 3)."
    )

    def make(options: runs.Namespace) -> runs.Results:
        if BUNDLED not in options.seeds:
            raise ValueError(f"--seeds must have {BUNDLED}, which is bundled. Received: {options.seeds}")
        return train_and_judge(options.data, options.output, options.jobs, options.elsewhere, options.seeds)

    return runs.run_training(parser, arguments, make, f"seed_{BUNDLED}")


if __name__ == "__main__":
    sys.exit(main())
