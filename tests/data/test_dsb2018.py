"""Nuclei from masks, in the layout of the release and as label maps, and splits that are a rule."""

import json
from hashlib import sha256
from importlib import import_module

import numpy as np
import pytest
from PIL import Image

from dense_hf.data import open_image
from dense_hf.data.counting_examples import read_examples

DARK, COLOR, BRIGHT, LARGE = "a", "image0", "image1", "image2"


@pytest.fixture(scope="module")
def script():
    return import_module("dsb2018")


def pictures() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Id to RGBA pixels, as the release has them, and a label map with two nuclei."""
    rng = np.random.default_rng(0)
    result = {}
    for name, side, ground in ((DARK, 20, 8), (COLOR, 20, None), (BRIGHT, 20, 220), (LARGE, 30, 10)):
        pixels = rng.integers(0, 256, (side, side, 4)) if ground is None else np.full((side, side, 4), ground)
        labels = np.zeros((side, side), np.uint16)
        labels[2:5, 3:9] = 1
        labels[10, 12] = 2
        pixels[..., 3] = 255
        result[name] = (pixels.astype(np.uint8), labels)
    return result


@pytest.fixture
def release(tmp_path):
    for name, (pixels, labels) in pictures().items():
        for part in ("images", "masks"):
            (tmp_path / "stage1_train" / name / part).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "stage1_train" / name / "images" / f"{name}.png")
        for label in (1, 2):
            mask = Image.fromarray(np.where(labels == label, 255, 0).astype(np.uint8))
            mask.save(tmp_path / "stage1_train" / name / "masks" / f"{label:064x}.png")
    return tmp_path / "stage1_train"


@pytest.fixture
def label_maps(tmp_path):
    for part in ("images", "instances"):
        (tmp_path / "corrected" / part).mkdir(parents=True)
    for name, (pixels, labels) in pictures().items():
        Image.fromarray(pixels[..., :3]).save(tmp_path / "corrected" / "images" / f"{name}.png")
        Image.fromarray(labels).save(tmp_path / "corrected" / "instances" / f"{name}.png")
    entries = [{"name": name, "id": name} for name in pictures()]
    (tmp_path / "corrected" / "points.json").write_text(json.dumps(entries))
    return tmp_path / "corrected"


@pytest.mark.parametrize("source", ["release", "label_maps"])
def test_both_layouts_give_centers_by_kind_and_split(script, request, source, tmp_path, capsys):
    source = request.getfixturevalue(source)
    assert script.main([str(source), str(tmp_path / "out")]) == 0
    found = {}
    for kind in script.KINDS:
        folder = tmp_path / "out" / kind
        splits = [name for name in ("train", "validation", "test") if (folder / script.SPLIT_LISTS[name]).exists()]
        for split, examples in read_examples(folder, splits, progress=False).items():
            for example in examples:
                found[example.path.stem] = (kind, split)
                # the middles of rows 2 to 4 and columns 3 to 8, and of one pixel
                assert example.points.tolist() == [[6.0, 3.5], [12.5, 10.5]]
                assert np.array_equal(example.open(), open_image_of(source, example.path.stem))
    expected = {name: split_by_hand(name) for name in pictures()}
    kinds = {DARK: "dark", COLOR: "color", BRIGHT: "bright", LARGE: "dark"}
    assert found == {name: (kinds[name], expected[name]) for name in pictures()}
    card = (tmp_path / "out" / "README.md").read_text()
    assert capsys.readouterr().out.strip() in card


def open_image_of(source, name) -> np.ndarray:
    path = source / "images" / f"{name}.png"
    return np.asarray(open_image(path if path.exists() else source / name / "images" / f"{name}.png"))


def split_by_hand(name: str) -> str:
    share = sum(byte / 256 ** (place + 1) for place, byte in enumerate(sha256(name.encode()).digest()[:4]))
    return "train" if share < 0.6 else "validation" if share < 0.8 else "test"


def test_only_images_of_a_size(script, release, tmp_path):
    assert script.main([str(release), str(tmp_path / "out"), "--size", "30"]) == 0
    assert [path.stem for path in (tmp_path / "out").glob("*/images/*")] == [LARGE]


def test_names_that_begin_with_a_dot_are_no_images(script, release, tmp_path):
    (release / ".cache").mkdir()
    (release / DARK / "masks" / f"._{1:064x}.png").write_bytes(b"of a file system")
    assert script.main([str(release), str(tmp_path / "out")]) == 0


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda place: (place / "masks" / f"{1:064x}.png").write_bytes(b"no PNG"), "a PNG file"),
        (lambda place: Image.new("L", (3, 3)).save(place / "masks" / f"{1:064x}.png"), "the 20 x 20 pixels"),
        (lambda place: Image.new("RGB", (20, 20)).save(place / "masks" / f"{1:064x}.png"), "one channel"),
        (lambda place: [path.unlink() for path in (place / "masks").iterdir()], "a mask for each nucleus"),
    ],
)
def test_bad_masks_are_named_and_nothing_is_written(script, release, tmp_path, capsys, damage, message):
    damage(release / DARK)
    assert script.main([str(release), str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert str(release / DARK / "masks") in error
    assert not (tmp_path / "out").exists()


def test_what_is_no_data_set_is_said(script, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert script.main([str(tmp_path / "empty"), str(tmp_path / "out")]) == 1
    assert "stage1_train" in capsys.readouterr().err
    (tmp_path / "empty" / "points.json").write_text('[{"name": "../x", "id": "y"}]')
    assert script.main([str(tmp_path / "empty"), str(tmp_path / "out")]) == 1
    assert "letters and digits" in capsys.readouterr().err
