"""Crops with image-level labels: cut from scenes drawn here, so that nothing is downloaded."""

import numpy as np
import pytest
import weak_crops
from PIL import Image
from street_labels import NUMBERS, VOID

from dense_hf.data import open_image, read_labels_csv

PERSON, CAR, TREE = 1, 2, 3


def street_scene(*rectangles):
    """A gray street [256, 384] with (class, top, left, height, width) in it."""
    mask = np.zeros((256, 384), np.uint8)
    for number, top, left, height, width in rectangles:
        mask[top : top + height, left : left + width] = number
    return weak_crops.Scene(np.repeat((80 + 40 * mask)[..., None], 3, axis=2), mask)


def test_labels_of_a_mask():
    mask = np.zeros((128, 128), np.uint8)
    assert weak_crops.labels_of(mask) == ()
    mask[:20, :20] = PERSON
    assert weak_crops.labels_of(mask) == ("person",)
    mask[60:, 60:] = CAR
    assert weak_crops.labels_of(mask) == ("person", "car")
    mask[:20, :10] = 0  # 200 pixels of a person: some would say so, some not
    assert weak_crops.labels_of(mask) is None
    mask[:] = 0
    mask[:40] = VOID
    assert weak_crops.labels_of(mask) is None


def test_street_numbers_become_class_ids():
    label = np.array([[NUMBERS["person"], NUMBERS["car"]], [NUMBERS["grass"], VOID]], np.uint8)
    (scene,) = weak_crops.street_scenes([np.zeros((4, 4, 3), np.uint8)], [label])
    assert scene.mask[::2, ::2].tolist() == [[PERSON, CAR], [0, VOID]]
    assert scene.mask.shape == (4, 4)


def test_a_crown_is_the_ellipse_of_its_box_and_the_corners_are_unsure():
    scene = weak_crops.forest_scene(np.zeros((50, 60, 3), np.uint8), np.array([[10.0, 5.0, 40.0, 35.0]]))
    assert scene.mask[20, 25] == TREE
    assert scene.mask[6, 11] == VOID
    assert scene.mask[45, 50] == 0
    assert (scene.mask == TREE).sum() == pytest.approx(np.pi * 15.5**2, rel=0.03)


@pytest.mark.parametrize("kind", [("person",), ("car",), ("person", "car"), ()])
def test_crops_have_exactly_the_classes_that_were_asked_for(kind):
    scenes = [street_scene((PERSON, 100, 40, 30, 20), (CAR, 90, 90, 40, 60)), street_scene((PERSON, 10, 250, 40, 20))]
    crops = list(weak_crops.draw_crops(scenes, kind, 5, np.random.default_rng(0)))
    assert len(crops) == 5
    for crop in crops:
        assert crop.pixels.shape == (128, 128, 3)
        assert weak_crops.labels_of(crop.mask) == kind == crop.labels
        assert (crop.pixels[..., 0] == 80 + 40 * crop.mask).all()  # the mask is of the same place


def test_a_split_is_read_back_and_the_same_again(tmp_path):
    both = street_scene((PERSON, 100, 40, 30, 20), (CAR, 90, 90, 40, 60))
    street = [both, street_scene((PERSON, 10, 250, 40, 20))]
    forest = [street_scene((TREE, 30, 30, 60, 60))]
    counts = {("person",): 3, ("person", "car"): 2, (): 2, ("tree",): 3, ("no tree",): 2}
    for name in ("one", "two"):
        weak_crops.write_split(tmp_path / name / "train", street, forest, counts, seed=0)
    one, two = (tmp_path / name / "train" for name in ("one", "two"))
    found = read_labels_csv(one / "labels.csv", one / "images")
    assert found.class_names == weak_crops.CLASSES
    assert sorted(found.image_labels().values()) == sorted([(0,)] * 3 + [(0, 1)] * 2 + [()] * 4 + [(2,)] * 3)
    for image in found.images:
        mask = np.asarray(Image.open(one / "masks" / image.path.name))
        assert {int(number) - 1 for number in np.unique(mask) if 0 < number < VOID} == set(image.labels)
        assert open_image(image.path).size == (128, 128)
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert all((one / path).read_bytes() == (two / path).read_bytes() for path in files)
