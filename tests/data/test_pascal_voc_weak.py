"""The builder: what its splits have, one table for every way of reading, real photos, and the one error."""

import json
import shutil
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from dense_hf import InvalidDataError
from dense_hf.data import (
    PascalVOCWeak,
    WeakFolder,
    WeakImage,
    WeakSet,
    compare_weak_with_release,
    open_image,
    read_label_list,
    read_labels_csv,
)
from dense_hf.data.class_names import VOC_NAMES

CAT, DOG, PERSON = (VOC_NAMES.index(name) for name in ("cat", "dog", "person"))


def build(folder, cache, num_proc=None, **options):
    builder = PascalVOCWeak(data_dir=folder, cache_dir=str(cache), **options)
    builder.download_and_prepare(num_proc=num_proc)
    return builder.as_dataset()


def rows(dataset):
    pictures = ("image", "mask")
    return [{**row, **{key: row[key] and np.array(row[key]).tolist() for key in pictures}} for row in dataset]


def test_columns_and_order(voc, tmp_path):
    data = build(voc, tmp_path / "cache")
    assert list(data) == ["train", "validation"]
    train, validation = data["train"], data["validation"]
    assert train.features["labels"] == datasets.List(datasets.ClassLabel(names=list(VOC_NAMES)))
    assert train["name"][:] == ["2007_000001", "2007_000002", "2008_000003", "2008_000004"]
    assert train["labels"][:] == [[CAT, PERSON], [CAT], [CAT, PERSON], [DOG]]
    assert set(train["domain"]) == set(validation["domain"]) == {0}
    assert np.array_equal(train[2]["image"], open_image(voc / "JPEGImages" / "2008_000003.jpg"))
    assert validation["labels"][:] == [[CAT], [DOG, PERSON]]
    for row in validation:
        with Image.open(voc / "SegmentationClass" / f"{row['name']}.png") as mask:
            assert np.array_equal(row["mask"], mask), "palette indices, not colors"
        assert row["mask"].mode == "L"


def test_training_never_sees_a_mask(voc, own, tmp_path):
    (own / "train" / "masks").mkdir()
    for index, folder in enumerate((voc, own)):
        data = build(folder, tmp_path / str(index))
        assert set(data["train"]["mask"]) == {None}
        assert None not in data["validation"]["mask"][:]
    shutil.rmtree(voc / "SegmentationClassAug")
    for mask in (voc / "SegmentationClass").glob("2007_*"):
        mask.unlink()
    assert rows(build(voc, tmp_path / "without")["train"]) == rows(build(voc, tmp_path / "0")["train"])


def test_two_processes_and_streaming_give_the_same_rows(voc, tmp_path):
    alone = build(voc, tmp_path / "cache")
    together = build(voc, tmp_path / "cache2", num_proc=2)
    for split in ("train", "validation"):
        stream = PascalVOCWeak(data_dir=voc, cache_dir=str(tmp_path / "cache3")).as_streaming_dataset(split)
        assert rows(alone[split]) == rows(together[split]) == rows(stream)
    assert stream.num_shards == 2


def test_edited_labels_masks_and_images_are_read_again(own, tmp_path):
    before = build(own, tmp_path / "cache")
    assert before["train"]["labels"][:] == [[0], [0, 1], [1]]
    table = own / "train" / "labels.csv"
    table.write_text(table.read_text().replace("c,potted plant", "c,"))
    assert build(own, tmp_path / "cache")["train"]["labels"][:] == [[0], [0, 1], []]
    Image.new("L", (24, 18), 2).save(own / "val" / "masks" / "a.png")
    assert np.all(np.array(build(own, tmp_path / "cache")["validation"][0]["mask"]) == 2)
    Image.new("RGB", (30, 20)).save(own / "train" / "images" / "a.jpg")
    assert build(own, tmp_path / "cache")["train"][0]["image"].size == (30, 20)


