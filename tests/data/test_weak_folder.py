"""Readers of image-level labels: what they understand, and what they refuse with the line and the value."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dense_hf.data.class_names import VOC_NAMES
from dense_hf.data.voc_folder import read_voc_mask, read_voc_weak
from dense_hf.data.weak_folder import join_folders, read_label_list, read_labels_csv
from dense_hf.errors import InvalidDataError
from dense_hf.weak_segmentation import ImageGroup

PIXELS = np.zeros((6, 8, 3), np.uint8)
XML = "<annotation><object><name>{}</name><part><name>head</name></part></object></annotation>"


@pytest.fixture
def folder(tmp_path):
    for name in ("cat_1.jpg", "cat_2.png", "room.jpg", "street.jpg"):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(PIXELS).save(tmp_path / "images" / name)
    return tmp_path


def read(folder, text, classes=None, **options):
    (folder / "labels.csv").write_text(text)
    if classes is not None:
        (folder / "classes.txt").write_text(classes)
    return read_labels_csv(folder / "labels.csv", folder / "images", **options)


def test_a_table_with_and_without_suffixes(folder):
    found = read(folder, "image,labels\ncat_1.jpg,cat\ncat_2, cat ; potted plant\nroom,potted plant\nstreet.jpg,\n")
    assert found.class_names == ("cat", "potted plant")
    assert found.image_labels() == {"cat_1": (0,), "cat_2": (0, 1), "room": (1,), "street": ()}
    assert [image.path.name for image in found.images] == ["cat_1.jpg", "cat_2.png", "room.jpg", "street.jpg"]
    assert len(found.warnings) == 1
    assert "1 of 4 images have no class (street)" in found.warnings[0]


def test_classes_have_the_order_of_their_file(folder):
    found = read(folder, "image,labels\ncat_1,cat\nroom,sofa\ncat_2,cat\n", classes="sofa\ncat\ndog\n")
    assert found.class_names == ("sofa", "cat", "dog")
    assert found.image_labels() == {"cat_1": (1,), "room": (0,), "cat_2": (1,)}
    alone, unseen = found.warnings
    assert alone.endswith("classes with a single image, which will be paired with itself: sofa")
    assert unseen.endswith("classes without an image: dog")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image,labels\ncat_1,cat\ncat_2,dgo\n", r"labels.csv.*one of the classes cat, dog.*line 3: 'dgo'"),
        ("name,class\ncat_1,cat\n", r"the header image,labels.*'name,class'"),
        ("", r"the header image,labels"),
        ("image,labels\ncat_1,cat,dog\n", r"two columns.*line 2: 3 columns"),
        ("image,labels\ncat_1,cat\ncat_1.jpg,dog\n", r"each image once.*line 3, and already on line 2"),
        ("image,labels\ncat_1,cat;cat\n", r"each class of an image once.*line 2: 'cat' twice"),
        ("image,labels\nbird,cat\n", r"line 2: 'bird' is not there"),
        ("image,labels\n../images/cat_1,cat\n", r"line 2: .*\.\./images/cat_1"),
        ("image,labels\ncat_1,\nroom,\n", r"at least one image with a class.*2 images, none with one"),
        ('image,labels\n"cat_1,cat\n', r"a CSV file|unexpected end"),
    ],
)
def test_bad_tables_are_named(folder, text, expected):
    with pytest.raises(InvalidDataError, match=expected):
        read(folder, text, classes="cat\ndog\n")


@pytest.mark.parametrize(
    ("classes", "expected"), [("\n", "one class per line"), ("a\na\n", "each class once"), ("a;b\n", "without ';'")]
)
def test_bad_class_files_are_named(folder, classes, expected):
    with pytest.raises(InvalidDataError, match=rf"classes.txt.*{expected}"):
        read(folder, "image,labels\ncat_1,a\n", classes=classes)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=60))
def test_any_text_gives_images_or_the_one_error(folder, text):
    (folder / "labels.csv").write_text(f"image,labels\n{text}", encoding="utf-8", errors="replace", newline="")
    try:
        found = read_labels_csv(folder / "labels.csv", folder / "images")
    except InvalidDataError:
        return
    assert all(image.path.parent == folder / "images" for image in found.images)


@pytest.mark.parametrize("first_class", [0, 1])
def test_released_lists(folder, first_class):
    (folder / "train_cls.txt").write_text(f"cat_1 {first_class}\nroom {first_class + 2} {first_class}\n")
    names = ("cat", "dog", "sofa")
    found = read_label_list(folder / "train_cls.txt", folder / "images", names, first_class=first_class)
    assert found.image_labels() == {"cat_1": (0,), "room": (0, 2)}
    with pytest.raises(InvalidDataError, match=rf"class numbers from {first_class} to .*line 2: '{first_class + 2}'"):
        read_label_list(folder / "train_cls.txt", folder / "images", names[:2], first_class=first_class)


def test_domains_are_joined_and_reach_the_group(folder):
    target = read(folder, "image,labels\ncat_1,cat\nroom,sofa\n", classes="cat\nsofa\n")
    extra = read(folder, "image,labels\ncat_2,cat\n", domain=1)
    both = join_folders([target, extra])
    assert both.image_domains() == {"cat_1": 0, "room": 0, "cat_2": 1}
    assert ImageGroup(both.image_labels(), lambda name: None, both.image_domains()).members(0) == ["cat_1", "cat_2"]
    with pytest.raises(ValueError, match=r"unique over all folders.*1 repeated, \['cat_1'\]"):
        join_folders([target, read(folder, "image,labels\ncat_1,cat\n")])
    with pytest.raises(ValueError, match=r"the same classes"):
        join_folders([target, read(folder, "image,labels\ncat_1,cat\n", class_names=["cat"])])


@pytest.fixture
def voc(tmp_path):
    for name in ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / name).mkdir(parents=True)
    for name, what in (("2007_1", "cat"), ("2007_2", "person"), ("2007_3", "cat")):
        Image.fromarray(PIXELS).save(tmp_path / "JPEGImages" / f"{name}.jpg")
        (tmp_path / "Annotations" / f"{name}.xml").write_text(XML.format(what))
    mask = np.zeros((6, 8), np.uint8)
    mask[:2], mask[3], mask[5] = 8, 15, 255
    Image.fromarray(mask).save(tmp_path / "SegmentationClass" / "2007_1.png")
    (tmp_path / "ImageSets" / "Segmentation" / "trainaug.txt").write_text("2007_1\n2007_2\n2007_3\n")
    (tmp_path / "ImageSets" / "Segmentation" / "val.txt").write_text("2007_1\n")
    return tmp_path


def test_labels_of_voc_are_those_of_objects_not_of_their_parts(voc):
    cat, person = VOC_NAMES.index("cat"), VOC_NAMES.index("person")
    assert read_voc_weak(voc).image_labels() == {"2007_1": (cat,), "2007_2": (person,), "2007_3": (cat,)}


def test_labels_of_voc_from_masks_and_masks_for_evaluation(voc):
    found = read_voc_weak(voc, "val", labels="masks", with_masks=True)
    assert found.image_labels() == {"2007_1": (VOC_NAMES.index("cat"), VOC_NAMES.index("person"))}
    assert set(np.unique(read_voc_mask(found.images[0].mask_path, (8, 6)))) == {0, 8, 15, 255}
    assert read_voc_weak(voc, "val").images[0].mask_path is None


def test_lists_with_labels_need_no_annotations(voc):
    path = voc / "train_cls.txt"
    path.write_text("2007_2 0 19\n2007_3 0\n")
    for file in (voc / "Annotations").iterdir():
        file.unlink()
    assert read_voc_weak(voc, path).image_labels() == {"2007_2": (0, 19), "2007_3": (0,)}


@pytest.mark.parametrize(
    ("break_it", "options", "expected"),
    [
        (lambda voc: (voc / "JPEGImages" / "2007_2.jpg").unlink(), {}, r"'2007_2' is not there"),
        (
            lambda voc: (voc / "Annotations" / "2007_2.xml").write_text(XML.format("unicorn")),
            {},
            r"2007_2.xml.*aeroplane.*unicorn",
        ),
        (lambda voc: None, {"with_masks": True}, r"a mask NAME.png for each image.*2 missing: 2007_2, 2007_3"),
        (lambda voc: None, {"split_list": "test"}, r"test.txt"),
    ],
)
def test_broken_voc_folders_are_named(voc, break_it, options, expected):
    break_it(voc)
    with pytest.raises(InvalidDataError, match=expected):
        read_voc_weak(voc, **options)
