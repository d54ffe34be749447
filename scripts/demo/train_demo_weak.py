"""Train the small MCIS of `make demo` from scratch and repeat the thesis' ablations on real crops, with three seeds.

    make train-demo-weak                                     # fetches the pictures, then runs this
    python scripts/demo/train_demo_weak.py demo_data/weak_crops --output runs/weak --jobs 2

Do maps get better when a classifier compares images, as the thesis says (Tables 3.2 and 3.4)? The data are crops of
128 x 128 pixels with people, cars and trees (see dataset_scripts/weak_crops.py), of which training sees image-level
labels only. Three classifiers (basic, with co-attention, with contrastive co-attention) times three seeds, and for
each row of the table everything that follows: localisation maps, pseudo labels of the training crops, a segmenter
trained on them, and its score on the test crops. The masks that scores are computed against are PSEUDO masks: a
program made them.

All settings are in scripts/configs/mcis/crops.yaml; rows differ in what `ROWS` says. They were chosen by maps of the
training crops (seed 1) and their PSEUDO masks; nothing was chosen by the test crops, every training ends with its last
weights, and the classifier that is bundled is the full one of seed 1, decided before any result was seen. One thread
each, so that the weights are the same on every run.

OUTPUT gets a folder per classifier and per row, results.json, and mcis-crops, which is what lies in checkpoints/. What
is finished is not done again; an interrupted run goes on where it was.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import runs
import yaml
from crops_baselines import judge_constants

from dense_hf.data import write_file

CONFIG = runs.SCRIPTS / "configs" / "mcis" / "crops.yaml"
CLASSIFIERS = {
    "basic": {"use_co_attention": False, "use_contrastive_co_attention": False},
    "co_attention": {"use_contrastive_co_attention": False},
    "full": {},
}
BUNDLED = "classifiers/full_seed_1"


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        title: what it is called.
        classifier: one of `CLASSIFIERS`.
        settings: what is different from crops.yaml, by part.
    """

    title: str
    classifier: str
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def _single_round(background_score: float) -> dict[str, dict[str, Any]]:
    return {"localization": {"num_references": 0}, "pseudo_labels": {"background_score": background_score}}


# With the score that is best for pseudo labels of the training crops, seed 1, see crops.yaml
ROWS = {
    "basic": Row("basic classifier, single-round", "basic", _single_round(0.45)),
    "co_attention": Row("with co-attention, multi-round", "co_attention"),
    "single_round": Row("full model, single-round", "full", _single_round(0.25)),
    "full": Row("full model, multi-round", "full"),
    "contrastive_maps": Row(
        "full model, multi-round, contrastive maps too", "full", {"localization": {"use_contrastive": True}}
    ),
}


def settings_of(row: Row) -> dict[str, Any]:
    """All parts of crops.yaml, as a row has them."""
    settings = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    settings["classifier"]["model"] |= CLASSIFIERS[row.classifier]
    for part, values in row.settings.items():
        settings[part] |= values
    return settings