def test_evaluation_images_may_have_no_masks(own, tmp_path):
    shutil.rmtree(own / "val" / "masks")
    validation = build(own, tmp_path / "cache")["validation"]
    assert validation["labels"][:] == [[1], [0, 1]]
    assert set(validation["mask"]) == {None}


@pytest.fixture
def extra(own, extra_list):
    """Single-label images of domain 1, web images of domain 2, for VOC."""
    (own / "train" / "labels.csv").write_text("image,labels\nb,dog\nc,cat;dog\n")
    web = read_labels_csv(own / "train" / "labels.csv", own / "train" / "images", VOC_NAMES, domain=2)
    return [read_label_list(*extra_list, VOC_NAMES, domain=1, first_class=1), web]


def test_extra_images_join_training_with_their_domain(voc, extra, tmp_path):
    alone, data = build(voc, tmp_path / "alone"), build(voc, tmp_path / "cache", extra=extra)
    train = data["train"]
    assert rows(train.select(range(4))) == rows(alone["train"])
    assert train["name"][4:] == ["single_1", "single_2", "b", "c"]
    assert train["labels"][4:] == [[CAT], [VOC_NAMES.index("tvmonitor")], [DOG], [CAT, DOG]]
    assert train["domain"][:] == [0, 0, 0, 0, 1, 1, 2, 2]
    assert rows(data["validation"]) == rows(alone["validation"])


def test_extra_images_in_splits_of_their_own(voc, extra, tmp_path):
    data = build(voc, tmp_path / "cache", extra=extra[::-1], join_extra=False)
    assert {split: part["name"][:] for split, part in data.items()} == {
        "train": ["2007_000001", "2007_000002", "2008_000003", "2008_000004"],
        "validation": ["2009_000005", "2009_000006"],
        "domain_1": ["single_1", "single_2"],
        "domain_2": ["b", "c"],
    }
    assert set(data["domain_2"]["domain"]) == {2}


