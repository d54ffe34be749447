"""One way to say where images with image-level labels are, in both layouts, and all splits of a set at once."""

import shutil

import numpy as np
import pytest

from dense_hf import InvalidDataError
from dense_hf.data import read_weak_mask, read_weak_set, read_weak_split
from dense_hf.data.class_names import VOC_NAMES
from dense_hf.data.weak_source import mask_rule

CAT, DOG, PERSON = (VOC_NAMES.index(name) for name in ("cat", "dog", "person"))
AUGMENTED = {
    "2007_000001": (CAT, PERSON),
    "2007_000002": (CAT,),
    "2008_000003": (CAT, PERSON),
    "2008_000004": (DOG,),
}


def lists(voc):
    return voc / "ImageSets" / "Segmentation"


def test_training_takes_the_longest_list_of_voc(voc):
    assert read_weak_split(voc).image_labels() == AUGMENTED
    (lists(voc) / "train_cls.txt").write_text("2008_000004 3 11\n2007_000002 7\n")
    assert read_weak_split(voc).image_labels() == {"2008_000004": (3, DOG), "2007_000002": (CAT,)}
    for name in ("train_cls", "trainaug"):
        (lists(voc) / f"{name}.txt").unlink()
    assert read_weak_split(voc).image_labels() == {name: AUGMENTED[name] for name in list(AUGMENTED)[:2]}


def test_labels_of_evaluation_are_those_of_the_masks(voc):
    shutil.rmtree(voc / "Annotations")
    folder = read_weak_split(voc, "val", with_masks=True, domain=3)
    assert folder.image_labels() == {"2009_000005": (CAT,), "2009_000006": (DOG, PERSON)}
    assert set(folder.image_domains().values()) == {3}
    rule = mask_rule(folder.class_names)
    assert set(np.unique(read_weak_mask(folder.images[1], rule))) == {0, DOG + 1, PERSON + 1, 255}


def test_own_splits_share_a_class_file(own):
    assert read_weak_split(own).image_labels() == {"a": (0,), "b": (0, 1), "c": (1,)}
    validation = read_weak_split(own, "val", with_masks=True)
    assert validation.class_names == ("cat", "potted plant")
    assert validation.image_labels() == {"a": (1,), "d": (0, 1)}
    assert [image.mask_path for image in validation.images] == [own / "val/masks/a.png", own / "val/masks/d.png"]
    assert {image.mask_path for image in read_weak_split(own, "val").images} == {None}


def test_a_class_file_of_a_split_goes_before_the_shared_one(own):
    (own / "train" / "classes.txt").write_text("potted plant\ncat\n")
    assert read_weak_split(own).image_labels() == {"a": (1,), "b": (0, 1), "c": (0,)}


def test_own_images_without_splits_are_for_training(own):
    assert read_weak_split(own / "train").image_labels() == read_weak_split(own).image_labels()
    assert list(read_weak_set(own / "train").splits) == ["train"]


@pytest.mark.parametrize(
    ("layout", "break_it", "options", "expected"),
    [
        ("voc", lambda voc: (voc / "SegmentationClass/2009_000005.png").unlink(), {"split": "val", "with_masks": True},
         r"SegmentationClass: expected a mask NAME\.png for each image\. Received: 1 missing: 2009_000005"),
        ("own", lambda own: (own / "val/masks/d.png").unlink(), {"split": "val", "with_masks": True},
         r"masks: expected a mask NAME\.png for each image\. Received: 1 missing: d"),
        ("own", lambda own: shutil.rmtree(own / "train"), {}, r"own/labels\.csv: expected an existing file"),
        ("own", shutil.rmtree, {}, r"own: expected a folder\. Received: nothing there"),
        ("voc", lambda voc: None, {"split": "trainval"}, r"trainval\.txt: expected an existing file"),
        ("own", lambda own: [path.unlink() for path in (own / "train/images").iterdir()], {},
         r"labels\.csv: expected images.*3 are missing, line 2: 'a\.jpg' is not there, nor line 3: 'b', line 4: 'c'$"),
        ("voc", lambda voc: [path.unlink() for path in (voc / "JPEGImages").iterdir()], {},
         r"trainaug\.txt: .*4 are missing, '2007_000001' is not there, nor '2007_000002', .*, '2008_000004'$"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(layout, break_it, options, expected, request):
    folder = request.getfixturevalue(layout)
    break_it(folder)
    with pytest.raises(InvalidDataError, match=expected):
        read_weak_split(folder, **options)


def test_a_file_is_not_a_folder(own):
    for read in (read_weak_split, read_weak_set):
        with pytest.raises(InvalidDataError, match=r"classes\.txt: expected a folder\. Received: a file"):
            read(own / "classes.txt")


def test_an_image_without_a_mask_has_none_to_read(own):
    image = read_weak_split(own).images[0]
    with pytest.raises(InvalidDataError, match=r"a\.jpg: expected an image with a mask"):
        read_weak_mask(image, mask_rule(("cat", "potted plant")))


# all splits


def test_only_evaluation_has_masks(voc, own):
    (own / "train" / "masks").mkdir()
    for folder in (voc, own):
        splits = read_weak_set(folder).splits
        assert list(splits) == ["train", "validation"]
        assert {image.mask_path for image in splits["train"].images} == {None}
        assert all(image.mask_path.is_file() for image in splits["validation"].images)
    shutil.rmtree(own / "val" / "masks")
    assert {image.mask_path for image in read_weak_set(own).splits["validation"].images} == {None}


def test_the_test_images_of_voc_have_no_labels(voc, logged):
    (lists(voc) / "trainaug.txt").write_text("2007_000001\n2007_000002\n")
    (lists(voc) / "test.txt").write_text("2008_000004\n")  # whose mask is SBD's
    assert list(read_weak_set(voc).splits) == ["train", "validation"]
    assert any("test.txt: none of its masks is in" in message for message in logged())
    shutil.copy(voc / "SegmentationClassAug" / "2008_000004.png", voc / "SegmentationClass")
    assert read_weak_set(voc).splits["test"].image_labels() == {"2008_000004": (DOG,)}


def test_splits_must_agree_on_their_classes(own):
    (own / "classes.txt").unlink()
    (own / "val" / "labels.csv").write_text("image,labels\na,potted plant\nd,potted plant\n")
    expected = (
        r"val/labels\.csv: expected the classes of the training images, cat, potted plant \(write.*: potted plant$"
    )
    with pytest.raises(InvalidDataError, match=expected):
        read_weak_set(own)


def test_an_image_belongs_to_one_split(voc):
    with open(lists(voc) / "trainaug.txt", "a") as file:
        file.write("2009_000006\n")
    with pytest.raises(InvalidDataError, match=r"one split only\. Received: 1 in train and validation: 2009_000006"):
        read_weak_set(voc)


def test_a_folder_of_another_kind_is_refused(tmp_path):
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(InvalidDataError, match=r"labels\.csv, or train/labels\.csv, or JPEGImages/.*holiday\.jpg"):
        read_weak_set(tmp_path)
