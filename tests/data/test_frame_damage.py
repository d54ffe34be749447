"""Damages of frames: what each kind promises, and that a seed decides."""

import numpy as np
import pytest

from dense_hf.data.frame_damage import DAMAGES, GRAY, damage_frame

RNG = np.random.default_rng(0)
FRAME = RNG.integers(20, 160, (60, 80, 3), dtype=np.uint8)


def damaged(kind, seed=0, frame=FRAME):
    return damage_frame(frame, kind, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_copy_that_the_generator_decides(kind):
    before = FRAME.copy()
    first = damaged(kind)
    assert (first.shape, first.dtype) == (FRAME.shape, np.uint8)
    assert (before == FRAME).all()
    assert (first != FRAME).any()
    assert (first == damaged(kind)).all()
    if kind not in ("blur", "black"):
        assert (first != damaged(kind, seed=1)).any()


def test_noise_has_its_deviation_and_stays_in_range():
    gray = np.full((200, 200, 3), 128, dtype=np.uint8)
    noisy = damaged("noise", frame=gray).astype(float)
    assert noisy.std() == pytest.approx(25, abs=0.5)
    assert noisy.mean() == pytest.approx(128, abs=0.5)
    assert damaged("noise", frame=np.full((50, 50, 3), 250, dtype=np.uint8)).max() == 255


def test_flicker_is_one_factor():
    ratios = damaged("flicker")[..., 0].astype(float) / FRAME[..., 0]
    assert np.abs(ratios - np.median(ratios)).max() < 0.05


def test_a_blur_keeps_the_mean_and_takes_the_detail_at_any_size():
    """Of a frame twice as large it is twice as wide: both look alike."""
    large = FRAME.repeat(2, axis=0).repeat(2, axis=1)
    for frame in (FRAME, large):
        blurred = damaged("blur", frame=frame).astype(float)
        assert blurred.mean() == pytest.approx(frame.mean(), abs=1)
    shrunk = damaged("blur", frame=large)[::2, ::2].astype(float)
    assert np.abs(shrunk - damaged("blur")).mean() < 0.3 * np.abs(shrunk - FRAME).mean()


def test_what_is_in_front_is_a_gray_rectangle():
    for seed in range(20):
        covered = (damaged("occlusion", seed) == GRAY).all(axis=-1)
        rows, columns = np.nonzero(covered.any(axis=1))[0], np.nonzero(covered.any(axis=0))[0]
        assert covered[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert 0.4 - 0.02 <= len(rows) / 60 <= 0.7 + 0.02
        assert 0.4 - 0.02 <= len(columns) / 80 <= 0.7 + 0.02


def test_black_is_black():
    assert not damaged("black").any()
