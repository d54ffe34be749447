"""What all evaluations do, and scripts/evaluate_counting.py with a file of options."""

import json
from contextlib import suppress

import numpy as np
import pytest
from torch import nn

from dense_hf.data import generate_miniature_set
from dense_hf.data.formats import read_annotations, write_annotations
from dense_hf.inference.evaluations import evaluation_mode, prepare_output, publish, split_of
from dense_hf.inference.shares import each_of_share, own_share


def test_the_mode_is_as_before_also_after_an_error():
    model = nn.Dropout()
    for training in (True, False):
        model.train(training)
        with suppress(KeyError), evaluation_mode(model):
            assert not model.training
            raise KeyError
        assert model.training == training


def test_a_split_has_two_names():
    assert split_of("val", {"validation"}.__contains__) == "validation"
    assert split_of("validation", {"val"}.__contains__) == "val"
    assert split_of("val", {"val", "validation"}.__contains__) == "val"
    assert split_of("test", {"val"}.__contains__) == "test"


def test_one_process_has_all_items(capsys):
    assert list(own_share(range(5))) == list(each_of_share([0, 1, 2, 3, 4], "Items", "item", False)) == [0, 1, 2, 3, 4]
    assert capsys.readouterr().err == ""
    assert list(each_of_share("ab", "Items", "item", True)) == ["a", "b"]
    assert "Items: 100%" in capsys.readouterr().err


def test_numbers_are_printed_and_written(tmp_path, capsys):
    prepare_output(tmp_path / "new" / "numbers.json")
    publish("a table", {"iou": np.nan, "classes": [0.5, float("nan")]}, tmp_path / "new" / "numbers.json")
    assert capsys.readouterr().out == "a table\n"
    assert json.loads((tmp_path / "new" / "numbers.json").read_text()) == {"iou": None, "classes": [0.5, None]}
    publish("a table", {}, None)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


@pytest.fixture(scope="module")
def fish(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "fish"
    generate_miniature_set(folder, num_train=1, num_validation=2, num_test=1, seed=0, image_size=(96, 64))
    return folder


def test_counting_in_bfloat16_if_that_is_said(fish, counter_checkpoint, run_here, monkeypatch):
    changed = []
    monkeypatch.setattr("dense_hf.inference.checkpoints.in_bfloat16", changed.append)
    words = ["--model", counter_checkpoint, "--data_dir", fish, "--split", "val", "--quiet"]
    run_here("evaluate_counting.py", *words)
    assert changed == []
    run_here("evaluate_counting.py", *words, "--bf16", "true")
    assert len(changed) == 1


def test_counting_reads_a_file_and_the_command_line_wins(fish, counter_checkpoint, run_here, tmp_path, capsys):
    """The splits of the file are the command line's, and both have either name."""
    (tmp_path / "file.yaml").write_text(f"evaluation: {{data_dir: {fish}, splits: [val], batch_size: 4}}")
    words = ["--config", tmp_path / "file.yaml", "--model", counter_checkpoint, "--quiet"]
    run_here("evaluate_counting.py", *words, "--output", tmp_path / "new" / "one.json")
    found = json.loads((tmp_path / "new" / "one.json").read_text())
    assert found.keys() == {"validation"}
    assert found["validation"]["num_images"] == 2
    assert f"{found['validation']['mae']:.2f}" in capsys.readouterr().out
    run_here("evaluate_counting.py", *words, "--split", "validation", "test", "--output", tmp_path / "two.json")
    both = json.loads((tmp_path / "two.json").read_text())
    assert both.keys() == {"validation", "test"}
    assert both["validation"] == found["validation"]
    for wrong, message in (
        (["--split", "training"], "splits must be among validation, test. Received: training"),
        (["--tile_overlap", "64"], "with tile_overlap=64"),
        (["--data_dir", tmp_path], "expected annotations in one of the formats"),
    ):
        with pytest.raises(SystemExit, match=f"^evaluate_counting.py: .*{message}"):
            run_here("evaluate_counting.py", *words, *wrong)
    (tmp_path / "file.yaml").write_text("evaluation: {split: val}")
    with pytest.raises(SystemExit, match="keys in evaluation"):
        run_here("evaluate_counting.py", *words)


def test_an_evaluation_takes_annotations_of_any_tool(tmp_path, fish, counter_checkpoint, run_here):
    """The same numbers as for the folder, from a table, by a share of the same seed and by a file for the split."""
    records = [record for record in read_annotations(fish) if record.split == "validation"]
    write_annotations(records, tmp_path / "table.csv", "csv")
    words = ["--model", counter_checkpoint, "--quiet"]
    images = ["--images_dir", fish / "images"]
    outputs = [tmp_path / f"{number}.json" for number in range(3)]
    run_here("evaluate_counting.py", *words, "--data_dir", fish, "--splits", "validation", "--output", outputs[0])
    run_here("evaluate_counting.py", *words, "--data_dir", tmp_path / "table.csv", *images, "--output", outputs[1])
    share = ["--validation", "0", "--test", "1"]
    run_here(
        "evaluate_counting.py", *words, "--data_dir", tmp_path / "table.csv", *images, *share, "--output", outputs[2]
    )
    numbers = [json.loads(path.read_text()) for path in outputs]
    assert numbers[0]["validation"] == numbers[1]["test"] == numbers[2]["test"]
