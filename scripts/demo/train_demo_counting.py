"""Train the model of `make demo` from scratch, with three seeds, and write what came out.

    make train-demo                                          # fetches the images, then runs this
    python scripts/demo/train_demo_counting.py demo_data/trees --output runs/trees --jobs 2

Four runs of scripts/train_iocformer.py with scripts/configs/iocformer/tree_crowns.yaml, one thread each so that the
weights are the same on every run: seeds 1, 2 and 3 on both orthophotos, and seed 1 on the first orthophoto only, which
is then judged on the second (a harder row). The checkpoint that is bundled is that of seed 1, decided before any
result was seen. Nothing is selected by the held-out part: every run ends with its last weights.

OUTPUT gets a folder per run with its card, results.json, and iocformer-trees, which is what lies in checkpoints/. An
interrupted run goes on where it was.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bundling import bundle, remember_start
from demo_counting import count_folder, evaluate

from dense_hf import IOCFormerForObjectCounting, IOCFormerImageProcessor
from dense_hf.data import PointFolder, write_file

SCRIPTS = Path(__file__).parents[1]
SEEDS = (1, 2, 3)


def train(data_dir: Path, output_dir: Path, seed: int) -> float:
    """One run; seconds it took. What it prints goes to `output_dir`.log."""
    command = [sys.executable, str(SCRIPTS / "train_iocformer.py")]
    command += ["--config", str(SCRIPTS / "configs" / "iocformer" / "tree_crowns.yaml"), "--data_dir", str(data_dir)]
    command += ["--output_dir", str(output_dir), "--seed", str(seed), "--resume_from_checkpoint", "auto"]
    start = time.monotonic()
    with open(f"{output_dir}.log", "w") as log:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, env=environment, stdout=log, stderr=subprocess.STDOUT)  # noqa: S603
    return time.monotonic() - start


def summarize(trees: Path, output: Path) -> dict[str, Any]:
    """The three seeds side by side, and the harder rows of the first."""
    per_seed = {seed: evaluate(output / f"seed_{seed}", trees, output / f"seed_{seed}_pictures") for seed in SEEDS}
    first = per_seed[SEEDS[0]]
    fields = ("count", "density_sum", "mae_count", "mae_density")
    other_place = output / "other_place"
    elsewhere = count_folder(
        IOCFormerForObjectCounting.from_pretrained(other_place).eval(),
        IOCFormerImageProcessor.from_pretrained(other_place),
        PointFolder(trees / "other_place"),
        output / "seed_1_pictures",
    )
    return {
        "checkpoint": "iocformer-trees",
        "held_out": {
            "annotated": first["held_out"]["annotated"],
            "seeds": [
                {"seed": seed} | {name: results["held_out"][name] for name in fields}
                for seed, results in per_seed.items()
            ],
            "baselines": first["held_out"]["baselines"],
        },
        "harder": [
            {name: row[name] for name in ("name", "annotated", *fields)} for row in [*elsewhere, *first["harder"]]
        ],
        "run": json.loads((output / f"seed_{SEEDS[0]}" / "results.json").read_text(encoding="utf-8")),
    }


def main() -> None:
    """Train, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", type=Path, help="Folder that dataset_scripts/tree_crowns.py made.")
    parser.add_argument("--output", type=Path, default=Path("runs/trees"), help="Folder for the runs.")
    parser.add_argument("--jobs", type=int, default=2, help="Runs at a time, one thread each (default: 2).")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    made = remember_start(arguments.output)
    runs = [(arguments.trees / "same_place", arguments.output / f"seed_{seed}", seed) for seed in SEEDS]
    runs.append((arguments.trees / "other_place", arguments.output / "other_place", SEEDS[0]))
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for (_, output_dir, _), seconds in zip(runs, pool.map(lambda run: train(*run), runs)):
            print(f"{output_dir.name}: {seconds / 60:.1f} minutes", flush=True)
    results = summarize(arguments.trees, arguments.output) | {"made": made}
    write_file(arguments.output / "results.json", json.dumps(results, indent=2).encode())
    bundle(arguments.output / "seed_1", arguments.output / results["checkpoint"], results)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
