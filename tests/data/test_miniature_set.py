"""The synthetic set: reproducible, in the layout, and with a shape at each point and nowhere else."""

import hashlib
import os

import numpy as np
import pytest
from scipy import ndimage

from dense_hf.data import PointFolder, generate_miniature_set, open_image
from dense_hf.data.miniature_set import draw_scene


def contents(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_layout_sizes_and_counts(tmp_path):
    generate_miniature_set(tmp_path, 6, 2, 0, image_size=(120, 90), size_variation=0.3, max_objects=15)
    assert sorted(os.listdir(tmp_path)) == ["annotations", "images", "train_id.txt", "val_id.txt"]
    folder = PointFolder(tmp_path)
    assert {split: len(ids) for split, ids in folder.ids.items()} == {"train": 6, "validation": 2}
    summaries = [folder.summarize_image(split, image) for split in folder.ids for image in folder.images(split)]
    assert [summary.count == 0 for summary in summaries] == [False, True, False, False, False, False, False, True]
    assert all(summary.num_dropped == 0 and summary.count <= 15 for summary in summaries)
    assert len({(summary.width, summary.height) for summary in summaries}) > 4
    assert all(84 <= summary.width <= 156 and 63 <= summary.height <= 117 for summary in summaries)
    assert all("synthetic" in summary.image_id for summary in summaries)


def test_the_same_seed_gives_the_same_bytes_and_a_larger_set_begins_with_the_smaller(tmp_path):
    options = {"image_size": (64, 48), "max_objects": 5}
    generate_miniature_set(tmp_path / "a", 3, 1, 1, **options)
    generate_miniature_set(tmp_path / "b", 5, 2, 1, **options)
    generate_miniature_set(tmp_path / "c", 3, 1, 1, seed=1, **options)
    small, large, other = (contents(tmp_path / name) for name in "abc")
    pictures = {name for name in small if name.startswith(("images", "annotations"))}
    assert all(large[name] == small[name] for name in pictures)
    # without objects annotations may agree by their size alone; pictures never do
    assert all(other[name] != small[name] for name in pictures if name.startswith("images"))


def test_sizes_may_be_exact(tmp_path):
    generate_miniature_set(tmp_path, 3, 0, 0, image_size=(64, 40), size_variation=0)
    assert {open_image(path).size for path in (tmp_path / "images").iterdir()} == {(64, 40)}


@pytest.mark.parametrize("seed", range(5))
def test_there_is_one_shape_at_each_point_and_nothing_elsewhere(seed):
    # the same scene with two contrasts differs in the objects alone
    drawn = [draw_scene(np.random.default_rng(seed), (300, 200), 25, contrast) for contrast in (0.0, 1.0)]
    assert np.array_equal(drawn[0][1], drawn[1][1])
    points = drawn[0][1].astype(int)
    changed = (drawn[0][0] != drawn[1][0]).any(axis=2)
    shapes, number = ndimage.label(changed, structure=np.ones((3, 3)))
    assert number == len(points) > 15
    assert sorted(shapes[y, x] for x, y in points) == list(range(1, number + 1))


def test_objects_have_the_colors_of_their_scene():
    """Inside and outside differ by about the asked shift, and by almost nothing without one."""
    for contrast, low, high in ((0.0, 0.0, 0.2), (1.0, 0.5, 1.5)):
        differences = []
        for seed in range(5):
            pixels, points = draw_scene(np.random.default_rng(seed), (300, 200), 25, contrast)
            bare = draw_scene(np.random.default_rng(seed), (300, 200), 0, contrast)[0].astype(float)
            for x, y in points.astype(int):
                place = np.s_[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]
                around = np.s_[max(0, y - 12) : y + 13, max(0, x - 12) : x + 13]
                differences.append(abs(pixels[place].mean() - bare[around].mean()) / bare.std())
        assert low <= np.median(differences) <= high, contrast


@pytest.mark.parametrize(
    "options",
    [
        {"num_train": -1}, {"num_train": 0, "num_validation": 0, "num_test": 0}, {"image_size": (31, 64)},
        {"size_variation": 1.0}, {"max_objects": -1}, {"contrast": -0.1}, {"contrast": float("nan")},
    ],
)  # fmt: skip
def test_bad_arguments_are_refused_and_nothing_is_left(tmp_path, options):
    with pytest.raises(ValueError, match="Received"):
        generate_miniature_set(tmp_path / "set", **options)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "mine").touch()
    with pytest.raises(ValueError, match="new or empty folder"):
        generate_miniature_set(tmp_path, 1, 0, 0)
    assert os.listdir(tmp_path) == ["mine"]
