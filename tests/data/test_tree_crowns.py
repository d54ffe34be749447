"""The orthophotos of `make demo`, out of a wheel that is written here: which pixels and points lie in which part."""

import sys
import zipfile
from importlib import import_module
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from dense_hf.data.counting_examples import read_examples

SIZES = {"FIRST": (700, 800), "SECOND": (1248, 1030), "OSBS_029": (40, 40), "SOAP_061": (40, 40)}
BOX = 6


def where_it_was(width: int, height: int, place: int) -> np.ndarray:
    """Pixels that say their place: x and y modulo 256, and the rest of both, and which picture, in the third."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x % 256, y % 256, 100 * place + 10 * (x // 256) + y // 256], axis=-1).astype(np.uint8)


def origin(pixels: np.ndarray) -> tuple[int, int, int]:
    """The picture, x and y of the upper left corner."""
    x, y, rest = (int(value) for value in pixels[0, 0])
    return rest // 100, x + 256 * (rest % 100 // 10), y + 256 * (rest % 10)


@pytest.fixture
def boxes():
    """Left and top corners of crowns by the number of the picture."""
    rng = np.random.default_rng(0)
    sizes = enumerate(SIZES.values())
    return {place: rng.integers(0, np.array(size) - BOX, (60, 2)) for place, size in sizes}


@pytest.fixture
def folder(boxes, tmp_path, monkeypatch):
    script = import_module("tree_crowns")

    def download(requirement, name, folder):
        with zipfile.ZipFile(folder / name, "w") as archive:
            for place, (image, size) in enumerate(SIZES.items()):
                stem, file = getattr(script, image, image), BytesIO()
                Image.fromarray(where_it_was(*size, min(place, 1))).save(file, "PNG")
                archive.writestr(f"deepforest/data/{stem}.png", file.getvalue())
                objects = "".join(
                    f"<object><name>Alive</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + BOX}</xmax>"
                    f"<ymax>{y + BOX}</ymax></bndbox></object>"
                    for x, y in boxes[place].tolist()
                )
                archive.writestr(f"deepforest/data/{stem}.xml", f"<annotation>{objects}</annotation>")
        return folder / name

    monkeypatch.setattr(script, "pip_download", download)
    monkeypatch.setattr(script, "check_digest", lambda path, sha256: path)
    monkeypatch.setattr(sys, "argv", ["tree_crowns.py", str(tmp_path / "trees")])
    script.main()
    return tmp_path / "trees"


def test_squares_are_apart_and_have_the_crowns_that_lie_in_them(folder, boxes):
    splits = read_examples(folder / "squares", ["train", "validation", "test"], progress=False)
    seen = {split: [np.zeros((1280, 1280), dtype=int) for _ in range(2)] for split in splits}
    for split, examples in splits.items():
        for example in examples:
            pixels = np.asarray(example.open())
            assert pixels.shape == (256, 256, 3)
            place, x, y = origin(pixels)
            seen[split][place][y : y + 256, x : x + 256] += 1
            centers = boxes[place] + BOX / 2 - (x, y)
            inside = ((centers >= 0) & (centers < 256)).all(axis=1)
            assert sorted(map(tuple, example.points)) == sorted(map(tuple, centers[inside]))
    for place in range(2):
        train, validation, test = (seen[split][place] for split in ("train", "validation", "test"))
        assert not (train & (validation + test > 0)).any()
        assert not (validation & test).any()
    assert [int(seen[split][1].max()) for split in seen] == [4, 1, 1], "training squares of the second overlap"
    assert seen["test"][1].sum() == 512 * 1024


def test_the_part_that_is_held_out_is_in_no_other(folder):
    splits = read_examples(folder / "same_place", ["train", "test"], progress=False)
    (held_out,) = splits["test"]
    assert origin(np.asarray(held_out.open())) == (1, 736, 0)
    assert [origin(np.asarray(example.open())) for example in splits["train"]] == [(0, 0, 0), (1, 0, 0), (1, 0, 515)]
    assert max(np.asarray(example.open()).shape[1] for example in splits["train"][1:]) == 640
