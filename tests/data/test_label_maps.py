"""Class files and masks: what is accepted, what every number becomes, and the one error for everything else."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dense_hf import InvalidDataError
from dense_hf.data import read_class_file, read_mask
from dense_hf.data.class_names import CITYSCAPES_LABEL_IDS, CITYSCAPES_NAMES, VSPW_NAMES
from dense_hf.data.labels import class_rule

VSPW_RULE = class_rule(dict(enumerate(VSPW_NAMES, start=1)), ignore_zero=True)
OWN_RULE = class_rule({0: "road", 1: "car"}, ignore_zero=False)


def mask_file(folder, numbers, dtype=np.uint8, name="mask.png", **options):
    Image.fromarray(np.array(numbers, dtype=dtype)).save(folder / name, **options)
    return folder / name


def test_names_of_the_public_sets():
    assert len(VSPW_NAMES) == len(set(VSPW_NAMES)) == 124
    assert (VSPW_NAMES[0], VSPW_NAMES[-1]) == ("wall", "train")
    assert len(CITYSCAPES_NAMES) == len(CITYSCAPES_LABEL_IDS) == 19


def test_vspw_rule_for_every_number(tmp_path):
    numbers = [[0, *range(1, 125), 255]]
    labels = read_mask(mask_file(tmp_path, numbers), (126, 1), VSPW_RULE)
    assert labels.dtype == np.uint8
    assert labels.tolist() == [[255, *range(124), 255]]


@pytest.mark.parametrize("number", [125, 254])
def test_a_number_outside_the_classes_is_named_with_its_pixel(tmp_path, number):
    numbers = np.ones((4, 5), int)
    numbers[2, 3] = number
    with pytest.raises(InvalidDataError, match=rf"mask\.png: expected class numbers 0-124, 255.*{number} at x=3, y=2"):
        read_mask(mask_file(tmp_path, numbers), (5, 4), VSPW_RULE)


def test_zero_can_be_a_class(tmp_path):
    path = mask_file(tmp_path, [[0, 1, 255]])
    assert read_mask(path, (3, 1), OWN_RULE).tolist() == [[0, 1, 255]]
    with pytest.raises(InvalidDataError, match=r"0-1, 255\. Received: 2 at"):
        read_mask(mask_file(tmp_path, [[0, 2, 255]]), (3, 1), OWN_RULE)


def test_palette_and_sixteen_bit_masks_hold_the_same_numbers(tmp_path):
    numbers = np.array([[0, 1, 124], [255, 7, 9]], dtype=np.uint8)
    expected = read_mask(mask_file(tmp_path, numbers), (3, 2), VSPW_RULE).tolist()
    palette = Image.fromarray(numbers)
    palette.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tolist())
    assert palette.mode == "P"
    palette.save(tmp_path / "palette.png")
    assert read_mask(tmp_path / "palette.png", (3, 2), VSPW_RULE).tolist() == expected
    sixteen = mask_file(tmp_path, numbers, np.uint16, "sixteen.png")
    with Image.open(sixteen) as image:
        assert image.mode.startswith("I")  # "I;16" of new versions of Pillow, "I" of 10.1
    assert read_mask(sixteen, (3, 2), VSPW_RULE).tolist() == expected
    for number in (256, 257, 65535):
        with pytest.raises(InvalidDataError, match=f"{number} at x=1, y=0"):
            read_mask(mask_file(tmp_path, [[1, number]], np.uint16), (2, 1), VSPW_RULE)
    mask_file(tmp_path, [[True, False]], bool, "bits.png")
    assert read_mask(tmp_path / "bits.png", (2, 1), OWN_RULE).tolist() == [[1, 0]]


def test_a_turned_mask_follows_its_frame(tmp_path):
    sideways = Image.Exif()
    sideways[0x0112] = 6  # 90 degrees clockwise
    path = mask_file(tmp_path, [[1, 2, 3]], exif=sideways)
    assert read_mask(path, (1, 3), VSPW_RULE).tolist() == [[0], [1], [2]]


def test_files_that_are_no_mask_are_refused(tmp_path):
    good = mask_file(tmp_path, np.ones((4, 5)))
    with pytest.raises(InvalidDataError, match=r"size of its frame, 4 x 5\. Received: 5 x 4"):
        read_mask(good, (4, 5), VSPW_RULE)
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:-20])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "folder.png").mkdir()
    Image.new("L", (5, 4), 1).save(tmp_path / "lossy.png", format="JPEG")
    for mode in ("RGB", "RGBA", "LA"):
        Image.new(mode, (5, 4)).save(tmp_path / f"{mode}.png")
        with pytest.raises(InvalidDataError, match=f"one class number per pixel.*picture of mode {mode}"):
            read_mask(tmp_path / f"{mode}.png", (5, 4), VSPW_RULE)
    for name in ("cut", "empty", "text", "folder", "lossy", "missing"):
        with pytest.raises(InvalidDataError, match=rf"{name}\.png"):
            read_mask(tmp_path / f"{name}.png", (5, 4), VSPW_RULE)
    with pytest.raises(InvalidDataError, match="at most 19 pixels"):
        read_mask(good, (5, 4), VSPW_RULE, max_pixels=19)


def class_file(folder, content):
    path = folder / "classes.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_a_class_file_in_the_form_of_the_release(tmp_path):
    content = {"others": "0", "ceiling": "2", "wall": "1", "void": 255}
    rule = read_class_file(class_file(tmp_path, content))
    assert rule.names == ("wall", "ceiling")
    assert rule.labels == {0: 255, 1: 0, 2: 1, 255: 255}
    own = read_class_file(class_file(tmp_path, {"road": 0, "tree / bush": 1}), ignore_zero=False)
    assert own.names == ("road", "tree / bush")
    assert own.labels == {0: 0, 1: 1, 255: 255}


BAD_CLASS_FILES = {
    "": "JSON object",
    "[1, 2]": "JSON object",
    '{"a": 1': "JSON object",
    '{"a": 1, "a": 2}': "each key once",
    '{"a": 1, "b": 1}': "each number once",
    '{"a": 1, "b": "01"}': "each number once",
    '{"a": 1, "b": 3}': "without gaps",
    '{"a": 0}': "without gaps",
    "{}": "without gaps",
    '{"a": 1.0}': "whole numbers",
    '{"a": true}': "whole numbers",
    '{"a": -1}': "whole numbers",
    '{"a": 256}': "whole numbers",
    '{"a": "1e2"}': "whole numbers",
    '{"a": "\\u0661"}': "whole numbers",
    '{"a": NaN}': "NaN is no JSON",
    '{"": 1}': "class names",
    '{"a\\u0000": 1}': "class names",
    "[" * 100_000: "JSON object",
}


@pytest.mark.parametrize("content", BAD_CLASS_FILES, ids=range(len(BAD_CLASS_FILES)))
def test_bad_class_files_are_refused(tmp_path, content):
    with pytest.raises(InvalidDataError, match=BAD_CLASS_FILES[content]) as caught:
        read_class_file(class_file(tmp_path, content))
    assert caught.value.path == str(tmp_path / "classes.json")
    assert len(str(caught.value)) < 1000


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch")


@given(content=st.binary(max_size=60) | st.text(alphabet='{}"ab:,012 []', max_size=40).map(str.encode))
def test_any_bytes_give_a_rule_or_our_error(scratch, content):
    path = Path(scratch / "fuzz.json")
    path.write_bytes(content)
    try:
        rule = read_class_file(path)
    except InvalidDataError:
        return
    assert sorted(rule.labels.values())[: rule.num_labels] == list(range(rule.num_labels))
