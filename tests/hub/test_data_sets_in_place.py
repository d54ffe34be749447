"""A data set of the Hub is counted where it lies: hf://datasets/NAME, a row group at a time."""

import csv
import json
import sys

import pytest
from datasets import Dataset, Features, Image
from hub_stub import StubRepository
from programs import run

pytestmark = pytest.mark.slow


def test_rows_of_a_data_set_are_counted_in_parts(hub, counter_checkpoint, noise, script_environment, tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(4):
        noise(60 + 10 * number, 50, number).save(tmp_path / f"photos/{number}.png")
    cells = [{"bytes": path.read_bytes(), "path": None} for path in sorted((tmp_path / "photos").iterdir())]
    rows = Dataset.from_dict({"image": cells}, features=Features({"image": Image()}))
    rows.to_parquet(tmp_path / "train.parquet", batch_size=1)
    files = {"data/train.parquet": (tmp_path / "train.parquet").read_bytes(), "README.md": b"# Photos"}
    hub.repositories["dataset", "someone/photos"] = StubRepository(False, [files], ["all"])

    def count(place, *words):
        command = [sys.executable, "-m", "dense_hf", "count", place, "--model", counter_checkpoint, "--no-overlays"]
        environment = {**script_environment, **hub.environment()}
        done = run([*command, *words], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    count(tmp_path / "photos", "--output", tmp_path / "files")
    for index in (1, 2):
        place = "hf://datasets/someone/photos"
        count(place, "--recursive", "--output", tmp_path / "parts", "--shard", f"{index}/2")
    merge = [sys.executable, "-m", "dense_hf", "merge", tmp_path / "parts"]
    assert run(merge, env={**script_environment, **hub.environment()}, capture_output=True).returncode == 0
    found = [list(csv.reader((tmp_path / name / "counts.csv").open(newline=""))) for name in ("parts", "files")]
    assert [row[1:] for row in found[0]] == [row[1:] for row in found[1]]
    assert len(found[0]) == 5
    assert found[0][1][0].endswith("data/train.parquet/0")
    assert json.loads((tmp_path / "parts/counts.json").read_text())["images"]
