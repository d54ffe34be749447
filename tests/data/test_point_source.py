"""The same pictures and points, whatever they come from: a folder of IOCfish5K, a file of a tool, files for splits."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dense_hf import InvalidDataError
from dense_hf.data import AnnotatedPoints
from dense_hf.data.formats import AnnotatedImage, read_annotations, write_annotations
from dense_hf.data.formats.matching import float32_inside
from dense_hf.data.point_source import PointSource, random_splits


@pytest.fixture(scope="module")
def tools(tiny_set, tmp_path_factory):
    """The tiny set as a file of each tool, pictures apart: one list of pictures, but for folders of YOLO."""
    folder = tmp_path_factory.mktemp("tools")
    records = read_annotations(tiny_set)
    alike = [replace(record, split=None) for record in records]
    for format in ("csv", "coco", "cvat", "label_studio"):
        write_annotations(alike, folder / format, format)
    write_annotations(records, folder / "yolo", "yolo")
    return folder


def contents(examples):
    return {
        split: sorted((item.path.name, item.size, sorted(item.points.tolist())) for item in items)
        for split, items in examples.items()
    }


def test_a_folder_is_read_as_before(tiny_set):
    examples = PointSource(tiny_set).read(progress=False)
    assert {split: len(items) for split, items in examples.items()} == {"train": 6, "validation": 5, "test": 1}


@pytest.mark.parametrize("format", ["csv", "coco", "cvat", "label_studio", "yolo"])
def test_shares_are_the_same_pictures_in_every_format(format, tools, tiny_set):
    source = PointSource(tools / format, tiny_set / "images", format=format, validation=0.25, test=0.5, seed=3)
    if format == "yolo":  # which keeps the splits of the folder
        with pytest.raises(InvalidDataError, match="the splits train, validation, test"):
            source.read(progress=False)
        examples = PointSource(tools / format, tiny_set / "images").read(progress=False)
        assert contents(examples) == contents(PointSource(tiny_set).read(progress=False))
        return
    examples = source.read(progress=False)
    assert {split: len(items) for split, items in examples.items()} == {"train": 3, "validation": 3, "test": 6}
    whole = [item for items in PointSource(tiny_set).read(progress=False).values() for item in items]
    truth = {item.path.name: item for item in whole}
    expected = random_splits(sorted(truth), 0.25, 0.5, 3)
    assert contents(examples) == contents(
        {split: [truth[name] for name in names] for split, names in expected.items()}
    )


def test_splits_by_file_and_what_cannot_be(tools, tiny_set):
    images = tiny_set / "images"
    with pytest.raises(InvalidDataError, match="a picture of train or of validation"):
        PointSource(tools / "csv", images, format="csv", validation_data=tools / "csv").read(progress=False)
    with pytest.raises(ValueError, match="validation and validation_data exclude each other"):
        PointSource(tools / "csv", images, validation=0.5, validation_data=tools / "csv").read(progress=False)
    with pytest.raises(ValueError, match="a sum of at most 1"):
        PointSource(tools / "csv", images, validation=0.7, test=0.7).read(progress=False)
    assert list(PointSource(tools / "csv", images, format="csv").read("test", progress=False)) == ["test"]


def picture(path, size=(30, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size).save(path)


def test_splits_by_folder_and_by_file(tmp_path):
    """As Roboflow exports: a file in each folder, with pictures beside it that may have the same names."""
    for split, number in (("train", 1), ("valid", 2), ("test", 3)):
        picture(tmp_path / "set" / split / "0001.png")
        points = [[number, index] for index in range(number)]
        path = tmp_path / "set" / split / "_annotations.coco.json"
        write_annotations([AnnotatedImage.of_points("0001.png", points, (30, 20))], path, "coco")
    examples = PointSource(tmp_path / "set").read(progress=False)
    assert {split: len(items[0].points) for split, items in examples.items()} == {
        "train": 1,
        "validation": 2,
        "test": 3,
    }
    assert examples["validation"][0].path.parent.name == "valid"
    files = {name: tmp_path / "set" / name / "_annotations.coco.json" for name in ("train", "valid", "test")}
    by_file = PointSource(files["train"], validation_data=files["valid"], test_data=files["test"]).read(progress=False)
    assert contents(by_file) == contents(examples)


def test_names_of_tools_find_their_pictures_or_all_missing_ones_are_listed(tmp_path, logged):
    for name in ("a/1.png", "b/1.png", "lonely.jpg", "0a1b2c3d-x.png", "deep/er/y.tif"):
        picture(tmp_path / "photos" / name)
    rows = ["C:\\x\\a\\1.png,1,1", "C:\\x\\b\\1.png,2,2", "C:\\x\\99ffaa00-x.png,3,3", "C:\\x\\y,29.9999999999,4"]
    (tmp_path / "p.csv").write_text("\n".join(["image,x,y", *rows]))
    # Label Studio's eight digits may be in front of the file, too, but then they must agree
    with pytest.raises(InvalidDataError, match=r"99ffaa00-x\.png: expected a picture of this name"):
        PointSource(tmp_path / "p.csv", tmp_path / "photos").read(progress=False)
    picture(tmp_path / "photos" / "x.png")
    (found,) = PointSource(tmp_path / "p.csv", tmp_path / "photos").read(progress=False).values()
    names = [item.path.relative_to(tmp_path / "photos").as_posix() for item in found]
    assert names == ["a/1.png", "b/1.png", "x.png", "deep/er/y.tif"]
    assert found[3].points[0][0] == np.nextafter(np.float32(30), np.float32(0))  # not 30, which is outside
    assert any("2 pictures without annotations are left out (0a1b2c3d-x.png, lonely.jpg)" in one for one in logged())
    (tmp_path / "p.csv").write_text("image,x,y\nx/1.png,1,1\ngone.png,1,1\n")
    with pytest.raises(InvalidDataError) as error:
        PointSource(tmp_path / "p.csv", tmp_path / "photos").read(progress=False)
    assert "one picture that 'x/1.png' can mean" in str(error.value)
    assert "gone.png: expected a picture of this name" in str(error.value)


def test_a_phone_picture_of_label_studio_is_read_upright(tmp_path):
    """It says the stored size of pictures that are shown turned; its percents are of what is shown."""
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("L", (40, 20)).save(tmp_path / "phone.jpg", exif=turned)  # shown as 20 x 40
    record = AnnotatedImage.of_points("phone.jpg", [[10, 5]], (40, 20))
    write_annotations([record], tmp_path / "export.json", "label_studio")
    (items,) = PointSource(tmp_path / "export.json").read(progress=False).values()
    assert items[0].size == (20, 40)
    assert items[0].points.tolist() == [[5, 10]]
    write_annotations([record], tmp_path / "export.xml", "cvat")
    with pytest.raises(InvalidDataError, match=r"40 x 20 for phone\.jpg, which has 20 x 40"):
        PointSource(tmp_path / "export.xml").read(progress=False)


def test_rounding_loses_no_point():
    points = np.array([[99.9999999999, 0.0], [50.1, 9.99999999]])
    rounded = float32_inside(points, (100, 10))
    assert rounded.dtype == np.float32
    assert (rounded < [100, 10]).all()
    assert np.allclose(rounded, points, atol=1e-5)


def test_a_builder_of_any_format(tiny_set, tools, tmp_path):
    """The same rows as of the folder itself, and classes; other annotations are another cache."""
    builder = AnnotatedPoints(
        tools / "cvat", tiny_set / "images", validation=0.25, test=0.25, seed=2, cache_dir=str(tmp_path / "cache")
    )
    builder.download_and_prepare()
    data = builder.as_dataset()
    assert {split: len(rows) for split, rows in data.items()} == {"train": 6, "validation": 3, "test": 3}
    whole = {item.path.name: item for items in PointSource(tiny_set).read(progress=False).values() for item in items}
    for rows in data.values():
        for row in rows:
            truth = whole[row["image_id"]]
            assert row["points"] == truth.points.tolist()
            assert row["classes"] == ["object"] * len(truth.points)
            assert np.array_equal(row["image"], truth.open())
    other = AnnotatedPoints(tools / "cvat", tiny_set / "images", cache_dir=str(tmp_path / "cache"))
    assert other.cache_dir != builder.cache_dir
