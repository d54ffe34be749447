"""Names of classes that are none, or that are one name twice, are refused wherever names are read."""

import json

import pytest
from huggingface_hub.errors import StrictDataclassError
from PIL import Image
from tiny_mcis import tiny_model
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from dense_hf import CFFMConfig, DensityCounterConfig, MCISConfig, MCISImageProcessor
from dense_hf.data import read_class_file, read_labels_csv
from dense_hf.data.class_names import check_class_names
from dense_hf.data.weak_folder import read_class_names
from dense_hf.errors import InvalidDataError
from dense_hf.inference.checkpoints import load_counter, load_mcis, load_segmenter
from dense_hf.inference.class_names import order_labels

BAD = {
    "an empty cell": ["cat", "NaN"],
    "case": ["cat", "Cat"],
    "Unicode forms": ["caf\u00e9", "cafe\u0301"],
    "a control character": ["cat", "do\ag"],
    "a terminal's escape": ["cat", "\x1b[2Jdog"],
    "a line break": ["cat", "dog\nhorse"],
    "a turned direction": ["cat", "\u202edog"],
    "next line": ["cat", "dog\u0085horse"],
    "length": ["cat", "d" * 201],
}


@pytest.mark.parametrize("names", BAD.values(), ids=BAD)
def test_in_a_json_file(tmp_path, names):
    path = tmp_path / "classes.json"
    path.write_text(json.dumps({name: number for number, name in enumerate(names, start=1)}))
    with pytest.raises(InvalidDataError, match=r"classes\.json: expected (class names|names of|each class)"):
        read_class_file(path)


@pytest.mark.parametrize("names", BAD.values(), ids=BAD)
def test_in_a_table(tmp_path, names):
    for name in ("a", "b"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    rows = [f'{image},"{name}"' for image, name in zip(("a", "b"), names)]
    (tmp_path / "labels.csv").write_text("\n".join(["image,labels", *rows]) + "\n", encoding="utf-8")
    with pytest.raises(InvalidDataError, match=r"labels\.csv: expected (class names|names of|each class)"):
        read_labels_csv(tmp_path / "labels.csv", tmp_path)


@pytest.mark.parametrize("name", ["background", " Background", "_background_"])
def test_the_background_is_no_class_of_an_image(tmp_path, name):
    """Label 0 of every mask is the background already; a class of this name would be label 1 or more."""
    (tmp_path / "classes.txt").write_text(f"cat\n{name}\n")
    with pytest.raises(InvalidDataError, match="the background is label 0"):
        read_class_names(tmp_path / "classes.txt")


def test_nor_of_a_classifier():
    """Its masks have a background of their own, and results are told by the names of both."""
    with pytest.raises((StrictDataclassError, ValueError), match="must not be called background"):
        MCISConfig(id2label={0: "cat", 1: "Background"})


def test_names_of_a_checkpoint_are_said(tmp_path, caplog):
    """It may be somebody else's, and of use all the same."""
    tiny_model(num_labels=2, id2label={0: "cat", 1: "do\ng"}).save_pretrained(tmp_path)
    MCISImageProcessor().save_pretrained(tmp_path)
    load_mcis(tmp_path)
    assert [("config.json" in message and "by class" in message) for message in caplog.messages] == [True]


TWICE = {"equal": ["cat", "cat"], "case": ["cat", "Cat"], "Unicode forms": ["caf\u00e9", "Cafe\u0301"]}


@pytest.mark.parametrize("names", TWICE.values(), ids=TWICE)
@pytest.mark.parametrize("config_class", [MCISConfig, CFFMConfig, DensityCounterConfig])
def test_no_model_of_ours_has_one_name_twice(config_class, names):
    """What is told by name would be of either."""
    with pytest.raises((StrictDataclassError, ValueError), match="name each class once, whatever the case"):
        config_class(id2label=dict(enumerate(names)))
    config = config_class()
    with pytest.raises(ValueError, match="name each class once, whatever the case"):
        config.id2label = dict(enumerate(names))


@pytest.mark.parametrize("names", TWICE.values(), ids=TWICE)
@pytest.mark.parametrize("load", ["counter", "segmenter", "mcis"])
def test_nor_has_a_checkpoint(tmp_path, names, load, save_counter, small_segmenter):
    if load == "counter":
        save_counter(tmp_path)
    elif load == "segmenter":
        small_segmenter().save_pretrained(tmp_path)
    else:
        tiny_model().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"id2label": dict(enumerate(names))}))
    loader = {"counter": load_counter, "segmenter": load_segmenter, "mcis": load_mcis}[load]
    with pytest.raises(InvalidDataError, match=r"config\.json.* once") as caught:
        loader(tmp_path)
    assert repr(names[1]) in str(caught.value)


def test_nor_a_model_of_transformers(tmp_path):
    """Whose configuration takes any names."""
    config = SegformerConfig(
        hidden_sizes=[8] * 4,
        depths=[1] * 4,
        num_attention_heads=[1] * 4,
        decoder_hidden_size=8,
        id2label={0: "a", 1: "A"},
    )
    SegformerForSemanticSegmentation(config).save_pretrained(tmp_path)
    with pytest.raises(InvalidDataError, match=r"config\.json: expected each class once.*'a' and 'A'"):
        load_segmenter(tmp_path)


def test_data_of_another_case_are_other_classes():
    """Refused, in words that say what differs."""
    with pytest.raises(InvalidDataError, match=r"without cat.*and also Cat.*only the case differs"):
        order_labels(tiny_model(num_labels=2, id2label={0: "Cat", 1: "dog"}), ["cat", "dog"], "a model")


def test_but_a_class_of_a_video_may_be_the_background(tmp_path):
    (tmp_path / "classes.json").write_text('{"background": 1, "car": 2}')
    assert read_class_file(tmp_path / "classes.json").names == ("background", "car")


def test_a_name_has_a_largest_length():
    check_class_names("classes.txt", ["a" * 200])  # BAD has one that is longer
