"""Crops against the numbers of the released code, against brute force, and for purity."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dense_hf.training.counting.augmentation import (
    CountingAugmentation,
    crop_labels,
    neighbour_distances,
    points_in_crop,
    random_tile,
    scaled_crop,
    unique_pixels,
)
from dense_hf.training.epoch_sampler import sample_generator

GOLDEN = json.loads(
    (Path(__file__).parents[2] / "fixtures" / "iocformer" / "data_golden.json").read_text(encoding="utf-8")
)
HEIGHT, WIDTH = GOLDEN["sizes_hw"]["a.jpg"]
NOTHING = CountingAugmentation(horizontal_flip=0, scale=0, grayscale=0)


def golden_points() -> np.ndarray:
    points = np.array(GOLDEN["xml_points_xy"]["a.jpg"], dtype=np.float32)
    return points[((points >= 0) & (points < (WIDTH, HEIGHT))).all(axis=1)]  # as the reader does


@pytest.mark.parametrize("case", GOLDEN["knn"].values(), ids=GOLDEN["knn"])
def test_neighbour_distances_are_those_of_the_released_code(case):
    points = np.array(case["points_rc"], dtype=float).reshape(-1, 2)
    np.testing.assert_allclose(neighbour_distances(points), case["distance"], rtol=1e-12)


def test_pixels_with_two_points_are_lost_in_training():
    rows = GOLDEN["a.jpg"]["kpoint_nonzero_rc_value"]
    assert [count for _, _, count in rows if count != 1] == [2]
    assert unique_pixels(golden_points()).tolist() == [[x, y] for y, x, count in rows if count == 1]


@pytest.mark.parametrize("name", ["train_crops_scale_aug_False", "train_crops_scale_aug_True"])
@pytest.mark.parametrize("seed", range(4))
def test_crops_are_those_of_the_released_code(name, seed):
    case = GOLDEN[name][seed]
    (_, _, _, y), (_, _, _, x) = case["randint_calls(last two: row,col offset in the scaled image)"]
    points = unique_pixels(golden_points())
    mirrored = points * (-1, 1) + (WIDTH - 1, 0)
    wanted = np.array(case["points_row_col_knn_normalised"])[:, [1, 0, 2]]
    matches = []
    for candidate in (points, mirrored):  # the golden file does not say whether the flip happened
        labels = crop_labels(*points_in_crop(candidate, (x, y), case["rate"], 256))
        labels = labels[np.lexsort((labels[:, 0], labels[:, 1]))]
        matches.append(labels.shape == wanted.shape and np.abs(labels - wanted).max() < 1e-6)
    assert sum(matches) == 1


def numbered_image(height: int, width: int) -> np.ndarray:
    """Each pixel holds its own coordinates, so a crop says where it was cut."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns, rows, np.full_like(rows, 7)], axis=2).astype(np.uint8)


@given(
    seed=st.integers(0, 10**6),
    height=st.integers(32, 90),
    width=st.integers(32, 90),
    num_points=st.integers(0, 30),
)
def test_points_follow_the_pixels_through_flips_turns_and_crops(seed, height, width, num_points):
    rng = np.random.default_rng(seed)
    image = numbered_image(height, width)
    points = unique_pixels(rng.uniform((0, 0), (width, height), (num_points, 2)))
    augmentation = CountingAugmentation(horizontal_flip=0.5, vertical_flip=0.5, rotation=0.7, scale=0, grayscale=0)
    crop, labels = random_tile(image, points, 32, 1000, augmentation, rng)
    assert crop.shape == (32, 32, 3)
    pixels = np.rint(labels[:, :2] * 32).astype(int)
    under_labels = {tuple(crop[y, x, :2].tolist()) for x, y in pixels}
    visible = {tuple(pixel) for pixel in crop[:, :, :2].reshape(-1, 2).tolist()}
    assert under_labels == {tuple(point) for point in points.tolist()} & visible
    assert len(under_labels) == len(labels)


