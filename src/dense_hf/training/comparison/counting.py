"""Counters compared on one set of pictures: `dense-hf compare`, and Table 2.3 by `scripts/run_table.py`.

A row is a file for scripts/train_counter.py, which is written beside its model, so that any row can be trained alone.
What is chosen is chosen on validation pictures: the threshold of scores, where a method has one, and the strength of
the ridge regression. The last weights count.
"""

import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from ...counting.image_processing_counter import CounterImageProcessor
from ...data.counting_examples import CountingExample
from ...data.files import write_file
from ...inference.checkpoints import load_counter
from ...inference.counts import choose_threshold, evaluate_counting
from ...inference.evaluation_records import EvaluationRecord
from ...inference.result_folders import hash_of, write_json
from ...metrics.counting import CountingMetrics
from ...reading import read_json
from ...reports.counting import write_counting_card
from ...reports.model_card import read_results, write_results
from ...visualization import draw_density, draw_points
from ...visualization.sheets import draw_sheet
from ..counting.options import parse_counting_run
from ..counting.run import describe_data, read_data, train_counter
from ..run_options import TrainingRun
from .counting_baselines import best_constant, fit_ridge, frozen_backbone, parameters_of, predict, summed_features
from .counting_names import NAMES
from .counting_recipes import MEASURED_STEPS, RECIPES, Budget, sections_of
from .log import logged, timed
from .runner import MAX_BYTES, Row

FOUND = ("mae", "mse", "nae")
CONSTANT, RIDGE = "constant", "ridge"
BASELINES = (
    Row(CONSTANT, "Best constant", "the median of the training counts, whatever the picture", learns=False),
    Row(RIDGE, "Ridge regression", "of the count on the summed features of the frozen backbone", learns=False),
)
NUM_PICTURES = 3
FILE_ROW = re.compile(r"(\w+):(.+\.ya?ml)")


@dataclass(frozen=True)
class Entry:
    """A row that is trained.

    Attributes:
        row: of the table.
        method: see `dense_hf.methods`.
        sections: of its file, as scripts/train_counter.py takes it.
        with_steps: makes these for a number of steps, if minutes decide.
    """

    row: Row
    method: str
    sections: dict[str, dict[str, Any]]
    with_steps: Callable[[int], dict[str, dict[str, Any]]] | None = None


