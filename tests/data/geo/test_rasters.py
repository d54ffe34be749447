"""TIFF files of every kind that rasterio writes: read by windows as the whole picture is read."""

import io
import logging

import numpy as np
import pytest
from PIL import Image
from small_maps import TEN_CENTIMETERS, UTM, write_map
from transformers import pipeline

from dense_hf import InvalidDataError
from dense_hf.data import open_image
from dense_hf.data.geo.pictures import OpenedPicture
from dense_hf.data.geo.rasters import RasterPicture
from dense_hf.data.geo.tiff_directories import tiff_directories
from dense_hf.data.images import read_size, stored_image
from dense_hf.data.point_source import PointSource
from dense_hf.inference.point_source_options import PointSourceArguments

rasterio = pytest.importorskip("rasterio")

GENERATOR = np.random.default_rng(0)
COLORS = GENERATOR.integers(0, 256, (3, 150, 217), dtype=np.uint8)
TWELVE_BITS = GENERATOR.integers(0, 4096, (1, 150, 217), dtype=np.uint16)


def by_windows(path, **options) -> np.ndarray:
    """[h, w, 3] put together from windows of odd sizes."""
    with OpenedPicture(path, max_pixels=100, **options) as picture:
        assert isinstance(picture.image, RasterPicture)
        width, height = picture.image.size

        def window(x, y):
            return np.asarray(picture.image.crop((x, y, min(x + 53, width), min(y + 37, height))))

        rows = [np.concatenate([window(x, y) for x in range(0, width, 53)], axis=1) for y in range(0, height, 37)]
        return np.concatenate(rows)


def at_once(path, **options) -> np.ndarray:
    with OpenedPicture(path, **options) as picture:
        assert isinstance(picture.image, Image.Image)
        return np.asarray(picture.image)


@pytest.mark.parametrize(
    "profile",
    [
        {},
        {"tiled": True, "blockxsize": 64, "blockysize": 32},
        {"compress": "deflate", "interleave": "band"},
        {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "lzw", "predictor": 2, "interleave": "pixel"},
        {"BIGTIFF": "YES"},
    ],
    ids=["strips", "tiles", "planes", "compressed tiles", "BigTIFF"],
)
def test_windows_are_the_picture(tmp_path, profile):
    path = write_map(tmp_path / "a.tif", COLORS, photometric="RGB", **profile)
    np.testing.assert_array_equal(by_windows(path), COLORS.transpose(1, 2, 0))
    np.testing.assert_array_equal(at_once(path), COLORS.transpose(1, 2, 0))


@pytest.mark.parametrize("white", [None, "4095", "99.9%", "50%", "33.3%"])
@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_white_is_that_of_pillow_and_numpy(tmp_path, kind, white):
    """What `open_image` makes of the same file; a percentile needs all pixels, which windows never have at once."""
    values = TWELVE_BITS.astype(kind) - (300 if kind is np.float32 else 0)
    if white is None and kind is np.float32:
        pytest.skip("floats need a white")
    path = write_map(tmp_path / "a.tif", values)
    np.testing.assert_array_equal(by_windows(path, white=white), np.asarray(open_image(path, white=white)))


