"""Stacks, overviews, 12-bit cameras and nodata: every reader of the package follows one rule."""

import io
import logging
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import AppendingTiffWriter

from dense_hf import InvalidDataError
from dense_hf.counting.picture_values import check_white
from dense_hf.counting.rgb_reading import read_rgb
from dense_hf.data import open_image, read_image_header
from dense_hf.data.images import stored_image
from dense_hf.pipelines.picture_reading import read_picture

READERS = pytest.mark.parametrize("read", [open_image, read_rgb, read_picture])
KINDS = {"a page": 0, "a smaller copy": 1, "a mask": 4, "a smaller mask": 5}


def write_pages(path, kinds, tag=254):
    """A TIFF of a page for each kind, page n of the gray 40 * n, copies of half the size."""
    with AppendingTiffWriter(str(path), new=True) as file:
        for number, kind in enumerate(kinds):
            page = Image.fromarray(np.full((16, 16) if kind == 0 else (8, 8), 40 * number, np.uint8))
            page.save(file, format="TIFF", tiffinfo={tag: kind})
            file.newFrame()
    return path


@READERS
@pytest.mark.parametrize(
    ("kinds", "gray"),
    [((0, 1, 4, 5), 0), ((1, 0), 40), ((1, 4, 0, 1), 80), ((0,), 0), ((1,), 0)],
    ids=["overviews behind", "a thumbnail first", "between", "one", "nothing but a copy"],
)
def test_pages_that_are_copies_do_not_count(tmp_path, read, kinds, gray):
    path = write_pages(tmp_path / "a.tif", kinds)
    size = (16, 16) if 0 in kinds else (8, 8)
    for image in (read(path), read(path, page=0), read(str(path))):
        assert (image.size, image.mode, image.getpixel((3, 3))) == (size, "RGB", (gray,) * 3)
    if read is open_image:
        assert read_image_header(path).size == size


def test_an_image_of_the_caller_stays_at_its_page(tmp_path):
    with Image.open(write_pages(tmp_path / "a.tif", (0, 1, 0, 0))) as image:
        assert read_picture(image, page=2).getpixel((3, 3)) == (120,) * 3
        assert (image.tell(), read_picture(image, page=1).getpixel((3, 3))) == (0, (80,) * 3)
        image.seek(2)
        assert (read_picture(image).getpixel((3, 3)), image.tell()) == ((80,) * 3, 2)
        assert (read_picture(image, page=0).getpixel((3, 3)), image.tell()) == ((0,) * 3, 2)


@READERS
@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".JPG"])
def test_other_endings_of_jpeg(tmp_path, read, suffix):
    Image.new("RGB", (8, 8), (9, 9, 9)).save(tmp_path / f"a{suffix}", "JPEG")
    assert read(tmp_path / f"a{suffix}").size == (8, 8)


@READERS
def test_copies_as_they_were_marked_before_tiff_6(tmp_path, read):
    assert read(write_pages(tmp_path / "a.tif", (1, 2), tag=255)).getpixel((3, 3)) == (0, 0, 0)


@READERS
def test_stacks_are_refused_without_a_page(tmp_path, read):
    path = write_pages(tmp_path / "a.tif", (0, 1, 0, 0))
    for number, gray in enumerate((0, 80, 120)):
        assert read(path, page=number).getpixel((3, 3)) == (gray,) * 3
    with pytest.raises(ValueError, match=r"a\.tif.*stack of 3.*`page`"):
        read(path)
    for number in (3, -1):
        with pytest.raises(ValueError, match=rf"a\.tif.*no page {number}; it has 3"):
            read(path, page=number)
    for suffix in ("png", "webp"):
        frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
        frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], lossless=True)
        with pytest.raises(ValueError, match="an animation or a stack of 2"):
            read(tmp_path / f"a.{suffix}")
        assert read(tmp_path / f"a.{suffix}", page=1).getpixel((3, 3)) == (0, 0, 255)


def test_what_a_table_stores_is_the_picture_that_is_read(tmp_path):
    """The datasets library would show the first page."""
    picture, stored = stored_image(write_pages(tmp_path / "a.tif", (1, 0)))
    assert picture.size == (16, 16)
    assert Image.open(io.BytesIO(stored["bytes"])).size == (16, 16)
    assert stored_image(write_pages(tmp_path / "b.tif", (0, 1)))[1]["bytes"] is None