@dataclass
class CountingTask:
    """Rows of counters on one set of pictures. See [`runner.Task`] for what the functions give.

    Args:
        entries: the rows that are trained.
        examples: the pictures of each split.
        source: options of the data as words, as all trainings of counters take them.
        backbone: name and weights of the backbone whose features the ridge regression reads; None leaves it out.
        distances: pixels that a point may be from an annotated one, for F1.
        choose: whether thresholds are chosen on validation pictures. Else they are the methods' own.
        minutes: how long a training shall take, for the entries that can tell their steps.
        batch_size: tiles or parts of a forward pass where pictures are counted.
        extra_settings: what else numbers depend on.
    """

    entries: Sequence[Entry]
    examples: Mapping[str, list[CountingExample]]
    source: Sequence[str]
    backbone: tuple[str, str | None] | None
    distances: Sequence[float] = (6.0, 12.0)
    choose: bool = True
    minutes: float | None = None
    batch_size: int = 8
    extra_settings: Mapping[str, Any] = field(default_factory=dict)
    name: str = "counting"

    def __post_init__(self):
        self._summed: dict[str, np.ndarray] = {}
        self._seconds: dict[str, float] = {}  # that these took

    @property
    def columns(self) -> dict[str, tuple[str, str, bool | None]]:
        """Of the table: key -> title, format, whether less is better."""
        found = {"mae": ("MAE", ".2f", True), "mse": ("RMSE", ".2f", True), "nae": ("NAE", ".3f", True)}
        found |= {f"f1@{distance:g}": (f"F1 at {distance:g} px", ".3f", False) for distance in self.distances}
        return found | {
            "validation_mae": ("MAE on validation", ".2f", True),
            "seconds_per_picture": ("s a picture", ".3f", True),
            "parameters": ("parameters", ",.0f", None),
            "trained": ("of them trained", ",.0f", None),
            "training_seconds": ("s of training", ".0f", None),
        }

    def rows(self) -> list[Row]:
        """The trained ones, and the two that belong in every table."""
        baselines = BASELINES if self.backbone is not None else BASELINES[:1]
        return [entry.row for entry in self.entries] + list(baselines)

    def settings(self) -> dict[str, Any]:
        """Data, splits and budget; rows and seeds may be added later."""
        splits = {
            split: {
                "images": len(items),
                "objects": sum(len(item.points) for item in items),
                "hash": hash_of((item.path.name, len(item.points)) for item in items),
            }
            for split, items in self.examples.items()
        }
        distances = [float(distance) for distance in self.distances]
        return {"splits": splits, "distances": distances, **self.extra_settings}

    def train(self, row: Row, seed: int, folder: Path) -> dict[str, Any]:
        """Train, or fit a baseline; numbers of the validation pictures."""
        validation = self.examples["validation"]
        if row in BASELINES:
            started = time.process_time()
            model = {CONSTANT: self._constant, RIDGE: self._ridge}[row.name]()
            write_json(folder / "baseline.json", model)
            judged = self._judge_baseline(row, folder, "validation")
            return {"validation": judged, "training_seconds": time.process_time() - started}
        entry = next(one for one in self.entries if one.row == row)
        results, seconds = timed(folder, partial(train_counter, self._run(entry, seed, folder), judged=()))
        model, processor = load_counter(folder / "model")
        if self._chooses(model, processor):
            processor.threshold = choose_threshold(model, processor, validation, batch_size=self.batch_size)
            processor.save_pretrained(folder / "model")
        return {
            "validation": self._count(model, processor, "validation"),
            "threshold": processor.threshold_for(None),
            "training_seconds": seconds,
            **parameters_of(type(model)(model.config)),  # one that is loaded does not know what was not trained
            "curve": logged(folder / "model", "loss"),
            "results": results,
        }

    def judge(self, row: Row, seed: int, folder: Path) -> dict[str, Any]:
        """Numbers of the test pictures; they go into the card of the model, too."""
        if row in BASELINES:
            return self._judge_baseline(row, folder, "test")
        entry = next(one for one in self.entries if one.row == row)
        model, processor = load_counter(folder / "model")
        judged = self._count(model, processor, "test")
        training = read_json(folder / "training.json", MAX_BYTES)
        plain = {"validation": training["validation"], "test": judged}
        plain = {split: {key: value for key, value in one.items() if key != "counts"} for split, one in plain.items()}
        threshold = {}
        if self._chooses(model, processor):
            threshold = {"threshold": training["threshold"], "threshold_chosen_on": "validation"}
        write_results(folder / "model", read_results(folder / "model") | plain | threshold)
        write_counting_card(folder / "model", describe_data(self._run(entry, seed, folder), dict(self.examples)))
        return judged

    def _chooses(self, model: Any, processor: Any) -> bool:
        """Whether the validation pictures choose a threshold for this model."""
        return self.choose and _has_scores(model.config) and processor.threshold_for(None) is not None

    def is_judged(self, numbers: Mapping[str, Any]) -> bool:
        """A row that was judged is."""
        return True

    def draw(self, rows: Sequence[tuple[Row, Path]], folder: Path) -> list[dict[str, str]]:
        """Test pictures with few, some and many objects; on each, what is annotated and what every method finds."""
        by_count = sorted(self.examples["test"], key=lambda item: (len(item.points), item.path.name))
        places = [round(share * (len(by_count) - 1)) for share in np.linspace(0.25, 0.75, NUM_PICTURES)]
        chosen = [by_count[place] for place in dict.fromkeys(places)]
        panels = [[(draw_points(item.open(), item.points), f"annotated: {len(item.points)}")] for item in chosen]
        for row, place in rows:
            if row in BASELINES:
                continue
            model, processor = load_counter(place / "model")
            for item, drawn in zip(chosen, panels):
                found = processor.count_objects(model, item.open(), return_density_map=None)
                drawn.append((_draw(item.open(), found), f"{row.title}: {found['exact_count']:.4g}"))
        entries = []
        for number, (item, drawn) in enumerate(zip(chosen, panels), start=1):
            draw_sheet(drawn).save(folder / f"picture_{number}.jpg", quality=80)
            entries.append({"file": f"picture_{number}.jpg", "about": f"{item.path.name}, a test picture"})
        return entries

    def _run(self, entry: Entry, seed: int, folder: Path) -> TrainingRun:
        sections = entry.sections
        if self.minutes is not None and entry.with_steps is not None:
            sections = entry.with_steps(self._steps(entry, folder.parent / "steps.json"))
        return self._parse(entry.method, sections, seed, folder)

    def _parse(self, method: str, sections: dict[str, dict[str, Any]], seed: int, folder: Path) -> TrainingRun:
        recipe = folder / "recipe.yaml"
        write_file(recipe, yaml.safe_dump(sections, sort_keys=False).encode())
        words = ["--config", str(recipe), *self.source, "--output_dir", str(folder / "model"), "--seed", str(seed)]
        words += ["--resume_from_checkpoint", "auto", "--report_to", "none", "--distances"]
        return parse_counting_run(method, arguments=[*words, *map(str, self.distances)])

    def _steps(self, entry: Entry, kept: Path) -> int:
        """How many fit into the minutes, measured once for all seeds."""
        if not kept.is_file():
            seconds = []
            for steps in MEASURED_STEPS:
                with tempfile.TemporaryDirectory() as folder:
                    started = time.perf_counter()
                    run = self._parse(entry.method, entry.with_steps(steps), 1, Path(folder))  # ty: ignore[not-callable]
                    train_counter(run, judged=())
                    seconds.append(time.perf_counter() - started)
            of_step = max(1e-3, (seconds[1] - seconds[0]) / (MEASURED_STEPS[1] - MEASURED_STEPS[0]))
            steps = max(MEASURED_STEPS[1], round(60 * (self.minutes or 0) / of_step))
            write_json(kept, {"steps": steps, "seconds_of_a_step": of_step})
        return int(read_json(kept, MAX_BYTES)["steps"])

    def _count(self, model: Any, processor: Any, split: str) -> dict[str, Any]:
        examples, kept = self.examples[split], _Kept()
        # of a CPU, its own seconds: other programs on the machine make pictures no slower
        clock = time.process_time if model.device.type == "cpu" else time.perf_counter
        started = clock()
        numbers: dict[str, Any] = evaluate_counting(
            model,
            processor,
            examples,
            batch_size=self.batch_size,
            description=split,
            record=kept,
            distances=self.distances,
        )
        numbers["seconds_per_picture"] = (clock() - started) / len(examples)
        counts = [kept.states[f"{split}/{index}"]["count"] for index in range(len(examples))]
        return numbers | {"counts": _by_picture(examples, counts)}

    def _judge_baseline(self, row: Row, folder: Path, split: str) -> dict[str, Any]:
        model, examples = read_json(folder / "baseline.json", MAX_BYTES), self.examples[split]
        counts = [model["constant"]] * len(examples)
        if row.name == RIDGE:
            counts = predict(model, self._features(split)).tolist()
        numbers: dict[str, Any] = (
            CountingMetrics().update(counts, [len(example.points) for example in examples]).compute()
        )
        if row.name == RIDGE:
            numbers["seconds_per_picture"] = self._seconds[split] / len(examples)
        return numbers | {"counts": _by_picture(examples, counts)}

    def _constant(self) -> dict[str, Any]:
        return {"constant": best_constant(self.examples["train"])}

    def _ridge(self) -> dict[str, Any]:
        counts = {
            split: np.array([len(item.points) for item in self.examples[split]], dtype=np.float64)
            for split in ("train", "validation")
        }
        chosen_by = self._features("validation"), counts["validation"]
        return fit_ridge(self._features("train"), counts["train"], chosen_by)

    def _features(self, split: str) -> np.ndarray:
        if split not in self._summed:
            backbone, pixels = frozen_backbone(*(self.backbone or ("", None)))
            settings: Any = {"max_part_side": 1024, **pixels}
            processor = CounterImageProcessor(**settings)
            started = time.process_time()
            self._summed[split] = summed_features(backbone, processor, self.examples[split], f"Features of {split}")
            self._seconds[split] = time.process_time() - started
        return self._summed[split]


