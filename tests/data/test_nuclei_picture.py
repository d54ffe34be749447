"""The picture of nuclei of `make demo`: made of a wheel that is written here, and found where a part of it is."""

import zipfile
from importlib import import_module
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from dense_hf.data import write_points
from dense_hf.data.counting_examples import read_examples


@pytest.fixture(scope="module")
def script():
    return import_module("nuclei_picture")


def scene(seed: int, side: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and labels of six squares on noise."""
    rng = np.random.default_rng(seed)
    pixels, labels = rng.integers(0, 90, (side, side)), np.zeros((side, side), np.uint16)
    for number, (y, x) in enumerate(rng.permutation(36)[:6, None] // (6, 1) % 6 * 25 + 5, start=1):
        labels[y : y + 12, x : x + 12] = number
        pixels[y : y + 12, x : x + 12] += rng.integers(60, 150)
    return pixels.astype(np.uint16), labels


@pytest.fixture
def wheel(script, monkeypatch):
    """`wheel(pixels, labels)`: what the registry gives."""

    def offer(pixels, labels):
        def download(requirement, name, folder, *options):
            assert "--platform" in options
            with zipfile.ZipFile(folder / name, "w") as archive:
                for stem, values in (("img2d", pixels), ("mask2d", labels)):
                    file = BytesIO()
                    Image.fromarray(values).save(file, "TIFF")
                    archive.writestr(f"stardist/data/images/{stem}.tif", file.getvalue())
            return folder / name

        monkeypatch.setattr(script, "pip_download", download)
        monkeypatch.setattr(script, "check_digest", lambda path, sha256: path)

    return offer


def test_the_picture_keeps_its_values_and_points_are_centers_of_outlines(script, wheel, tmp_path, capsys):
    pixels, labels = scene(0)
    wheel(pixels, labels)
    assert script.main([str(tmp_path / "nuclei")]) == 0
    assert capsys.readouterr().out == "6 nuclei\n"
    (example,) = read_examples(tmp_path / "nuclei", ["test"], progress=False)["test"]
    assert np.array_equal(np.asarray(example.open())[..., 0], pixels)
    centers = [np.argwhere(labels == number).mean(0)[::-1] + 0.5 for number in range(1, 7)]
    assert np.allclose(example.points, centers)


def test_deeper_values_are_refused_not_cut_off(script, wheel, tmp_path, capsys):
    wheel(scene(0)[0] * 100, scene(0)[1])
    assert script.main([str(tmp_path / "nuclei")]) == 1
    assert "gray values up to 255" in capsys.readouterr().err
    assert not (tmp_path / "nuclei").exists()


@pytest.fixture(scope="module")
def among_others(tmp_path_factory):
    """A set whose b.png is a part of the scene 0, turned, mirrored and darker, and a.png another scene."""
    folder = tmp_path_factory.mktemp("set")
    for part in ("images", "annotations"):
        (folder / part).mkdir()
    part_of_it = np.rot90(scene(0)[0][20:150, 10:140])[:, ::-1] * 0.4 + 7
    for name, values in (("a", scene(1, 130)[0]), ("b", part_of_it)):
        Image.fromarray(values.round().astype(np.uint8)).save(folder / "images" / f"{name}.png")
        write_points(folder / "annotations" / f"{name}.xml", np.zeros((0, 2)), f"{name}.png", (130, 130))
    (folder / "train_id.txt").write_text("a.png\nb.png\n")
    return folder


def test_a_part_of_the_picture_is_found_and_others_are_not(script, wheel, among_others, tmp_path, capsys):
    wheel(*scene(0))
    assert script.main([str(tmp_path / "nuclei")]) == 0
    assert script.main([str(tmp_path / "nuclei"), "--compare", str(among_others)]) == 0
    said = capsys.readouterr().out
    (first, same), (second, other) = ((line.split()[-1], float(line.split()[0])) for line in said.splitlines()[-2:])
    assert (first, second) == ("b.png", "a.png")
    assert same > 0.98
    assert other < 0.9