class Runner:
    """Runs scripts with the settings of a row; what they print goes to log files.

    Args:
        crops: folder that dataset_scripts/weak_crops.py made.
        output: folder for the runs.
    """

    def __init__(self, crops: Path, output: Path):
        self.crops, self.output = crops, output

    def classify(self, classifier: str, seed: int) -> float | None:
        """Train a classifier; the seconds it took, None if it was there already."""
        folder = self.output / "classifiers" / f"{classifier}_seed_{seed}"
        config = self._config(classifier, Row(classifier, classifier))
        return self._run("train_mcis.py", folder, *runs.training_words(config, self.crops, folder, seed))

    def segment(self, name: str, seed: int) -> float | None:
        """All steps of a row behind its classifier; the seconds they took, None if nothing was to be done."""
        row, folder = ROWS[name], self.output / f"{name}_seed_{seed}"
        config = self._config(name, row)
        given = ("--config", config, "--data_dir", self.crops)
        maps, labels, segmenter = folder / "maps", folder / "pseudo_labels", folder / "segmenter"
        classifier = self.output / "classifiers" / f"{row.classifier}_seed_{seed}"
        training = runs.training_words(config, self.crops, segmenter, seed)
        scores = ("--model", segmenter, "--split", "test", "--output", folder / "test.json")
        steps = (
            ("make_maps.py", maps, *given, "--model", classifier, "--output", maps),
            ("make_pseudo_labels.py", labels, *given, "--maps", maps, "--output", labels),
            ("train_deeplab.py", segmenter, *training, "--pseudo_labels", labels),
            ("evaluate_segmentation.py", folder / "test", *given, *scores),
        )
        seconds = [self._run(*step) for step in steps]
        return None if set(seconds) == {None} else sum(took or 0.0 for took in seconds)

    def numbers(self, name: str, seed: int) -> dict[str, Any]:
        """What came out of a row: quality of its pseudo labels, and the score of its segmenter on the test crops."""
        folder = self.output / f"{name}_seed_{seed}"
        quality = runs.read_json(folder / "pseudo_labels" / "pseudo_labels.json")["quality"]
        scores = runs.read_json(folder / "test.json")
        kept = ("mean_iou", "per_class_iou")
        return {
            "pseudo_labels": {key: quality[key] for key in kept},
            "segmentation": {key: scores[key] for key in kept},
        }

    def _config(self, name: str, row: Row) -> Path:
        """The settings of a classifier or a row as a file."""
        file = self.output / "settings" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_file(file, yaml.safe_dump(settings_of(row), sort_keys=False).encode())
        return file

    def _run(self, script: str, folder: Path, *words: object) -> float | None:
        """Run a script to its end, once; its log is called after what it makes."""
        return runs.run_script(self.output, "_".join(folder.relative_to(self.output).parts), script, *words)


def summarize(numbers: Mapping[str, Mapping[int, dict[str, Any]]]) -> dict[str, Any]:
    """All rows with the spread over seeds, and what each row has more than the first, seed by seed."""
    rows: dict[str, Any] = {}
    base = numbers["basic"]
    for name, seeds in numbers.items():
        row: dict[str, Any] = {"title": ROWS[name].title, "seeds": {str(seed): run for seed, run in seeds.items()}}
        for what in ("pseudo_labels", "segmentation"):
            values = [run[what]["mean_iou"] for run in seeds.values()]
            gains = [run[what]["mean_iou"] - base[seed][what]["mean_iou"] for seed, run in seeds.items()]
            per_class = {
                label: runs.over_seeds([run[what]["per_class_iou"][label] for run in seeds.values()])
                for label in seeds[runs.SEEDS[0]][what]["per_class_iou"]
            }
            row[what] = {
                "mean_iou": runs.over_seeds(values),
                "minus_basic": runs.over_seeds(gains),
                "per_class_iou": per_class,
            }
        rows[name] = row
    return {"checkpoint": "mcis-crops", "masks": "pseudo", "rows": rows}


def train_and_judge(crops: Path, output: Path, jobs: int) -> dict[str, Any]:
    """All classifiers and rows, and what came out of them."""
    runner = Runner(crops, output)
    runs.run_all(runner.classify, CLASSIFIERS, jobs)
    runs.run_all(runner.segment, ROWS, jobs)
    results = summarize({name: {seed: runner.numbers(name, seed) for seed in runs.SEEDS} for name in ROWS})
    return results | {"without_model": judge_constants(crops)}


def main(arguments: list[str] | None = None) -> int:
    """Train, judge, write; returns the exit status."""
    parser = runs.parser_of(__doc__, "weak_crops.py", "runs/weak")

    def make(options: runs.Namespace) -> runs.Results:
        return train_and_judge(options.data, options.output, options.jobs)

    return runs.run_training(parser, arguments, make, BUNDLED)


if __name__ == "__main__":
    sys.exit(main())