class _Kept(EvaluationRecord):
    """Counts of an evaluation, in memory."""

    def __init__(self):
        super().__init__(None, {})
        self.states: dict[str, Mapping[str, Any]] = {}

    def add(self, item: str, state: Mapping[str, Any]) -> None:
        """Keep the count of a picture."""
        self.states[item] = state


def _has_scores(config: Any) -> bool:
    """Whether each point has a score of its own; the blobs of LCFCN are other ones at another threshold."""
    queries = getattr(config, "num_queries", None) or getattr(config, "anchor_rows", None)
    return bool(getattr(config, "regression_branch", False) and queries)


def _by_picture(examples: Sequence[CountingExample], counts: Sequence[float]) -> list[list[Any]]:
    """Name, annotated count and counted of each picture, in its order."""
    return [[item.path.name, len(item.points), round(float(count), 3)] for item, count in zip(examples, counts)]


def _draw(image: Image.Image, found: Mapping[str, Any]) -> Image.Image:
    """Points where the count is one of points, else the density."""
    if found["has_points"]:
        return draw_points(image, found["points"].numpy())
    return draw_density(image, found["density_map"].numpy().clip(0))


def read_splits(source: Sequence[str]) -> dict[str, list[CountingExample]]:
    """The pictures of each split, as all trainings of counters read them.

    Raises:
        InvalidDataError: data that cannot be used.
        ValueError: a split without pictures.
    """
    words = [*source, "--output_dir", "unused", "--eval_strategy", "no"]
    examples = read_data(parse_counting_run("mcnn", arguments=words))
    if absent := [split for split in ("validation", "test") if split not in examples]:
        raise ValueError(
            "A comparison needs training, validation and test pictures: lists of them, or shares of one list "
            f"(--validation 0.2 --test 0.2). Received: none for {' and '.join(absent)}"
        )
    return examples


