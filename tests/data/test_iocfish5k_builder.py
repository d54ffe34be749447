"""The builder: one table for every way of reading a folder, and the one error for every bad file."""

import logging
import os
import shutil

import datasets
import numpy as np
import pytest
from PIL import Image

from dense_hf import InvalidDataError
from dense_hf.data import IOCfish5K, compare_with_release, generate_miniature_set, open_image, statistics, write_points
from dense_hf.data.point_folder import ImageSummary


@pytest.fixture(scope="module")
def miniature(tmp_path_factory):
    folder = tmp_path_factory.mktemp("miniature") / "set"
    generate_miniature_set(folder, 5, 2, 3, image_size=(60, 50), max_objects=6)
    return folder


@pytest.fixture
def folder(tmp_path, miniature):
    return shutil.copytree(miniature, tmp_path / "set")


@pytest.fixture(autouse=True)
def quiet_and_heard(caplog):
    logger = logging.getLogger("transformers")  # does not propagate, so caplog would not hear it
    logger.addHandler(caplog.handler)
    yield
    logger.removeHandler(caplog.handler)


def build(folder, cache, **options):
    builder = IOCfish5K(data_dir=folder, cache_dir=cache)
    builder.download_and_prepare(**options)
    return builder.as_dataset()


def rows(dataset):
    return [{**row, "image": np.array(row["image"]).tolist()} for row in dataset]


def test_columns_and_order(folder, tmp_path):
    data = build(folder, str(tmp_path / "cache"))
    assert {split: len(part) for split, part in data.items()} == {"train": 5, "validation": 2, "test": 3}
    train = data["train"]
    assert train["image_id"][:] == [f"synthetic_train_{i:05d}.jpg" for i in range(5)]
    assert [len(points) > 0 for points in train["points"]] == [True, False, True, True, True]
    assert train.features["points"] == datasets.List(datasets.List(datasets.Value("float32"), length=2))
    assert np.array_equal(train[0]["image"], open_image(folder / "images" / train[0]["image_id"]))
    assert set(train["num_dropped"]) == {0}


@pytest.mark.smoke
def test_two_processes_and_streaming_give_the_same_rows(folder, tmp_path):
    alone = build(folder, str(tmp_path / "cache"))
    together = build(folder, str(tmp_path / "cache2"), num_proc=2)
    for split in ("train", "validation", "test"):
        stream = IOCfish5K(data_dir=folder, cache_dir=str(tmp_path / "cache3")).as_streaming_dataset(split)
        assert rows(alone[split]) == rows(together[split]) == rows(stream)
    assert stream.num_shards == 3


def test_edited_files_are_read_again(folder, tmp_path):
    cache = str(tmp_path / "cache")
    name = build(folder, cache)["train"][0]["image_id"]
    with Image.open(folder / "images" / name) as image:
        write_points(folder / "annotations" / f"{name[:-4]}.xml", [(1, 2)], name, image.size)
    assert build(folder, cache)["train"][0]["points"] == [[1, 2]]
    Image.new("RGB", (40, 30)).save(folder / "images" / name)
    assert build(folder, cache)["train"][0]["image"].size == (40, 30)
    (folder / "train_id.txt").write_text(f"{name}\n")
    assert len(build(folder, cache)["train"]) == 1


def test_ids_need_no_suffix_and_lists_may_be_missing(folder, tmp_path):
    before = build(folder, str(tmp_path / "cache"))["train"]
    names = (folder / "train_id.txt").read_text()
    (folder / "train_id.txt").write_text(names.replace(".jpg", ""))
    (folder / "val_id.txt").unlink()
    after = build(folder, str(tmp_path / "cache"))
    assert list(after) == ["train", "test"]
    assert rows(after["train"]) == rows(before)


def test_an_id_without_suffix_must_be_clear(folder, tmp_path):
    (folder / "train_id.txt").write_text("synthetic_train_00000\n")
    Image.new("RGB", (60, 50)).save(folder / "images" / "synthetic_train_00000.png")
    with pytest.raises(InvalidDataError, match=r"write its suffix.*\.jpg.*\.png"):
        build(folder, str(tmp_path / "cache"))


def test_dropped_points_are_reported_once(folder, tmp_path, caplog):
    for index in (0, 2):
        path = folder / "annotations" / f"synthetic_train_{index:05d}.xml"
        path.write_text(
            "<annotation>"
            "<object><point><x>3</x><y>4</y></point></object><object><point><x>999</x><y>4</y></point></object>"
            "</annotation>"
        )
    data = build(folder, str(tmp_path / "cache"), num_proc=2)
    assert data["train"]["num_dropped"][:] == [1, 0, 1, 0, 0]
    assert data["train"][0]["points"] == [[3, 4]]
    messages = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert len(messages) == 1
    assert "2 objects in 2 images" in messages[0]