def test_extra_images_must_fit(voc, own, extra):
    (own / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(ValueError, match="the same classes"):
        PascalVOCWeak(data_dir=own / "train", extra=extra)
    with pytest.raises(ValueError, match=r"unique over all folders.*\['single_1', 'single_2'\]"):
        PascalVOCWeak(data_dir=voc, extra=[extra[0], extra[0]])
    test = WeakImage("2009_000005", voc / "JPEGImages" / "2009_000005.jpg", (CAT,), domain=2)
    with pytest.raises(InvalidDataError, match=r"one split only.*1 in train and validation: 2009_000005"):
        PascalVOCWeak(data_dir=voc, extra=[WeakFolder(VOC_NAMES, (test,))])
    (voc / "ImageSets" / "Segmentation" / "trainaug.txt").unlink()
    (voc / "ImageSets" / "Segmentation" / "train.txt").unlink()
    with pytest.raises(ValueError, match=r"\"train\" to join\. Received: \['validation'\]"):
        PascalVOCWeak(data_dir=voc, extra=extra)


@pytest.mark.parametrize("num_proc", [None, 2])
def test_a_broken_image_or_mask_is_named(voc, tmp_path, num_proc):
    image = voc / "JPEGImages" / "2008_000004.jpg"
    content = image.read_bytes()
    image.write_bytes(content[:-200])
    with pytest.raises(InvalidDataError, match=r"2008_000004\.jpg: expected a complete JPEG"):
        build(voc, tmp_path / "cache", num_proc=num_proc)
    with pytest.raises(InvalidDataError, match=r"2008_000004\.jpg: expected a complete JPEG"):
        list(PascalVOCWeak(data_dir=voc, cache_dir=str(tmp_path / "cache")).as_streaming_dataset("train"))
    assert not list((tmp_path / "cache").rglob("*.arrow"))


def test_a_mask_has_numbers_of_the_classes_and_the_size_of_its_image(own, tmp_path):
    mask = own / "val" / "masks" / "a.png"
    Image.new("L", (24, 18), 3).save(mask)
    with pytest.raises(InvalidDataError, match=r"a\.png: expected class numbers 0-2, 255\. Received: 3 at x=0, y=0"):
        build(own, tmp_path / "cache")
    Image.new("L", (18, 24), 1).save(mask)
    with pytest.raises(InvalidDataError, match=r"a\.png: expected the size of its frame, 24 x 18"):
        build(own, tmp_path / "cache")


# the released numbers


def a_set(train, validation, name="trainaug.txt"):
    """As many images as are asked for, none of which exists."""
    sizes = {"train": train, "validation": validation}
    images = {
        split: tuple(WeakImage(f"{split}{i}", Path(f"{split}{i}"), (0,)) for i in range(n))
        for split, n in sizes.items()
    }
    splits = {split: WeakFolder(VOC_NAMES, members) for split, members in images.items() if members}
    lists = {"train": Path(name), "validation": Path("val.txt")}
    return WeakSet(Path("VOC2012"), VOC_NAMES, splits, lists)


def test_the_full_set_has_no_difference_to_the_release():
    full = a_set(10_582, 1449)
    assert compare_weak_with_release(full) == []
    more = WeakFolder(VOC_NAMES, (WeakImage("web", Path("web"), (1,), domain=2),))
    assert compare_weak_with_release(full.with_extra([more])) == [], "extra images do not count"


def test_what_is_missing_is_said_exactly():
    assert compare_weak_with_release(a_set(1464, 1449, "train.txt")) == [
        "train: train.txt has 1,464 images instead of 10,582; "
        "these are VOC's own, the 9,118 of SBD need trainaug.txt or train_cls.txt"
    ]
    assert compare_weak_with_release(a_set(10_581, 0)) == [
        "train: trainaug.txt has 10,581 images instead of 10,582",
        "validation: no val.txt in ImageSets/Segmentation, so 0 images instead of 1,449",
    ]


def test_a_part_of_voc_is_taken_with_a_warning(voc, own, tmp_path, logged):
    build(own, tmp_path / "cache")
    assert not any("PASCAL" in message for message in logged())
    build(voc, tmp_path / "cache")
    (warning,) = [message for message in logged() if "not the full PASCAL VOC 2012" in message]
    assert "trainaug.txt has 4 images instead of 10,582" in warning
    assert "val.txt has 2 images instead of 1,449" in warning


# real photos


@pytest.mark.network
def test_real_photos_of_voc(labelme_examples, tmp_path):
    """Three photos that PASCAL VOC has, with their masks: the classes are those of the outlines that people drew."""
    example, voc = labelme_examples / "semantic_segmentation", tmp_path / "VOC2012"
    shutil.copytree(example / "data_dataset_voc" / "JPEGImages", voc / "JPEGImages")
    shutil.copytree(example / "data_dataset_voc" / "SegmentationClassPNG", voc / "SegmentationClass")
    names = ["2011_000003", "2011_000006", "2011_000025"]
    (voc / "ImageSets" / "Segmentation").mkdir(parents=True)
    (voc / "ImageSets" / "Segmentation" / "val.txt").write_text("\n".join(names))
    data = build(voc, tmp_path / "cache")["validation"]
    assert data["name"][:] == names
    assert [image.size for image in data["image"]] == [(500, 338), (500, 375), (500, 375)]
    assert data["labels"][:] == [[4, 14], [8, 14, 17], [5, 6]]
    for row in data:
        numbers = set(np.unique(row["mask"])) - {0, 255}
        assert numbers == {label + 1 for label in row["labels"]}
        shapes = json.loads((example / "data_annotated" / f"{row['name']}.json").read_text())["shapes"]
        drawn = {shape["label"] for shape in shapes} - {"__ignore__"}
        assert {VOC_NAMES[label] for label in row["labels"]} == drawn
