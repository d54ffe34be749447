"""A target set and more images: joined, with domains, and refused where their classes or names clash."""

import json

import numpy as np
import pytest
from PIL import Image

from dense_hf.data.weak_source import WeakSource, read_weak_evaluation, read_weak_training
from dense_hf.errors import InvalidDataError


def make(folder, rows, classes=("cat", "dog")):
    (folder / "images").mkdir(parents=True)
    for name in rows:
        Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(folder / "images" / f"{name}.png")
    lines = [f"{name}.png,{labels}" for name, labels in rows.items()]
    (folder / "labels.csv").write_text("\n".join(["image,labels", *lines, ""]))
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in classes))
    return folder


@pytest.fixture
def target(tmp_path):
    return make(tmp_path / "target" / "train", {"a": "cat", "b": "dog;cat"}).parent


def test_a_folder_and_a_released_list_join_the_target_set(target, tmp_path):
    web = make(tmp_path / "web", {"w": "dog"})
    (tmp_path / "single.txt").write_text("w2 1\nw3 2\n")
    make(tmp_path / "single", {"w2": "cat", "w3": "dog"})
    from_list = {
        "list": str(tmp_path / "single.txt"), "images_dir": str(tmp_path / "single" / "images"),
        "first_class": 1, "domain": 2,
    }  # fmt: skip
    joined = read_weak_training(target, [json.dumps({"data_dir": str(web), "domain": 1}), from_list])
    assert joined.class_names == ("cat", "dog")
    assert [(image.name, image.labels, image.domain) for image in joined.images] == [
        ("a", (0,), 0), ("b", (0, 1), 0), ("w", (1,), 1), ("w2", (0,), 2), ("w3", (1,), 2)
    ]  # fmt: skip
    assert read_weak_training(target).images == joined.images[:2]


def test_other_classes_are_named(target, tmp_path):
    web = make(tmp_path / "web", {"w": "cow"}, ["cow", "dog"])
    with pytest.raises(InvalidDataError, match=r"cat, dog.*cow, dog"):
        read_weak_training(target, [{"data_dir": str(web)}])
    make(target / "val", {"v": "cow"}, ["cow", "dog"])
    with pytest.raises(InvalidDataError, match=r"cat, dog.*cow, dog"):
        read_weak_evaluation(target, "val", ("cat", "dog"))


def test_equal_names_are_refused(target, tmp_path):
    web = make(tmp_path / "web", {"a": "dog"})
    with pytest.raises(ValueError, match=r"unique.*'a'"):
        read_weak_training(target, [{"data_dir": str(web)}])


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("web", "must be a JSON object"),
        ("[1]", "keys among data_dir"),
        ({"data_dir": "web", "domains": 1}, "keys among data_dir"),
        ({}, "must have data_dir, or list and images_dir"),
        ({"data_dir": "web", "list": "a.txt"}, "must have data_dir, or list and images_dir"),
        ({"list": "a.txt"}, "must have data_dir, or list and images_dir"),
        ({"data_dir": "web", "domain": -1}, "whole numbers from 0"),
        ({"data_dir": "web", "domain": "web"}, "whole numbers from 0"),
    ],
)
def test_what_is_no_source_is_refused(value, words):
    with pytest.raises(ValueError, match=words):
        WeakSource.parse(value)


def test_a_split_may_be_missing_or_have_no_public_labels(target, tmp_path):
    assert read_weak_evaluation(target, "val", ("cat", "dog")) is None
    make(target / "val", {"v": "dog"})
    assert [image.labels for image in read_weak_evaluation(target, "val", ("cat", "dog")).images] == [(1,)]
    voc = tmp_path / "VOC2012"
    (voc / "JPEGImages").mkdir(parents=True)
    (voc / "ImageSets" / "Segmentation").mkdir(parents=True)
    (voc / "ImageSets" / "Segmentation" / "test.txt").write_text("2008_000001\n")
    assert read_weak_evaluation(voc, "test", ("cat", "dog")) is None
