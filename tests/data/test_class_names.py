"""Names of classes that are none, or that are one name twice, are refused wherever names are read."""

import json

import pytest
from PIL import Image

from dense_hf.data import read_class_file, read_labels_csv
from dense_hf.data.weak_folder import read_class_names
from dense_hf.errors import InvalidDataError

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


def test_but_a_class_of_a_video_may_be_the_background(tmp_path):
    (tmp_path / "classes.json").write_text('{"background": 1, "car": 2}')
    assert read_class_file(tmp_path / "classes.json").names == ("background", "car")