def counting_task(
    methods: Sequence[str], source: Sequence[str], budget: Budget, distances: Sequence[float]
) -> CountingTask:
    """The task of `dense-hf compare`.

    Args:
        methods: names of `NAMES`, or METHOD:FILE.yaml.
        source: options of the data, as words.
        budget: what is the same for all.
        distances: see [`CountingTask`].

    Raises:
        InvalidDataError: data, or a file, that cannot be used.
        ValueError: names that are none, or that appear twice; a budget that cannot be.
    """
    if unknown := [name for name in methods if name not in RECIPES and not FILE_ROW.fullmatch(name)]:
        raise ValueError(
            f"methods must be among {', '.join(RECIPES)}, or METHOD:FILE.yaml. Received: {', '.join(unknown)}"
        )
    examples = read_splits(source)
    entries = []
    for name in methods:
        if (found := FILE_ROW.fullmatch(name)) is not None:
            entries.append(entry_of_file(found[1], Path(found[2])))
        else:
            with_steps = partial(sections_of, RECIPES[name], budget, len(examples["train"]))
            entries.append(Entry(Row(name, *NAMES[name]), RECIPES[name].method, with_steps(None), with_steps))
    names = [entry.row.name for entry in entries]
    if len(set(names)) < len(names):
        raise ValueError(f"methods must be different. Received: {', '.join(names)}")
    backbone = budget.backbone, budget.backbone_weights
    return CountingTask(
        entries, examples, source, backbone, distances, minutes=budget.minutes, extra_settings=asdict(budget)
    )


def entry_of_file(method: str, file: Path, title: str | None = None) -> Entry:
    """A row that is trained as its file says.

    Args:
        method: see `dense_hf.methods`.
        file: as scripts/train_counter.py takes it.
        title: in the table; by default that of the model.

    Raises:
        InvalidDataError: not such a file.
        ValueError: no such method.
    """
    run = parse_counting_run(method, arguments=["--config", str(file), "--output_dir", "unused"])
    sections = {name: dict(section) for name, section in run.sections.items()}
    for key in ("data_dir", "dataset_name"):
        sections["data"].pop(key, None)
    return Entry(Row(file.stem, title or run.method.title_of(run.config), f"as {file.name} says"), method, sections)
