"""Clips: inside the video, with the released offsets, and every possible one can come."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dense_hf.training.video.dataset import draw_clip, draw_clip_around, has_clip

OFFSETS = (9, 6, 3)
offset_lists = st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True).map(lambda o: sorted(o, reverse=True))


@given(seed=st.integers(0, 2**32), num_frames=st.integers(1, 30), offsets=offset_lists)
def test_clips_are_inside_and_have_the_offsets(seed, num_frames, offsets):
    rng = np.random.default_rng(seed)
    if num_frames <= max(offsets):
        with pytest.raises(ValueError, match=f"Received: a video of {num_frames}"):
            draw_clip(rng, num_frames, offsets)
        return
    clip = draw_clip(rng, num_frames, offsets)
    assert all(0 <= number < num_frames for number in clip)
    differences = [clip[-1] - number for number in clip[:-1]]
    assert differences in (list(offsets), [-offset for offset in offsets])


@given(seed=st.integers(0, 2**32), num_frames=st.integers(1, 30), data=st.data(), offsets=offset_lists)
def test_clips_around_a_labelled_frame(seed, num_frames, data, offsets):
    target = data.draw(st.integers(0, num_frames - 1))
    sides = [
        [target + sign * offset for offset in offsets]
        for sign in (1, -1)
        if all(0 <= target + sign * offset < num_frames for offset in offsets)
    ]
    assert has_clip(target, num_frames, offsets) == bool(sides)
    rng = np.random.default_rng(seed)
    if sides:
        *references, last = draw_clip_around(rng, target, num_frames, offsets)
        assert last == target
        assert references in sides
    else:
        with pytest.raises(ValueError, match="Received"):
            draw_clip_around(rng, target, num_frames, offsets)


def test_every_clip_comes_about_as_often():
    """12 frames: targets 9 to 11, and 2 to 0 in the video that is turned around. Within five standard errors."""
    rng = np.random.default_rng(0)
    drawn = [draw_clip(rng, 12, OFFSETS) for _ in range(3000)]
    expected = {(t - 9, t - 6, t - 3, t) for t in (9, 10, 11)} | {(t + 9, t + 6, t + 3, t) for t in (0, 1, 2)}
    assert set(drawn) == expected
    assert all(abs(drawn.count(clip) - 500) < 5 * (3000 * 1 / 6 * 5 / 6) ** 0.5 for clip in expected)


def test_both_sides_of_a_labelled_frame_come_as_often():
    rng = np.random.default_rng(0)
    drawn = [draw_clip_around(rng, 19, 30, OFFSETS) for _ in range(1000)]
    assert set(drawn) == {(10, 13, 16, 19), (28, 25, 22, 19)}
    assert abs(drawn.count((10, 13, 16, 19)) - 500) < 80
