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

import sys
from functools import partial
from pathlib import Path
from typing import Any

import runs
from demo_counting import count_folder, evaluate

from dense_hf import IOCFormerForObjectCounting, IOCFormerImageProcessor
from dense_hf.data import PointFolder

CONFIG = runs.SCRIPTS / "configs" / "iocformer" / "tree_crowns.yaml"


def train(trees: Path, output: Path, place: str, seed: int) -> float | None:
    """One run; the seconds it took, None if it was finished already."""
    name = f"seed_{seed}" if place == "same_place" else place
    words = runs.training_words(CONFIG, trees / place, output / name, seed)
    return runs.run_script(output, name, "train_iocformer.py", *words)


def summarize(trees: Path, output: Path) -> dict[str, Any]:
    """The three seeds side by side, also on other forests, and the first on the place that it did not learn from."""
    per_seed = {
        seed: evaluate(output / f"seed_{seed}", trees, output / f"seed_{seed}_pictures") for seed in runs.SEEDS
    }
    first = per_seed[runs.SEEDS[0]]
    fields = ("count", "density_sum", "mae_count", "mae_density", "f1@12")
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
            *({name: row[name] for name in ("name", "annotated", *fields)} for row in elsewhere),
            *(
                {name: rows[0][name] for name in ("name", "annotated", *fields)}
                | {"seeds": [{name: row[name] for name in fields} for row in rows]}
                for rows in zip(*(results["harder"] for results in per_seed.values()), strict=True)
            ),
        ],
        "run": runs.read_json(output / f"seed_{runs.SEEDS[0]}" / "results.json"),
    }


def train_and_judge(trees: Path, output: Path, jobs: int) -> dict[str, Any]:
    """All runs and what came out of them."""
    work = partial(train, trees, output)
    runs.run_all(work, ["same_place"], jobs)
    runs.run_all(work, ["other_place"], jobs, runs.SEEDS[:1])
    return summarize(trees, output)


def main(arguments: list[str] | None = None) -> int:
    """Train, judge, write; returns the exit status."""
    parser = runs.parser_of(__doc__, "tree_crowns.py", "runs/trees")

    def make(options: runs.Namespace) -> runs.Results:
        return train_and_judge(options.data, options.output, options.jobs)

    return runs.run_training(parser, arguments, make, f"seed_{runs.SEEDS[0]}")


if __name__ == "__main__":
    sys.exit(main())
