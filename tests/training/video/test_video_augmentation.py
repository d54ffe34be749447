"""Clip augmentation against whole-image operations of PyTorch, by geometry, and by frequencies."""

import colorsys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from dense_hf.training.epoch_sampler import sample_generator
from dense_hf.training.video.augmentation import (
    NEAR_ZOOM,
    ClipAugmentation,
    augment_clip,
    distort_colours,
    draw_corner,
    near_views,
    scaled_labels_window,
    scaled_size,
    scaled_window,
)

PLAIN = {"colour": 0, "max_class_share": 1}


def generator(number):
    return sample_generator(5, (0, number))


@pytest.mark.parametrize(
    ("size", "factor", "expected"),
    [
        ((480, 853), 1.0, (480, 853)),
        ((480, 853), 0.5, (240, 426)),  # int(426.5) = 426 decides: 426 / 853 * 480 = 239.7
        ((480, 853), 2.0, (960, 1706)),
        ((853, 480), 1.0, (853, 480)),  # upright videos: long side to long side
        ((1080, 1920), 1.0, (480, 853)),
        ((720, 720), 1.0, (480, 480)),
        ((100, 1000), 1.0, (85, 853)),
    ],
)
def test_frames_are_scaled_to_fit(size, factor, expected):
    assert scaled_size(size, (853, 480), factor) == expected
    assert scaled_size(size, (480, 853), factor) == expected


windows = st.tuples(
    st.tuples(st.integers(1, 14), st.integers(1, 14)),
    st.tuples(st.integers(1, 25), st.integers(1, 25)),
    st.integers(0, 10**6),
)


