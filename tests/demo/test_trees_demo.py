"""The training of the tree counter says what came out of each seed."""

import json

import pytest

from dense_hf import IOCFormerForObjectCounting, IOCFormerImageProcessor

FIELDS = ("count", "density_sum", "mae_count", "mae_density", "f1@12")


@pytest.fixture
def training(script, monkeypatch):
    """The script, whose models count 40 and their seed; the one that saw another place counts 7."""
    module = script("train_demo_counting")

    def picture(name, number):
        return {"name": name, "annotated": 61} | dict.fromkeys(FIELDS, number)

    def evaluate(model, trees, pictures):
        number = 40 + int(model.name.removeprefix("seed_"))
        forests = [picture("near", number), picture("far", number + 10)]
        return {"held_out": picture("held out", number) | {"baselines": {}}, "harder": forests}

    class Loaded:
        def eval(self):
            return self

    monkeypatch.setattr(module, "evaluate", evaluate)
    monkeypatch.setattr(module, "count_folder", lambda *given: [picture("second", 7)])
    for kind in (IOCFormerForObjectCounting, IOCFormerImageProcessor):
        monkeypatch.setattr(kind, "from_pretrained", lambda path: Loaded())
    monkeypatch.setattr(module, "PointFolder", lambda path: None)
    return module


def test_other_forests_are_counted_by_each_seed(training, tmp_path):
    (tmp_path / "seed_1").mkdir()
    (tmp_path / "seed_1" / "results.json").write_text(json.dumps({"seed": 1}))
    results = training.summarize(tmp_path, tmp_path)
    assert [row["count"] for row in results["held_out"]["seeds"]] == [41, 42, 43]
    assert [(row["name"], row["count"]) for row in results["harder"]] == [("second", 7), ("near", 41), ("far", 51)]
    seeds = [[one["count"] for one in row.get("seeds", ())] for row in results["harder"]]
    assert seeds == [[], [41, 42, 43], [51, 52, 53]]