def test_scaled_crops_show_their_points_within_two_pixels():
    image = np.zeros((300, 520, 3), dtype=np.uint8)
    points = unique_pixels(golden_points())
    for x, y in points:
        image[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3] = 255
    augmentation = CountingAugmentation(scale=1, scale_rates=[0.9, 1.1, 1.3])
    seen = 0
    for index in range(30):
        crop, labels = random_tile(image, points, 256, 700, augmentation, sample_generator(0, (0, index)))
        for x, y in labels[:, :2] * 256:
            seen += 1
            around = crop[max(0, int(y) - 3) : int(y) + 4, max(0, int(x) - 3) : int(x) + 4]
            assert around.max() > 200
    assert seen > 50


@pytest.mark.parametrize("rate", [0.7, 0.95, 1.05, 1.3])
@pytest.mark.parametrize("size", [(80, 100), (333, 217)])
def test_a_scaled_crop_is_a_crop_of_the_scaled_image(rate, size):
    """White noise, so that a shift of a hundredth of a pixel would show. Corners and borders included."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    height, width = (int(side * rate) for side in size)
    rows = Image.fromarray(image).resize((width, size[0]), Image.Resampling.LANCZOS)
    whole = np.asarray(rows.resize((width, height), Image.Resampling.LANCZOS)).astype(int)
    offsets = [
        (0, 0),
        (width - 48, height - 48),
        (0, height - 48),
        *rng.integers(0, (width - 47, height - 47), (20, 2)),
    ]
    for x, y in offsets:
        difference = np.abs(scaled_crop(image, (x, y), rate, 48) - whole[y : y + 48, x : x + 48])
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.01


def test_scaling_is_skipped_when_the_result_would_not_exceed_a_tile():
    image, points = numbered_image(40, 60), np.zeros((0, 2), dtype=int)
    augmentation = CountingAugmentation(horizontal_flip=0, scale=1, scale_rates=[0.8], grayscale=0)
    crop, _ = random_tile(image, points, 32, 10, augmentation, np.random.default_rng(0))  # 40 * 0.8 is the tile itself
    assert (np.diff(crop[:, :, 0].astype(int), axis=1) == 1).all()


def test_gray_crops_have_three_equal_channels():
    augmentation = CountingAugmentation(grayscale=1)
    crop, _ = random_tile(
        numbered_image(40, 40), np.zeros((0, 2), dtype=int), 32, 10, augmentation, np.random.default_rng(0)
    )
    assert (crop == crop[:, :, :1]).all()


def test_a_crop_must_have_fewer_points_than_queries():
    points = np.stack(np.meshgrid(np.arange(0, 40, 4), np.arange(0, 40, 4)), axis=-1).reshape(-1, 2)
    image = numbered_image(40, 40)
    assert random_tile(image, points, 32, 64, NOTHING, np.random.default_rng(0)) is None
    assert random_tile(image, points, 32, 65, NOTHING, np.random.default_rng(0)) is not None


def test_probabilities_are_the_released_ones():
    """Frequencies over 2000 draws, within five standard errors."""
    image, points = numbered_image(50, 50), np.array([[1, 1]])
    counts = {"flip": 0, "scale": 0, "gray": 0}
    for index in range(2000):
        crop, _ = random_tile(image, points, 32, 700, CountingAugmentation(), sample_generator(3, (0, index)))
        is_gray = bool((crop[:, :, 0] == crop[:, :, 1]).all())
        step = np.diff(crop[16, :, 0].astype(int))
        counts["gray"] += is_gray
        counts["flip"] += int(step.sum() < 0)
        counts["scale"] += int(not is_gray and not (np.abs(step) == 1).all())
    # 50 x rate <= 32 never happens with these rates except none; gray hides the scale in one of ten
    assert abs(counts["flip"] / 2000 - 0.5) < 0.06
    assert abs(counts["gray"] / 2000 - 0.1) < 0.035
    assert abs(counts["scale"] / 2000 - 0.27) < 0.055


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"horizontal_flip": 1.5}, "horizontal_flip"),
        ({"scale_rates": []}, "scale_rates"),
        ({"scale_rates": [0]}, "sca"),
    ],
)
def test_impossible_values_are_named(values, words):
    with pytest.raises(ValueError, match=words):
        CountingAugmentation(**values)