@given(case=windows)
def test_a_scaled_window_is_a_window_of_the_scaled_frame(case):
    shape, size, seed = case
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    labels = rng.integers(0, 256, shape, dtype=np.uint8)
    window = tuple(int(rng.integers(1, side + 1)) for side in size)
    corner = tuple(int(rng.integers(side - part + 1)) for side, part in zip(size, window))
    part = np.s_[corner[0] : corner[0] + window[0], corner[1] : corner[1] + window[1]]

    tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None].double()
    whole = F.interpolate(tensor, size, mode="bilinear", align_corners=False)[0].permute(1, 2, 0).numpy()
    ours = scaled_window(pixels, size, corner, window)
    assert ours.dtype == np.uint8
    assert np.abs(ours - whole[part]).max() < 0.51  # rounded to whole levels, and no further away

    whole = np.empty(size, dtype=np.uint8)
    for y, x in np.ndindex(size):
        whole[y, x] = labels[y * shape[0] // size[0], x * shape[1] // size[1]]
    assert np.array_equal(scaled_labels_window(labels, size, corner, window), whole[part])


def numbered_clip(height, width, num_frames=3):
    """Pixels hold their place and the number of their frame, labels a checkerboard of the same places."""
    rows, columns = np.mgrid[:height, :width]
    frames = [np.stack([columns, rows, np.full_like(rows, t)], axis=2).astype(np.uint8) for t in range(num_frames)]
    labels = [((rows // 8 + columns // 8) % 5).astype(np.uint8) for _ in range(num_frames)]
    return frames, labels


@given(seed=st.integers(0, 10**6))
def test_all_frames_and_labels_get_the_same_geometry(seed):
    frames, labels = numbered_clip(40, 60)
    options = ClipAugmentation(scale=[60, 40], scale_factors=[1, 1], crop_size=[24, 24], **PLAIN)
    crops, maps = augment_clip(frames, labels, options, np.random.default_rng(seed))
    assert crops.shape == (3, 24, 24, 3)
    assert maps.shape == (3, 24, 24)
    assert (crops[..., :2] == crops[:1, ..., :2]).all()
    assert [set(crop[..., 2].ravel().tolist()) for crop in crops] == [{0}, {1}, {2}]
    columns, rows = crops[0, ..., 0].astype(int), crops[0, ..., 1].astype(int)
    assert abs(np.diff(columns, axis=1)).max() == abs(np.diff(columns, axis=1)).min() == 1
    assert (np.diff(rows, axis=0) == 1).all()
    assert np.array_equal(maps[1], labels[0][rows, columns])


def test_a_frame_smaller_than_the_crop_stays_whole():
    frames, labels = numbered_clip(40, 60)
    options = ClipAugmentation(scale=[60, 40], scale_factors=[0.5, 0.5], crop_size=[24, 24], **PLAIN)
    crops, maps = augment_clip(frames, labels, options, generator(0))
    assert crops.shape[1:3] == maps.shape[1:] == (20, 24)


def test_uniform_crops_are_drawn_again():
    """Three of four parts of the target are class 0, one is 0 and 1 in stripes."""
    labels = np.zeros((40, 400), dtype=np.uint8)
    labels[:, 300:] = np.arange(100) // 5 % 2
    size, window = labels.shape, (40, 40)

    def share(max_class_share):
        corners = [draw_corner(generator(i), labels, size, window, max_class_share) for i in range(400)]
        return np.mean([(labels[:, x : x + 40] == 0).mean() < 0.75 for _, x in corners])

    assert share(1.0) < 0.35
    # eleven draws, each good with p: 1 - (1 - p)^11
    assert share(0.75) == pytest.approx(1 - (1 - share(1.0)) ** 11, abs=0.05)


def test_ignored_pixels_do_not_make_a_crop_uniform_and_hopeless_labels_end():
    mostly_ignored = np.full((60, 60), 255, dtype=np.uint8)
    mostly_ignored[:, ::10], mostly_ignored[:, 5::10] = 0, 1  # in every crop, a fifth of its pixels
    rng, again = generator(0), generator(0)
    corner = draw_corner(rng, mostly_ignored, (60, 60), (30, 30), 0.75)
    assert corner == (again.integers(31), again.integers(31))  # the first draw is good
    for hopeless in (np.full((30, 30), 255, np.uint8), np.zeros((30, 30), np.uint8)):
        assert draw_corner(generator(0), hopeless, (30, 30), (30, 30), 0.75) == (0, 0)


def only(name, **ranges):
    """An augmentation that changes one property of colour, always."""
    still = {"brightness": 0, "contrast": [1, 1], "saturation": [1, 1], "hue": 0}
    return ClipAugmentation(colour=1, **{**still, name: ranges["values"]})


def test_brightness_and_contrast():
    grey = np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (1, 1, 3))
    for number in range(20):
        brighter = distort_colours(grey, only("brightness", values=32), generator(number))[0, :, 0].astype(int)
        shift = brighter[128] - 128
        assert abs(shift) <= 32
        assert np.array_equal(brighter, (np.arange(256) + shift).clip(0, 255))
        steeper = distort_colours(grey, only("contrast", values=[0.5, 1.5]), generator(number))[0, :, 0].astype(float)
        factor = steeper[100] / 100
        assert 0.49 <= factor <= 1.5
        assert np.abs(steeper - (np.arange(256) * factor).clip(0, 255)).max() <= 3


def hsv(pixel):
    return np.array(colorsys.rgb_to_hsv(*(float(value) / 255 for value in pixel)))


def test_saturation_and_hue():
    pixel = np.array([[[200, 120, 60]]], dtype=np.uint8)
    before = hsv(pixel[0, 0])
    saturations, hues = [], []
    for number in range(60):
        after = hsv(distort_colours(pixel, only("saturation", values=[0.5, 1.5]), generator(number))[0, 0])
        assert np.abs((after - before)[[0, 2]]).max() < 0.02
        saturations.append(after[1] / before[1])
        after = hsv(distort_colours(pixel, only("hue", values=18), generator(number))[0, 0])
        assert np.abs((after - before)[1:]).max() < 0.02
        hues.append(((after - before)[0] + 0.5) % 1 - 0.5)
    assert 0.48 < min(saturations) < 0.65
    assert 1.3 < max(saturations) < 1.5
    assert -0.11 < min(hues) < -0.07
    assert 0.07 < max(hues) < 0.11


def test_frames_change_colour_on_their_own_and_half_of_the_time():
    frames, labels = [np.full((8, 8, 3), (90, 140, 40), np.uint8)] * 4, [np.zeros((8, 8), np.uint8)] * 4
    only_some = {"contrast": [1, 1], "saturation": [1, 1], "hue": 0}
    options = ClipAugmentation([8, 8], [1, 1], [8, 8], max_class_share=1, **only_some)
    changed = []
    for number in range(300):
        crops, _ = augment_clip(frames, labels, options, generator(number))
        changed.append([abs(int(crop[0, 0, 1]) - 140) > 1 for crop in crops])
    assert np.mean(changed) == pytest.approx(0.5 * 31 / 32, abs=0.08)
    assert len({tuple(row) for row in changed}) == 16


def test_mirroring_happens_half_of_the_time():
    frames, labels = numbered_clip(16, 16, 1)
    options = ClipAugmentation(scale=[16, 16], scale_factors=[1, 1], crop_size=[16, 16], **PLAIN)
    mirrored = [augment_clip(frames, labels, options, generator(i))[0][0, 0, 0, 0] == 15 for i in range(600)]
    assert np.mean(mirrored) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"horizontal_flip": 1.5}, "horizontal_flip"),
        ({"scale": [853]}, "scale"),
        ({"crop_size": [0, 480]}, "crop_size"),
        ({"scale_factors": [2, 0.5]}, "scale_factors"),
        ({"contrast": [0, 1]}, "contrast"),
        ({"brightness": -1}, "brightness"),
        ({"hue": 91}, "hue"),
    ],
)
def test_impossible_values_are_named(values, words):
    with pytest.raises(ValueError, match=words):
        ClipAugmentation(**values)


