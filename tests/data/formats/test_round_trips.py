"""1,000 points through every writer and back through its reader, and what a format cannot hold is refused."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dense_hf.data.formats import WRITABLE_FORMATS, AnnotatedImage, iocfish5k, read_annotations, write_annotations
from dense_hf.data.formats.label_studio import to_percents, to_pixels
from dense_hf.data.formats.yolo import to_pixels as of_shares
from dense_hf.data.formats.yolo import to_shares

SIZES = {"reef 01.png": (4032, 3024), "dive/b.jpg": (61, 97), "nothing.png": (20, 30)}
NAMES = ("fish", "sea urchin", 'étoile; "de" mer, d\'or', "=1+1")


@pytest.fixture(scope="module")
def records():
    rng = np.random.default_rng(5)
    found = []
    for name, number in (("reef 01.png", 700), ("dive/b.jpg", 300), ("nothing.png", 0)):
        size = np.array(SIZES[name])
        points = rng.random((number, 2)) * size
        if number:
            points[:4] = [[0, 0], np.nextafter(size, 0), size - 0.25, np.floor(points[3])]
            points[5] = points[4]  # two objects at one place
        classes = [NAMES[index] for index in rng.integers(0, len(NAMES), number)]
        found.append(AnnotatedImage.of_points(name, points, SIZES[name], classes))
    return found


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "dive").mkdir()
    for name, size in SIZES.items():
        Image.new("L", size).save(folder / name)
    return folder


def stem(image):
    return Path(str(image)).name.removesuffix(".png").removesuffix(".jpg")


def rows(record):
    return sorted(zip([str(name) for name in record.classes], *record.points.T.tolist()))


@pytest.mark.parametrize("format", WRITABLE_FORMATS)
def test_points_come_back_as_they_were(format, records, pictures, tmp_path):
    path = tmp_path / ("out.json" if format in ("coco", "label_studio") else f"out.{format}")
    if format == "iocfish5k":
        iocfish5k.write(records, path, [pictures / str(record.image) for record in records])
    else:
        write_annotations(records, path, format)
    back = read_annotations(path, images=pictures if format == "yolo" else None)
    assert back.format == format
    assert back.problems == ()
    found = {stem(one.image): one for one in back}
    for record in records:
        one = found[stem(record.image)]
        assert len(one) == len(record)
        for first, second in zip(rows(one), rows(record)):
            assert first[0] == second[0]
            assert np.allclose(first[1:], second[1:], rtol=0, atol=1e-6)
        if format not in ("csv", "qupath") and (len(record) or format != "label_studio"):
            assert one.size == record.size


@pytest.mark.parametrize("format", WRITABLE_FORMATS)
def test_splits_come_back(format, pictures, tmp_path):
    """Also of pictures without objects; a picture of no split stays one, but where each must be in a list."""
    splits = dict(zip(SIZES, ("test", "validation", None)))
    records = [AnnotatedImage.of_points(name, [[3, 4]], SIZES[name], split=split) for name, split in splits.items()]
    path = tmp_path / ("out.json" if format in ("coco", "label_studio") else f"out.{format}")
    if format == "iocfish5k":
        iocfish5k.write(records, path, [pictures / str(record.image) for record in records])
    else:
        write_annotations(records, path, format)
    found = {
        stem(one.image): one.split for one in read_annotations(path, images=pictures if format == "yolo" else None)
    }
    missing = "train" if format in ("yolo", "iocfish5k") else None
    assert found == {stem(name): split or missing for name, split in splits.items()}


@settings(max_examples=25, deadline=None)
@given(
    points=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True)), max_size=5),
    size=st.tuples(st.integers(1, 100_000), st.integers(1, 100_000)),
)
def test_any_point_survives_what_tools_write(points, size, tmp_path_factory):
    """Shares and percents of the sides, and decimals: nothing is off by more than the rounding of a float."""
    pixels = np.array(points).reshape(-1, 2) * size
    pixels = np.minimum(pixels, np.nextafter(np.array(size, float), 0))
    for x, y in pixels:
        assert np.allclose(to_pixels(*to_percents(x, y, size), size), (x, y), rtol=0, atol=1e-9)
        assert np.allclose(of_shares(*to_shares(x, y, size), size), (x, y), rtol=0, atol=1e-9)
    path = tmp_path_factory.mktemp("any")
    for format in ("csv", "coco", "cvat"):
        write_annotations([AnnotatedImage.of_points("a.png", pixels, size)], path / format, format)
        # a table of numbers from 0 to 1 is refused unless somebody says what they are
        back = read_annotations(path / format, format=format, unit="pixel" if format == "csv" else None)
        assert back[0].points.tolist() == pixels.tolist()
        assert back.num_dropped == 0


def test_what_a_format_cannot_hold_is_refused(tmp_path):
    nameless = [AnnotatedImage.of_points(None, [[1, 2]], (5, 5))]
    sizeless = [AnnotatedImage.of_points("a.png", [[1, 2]])]
    twins = [AnnotatedImage.of_points(name, [[1, 2]], (5, 5)) for name in ("a.png", "a.jpg")]
    for format in ("yolo", "labelme", "cvat", "label_studio", "qupath", "geojson", "iocfish5k"):
        with pytest.raises(ValueError, match="name"):
            write_annotations(nameless, tmp_path / format, format)
    for format in ("yolo", "cvat", "label_studio", "iocfish5k"):
        with pytest.raises(ValueError, match="size"):
            write_annotations(sizeless, tmp_path / format, format)
    for format in ("yolo", "labelme", "qupath", "iocfish5k"):
        with pytest.raises(ValueError, match="names that differ"):
            write_annotations(twins, tmp_path / format, format)
    with pytest.raises(ValueError, match="format must be one of"):
        write_annotations(sizeless, tmp_path / "a", "voc")
    assert list(tmp_path.iterdir()) == []


def test_nothing_of_a_user_is_overwritten(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="new or empty folder"):
        write_annotations([AnnotatedImage.of_points("a.png", [], (5, 5))], tmp_path / "mine", "labelme")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "mine"
