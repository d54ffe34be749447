"""Where points are, and the threshold that training images give."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_density_counter import tiny_density_model
from tiny_iocformer import tiny_model as tiny_iocformer

from dense_hf import CounterImageProcessor, IOCFormerImageProcessor
from dense_hf.counting.count_ranges import describe_count
from dense_hf.inference.checkpoints import load_counter
from dense_hf.inference.counts import choose_threshold, evaluate_counting
from dense_hf.training.counting.options import parse_counting_run
from dense_hf.training.counting.run import train_counter

MODEL = SimpleNamespace(config=SimpleNamespace())  # of one class


class Known:
    """Counts an image of one color: points and scores that the color names."""

    def __init__(self, found: dict[int, tuple[list, list]], points: bool = True):
        self.found, self.points = found, points
        self.threshold = 0.35

    def count_objects(self, model, image, threshold=None, batch_size=8):
        points, scores = (torch.tensor(values) for values in self.found[image.getpixel((0, 0))[0]])
        kept = scores >= (self.threshold if threshold is None else threshold)
        found = {"exact_count": float(kept.sum()), "has_points": self.points}
        if not self.points:
            return found | {"points": torch.zeros(0, 2), "scores": torch.zeros(0)}
        classes = torch.zeros(int(kept.sum()), dtype=torch.long)
        return found | {"points": points[kept], "scores": scores[kept], "classes": classes}


def example(color: int, points: list):
    return SimpleNamespace(
        path=f"{color}.png",
        open=lambda: Image.new("RGB", (50, 50), (color, 0, 0)),
        points=np.array(points, dtype=np.float32).reshape(-1, 2),
        counts=lambda num_labels: [len(points)],
    )


FOUND = {
    1: ([[10.0, 10.0], [20.0, 20.0], [30.0, 30.0]], [0.9, 0.5, 0.42]),
    2: ([[10.0, 10.0], [40.0, 40.0]], [0.7, 0.45]),
}
EXAMPLES = [example(1, [[10, 13], [20, 29]]), example(2, [[11, 10]])]


def test_points_within_distances():
    results = evaluate_counting(MODEL, Known(FOUND), EXAMPLES, progress=False, distances=(5, 10))
    assert results["mae"] == 1
    assert results["f1@5"] == pytest.approx(2 * 2 / (5 + 3))
    assert results["f1@10"] == pytest.approx(2 * 3 / (5 + 3))
    assert "f1@5" not in evaluate_counting(MODEL, Known(FOUND), EXAMPLES, progress=False)
    without = evaluate_counting(MODEL, Known(FOUND, points=False), EXAMPLES, progress=False, distances=(5,))
    assert "f1@5" not in without


@pytest.mark.parametrize("name", ["density counter", "IOCFormer without points"])
def test_a_density_map_of_nothing_is_no_list_of_no_points(name):
    """A count of 0 without points: F1 would be 0, and the density map would agree with itself."""
    if name == "density counter":
        model, processor = tiny_density_model(), CounterImageProcessor()
        head = model.head.output
    else:
        model, processor = tiny_iocformer(regression_branch=False), IOCFormerImageProcessor(tile_size=32)
        head = model.density_branch.density_head
    for parameter in head.parameters():
        torch.nn.init.zeros_(parameter)
    found = processor.count_objects(model, EXAMPLES[0].open())
    assert (found["exact_count"], found["has_points"]) == (0, False)
    results = evaluate_counting(model, processor, EXAMPLES, progress=False, distances=(5,))
    assert results["mae"] == 1.5
    assert "f1@5" not in results
    assert "disagreement" not in describe_count(found)
    with pytest.raises(ValueError, match="scores of points"):
        choose_threshold(model, processor, EXAMPLES, progress=False)


def test_the_threshold_that_counts_best():
    """Above .42 the first image is right, above .45 the second; of .475 and .5, both right, the first is nearer."""
    assert choose_threshold(MODEL, Known(FOUND), EXAMPLES, progress=False) == 0.475
    everything = [example(1, [[0, 0]] * 3), example(2, [[0, 0]] * 2)]  # from .1 to .4 all count: 0.35 itself
    assert choose_threshold(MODEL, Known(FOUND), everything, progress=False) == 0.35
    with pytest.raises(ValueError, match="scores of points"):
        choose_threshold(MODEL, Known(FOUND, points=False), EXAMPLES, progress=False)


def test_a_training_chooses_and_the_processor_keeps_it(tiny_set, tiny_model, run_here, tmp_path, capsys):
    sections = {
        "model": tiny_model,
        "data": {"data_dir": str(tiny_set), "choose_threshold": True, "distances": [6]},
        "training": {"num_train_epochs": 2, "lr_milestones": [1], "learning_rate": 1e-3, "eval_strategy": "no"},
    }
    (tmp_path / "run.json").write_text(json.dumps(sections))
    words = ("--config", tmp_path / "run.json", "--output_dir", tmp_path / "run", "--disable_tqdm", "true")
    run_here("train_iocformer.py", *words, "--load_best_model_at_end", "false")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    _, processor = load_counter(str(tmp_path / "run"), "cpu")
    assert processor.threshold == results["threshold"]
    assert f"scores at least {results['threshold']:g} counts" in (tmp_path / "run" / "README.md").read_text()
    assert "F1 at 6 px" in (tmp_path / "run" / "README.md").read_text()
    words = ("--model", tmp_path / "run", "--data_dir", tiny_set, "--quiet", "--distances", 6)
    capsys.readouterr()
    run_here("evaluate_counting.py", *words, "--output", tmp_path / "numbers.json")
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    cells = (f"{numbers['test'][f'{name}@6']:.3f}" for name in ("f1", "precision", "recall"))
    row = f"| test | 6 | {' | '.join(cells)} |"
    assert row in capsys.readouterr().out
    run_here("evaluate_counting.py", *words)  # without a file of numbers they are printed all the same
    assert row in capsys.readouterr().out
    assert numbers["test"]["mae"] == results["test"]["mae"]
    assert numbers["test"]["f1@6"] == results["test"]["f1@6"]


def test_a_training_whose_density_says_how_many(tiny_set, tiny_model, run_here, tmp_path):
    sections = {
        "model": tiny_model,
        "data": {"data_dir": str(tiny_set), "count_by": "density"},
        "training": {"num_train_epochs": 1, "lr_milestones": [1], "eval_strategy": "no"},
    }
    (tmp_path / "run.json").write_text(json.dumps(sections))
    words = ("--config", tmp_path / "run.json", "--output_dir", tmp_path / "run", "--disable_tqdm", "true")
    run_here("train_iocformer.py", *words, "--load_best_model_at_end", "false")
    _, processor = load_counter(str(tmp_path / "run"), "cpu")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert processor.count_by == results["count_by"] == "density"
    assert "no threshold" in (tmp_path / "run" / "README.md").read_text()
    words = ("--model", tmp_path / "run", "--data_dir", tiny_set, "--quiet", "--output", tmp_path / "numbers.json")
    run_here("evaluate_counting.py", *words)
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert numbers["test"]["mae"] == results["test"]["mae"]
    words = ("--model_name_or_path", tmp_path / "run", "--data_dir", tiny_set, "--disable_tqdm", "true")
    words += (
        "--num_train_epochs",
        1,
        "--lr_milestones",
        1,
        "--eval_strategy",
        "no",
        "--load_best_model_at_end",
        "false",
    )
    for name, more, expected in (("on", (), "density"), ("sure", ("--threshold", 0.4), "threshold")):
        run_here("train_iocformer.py", *words, *more, "--output_dir", tmp_path / name)
        assert load_counter(str(tmp_path / name), "cpu")[1].count_by == expected


@pytest.mark.parametrize(
    ("data", "model", "message"),
    [
        ({"count_by": "hand"}, {}, "count_by must be one of threshold, density, received hand"),
        ({"count_by": "density", "threshold": 0.4}, {}, "needs no threshold, received a threshold of 0.4"),
        ({"count_by": "density", "choose_threshold": True}, {}, "needs no threshold, received choose_threshold"),
        ({"count_by": "density"}, {"density_branch": False}, "both branches.*Received: CLTR"),
    ],
)
def test_trainings_that_cannot_count_by_density(tiny_set, tiny_model, tmp_path, data, model, message):
    sections = {"model": tiny_model | model, "data": {"data_dir": str(tiny_set)} | data}
    (tmp_path / "run.json").write_text(json.dumps(sections))
    with pytest.raises(ValueError, match=message):
        train_counter(
            parse_counting_run(
                "iocformer",
                arguments=["--config", str(tmp_path / "run.json"), "--output_dir", str(tmp_path / "run")],
            )
        )