def test_visitors_of_a_space_get_the_same(tmp_path):
    pytest.importorskip("gradio")
    from dense_hf.spaces.uploads import read_upload

    with pytest.raises(InvalidDataError, match="stack of 2"):
        read_upload(write_pages(tmp_path / "a.tif", (0, 0)), 1000)
    assert read_upload(write_pages(tmp_path / "b.tif", (1, 0)), 1000).getpixel((3, 3)) == (40, 40, 40)


@READERS
def test_white_makes_12_bits_visible(tmp_path, read):
    values = np.array([[0, 1000, 2048, 4095, 5000]], np.uint16)
    expected = [0, 62, 128, 255, 255]
    for name in ("a.png", "a.tif"):
        Image.fromarray(values).save(tmp_path / name)
        for white in (4095, "4095"):
            assert np.asarray(read(tmp_path / name, white=white))[0, :, 1].tolist() == expected
    Image.fromarray(values.astype(np.float32)).save(tmp_path / "f.tif")
    assert np.asarray(read(tmp_path / "f.tif", white=4095))[0, :, 0].tolist() == expected
    ramp = np.arange(1000, dtype=np.uint16).reshape(20, 50)
    Image.fromarray(ramp).save(tmp_path / "r.png")
    got = np.asarray(read(tmp_path / "r.png", white="50%"))[..., 0]
    np.testing.assert_array_equal(got, np.rint(np.clip(ramp / np.median(ramp), 0, 1) * 255))
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "black.png")
    assert not np.asarray(read(tmp_path / "black.png", white="99.9%")).any()


def write_deep_colors(path, values):
    """A PNG of 16 bits per color, [H, W, 3] of uint16, which Pillow cannot write."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    return path


@READERS
def test_white_of_16_bit_colors(tmp_path, read):
    """Pillow keeps the higher 8 of the 16 bits, so that steps of 256 are left."""
    values = np.array([[[0, 1024, 2048], [4096, 4095, 60000]]], np.uint16)
    path = write_deep_colors(tmp_path / "a.png", values)
    got = np.asarray(read(path, white=4095)).astype(int)
    wanted = np.clip(values // 256 * 257 / 4095, 0, 1) * 255
    assert np.abs(got - wanted).max() <= 1
    assert got[0, 0].tolist() != [0, 4, 8]


@READERS
def test_white_that_is_none(tmp_path, read):
    Image.fromarray(np.full((4, 4), 300, np.uint16)).save(tmp_path / "a.png")
    for white in (0, -1, float("nan"), float("inf"), "0%", "101%", "much", "%"):
        with pytest.raises(ValueError, match="white must be"):
            read(tmp_path / "a.png", white=white)
    for white in (1, 4095.5, "99.9%", "100%", None):
        check_white(white)


@READERS
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nodata_names_the_image(tmp_path, read, value):
    values = np.ones((4, 4), np.float32)
    values[0, :3] = value
    Image.fromarray(values).save(tmp_path / "dem.tif")
    with pytest.raises(ValueError, match=r"dem\.tif.*3 of 16 values are NaN or infinite"):
        read(tmp_path / "dem.tif", white=1)


@pytest.mark.parametrize("read", [open_image, read_rgb])
def test_16_bits_that_are_hardly_used_are_said(tmp_path, read, caplog):
    deep = np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(deep).save(tmp_path / "a.png")
    with caplog.at_level(logging.WARNING, "dense_hf"):
        read(tmp_path / "a.png")
    assert "a.png" in caplog.text
    assert "no value above 4095" in caplog.text
    assert "--white" in caplog.text
    caplog.clear()
    read(tmp_path / "a.png", white=4095)
    assert not caplog.records


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_processors_refuse_floats_that_are_not_finite(dtype):
    from dense_hf import CFFMImageProcessor, IOCFormerImageProcessor, MCISImageProcessor

    pixels = np.ones((3, 64, 64), dtype)
    pixels[1, :2] = np.nan
    for processor in (IOCFormerImageProcessor(), MCISImageProcessor(), CFFMImageProcessor()):
        with pytest.raises(ValueError, match=r"Pixels must be finite.*128"):
            processor(pixels, do_rescale=False, return_tensors="pt")