def test_every_kind_of_image_is_seen_as_open_image_sees_it(tmp_path):
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    noise = np.random.default_rng(0).integers(0, 65536, (20, 30), dtype=np.uint16)
    sideways = Image.Exif()
    sideways[0x0112] = 6
    Image.fromarray(noise).save(folder / "images" / "sixteen.png")
    Image.fromarray((noise >> 8).astype(np.uint8)).save(folder / "images" / "gray.bmp")
    Image.new("RGBA", (30, 20), (9, 8, 7, 100)).save(folder / "images" / "alpha.png")
    Image.new("CMYK", (30, 20), (200, 0, 30, 10)).save(folder / "images" / "cmyk.jpg")
    Image.fromarray(noise.astype(np.uint8)).convert("RGB").save(folder / "images" / "turned.jpg", exif=sideways)
    names = sorted(os.listdir(folder / "images"))
    (folder / "train_id.txt").write_text("\n".join(names))
    for name in names:
        size = open_image(folder / "images" / name).size
        write_points(folder / "annotations" / f"{name.split('.')[0]}.xml", [(size[0] - 1, size[1] - 1)], name, size)
    for row in build(folder, str(tmp_path / "cache"))["train"]:
        assert row["image"].mode == "RGB"
        assert np.array_equal(row["image"], open_image(folder / "images" / row["image_id"])), row["image_id"]
        assert row["points"] == [[row["image"].width - 1, row["image"].height - 1]]
        assert row["num_dropped"] == 0


@pytest.mark.parametrize("num_proc", [None, 2])
@pytest.mark.parametrize("damage", ["no image", "no annotation", "truncated", "fifo", "bad XML"])
def test_a_bad_file_is_named_and_nothing_is_left(folder, tmp_path, damage, num_proc):
    image, annotation = folder / "images/synthetic_test_00002.jpg", folder / "annotations/synthetic_test_00002.xml"
    expected = "synthetic_test_00002"
    if damage == "no image":
        image.unlink()
        expected = "1 missing: images/synthetic_test_00002.jpg"
    elif damage == "no annotation":
        annotation.unlink()
        expected = "1 missing: annotations/synthetic_test_00002.xml"
    elif damage == "truncated":
        image.write_bytes(image.read_bytes()[:-200])
    elif damage == "fifo":
        image.unlink()
        os.mkfifo(image)
    else:
        annotation.write_text("<annotation>")
    with pytest.raises(InvalidDataError, match=expected):
        build(folder, str(tmp_path / "cache"), num_proc=num_proc)
    assert not list((tmp_path / "cache").rglob("*.arrow"))
    with pytest.raises(InvalidDataError, match=expected):
        list(IOCfish5K(data_dir=folder, cache_dir=str(tmp_path / "cache")).as_streaming_dataset("test"))


def test_an_image_belongs_to_one_split(folder):
    (folder / "val_id.txt").write_text("synthetic_train_00003\n")
    with pytest.raises(InvalidDataError, match=r"val_id\.txt: expected no image of train_id\.txt.*00003"):
        IOCfish5K(data_dir=folder)


def test_a_folder_without_lists_is_refused(tmp_path):
    with pytest.raises(InvalidDataError, match=r"at least one of train_id\.txt"):
        IOCfish5K(data_dir=tmp_path)
    with pytest.raises(InvalidDataError, match="no folder"):
        IOCfish5K(data_dir=tmp_path / "missing")


def test_the_numbers_of_the_release_are_checked(folder, tmp_path, monkeypatch):
    # the miniature set stands for the release: as many images, but another number of points
    monkeypatch.setitem(statistics.RELEASED_IMAGES, "train", 5)
    monkeypatch.setitem(statistics.RELEASED_IMAGES, "validation", 2)
    monkeypatch.setitem(statistics.RELEASED_IMAGES, "test", 3)
    with pytest.raises(
        InvalidDataError, match=r"the released IOCfish5K\. Received: \d+ points, 0 .* instead of 659,024"
    ):
        build(folder, str(tmp_path / "cache"))


def summaries_of_the_release():
    sizes = statistics.RELEASED_IMAGES.items()
    images = [ImageSummary(split, f"{split}{i}", 1920, 1080, 116, 0) for split, size in sizes for i in range(size)]
    return [*images[:-1], ImageSummary("test", "last", 1920, 1080, 659_024 - 116 * 5636, 0)]


def test_the_full_set_has_no_difference_to_the_release():
    full = summaries_of_the_release()
    lengths = {"train": 3137, "validation": 500, "test": 2000}
    assert compare_with_release(lengths, full) == []
    dropping = [*full[:-1], ImageSummary("test", "last", 1920, 1080, full[-1].count - 4, 4)]
    assert compare_with_release(lengths, dropping) == []


def test_what_is_missing_is_said_exactly():
    full = summaries_of_the_release()
    assert compare_with_release({"train": 3136, "validation": 500, "test": 2000}, full[1:]) == [
        "train_id.txt has 3,136 images instead of 3,137",
        "658,908 points, 0 of them left out, instead of 659,024",
    ]
    # where files are missing, the number of points says nothing new
    assert compare_with_release({"train": 3137, "validation": 500}, full[:10]) == [
        "test_id.txt has 0 images instead of 2,000"
    ]
