"""What says how sure ranges are and what ranking saves: numbers that can be worked out by hand."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from dense_hf import CounterImageProcessor
from dense_hf.data.counting_examples import CountingExample

pytestmark = pytest.mark.no_cover


def looked_at(annotated, count, brightness=100.0):
    return {"annotated": annotated, "count": float(count), "spread": 2.0, "numbers": {"brightness": brightness}}


def test_a_range_is_as_wide_as_the_largest_error_of_nine_pictures(script):
    """Errors of 0 to 8 objects: level 0.9 of nine takes the largest, 8, on both sides of the count."""
    coverage = script("coverage_of_ranges")
    calibration = [looked_at(20 + error, 20, 100 + error) for error in range(9)]
    tried = [looked_at(28, 20), looked_at(29, 20), looked_at(12, 20), looked_at(5, 13, 10_000)]
    found = coverage.covered(calibration, tried)
    assert found["coverage"] == 0.75
    assert found["width"] == 16
    assert found["unlike"] == 0.25
    assert found["mae"] == pytest.approx((8 + 9 + 8 + 8) / 4)
    assert found["mean_count"] == pytest.approx((28 + 29 + 12 + 5) / 4)


def test_halves_of_alike_pictures_hold_the_level(script):
    random = np.random.default_rng(0)
    pictures = [looked_at(50, 50 + error, 100 + error) for error in random.normal(0, 5, 100)]
    found = script("coverage_of_ranges").in_halves(pictures)
    assert 0.88 < found["coverage"] < 0.94
    assert 0.7 < found["coverage_low"] < found["coverage"] < found["coverage_high"] <= 1


def test_lines_are_added_and_replaced(script, tiny_set, counter_checkpoint, tmp_path):
    coverage, output = script("coverage_of_ranges"), tmp_path / "out.json"
    words = [counter_checkpoint, str(tiny_set), "--splits", "train", "--square", "48", "--output", str(output)]
    assert coverage.main(["tiny", *words]) == 0
    assert coverage.main(["tiny", *words]) == 0
    assert coverage.main(["tiny", *words, "--to", str(tiny_set)]) == 0
    results = json.loads(output.read_text())
    halves, other = results["rows"]
    assert (halves["how"], other["how"]) == ("halves, the mean of 100", f"all of them, then {tiny_set.name}")
    assert (halves["calibration"], halves["tried"]) == (-(-other["calibration"] // 2), other["calibration"] // 2)
    assert 0 <= other["coverage"] <= 1
    assert coverage.section(results).count("\n") == 3
    assert coverage.main(["tiny", counter_checkpoint, str(tmp_path), "--output", str(output)]) == 1


class Cells(torch.nn.Module):
    """A backbone whose map is what the picture shows in its cells."""

    def forward(self, pixel_values):
        pooled = F.avg_pool2d(pixel_values, 16)
        return type("Output", (), {"feature_maps": (pooled,)})


def drawn(folder, split, number):
    """Pictures with a bright cell for each object."""
    random, examples = np.random.default_rng(number), []
    for index in range(number):
        places = random.permutation(9)[: random.integers(1, 7)]
        pixels = np.full((48, 48, 3), 40, np.uint8)
        points = []
        for place in places.tolist():
            row, column = divmod(place, 3)
            pixels[16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = random.integers(150, 255)
            points.append((16 * column + 8.5, 16 * row + 8.5))
        path = folder / f"{split}_{index}.png"
        Image.fromarray(pixels).save(path)
        examples.append(CountingExample(path, (48, 48), np.array(points, np.float32)))
    return examples


def test_pictures_are_annotated_once_and_errors_become_less(script, tmp_path, monkeypatch):
    simulation = script("simulate_ranking")
    monkeypatch.setattr(simulation, "SIZES", (2, 6, 12))
    numbers = {"train": 20, "validation": 5, "test": 6}
    examples = {split: drawn(tmp_path, split, number) for split, number in numbers.items()}
    pool = simulation.Pool(Cells(), CounterImageProcessor(), examples)
    assert pool.cells["test"].shape[:2] == (6, 9)
    seen = []
    rule = simulation.ranked_by(0.1)

    def spied(pool, weights, annotated, rest):
        assert set(annotated).isdisjoint(rest.tolist())
        seen.append((len(annotated), len(rest)))
        return rule(pool, weights, annotated, rest)

    row = simulation.annotate(pool, [3, 7], spied)
    assert seen == [(2, 18), (6, 14)]
    assert row["test"][-1] < row["test"][0]
    assert row["objects"][0] == len(examples["train"][3].points) + len(examples["train"][7].points)
    rows = simulation.simulate(pool, [1, 2], 2)
    assert rows.keys() == {"random", *(f"{one:g}" for one in simulation.DIVERSITIES)}
    assert len({tuple(one["1"]["test"][:1]) for one in rows.values()}) == 1  # all begin with the same pictures


def test_the_rule_is_chosen_without_the_test_pictures(script, monkeypatch):
    simulation = script("simulate_ranking")
    monkeypatch.setattr(simulation, "BUDGETS", (40, 100))
    one = {"validation": [9, 6, 6, 6], "test": [9, 7, 7, 6], "objects": [10, 20, 30, 40]}
    rules = {
        "random": {"1": one},
        "0": {"1": one | {"validation": [9, 5, 5, 4], "test": [9, 8, 6.5, 6.5]}},
        "0.1": {"1": one | {"validation": [1, 5, 5, 5], "test": [1, 1, 1, 1]}},
    }
    assert simulation.best_diversity(rules) == "0"
    results = {"sizes": [8, 24, 40, 100], "starts": 3, "best": "0", "rules": rules}
    text = simulation.section(results | {"diversity": 0})
    assert "met in 0 of 2 cases" in text
    assert "| 1 | 40 | 7.00 | 40 (100%) | missed |" in text
    assert "| 1 | 100 | 6.00 | not with as many | missed |" in text
    assert "met in 2 of 2 cases" in simulation.section(results | {"diversity": 0.1})


def counted(title, *seeds, annotated=(10, 20, 30, 40, 50)):
    def run(errors):
        return {"counts": [[f"{n}.png", n, n + error] for n, error in zip(annotated, errors)]}

    runs = {str(seed): {"training": {"validation": run(errors)}, "test": run(errors)} for seed, errors in seeds}
    return {"title": title, "seeds": runs}


def test_counters_are_compared_picture_by_picture(script, tmp_path):
    program, output = script("errors_by_picture"), tmp_path / "out.json"
    first = counted("first", (1, (1, -1, 1, 1, 7)), (2, (1, -1, -1, 1, 9)))
    rows = {"bad": counted("bad", (1, (3, 3, 3, -3, 10))), "first": first}
    files = [tmp_path / f"{name}.json" for name in rows]
    for file, (name, row) in zip(files, rows.items()):
        file.write_text(json.dumps({"rows": {name: row}}))
    words = ["first", *map(str, files), "--output", str(output)]
    assert program.main(words) == 0
    results = json.loads(output.read_text())
    named, other = results["parts"]["test"]
    assert (named["title"], named["pictures"], named["mae"][0]) == ("first", 5, (1 + 1 + 1 + 1 + 8) / 5)
    assert (named["crowded"], named["others"]) == (8, 1)  # the fifth with most objects is the last one
    assert 1 <= named["mae"][1] < named["mae"][0] < named["mae"][2] <= 8
    assert other["difference"] == [-2, -2, -2]  # in every picture, whichever are drawn
    assert other["correlation"] == pytest.approx(1)
    assert results["parts"]["validation"] == results["parts"]["test"]
    assert "| bad | 4.40 (3.00 to 7.20) | -2.00 (-2.00 to -2.00) | 10.00 | 3.00 | 1.00 |" in program.section(results)


def test_only_the_same_pictures_are_compared(script, tmp_path, capsys):
    program, file = script("errors_by_picture"), tmp_path / "results.json"
    rows = {"a": counted("a", (1, (1, 1))), "b": counted("b", (1, (1, 1)), annotated=(10, 30))}
    file.write_text(json.dumps({"rows": rows}))
    for name, message in (("a", "'b' and 'a' have counted other pictures"), ("c", "'c'")):
        assert program.main([name, str(file), "--output", str(tmp_path / "out.json")]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()
