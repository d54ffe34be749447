"""Images of every kind that people have, and files that only look like images."""

import contextlib
import os
import struct
import zlib

import datasets
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.TiffImagePlugin import AppendingTiffWriter

from dense_hf import InvalidDataError
from dense_hf.data import open_image, read_image_header

PIXELS = np.arange(6 * 9 * 3, dtype=np.uint8).reshape(6, 9, 3)  # 9 wide, 6 high


def save(path, image, **options):
    image.save(path, **options)
    return path


def header_only_png(path, width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)))
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_rgb_is_read_as_it_is(tmp_path, suffix):
    image = open_image(save(tmp_path / f"a.{suffix}", Image.fromarray(PIXELS)))
    assert image.mode == "RGB"
    assert np.array_equal(image, PIXELS)


def test_grey_palette_and_bilevel_become_rgb(tmp_path):
    gray = Image.fromarray(PIXELS[..., 0])
    for name, image in (("L", gray), ("P", gray.convert("P")), ("1", gray.convert("1"))):
        read = np.array(open_image(save(tmp_path / f"{name}.png", image)))
        assert np.array_equal(read, np.repeat(np.array(image.convert("L"))[..., None], 3, axis=2)), name


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    values = np.array([[0, 128, 129, 257, 32768, 65535, 300]], dtype=np.uint16)
    expected = np.round(values / 257).astype(int)
    for name in ("a.png", "a.tif"):
        read = np.array(open_image(save(tmp_path / name, Image.fromarray(values))))
        assert read.shape == (1, 7, 3)
        assert (read == expected[..., None]).all()


def test_32_bits_are_refused_beyond_16_and_floats_always(tmp_path):
    fitting = save(tmp_path / "a.tif", Image.fromarray(np.array([[0, 65535]], np.int32)))
    assert np.array(open_image(fitting))[0, :, 0].tolist() == [0, 255]
    for values in (np.array([[0, 65536]], np.int32), np.array([[-1, 5]], np.int32), np.array([[0.5]], np.float32)):
        with pytest.raises(InvalidDataError, match="16 bits"):
            open_image(save(tmp_path / "b.tif", Image.fromarray(values)))


def test_transparency_is_dropped_and_stored_colors_kept(tmp_path):
    rgba = np.dstack([PIXELS, np.linspace(0, 255, 54).astype(np.uint8).reshape(6, 9)])
    assert np.array_equal(open_image(save(tmp_path / "a.png", Image.fromarray(rgba))), PIXELS)
    palette = Image.fromarray(PIXELS[..., 0]).convert("P")
    read = open_image(save(tmp_path / "b.png", palette, transparency=0))
    assert np.array_equal(np.array(read)[..., 0], PIXELS[..., 0])


def test_cmyk_has_the_colors_that_were_printed(tmp_path):
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    red, green, blue = np.array(open_image(save(tmp_path / "a.jpg", cyan, quality=95)))[8, 8].tolist()
    assert red < 10
    assert green > 150
    assert blue > 150


# where the stored pixel (0, 0) is shown, as (left or right, top or bottom) and whether the axes change places
SHOWN = {
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2), 6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1], 8: lambda a: a.transpose(1, 0, 2)[::-1],
}  # fmt: skip


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp"])
@pytest.mark.parametrize("orientation", SHOWN)
def test_the_image_is_upright_as_annotations_expect(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}.get(suffix, {})
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(PIXELS), exif=exif, **options)
    image, header = open_image(path), read_image_header(path)
    assert np.abs(np.array(image).astype(int) - SHOWN[orientation](PIXELS)).max() <= (6 if suffix == "jpg" else 0)
    assert image.size == (header.width, header.height)
    assert image.getexif().get(0x0112, 1) == 1  # nobody turns it a second time
    assert datasets.Image(mode="RGB").decode_example({"path": str(path), "bytes": None}).size == image.size


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_unknown_orientation_changes_nothing(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(open_image(save(tmp_path / "a.png", Image.fromarray(PIXELS), exif=exif)), PIXELS)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_pixels_are_counted_before_decoding(tmp_path):
    with pytest.raises(InvalidDataError, match=r"at most 89478485 pixels.*9460 x 9460"):
        open_image(header_only_png(tmp_path / "a.png", 9460, 9460))
    with pytest.raises(InvalidDataError, match=r"a\.png"):  # beyond Pillow's own limit
        open_image(header_only_png(tmp_path / "a.png", 60000, 60000), max_pixels=2**40)
    path = save(tmp_path / "b.png", Image.fromarray(PIXELS))
    assert open_image(path, max_pixels=54).size == (9, 6)
    for read in (open_image, read_image_header):
        with pytest.raises(InvalidDataError, match=r"at most 53 pixels.*9 x 6"):
            read(path, max_pixels=53)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "bmp", "webp"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.95])
