"""scripts/run_table.py: the thesis' numbers beside the measured ones; and the page of docs/results.md."""

import json
import runpy
import sys

import pytest
from training_fixtures import REPOSITORY

from dense_hf.reports.comparison import comparison_table


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(REPOSITORY / "scripts" / "run_table.py"))


@pytest.fixture(scope="module")
def pages():
    sys.path.insert(0, str(REPOSITORY / "scripts" / "demo"))
    try:
        yield runpy.run_path(str(REPOSITORY / "scripts" / "demo" / "results_page.py"))
    finally:
        sys.path.pop(0)


@pytest.mark.parametrize(
    ("row", "validation", "test"),
    [
        ("csrnet", ["43.05", "78.46", "1.91"], ["38.12", "69.75", "2.48"]),
        ("p2pnet", ["21.38", "45.12", "0.39"], ["20.74", "47.90", "0.48"]),
        ("cltr", ["17.47", "37.06", "0.29"], ["18.07", "41.90", "0.43"]),
        ("iocformer", ["15.91", "34.08", "0.26"], None),
        ("mcnn", ["81.62", "152.09", "3.53"], ["72.93", "129.43", "4.90"]),
    ],
)
def test_numbers_of_the_thesis_come_from_the_files(script, row, validation, test):
    found = script["thesis_numbers"](script["ROWS"][row][1])
    assert found["validation"] == validation
    assert found.get("test") == test


def test_every_row_of_the_table_is_there(script):
    files = set((REPOSITORY / "scripts" / "configs" / "counting").glob("table_2.3_*.yaml"))
    assert files <= {file for _, file, _ in script["ROWS"].values()}
    assert len(script["ROWS"]) == len(files) + 2  # with CLTR and IOCFormer
    for name, (_, file, _) in script["ROWS"].items():
        assert len(script["thesis_numbers"](file)["validation"]) == 3, name


@pytest.mark.smoke
def test_a_table_of_one_row(tiny_set, run_here, tmp_path):
    """MCNN as its file says, but for two steps: both lines of the row, and a second start that has nothing to do."""
    words = ("--rows", "mcnn", "--data_dir", tiny_set, "--output", tmp_path / "out", "--max_steps", "2")
    more = ("--crop_size", "32", "--eval_strategy", "no", "--load_best_model_at_end", "false")
    run_here("run_table.py", *words, *more)
    lines = (tmp_path / "out" / "table.md").read_text(encoding="utf-8").splitlines()
    assert lines[2] == "| MCNN | thesis | 81.62 | 152.09 | 3.53 | 72.93 | 129.43 | 4.90 |"
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    measured = results["rows"]["table_2.3_mcnn"]["seeds"]["1"]["test"]
    assert lines[3].split(" | ")[5:7] == [f"{measured['mae']:.2f}", f"{measured['mse']:.2f}"]
    model = tmp_path / "out" / "table_2.3_mcnn" / "seed_1" / "model" / "model.safetensors"
    before = model.stat().st_mtime_ns
    run_here("run_table.py", *words, *more)
    assert model.stat().st_mtime_ns == before


def test_the_page_of_results_is_what_its_files_say(pages):
    text = (REPOSITORY / "docs" / "results.md").read_text(encoding="utf-8")
    assert pages["page"](REPOSITORY) == text
    for file in (REPOSITORY / "docs" / "results").glob("*.json"):
        if file.stem not in pages["SECTIONS"]:  # those are of programs with tables of their own
            assert comparison_table(json.loads(file.read_text(encoding="utf-8"))) in text


def test_parts_of_a_comparison_become_one(pages):
    def part(settings, **rows):
        rows = {
            name: {"title": name, "learns": name != "constant", "seeds": dict.fromkeys(seeds, note)}
            for name, (seeds, note) in rows.items()
        }
        return {"task": "counting", "settings": settings, "columns": [], "rows": rows, "failures": {}}

    old = part({"steps": 4}, bl=("13", "old"), constant=("0", "old"))
    more = part({"steps": 4}, bl=("23", "new"), mcnn=("1", "new"), constant=("0", "of other columns"))
    found = pages["merged"](old, more | {"columns": ["other"]})
    assert found["columns"] == []
    assert {name: row["seeds"] for name, row in found["rows"].items()} == {
        "bl": {"1": "old", "2": "new", "3": "new"},
        "mcnn": {"1": "new"},
        "constant": {"0": "old"},
    }
    assert list(found["rows"]) == ["bl", "mcnn", "constant"]
    with pytest.raises(ValueError, match="the same settings"):
        pages["merged"](old, part({"steps": 5}, bl=("1", "new")))


def test_what_a_table_does_not_need_is_left_out(pages):
    known = {"mae": 1.23456789, "mae/0-50": 1.0, "counts": [["a.png", 1, 2.0]], "curve": [[1, 2.0]]}
    assert pages["slim"]({"test": known}) == {"test": {"mae": 1.23457}}
