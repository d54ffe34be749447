"""Training images of several sources, and what is said about bad ones before the first step."""

import json
import shutil

import pytest

from dense_hf.data.weak_source import WeakSource, read_weak_evaluation, read_weak_training
from dense_hf.errors import InvalidDataError
from dense_hf.inference.checks import check_images


@pytest.fixture
def other(tmp_path, weak_set):
    """Two images of the validation split as a folder, and as a list with classes from 1."""
    folder = tmp_path / "other"
    (folder / "images").mkdir(parents=True)
    for number in range(2):
        name = f"synthetic_val_{number:05d}.jpg"
        shutil.copy(weak_set / "val" / "images" / name, folder / "images" / f"web_{number}.jpg")
    (folder / "labels.csv").write_text("image,labels\nweb_0,square\nweb_1,triangle\n")
    shutil.copy(weak_set / "classes.txt", folder)
    (folder / "list.txt").write_text("web_0 2\nweb_1 3 1\n")
    return folder


def test_folders_and_lists_join_with_their_domains(weak_set, other):
    own = read_weak_training(weak_set)
    as_folder = WeakSource(data_dir=str(other), domain=1)
    joined = read_weak_training(weak_set, [as_folder])
    assert joined.images[: len(own)] == own.images
    assert [(image.name, image.labels, image.domain) for image in joined.images[len(own) :]] == [
        ("web_0", (1,), 1),
        ("web_1", (2,), 1),
    ]
    as_list = WeakSource(list=str(other / "list.txt"), images_dir=str(other / "images"), first_class=1)
    joined = read_weak_training(weak_set, [as_list])
    assert [(image.labels, image.domain) for image in joined.images[len(own) :]] == [((1,), 0), ((0, 2), 0)]
    with pytest.raises(ValueError, match="must be unique over all folders"):
        read_weak_training(weak_set, [as_list, as_folder])


def test_sources_are_json_objects():
    assert WeakSource.parse('{"data_dir": "web", "domain": 2}') == WeakSource(data_dir="web", domain=2)
    assert WeakSource.parse({"list": "a", "images_dir": "b"}) == WeakSource(list="a", images_dir="b")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("web", ["JSON object", "'web'"]),
        ("[1]", ["object with keys among data_dir", "[1]"]),
        ('{"dir": "web"}', ["images_dir", '{"dir": "web"}']),
        ('{"domain": 1}', ["must have data_dir, or list and images_dir"]),
        ('{"data_dir": "a", "list": "b"}', ["must have data_dir, or list and images_dir"]),
        ('{"list": "b"}', ["must have data_dir, or list and images_dir"]),
        ('{"data_dir": "a", "domain": -1}', ["whole numbers from 0", "domain=-1"]),
        ('{"data_dir": "a", "domain": "web"}', ["whole numbers from 0", "domain='web'"]),
    ],
)
def test_a_source_that_is_none(text, words):
    with pytest.raises(ValueError) as error:  # noqa: PT011  the words are checked below
        WeakSource.parse(text)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_sources_have_the_classes_of_the_target(weak_set, other):
    (other / "classes.txt").write_text("square\ndisc\ntriangle\n")
    with pytest.raises(InvalidDataError, match=r"expected the classes of the training images, disc, square, triangle"):
        read_weak_training(weak_set, [WeakSource(data_dir=str(other))])


def test_a_split_that_is_not_there_is_none(weak_set):
    names = read_weak_training(weak_set).class_names
    assert len(read_weak_evaluation(weak_set, "val", names)) == 5
    assert read_weak_evaluation(weak_set, "test", names) is None
    with pytest.raises(InvalidDataError, match=r"labels\.csv: expected the classes of the training images"):
        read_weak_evaluation(weak_set, "val", names[:2])


def test_the_test_images_of_voc_are_not_judged(tmp_path):
    """Their labels are not public."""
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "ImageSets" / "Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Segmentation" / "test.txt").write_text("2008_000001\n")
    assert read_weak_evaluation(tmp_path, "test", ["cat"]) is None


@pytest.mark.parametrize("damage", ["text", "missing"])
def test_a_bad_image_is_named(weak_set, tmp_path, damage):
    shutil.copytree(weak_set, tmp_path / "set")
    folder = read_weak_training(tmp_path / "set")
    check_images([folder], progress=False)
    path = folder.images[-1].path
    if damage == "text":
        path.write_text(json.dumps("no image"))
    else:
        path.unlink()
    with pytest.raises(InvalidDataError, match=path.name):
        check_images([folder], progress=False)
