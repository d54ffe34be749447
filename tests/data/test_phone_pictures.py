"""HEIC and AVIF, as phones write them: read by every reader, upright, or an error that says what to install."""

import sys

import numpy as np
import pytest
from PIL import Image, features

from dense_hf import InvalidDataError
from dense_hf.counting.rgb_reading import read_rgb
from dense_hf.data import open_image, read_image_header
from dense_hf.inference.image_files import find_images
from dense_hf.pipelines.picture_reading import read_picture

READERS = pytest.mark.parametrize("read", [open_image, read_rgb, read_picture])
COLORS = np.zeros((40, 60, 3), np.uint8)
COLORS[:, :30] = (200, 60, 20)
COLORS[:20, 30:] = (20, 160, 90)


def write(path, **options):
    """Save by the ending of the name; skipped where nobody can."""
    if path.suffix == ".avif":
        if not features.check("avif"):
            pytest.skip("this Pillow writes no AVIF")
    else:
        pytest.importorskip("pillow_heif").register_heif_opener()
    Image.fromarray(COLORS).save(path, quality=95, **options)
    return path


@READERS
@pytest.mark.parametrize("name", ["a.avif", "a.heic", "a.HEIC"])
def test_phone_pictures_are_read(tmp_path, read, name):
    image = read(write(tmp_path / name))
    assert (image.mode, image.size) == ("RGB", (60, 40))
    for x, y in ((10, 10), (50, 5), (50, 35)):
        assert np.abs(np.array(image.getpixel((x, y))) - COLORS[y, x]).max() < 12
    assert find_images([str(tmp_path)])[0] == [tmp_path / name]


@READERS
@pytest.mark.parametrize("name", ["a.avif", "a.heic"])
def test_turned_ones_are_upright(tmp_path, read, name):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: a quarter clockwise makes it upright
    path = write(tmp_path / name, exif=exif.tobytes())
    image = read(path)
    assert image.size == (40, 60)
    assert np.abs(np.array(image.getpixel((35, 10))) - COLORS[5, 10]).max() < 12
    assert np.abs(np.array(image.getpixel((5, 50))) - COLORS[35, 50]).max() < 12
    assert read_image_header(path).size == (40, 60)


@READERS
def test_without_their_reader_the_extra_is_named(tmp_path, read, monkeypatch):
    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    with pytest.raises(ValueError, match=r"a\.heic.*HEIC.*dense_hf\[heif\]"):
        read(path)


def test_broken_ones_and_videos(tmp_path):
    whole = write(tmp_path / "a.avif").read_bytes()
    (tmp_path / "cut.avif").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "video.heic").write_bytes(b"\0\0\0\x18ftypisom" + bytes(100))
    for name in ("cut.avif", "video.heic"):
        with pytest.raises(InvalidDataError, match=name):
            open_image(tmp_path / name)