def test_truncated_images_are_refused(tmp_path, suffix, share):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(noise))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InvalidDataError, match=f"a\\.{suffix}"):
        open_image(path)


def test_what_is_not_an_image_is_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "text.jpg").write_text("<svg/>")
    (tmp_path / "vector.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")
    Image.fromarray(PIXELS).save(tmp_path / "animation.jpg", format="GIF")
    for path in [*tmp_path.iterdir(), tmp_path / "missing.jpg"]:
        for read in (open_image, read_image_header):
            with pytest.raises(InvalidDataError):
                read(path)


def test_a_file_is_measured_before_it_is_opened(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(PIXELS))
    os.truncate(path, 2**33)  # sparse, and a whole image at its beginning
    with pytest.raises(InvalidDataError, match=r"at most 1073741824 bytes\. Received: 8589934592 bytes"):
        open_image(path)


def test_stacks_are_refused(tmp_path):
    page = Image.fromarray(PIXELS)
    for suffix in ("tif", "png", "webp"):
        other = Image.fromarray(255 - PIXELS)
        with pytest.raises(InvalidDataError, match="one picture"):
            open_image(save(tmp_path / f"a.{suffix}", page, save_all=True, append_images=[other]))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow on damaged tags
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_damaged_files_give_an_image_or_the_one_error(tmp_path, data):
    kind = data.draw(st.sampled_from(["png", "jpg", "tif", "bmp", "webp"]))
    original = tmp_path / f"whole.{kind}"
    if not original.exists():
        save(original, Image.fromarray(PIXELS))
    content = bytearray(original.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "damaged").write_bytes(content)
    with contextlib.suppress(InvalidDataError):
        assert open_image(tmp_path / "damaged", max_pixels=10_000).mode == "RGB"


def write_pages(path, kinds):
    """A TIFF with a page for each NewSubfileType."""
    with AppendingTiffWriter(str(path), new=True) as file:
        for place, kind in enumerate(kinds):
            page = Image.fromarray(np.full((16 >> place, 16 >> place), 60 * place, np.uint8))
            page.save(file, format="TIFF", tiffinfo={254: kind})
            file.newFrame()


def test_smaller_copies_and_masks_beside_a_picture_are_no_stack(tmp_path):
    """As in a cloud-optimized GeoTIFF: overviews have bit 0, masks bit 2."""
    write_pages(tmp_path / "cog.tif", [0, 1, 4, 5])
    assert open_image(tmp_path / "cog.tif").size == (16, 16)
    assert read_image_header(tmp_path / "cog.tif").size == (16, 16)
    write_pages(tmp_path / "stack.tif", [0, 1, 0])
    with pytest.raises(InvalidDataError, match="an animation or a stack of 2"):
        open_image(tmp_path / "stack.tif")


@pytest.mark.parametrize(("highest", "is_said"), [(4095, True), (1023, True), (65535, False), (0, False)])
def test_values_of_12_bits_in_16_are_said(tmp_path, caplog, highest, is_said):
    Image.fromarray(np.linspace(0, highest, 64).astype(np.uint16).reshape(8, 8)).save(tmp_path / "a.png")
    open_image(tmp_path / "a.png")
    assert [f"no value above {highest}" in record.getMessage() for record in caplog.records] == [True] * is_said