def test_nearly_black_pictures_are_warned_of(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        by_windows(write_map(tmp_path / "a.tif", TWELVE_BITS))
    assert f"no value above {TWELVE_BITS.max()}" in caplog.text


def test_bands(tmp_path):
    """Five bands have no colors until somebody says which; three of four are those that the file calls so."""
    many = GENERATOR.integers(0, 256, (5, 40, 50), dtype=np.uint8)
    path = write_map(tmp_path / "five.tif", many, photometric="MINISBLACK")
    with pytest.raises(InvalidDataError, match=r"five\.tif.*5 bands.*--bands 3,2,1"):
        OpenedPicture(path)
    np.testing.assert_array_equal(at_once(path, bands=[5, 3, 1]), many[[4, 2, 0]].transpose(1, 2, 0))
    np.testing.assert_array_equal(at_once(path, bands=[2]), np.repeat(many[1][..., None], 3, axis=2))
    np.testing.assert_array_equal(by_windows(path, bands=[5, 3, 1]), many[[4, 2, 0]].transpose(1, 2, 0))
    for bands in ([6], [0], [1, 2]):
        with pytest.raises(InvalidDataError, match="one band, or three, of 1 to 5"):
            OpenedPicture(path, bands=bands)
    path = write_map(tmp_path / "rgba.tif", many[:4], photometric="RGB", alpha="YES")
    for read in (at_once, by_windows):
        np.testing.assert_array_equal(read(path), many[:3].transpose(1, 2, 0))
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    with pytest.raises(InvalidDataError, match=r"a\.png.*a TIFF file"):
        OpenedPicture(tmp_path / "a.png", bands=[1])


def test_palettes(tmp_path):
    colors = Image.fromarray(COLORS.transpose(1, 2, 0)).quantize(30)
    colors.save(tmp_path / "a.tif")
    np.testing.assert_array_equal(by_windows(tmp_path / "a.tif"), np.asarray(colors.convert("RGB")))


@pytest.mark.parametrize("read", [at_once, by_windows])
def test_nodata_is_black_and_no_part_of_percentiles(tmp_path, read):
    values = TWELVE_BITS.astype(np.float32)
    expected = np.asarray(open_image(write_map(tmp_path / "all.tif", values[:, :, 50:]), white="99%"))
    values[:, :, :50] = np.nan
    for name, profile, options in (
        ("said", {"nodata": np.nan}, {}),
        ("given", {}, {"nodata": np.nan}),
    ):
        shown = read(write_map(tmp_path / f"{name}.tif", values, **profile), white="99%", **options)
        assert not shown[:, :50].any()
        np.testing.assert_array_equal(shown[:, 50:], expected)
    with pytest.raises(InvalidDataError, match="NaN"):
        read(write_map(tmp_path / "unsaid.tif", values), white="4095")
    values[:, :, :50] = -9999
    shown = read(write_map(tmp_path / "number.tif", values, nodata=-9999), white="99%")
    np.testing.assert_array_equal(shown[:, 50:], expected)
    assert not shown[:, :50].any()


def test_white_nodata_of_colors_is_all_bands(tmp_path):
    """255 in one band alone is a color."""
    pixels = COLORS.copy()
    pixels[:, 10:20, 30:60] = 255
    pixels[0, 50, 50] = 255
    shown = at_once(write_map(tmp_path / "a.tif", pixels, nodata=255, photometric="RGB"))
    assert not shown[10:20, 30:60].any()
    assert shown[50, 50, 0] == 255


def test_overviews_are_no_pages_and_make_small_pictures(tmp_path):
    path = write_map(tmp_path / "a.tif", np.full((3, 300, 400), 90, np.uint8), tiled=True, blockxsize=128,
                     blockysize=128, photometric="RGB")  # fmt: skip
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4])
    assert [(one.number, one.width, one.height) for one in tiff_directories(path)] == [(1, 400, 300)]
    with OpenedPicture(path, max_pixels=100) as picture:
        small = picture.image.reduced(100)
        assert (small.size, small.getpixel((50, 40))) == ((100, 75), (90, 90, 90))
    stack = [Image.new("L", (40, 30), gray) for gray in (10, 20, 30)]
    stack[0].save(tmp_path / "stack.tif", save_all=True, append_images=stack[1:])
    with pytest.raises(InvalidDataError, match=r"stack of 3; `page`"):
        OpenedPicture(tmp_path / "stack.tif", max_pixels=100)
    assert (by_windows(tmp_path / "stack.tif", page=2) == 30).all()


