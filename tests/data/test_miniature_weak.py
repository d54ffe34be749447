"""The synthetic set of image-level labels: reproducible, read back by the readers, masks that agree with labels."""

import hashlib
import os

import numpy as np
import pytest

from dense_hf.data import generate_miniature_weak, open_image, read_weak_mask, read_weak_split
from dense_hf.data.weak_source import mask_rule


@pytest.fixture(scope="module")
def miniature(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weak") / "set"
    generate_miniature_weak(folder, 16, 3, 0, image_size=(60, 48))
    return folder


def contents(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix in (".jpg", ".png")]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_layout_and_labels(miniature):
    assert sorted(os.listdir(miniature)) == ["classes.txt", "train", "val"]
    train = read_weak_split(miniature, with_masks=True)
    assert train.class_names == ("disc", "square", "triangle")
    assert [not image.labels for image in train.images] == [index % 8 == 7 for index in range(16)]
    assert {len(image.labels) for image in train.images} == {0, 1, 2}
    assert all(image.name.startswith("synthetic_") for image in train.images)
    rule = mask_rule(train.class_names)
    for image in [*train.images, *read_weak_split(miniature, "val", with_masks=True).images]:
        assert open_image(image.path).size == (60, 48)
        mask = read_weak_mask(image, rule)
        assert set(np.unique(mask)) - {0, 255} == {label + 1 for label in image.labels}
        for label in image.labels:
            assert (mask == label + 1).sum() > 60, "too small to be learned"


def test_shapes_are_what_they_are_called(miniature):
    """The share of its bounding box that a shape fills."""
    shares = {0: [], 1: [], 2: []}
    images = read_weak_split(miniature, with_masks=True).images
    for image in images:
        for label in image.labels:
            mask = read_weak_mask(image, mask_rule(("a", "b", "c"))) == label + 1
            rows, columns = np.nonzero(mask)
            shares[label].append(mask.sum() / (np.ptp(rows) + 1) / (np.ptp(columns) + 1))
    assert np.mean(shares[0]) == pytest.approx(np.pi / 4, abs=0.05)
    assert np.mean(shares[1]) == pytest.approx(1, abs=0.01)
    assert np.mean(shares[2]) == pytest.approx(1 / 2, abs=0.06)


def test_the_same_seed_gives_the_same_bytes_and_a_larger_set_begins_with_the_smaller(tmp_path, miniature):
    generate_miniature_weak(tmp_path / "larger", 18, 4, 1, image_size=(60, 48))
    generate_miniature_weak(tmp_path / "other", 16, 3, 0, seed=1, image_size=(60, 48))
    small, large, other = (contents(folder) for folder in (miniature, tmp_path / "larger", tmp_path / "other"))
    assert small.items() <= large.items()
    assert not any(small[name] == other[name] for name in small if name.endswith(".jpg"))


@pytest.mark.parametrize(
    "options",
    [{"num_train": -1}, {"num_train": 0, "num_validation": 0, "num_test": 0}, {"image_size": (31, 64)}],
)
def test_options_out_of_range(tmp_path, options):
    with pytest.raises(ValueError, match="Received"):
        generate_miniature_weak(tmp_path / "set", **options)
    assert not (tmp_path / "set").exists()
