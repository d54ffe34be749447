"""What `compare` promises of any task: nothing is done twice, the test is looked at once, and last."""

import copy
import json

import pytest

from dense_hf.errors import InvalidDataError
from dense_hf.reports.comparison import best_on_validation, comparison_table, write_comparison
from dense_hf.training.comparison.runner import Row, compare

ROWS = (Row("good", "Good", "learns"), Row("bad", "Bad | worse", "learns less"), Row("flat", "Flat", learns=False))


class Diary:
    """A task whose numbers are made up: (seed + the length of the row's name) / 10."""

    name = "diary"
    columns = {"mae": ("MAE", ".2f", True), "parameters": ("parameters", ",.0f", None)}

    def __init__(self, settings=None, fails=(), stops_at=None, rows=ROWS):
        self.done, self._settings, self.fails, self.stops_at = [], settings or {"steps": 3}, fails, stops_at
        self._rows = rows

    def rows(self):
        return self._rows

    def settings(self):
        return {"splits": {"test": {"images": 2, "objects": 5}}, **self._settings}

    def train(self, row, seed, folder):
        if (row.name, seed) == self.stops_at:
            raise KeyboardInterrupt
        self.done.append(("train", row.name, seed))
        if row.name in self.fails:
            raise FloatingPointError("The loss must stay finite. Received: NaN")
        return {"validation": {"mae": (seed + len(row.name)) / 10}, "parameters": 1234, "curve": [[1, 2.0], [2, 1.0]]}

    def judge(self, row, seed, folder):
        self.done.append(("test", row.name, seed))
        return {"mae": (seed + len(row.name)) / 10, "counts": [["a.png", 3, 2.5], ["b.png", 2, 2.0]]}

    def is_judged(self, numbers):
        return True

    def draw(self, rows, folder):
        return [{"file": "picture_1.jpg", "about": " and ".join(row.title for row, _ in rows)}]


def test_all_trainings_come_before_the_first_look_at_the_test(tmp_path):
    task = Diary()
    results = compare(task, tmp_path / "out", [1, 2], lambda text: None)
    trained = [
        ("train", "good", 1),
        ("train", "bad", 1),
        ("train", "flat", 1),
        ("train", "good", 2),
        ("train", "bad", 2),
    ]
    assert task.done == [*trained, *(("test", *one[1:]) for one in trained)]
    assert results == json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert results["rows"]["good"]["seeds"]["2"]["test"]["mae"] == 0.6
    assert results["pictures"] == [{"file": "picture_1.jpg", "about": "Good and Bad | worse and Flat"}]


def test_a_stopped_comparison_goes_on_where_it_was(tmp_path):
    whole = compare(Diary(), tmp_path / "whole", [1, 2], lambda text: None)
    first, second = Diary(stops_at=("good", 2)), Diary()
    with pytest.raises(KeyboardInterrupt):
        compare(first, tmp_path / "out", [1, 2], lambda text: None)
    known = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert list(known["rows"]["bad"]["seeds"]) == ["1"]  # a table of what is there already
    assert compare(second, tmp_path / "out", [1, 2], lambda text: None) == whole
    assert [one for one in second.done if one[0] == "train"] == [("train", "good", 2), ("train", "bad", 2)]
    third = Diary()
    compare(third, tmp_path / "out", [1, 2], lambda text: None)
    assert third.done == []


def test_rows_and_seeds_may_be_added_later_and_other_settings_may_not(tmp_path):
    compare(Diary(rows=ROWS[:1]), tmp_path / "out", [1], lambda text: None)
    more = Diary(rows=ROWS[:2])
    compare(more, tmp_path / "out", [1, 2], lambda text: None)
    assert ("train", "good", 1) not in more.done
    assert ("train", "bad", 2) in more.done
    with pytest.raises(InvalidDataError, match=r"steps.*3"):
        compare(Diary(settings={"steps": 4}), tmp_path / "out", [1], lambda text: None)


def test_a_row_that_fails_is_said_and_tried_again(tmp_path):
    said = []
    results = compare(Diary(fails=("bad",)), tmp_path / "out", [1], said.append)
    assert results["failures"] == {"bad, seed 1": "The loss must stay finite. Received: NaN"}
    assert results["rows"]["good"]["seeds"]["1"]["test"]
    assert results["rows"]["bad"]["seeds"] == {}
    assert any("Bad" in text and "NaN" in text for text in said)
    repaired = Diary()
    assert compare(repaired, tmp_path / "out", [1], said.append)["failures"] == {}
    assert repaired.done == [("train", "bad", 1), ("test", "bad", 1)]


@pytest.mark.parametrize("seeds", [[], [1, 1]])
def test_seeds_are_different(tmp_path, seeds):
    with pytest.raises(ValueError, match="seeds must be"):
        compare(Diary(), tmp_path / "out", seeds, print)


def test_the_report_has_means_and_spreads_and_escapes_what_it_is_given(tmp_path):
    results = compare(Diary(), tmp_path / "out", [1, 3], lambda text: None)
    assert "0.60 (0.50 to 0.70)" in comparison_table(results)
    assert "1,234" in comparison_table(results)
    assert comparison_table(results, ["mae"]).splitlines()[0] == "| | seeds | MAE |"
    assert best_on_validation(results) == "Bad | worse"
    one_seed = copy.deepcopy(results)
    del one_seed["rows"]["bad"]["seeds"]["3"]
    assert best_on_validation(one_seed) == "Flat"  # and not the 0.4 of one seed
    write_comparison(results, tmp_path / "out", "dense-hf compare <data>")
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "dense-hf compare &lt;data&gt;" in page
    assert "<data>" not in page
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    numbers = [line for line in text.splitlines() if line.startswith("|") and "0." in line]
    widths = {line.replace(r"\|", "").count("|") for line in numbers}
    assert len(widths) == 1  # a title with a bar does not make a column
    for name in ("curves.svg", "counts.svg"):
        assert "Good" in (tmp_path / "out" / name).read_text(encoding="utf-8")