def test_broken_files_are_named(tmp_path):
    whole = write_map(tmp_path / "a.tif", COLORS, compress="deflate", photometric="RGB").read_bytes()
    for name, content in (("cut", whole[: len(whole) * 2 // 3]), ("head", whole[:60])):
        path = tmp_path / f"{name}.tif"
        path.write_bytes(content)
        with pytest.raises(InvalidDataError, match=name):
            by_windows(path)


def test_huge_blocks_are_refused(tmp_path, monkeypatch):
    """A file of one strip or one tile can only be read whole."""
    monkeypatch.setattr("dense_hf.data.geo.rasters._MAX_BLOCK_BYTES", 256 * 256 * 3 - 1)
    fits = write_map(tmp_path / "fits.tif", COLORS, tiled=True, blockxsize=256, blockysize=256, interleave="band")
    assert by_windows(fits, bands=[1, 2, 3]).shape == (150, 217, 3)
    path = write_map(tmp_path / "one.tif", COLORS, tiled=True, blockxsize=256, blockysize=256, interleave="pixel")
    with pytest.raises(InvalidDataError, match=r"one\.tif.*TILED=YES.*blocks of 256 x 256"):
        OpenedPicture(path, max_pixels=100)


def test_without_rasterio(tmp_path, monkeypatch, caplog):
    """What Pillow reads is read; else the extra is named. That a place on the map is lost is said."""
    usual = write_map(tmp_path / "usual.tif", COLORS, photometric="RGB")
    large = write_map(tmp_path / "large.tif", COLORS, photometric="RGB")
    monkeypatch.setitem(__import__("sys").modules, "rasterio", None)
    with OpenedPicture(usual) as picture:
        np.testing.assert_array_equal(np.asarray(picture.image), COLORS.transpose(1, 2, 0))
        assert picture.frame is None
    assert "dense_hf[geo]" in caplog.text
    with pytest.raises(InvalidDataError, match=r"large\.tif.*dense_hf\[geo\]"):
        OpenedPicture(large, max_pixels=100)


def test_masks_and_nodata_are_not_seen(tmp_path):
    pixels = COLORS.copy()
    pixels[:, :, :17] = 0
    with OpenedPicture(write_map(tmp_path / "a.tif", pixels, nodata=0, photometric="RGB")) as picture:
        seen = picture.seen(20, 60)
        assert seen.shape == (40, 217)
        assert not seen[:, :17].any()
        assert seen[:, 17:].mean() > 0.99
    with OpenedPicture(write_map(tmp_path / "b.tif", pixels, photometric="RGB")) as picture:
        assert picture.seen(0, 10) is None
        assert picture.frame.transform == TEN_CENTIMETERS
        assert picture.frame.crs == UTM
    alpha = np.concatenate([pixels, np.full((1, 150, 217), 255, np.uint8)])
    alpha[3, :, 200:] = 0
    with OpenedPicture(write_map(tmp_path / "c.tif", alpha, photometric="RGB", alpha="YES")) as picture:
        seen = picture.seen(0, 150)
        assert seen[:, :200].all()
        assert not seen[:, 200:].any()


FIVE_BANDS = GENERATOR.integers(0, 4096, (5, 30, 40), dtype=np.uint16)


@pytest.fixture
def five_bands(tmp_path):
    """A picture of five bands of 12 bits, as a multispectral camera writes them, and its points."""
    path = write_map(tmp_path / "field.tif", FIVE_BANDS, nodata=None)
    (tmp_path / "points.csv").write_text("image,x,y\nfield.tif,3.5,4.5\nfield.tif,20,7\n")
    return path


READING = {"white": "4095", "bands": [3, 2, 1]}
SHOWN = np.rint(FIVE_BANDS[2::-1].transpose(1, 2, 0) / 4095 * 255).astype(np.uint8)


def test_pictures_of_many_bands_are_read_alike_everywhere(five_bands):
    """By `open_image`, by what trainings and evaluations read, and as `dense-hf count` does."""
    assert read_size(five_bands) == (40, 30)
    np.testing.assert_array_equal(np.asarray(open_image(five_bands, **READING)), SHOWN)
    np.testing.assert_array_equal(at_once(five_bands, **READING), SHOWN)
    source = PointSource(five_bands.parent / "points.csv", reading=READING)
    (example,) = source.read(progress=False)["train"]
    assert example.size == (40, 30)
    np.testing.assert_array_equal(np.asarray(example.open()), SHOWN)
    (without,) = PointSource(five_bands.parent / "points.csv").read(progress=False)["train"]
    with pytest.raises(InvalidDataError, match=r"field\.tif.*5 bands.*--bands 3,2,1"):
        without.open()
    with pytest.raises(InvalidDataError, match=r"at most 100 pixels.*40 x 30"):
        open_image(five_bands, max_pixels=100, **READING)


def test_options_of_trainings_say_how_pictures_are_read(five_bands):
    arguments = PointSourceArguments(**READING, nodata=float("nan"))
    assert arguments.find_problems() == []
    reading = arguments.point_source(str(five_bands)).reading
    assert reading.keys() == {"white", "bands", "nodata"}
    assert PointSourceArguments().point_source("x").reading == {}
    problems = PointSourceArguments(white="bright", bands=[0, 1]).find_problems()
    assert "bands must be one number or three" in problems[0]
    assert "white must be a value above 0" in problems[1]


def test_nodata_of_a_picture_that_pillow_would_show(tmp_path):
    """White where nothing is seen, says Pillow; black, says the file."""
    pixels = COLORS[:, :30, :40].copy()
    pixels[:, :, :7] = 255
    path = write_map(tmp_path / "a.tif", pixels, nodata=255, photometric="RGB")
    picture = np.asarray(open_image(path))
    assert not picture[:, :7].any()
    np.testing.assert_array_equal(picture[:, 7:], pixels[:, :, 7:].transpose(1, 2, 0))
    stored, cell = stored_image(path)
    assert cell["bytes"] is not None  # the datasets library would show it as Pillow does
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(cell["bytes"]))), np.asarray(stored))
    Image.fromarray(picture).save(tmp_path / "b.png")
    with pytest.raises(InvalidDataError, match=r"b\.png.*a TIFF file, if bands or nodata are given"):
        open_image(tmp_path / "b.png", nodata=0)


def test_pipelines_read_such_pictures(five_bands, counter_checkpoint):
    counter = pipeline("object-counting", model=counter_checkpoint, threshold=0.4)
    expected = counter(Image.fromarray(SHOWN))
    assert counter(str(five_bands), white=4095, bands=[3, 2, 1]) == expected
    assert counter([five_bands], white="4095", bands=[3, 2, 1]) == [expected]
    with pytest.raises(ValueError, match=r"field\.tif.*5 bands.*`bands`"):
        counter(str(five_bands))
    with pytest.raises(ValueError, match="bands and nodata are for TIFF files"):
        counter(Image.fromarray(SHOWN), bands=[1])
