"""`dense-hf rank`: the order of pictures, and what a model found in the first of them for other tools to correct."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from dense_hf.cli import main
from dense_hf.cli.ranking import look_at, order_to_annotate, rank_pictures, unsureness
from dense_hf.data.formats import read_annotations
from dense_hf.inference.checkpoints import load_counter


def test_farthest_first_takes_one_of_each_kind():
    """Three groups of pictures: the first three are of different groups, whatever their sizes."""
    random = np.random.default_rng(0)
    centers = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    groups = np.repeat([0, 1, 2], [30, 3, 5])
    features = centers[groups] + random.normal(0, 0.3, (38, 2))
    order = order_to_annotate(features, np.zeros(38), diversity=1)
    assert sorted(order) == list(range(38))
    assert {groups[index] for index in order[:3]} == {0, 1, 2}
    assert {groups[index] for index in order_to_annotate(features, np.zeros(38), centers[:2])[:1]} == {2}


def test_among_equally_different_pictures_the_unsure_come_first():
    features, known = np.array([[0.0], [1.0], [-1.0]]), np.array([[0.0]])
    for unsure, first in (([0.5, 0.9, 0.1], 1), ([0.5, 0.1, 0.9], 2)):
        assert order_to_annotate(features, np.array(unsure), known)[0] == first
        assert order_to_annotate(features, np.array(unsure))[0] == first
    copies = np.array([[0.0], [0.0], [3.0]])  # a copy of an unsure picture tells nothing new
    assert order_to_annotate(copies, np.array([1.0, 1.0, 0.1])) == [0, 2, 1]
    assert order_to_annotate(np.zeros((0, 3)), np.zeros(0)) == []
    assert sorted(order_to_annotate(np.zeros((4, 3)), np.zeros(4))) == [0, 1, 2, 3]  # copies of one picture


def test_unsureness_is_the_mean_of_ranks():
    signals = [{"disagreement": 3.0, "width": 100.0}, {"disagreement": 1.0, "width": 7.0}, {"disagreement": 2.0}, {}]
    assert unsureness(signals).tolist() == [1.0, 0.0, 0.5, 0.5]
    assert unsureness([{"width": 1.0}, {"width": 1.0}]).tolist() == [0.5, 0.5]
    assert unsureness([{"width": 1.0}]).tolist() == [0.5]


@pytest.fixture(scope="module")
def photos(tmp_path_factory, noise):
    folder = tmp_path_factory.mktemp("photos")
    for index in range(4):
        noise(60 + index, 50, seed=index).save(folder / f"{index}.png")
    Image.new("RGB", (64, 64), (200, 30, 30)).save(folder / "red.png")
    return folder


def test_the_library_and_the_command_agree(photos, counter_checkpoint, tmp_path, capsys):
    output = tmp_path / "next"
    arguments = ["rank", str(photos), "--model", counter_checkpoint, "--top", "2", "--output", str(output)]
    assert main(arguments) == 0
    with open(output / "ranking.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    model, processor = load_counter(counter_checkpoint)
    paths = sorted(photos.iterdir())
    expected = rank_pictures([look_at(path, str(path), model, processor) for path in paths])
    assert [row["file"] for row in rows] == [str(picture.path) for picture in expected]
    for row, picture in zip(rows, expected):
        assert int(row["count"]) == picture.count == len(picture.points)
        assert float(row["disagreement"]) == pytest.approx(picture.signals["disagreement"])
        assert row["width"] == ""  # the model is not calibrated
    found = {record.image: record for record in read_annotations(output / "annotations.xml")}
    assert list(found) == [picture.path.name for picture in expected[:2]]
    for picture in expected[:2]:
        assert np.allclose(found[picture.path.name].points, picture.points)
    tasks = json.loads((output / "label_studio.json").read_text())
    assert [len(task["predictions"][0]["result"]) for task in tasks] == [len(one.points) for one in expected[:2]]
    assert not any("annotations" in task for task in tasks)
    assert main(arguments) == 2  # the folder is not empty now
    assert "new or empty folder" in capsys.readouterr().err


def test_annotated_pictures_are_left_out(photos, counter_checkpoint, tmp_path, capsys):
    output = tmp_path / "next"
    arguments = ["rank", str(photos), "--model", counter_checkpoint, "--output", str(output)]
    assert main([*arguments, "--annotated", str(photos / "0.png"), "--annotated", str(photos / "red.png")]) == 0
    with open(output / "ranking.csv", newline="") as file:
        assert {row["file"] for row in csv.DictReader(file)} == {str(photos / f"{index}.png") for index in (1, 2, 3)}
    assert main([*arguments, "--annotated", str(photos)]) == 2
    assert "no pictures without annotations" in capsys.readouterr().err
