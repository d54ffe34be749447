"""Label maps are checked, and counted, before anything is learned from them."""

import shutil

import numpy as np
import pytest
from PIL import Image
from tiny_segmenter_runs import make_set

from dense_hf.data import read_video_folder, read_weak_split
from dense_hf.errors import InvalidDataError
from dense_hf.inference.checks import require_readable_videos, with_pseudo_labels


@pytest.fixture
def data(tmp_path):
    return make_set(tmp_path / "set")


def read(data, labels=None):
    return with_pseudo_labels(read_weak_split(data), labels or data / "train" / "masks", progress=False)


def test_images_without_labels_are_left_out_and_counted(data, caplog):
    masks = data / "train" / "masks"
    (masks / "train_1.png").unlink()
    for name in ("train_0", "train_4"):
        size = Image.open(masks / f"{name}.png").size
        Image.new("L", size, 255).save(masks / f"{name}.png")
    (masks / "README.md").write_text("not a mask")
    folder = read(data)
    assert [image.name for image in folder.images] == ["train_2", "train_3"]
    assert [image.mask_path for image in folder.images] == [masks / "train_2.png", masks / "train_3.png"]
    assert folder.class_names == ("cat", "dog", "potted plant")
    missing, ignored = folder.warnings[-2:]
    assert missing.endswith("masks: 1 of 5 images have no label map and are left out")
    assert ignored.endswith("masks: 2 of 5 label maps are all 255 and are left out")
    assert {missing, ignored} <= {record.getMessage() for record in caplog.records}


def test_palette_and_grey_are_the_same(data):
    masks, palettes = data / "train" / "masks", data / "palettes"
    palettes.mkdir()
    for path in masks.iterdir():
        image = Image.fromarray(np.asarray(Image.open(path)), mode="P")
        image.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
        image.save(palettes / path.name)
    assert len(read(data)) == len(read(data, palettes)) == 5
    assert not read(data).warnings


def test_nothing_to_learn_from(data):
    masks = data / "train" / "masks"
    for path in masks.iterdir():
        Image.new("L", Image.open(path).size, 255).save(path)
    (masks / "train_0.png").unlink()
    message = r"masks: .*at least one of 5 images.*1 images without a file, 4 whose pixels are all 255"
    with pytest.raises(InvalidDataError, match=message):
        read(data)
    shutil.rmtree(masks)
    with pytest.raises(InvalidDataError, match=r"masks: .*a folder of label maps NAME.png.*nothing there"):
        read(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path, labels: Image.fromarray(labels[1:]).save(path), r"the size of its frame, \d+ x \d+.*\d+ x \d+"),
        (lambda path, labels: Image.fromarray(labels * 0 + 4).save(path), r"class numbers 0-3, 255.*4 at x=0, y=0"),
        (lambda path, labels: path.write_bytes(path.read_bytes()[:60]), r"a complete JPEG, PNG"),
        (lambda path, labels: Image.fromarray(labels).convert("RGB").save(path), r"one class number per pixel"),
        (lambda path, labels: Image.fromarray(labels).save(path, format="JPEG"), r"a PNG.*a JPEG file"),
    ],
)
def test_bad_label_maps_are_named(data, change, message):
    path = data / "train" / "masks" / "train_3.png"
    change(path, np.asarray(Image.open(path)).copy())
    with pytest.raises(InvalidDataError, match=rf"train_3\.png.*{message}"):
        read(data)


def test_masks_of_0_and_255_are_said(data):
    """255 means "does not count", so that nothing but background will be learned."""
    masks = data / "train" / "masks"
    for path in masks.iterdir():
        numbers = np.where(np.asarray(Image.open(path)) % 255 > 0, 255, 0).astype(np.uint8)
        Image.fromarray(numbers).save(path)
    assert any("a pixel of cat, dog, potted plant" in text and "0 and 255?" in text for text in read(data).warnings)


def test_classes_that_no_mask_has_are_named(data):
    masks = data / "train" / "masks"
    for path in masks.iterdir():
        numbers = np.array(Image.open(path))
        numbers[numbers == 3] = 0
        Image.fromarray(numbers).save(path)
    folder = read(data)
    assert any("no label map has a pixel of potted plant; that cannot be learned" in text for text in folder.warnings)
    assert any("label maps lack a class of their image" in text for text in folder.warnings)


@pytest.mark.parametrize("numbers", [(0, 255), (255, 255)])
def test_a_video_whose_masks_have_no_class_is_refused(tmp_path, video_set, numbers):
    folder = tmp_path / "videos"
    shutil.copytree(video_set, folder)
    for path in folder.glob("data/*/mask/*.png"):
        labels = np.asarray(Image.open(path))
        Image.fromarray(np.where(labels > 1, *reversed(numbers)).astype(np.uint8)).save(path)
    videos = read_video_folder(folder)
    with pytest.raises(InvalidDataError, match=r"train masks with pixels of .* ignored pixels only"):
        require_readable_videos(videos, ["train"], progress=False)


def test_classes_that_no_training_video_has_are_named(tmp_path, video_set, caplog):
    folder = tmp_path / "videos"
    shutil.copytree(video_set, folder)
    for path in folder.glob("data/*/mask/*.png"):
        labels = np.array(Image.open(path))
        labels[labels == 4] = 1
        Image.fromarray(labels).save(path)
    require_readable_videos(read_video_folder(folder), ["train"], progress=False)
    assert any("1 of 5 classes do not occur in the training masks" in record.getMessage() for record in caplog.records)


def of_0_and_255(video_set, folder):
    """Masks as drawing programs save them: 0, and 255 for what was drawn."""
    shutil.copytree(video_set, folder)
    for path in folder.glob("data/*/mask/*.png"):
        labels = np.asarray(Image.open(path))
        Image.fromarray(np.where(labels > 1, 255, 0).astype(np.uint8)).save(path)
    (folder / "label_num_dic_final.json").write_text('{"around": 0, "object": 1}')
    return folder


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_video_whose_masks_are_0_and_255_is_refused(tmp_path, video_set, split):
    """Also where 0 is a class: all that would be learned, or judged, is what is around the objects."""
    videos = read_video_folder(of_0_and_255(video_set, tmp_path / "videos"), ignore_zero=False)
    with pytest.raises(
        InvalidDataError, match=rf"{split} masks with pixels of around, object.*0 and 255 only: around"
    ):
        require_readable_videos(videos, [split], progress=False)


def test_0_and_255_are_fine_for_one_class(tmp_path, video_set):
    folder = of_0_and_255(video_set, tmp_path / "videos")
    (folder / "label_num_dic_final.json").write_text('{"road": 0}')
    require_readable_videos(read_video_folder(folder, ignore_zero=False), ["train"], progress=False)


def test_classes_that_no_judged_video_has_are_named(tmp_path, video_set, caplog):
    """As for images; nothing is measured of them."""
    folder = tmp_path / "videos"
    shutil.copytree(video_set, folder)
    for path in folder.glob("data/*/mask/*.png"):
        labels = np.array(Image.open(path))
        labels[labels == 4] = 1
        Image.fromarray(labels).save(path)
    require_readable_videos(read_video_folder(folder), ["validation"], progress=False)
    assert any("1 of 5 classes do not occur in the masks of validation" in text for text in caplog.messages)