# -- near clips and damaged frames ------------------------------------------------------------------------------------


def ramp(height, width):
    """A picture whose first two channels say where a pixel is."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.zeros_like(rows)], axis=-1).astype(np.uint8)


@given(st.integers(0, 10**6), st.tuples(st.integers(40, 200), st.integers(40, 200)))
def test_a_camera_of_a_near_clip_moves_steadily_and_stays_inside(seed, size):
    rng = np.random.default_rng(seed)
    window = (int(rng.integers(20, size[0] + 1)), int(rng.integers(20, size[1] + 1)))
    corner = tuple(int(rng.integers(side - part + 1)) for side, part in zip(size, window))
    views = near_views(rng, size, corner, window, [1, 2 / 3, 1 / 3, 0])
    assert views[-1] == (size, corner)  # the target is seen as it is
    for scaled, (top, left) in views:
        assert 0 <= top <= scaled[0] - window[0]
        assert 0 <= left <= scaled[1] - window[1]
        assert all(abs(one - whole) <= NEAR_ZOOM * whole + 1 for one, whole in zip(scaled, size))
    heights = [scaled[0] for scaled, _ in views]
    assert heights in (sorted(heights), sorted(heights, reverse=True))


def test_pixels_and_labels_of_a_near_clip_move_together():
    """Labels are the row of a pixel; so are its red values, whatever the view."""
    frame, plain = ramp(120, 160), ClipAugmentation(scale=[160, 120], crop_size=[60, 80], **PLAIN)
    labels = frame[..., 0].copy()
    moved = 0
    for number in range(20):
        crops, maps = augment_clip([frame] * 4, [labels] * 4, plain, generator(number), [1, 2 / 3, 1 / 3, 0])
        assert np.abs(crops[..., 0].astype(int) - maps.astype(int)).max() <= 2
        moved += np.abs(crops[0].astype(int) - crops[-1].astype(int)).max() > 2
        steps = [np.abs(crops[-1].astype(int) - one.astype(int)).mean() for one in crops]
        assert steps[0] >= steps[2] - 0.5  # older frames are farther away
        assert steps[3] == 0
    assert moved >= 10  # where the window fills the still, the camera cannot move


def test_what_is_off_draws_nothing():
    """Clips of the released recipe are what they were before there were damages and near clips."""
    frame, rng = ramp(60, 80), generator(3)
    off = ClipAugmentation(scale=[80, 60], crop_size=[30, 40])
    augment_clip([frame] * 2, [frame[..., 0]] * 2, off, rng)
    after = rng.random()
    on, rng = ClipAugmentation(scale=[80, 60], crop_size=[30, 40], damage=1.0), generator(3)
    augment_clip([frame] * 2, [frame[..., 0]] * 2, on, rng)
    assert rng.random() != after


def test_frames_are_damaged_as_often_as_said_and_labels_never():
    frame = np.full((60, 80, 3), 100, dtype=np.uint8)
    labels = ramp(60, 80)[..., 0]
    half = ClipAugmentation(
        scale=[80, 60], scale_factors=[1, 1], crop_size=[60, 80], horizontal_flip=0, damage=0.5, **PLAIN
    )
    damaged, black = 0, 0
    for number in range(200):
        crops, maps = augment_clip([frame] * 4, [labels] * 4, half, generator(number))
        assert (maps == labels).all()
        damaged += sum((crop != frame).any() for crop in crops)
        black += sum(not crop.any() for crop in crops)
    assert 0.34 < damaged / 800 < 0.46  # a blur changes nothing here: 0.5 * 4 / 5
    assert 0.07 < black / 800 < 0.13


@pytest.mark.parametrize("options", [{"damage": 1.5}, {"near_clips": -0.1}])
def test_probabilities_of_damages_and_near_clips(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be a probability"):
        ClipAugmentation(**options)
