"""The synthetic videos: reproducible, in the layout of VSPW, with every class and real movement."""

import filecmp

import numpy as np
import pytest

from dense_hf.data import check_videos, generate_miniature_videos, read_video_folder
from dense_hf.data.miniature_videos import MINIATURE_CLASSES, draw_video


def test_same_seed_same_files_and_a_larger_set_begins_with_the_smaller(tmp_path):
    small = {"num_train": 1, "num_validation": 0, "num_test": 0, "num_frames": 3, "frame_size": (40, 32)}
    generate_miniature_videos(tmp_path / "a", **small)
    generate_miniature_videos(tmp_path / "b", **{**small, "num_train": 2})
    generate_miniature_videos(tmp_path / "c", **small, seed=1)
    video = "data/synthetic_train_0000/origin"
    names = [f"{i:08d}.jpg" for i in range(3)]
    assert filecmp.cmpfiles(tmp_path / "a" / video, tmp_path / "b" / video, names, shallow=False)[0] == names
    assert filecmp.cmpfiles(tmp_path / "a" / video, tmp_path / "c" / video, names, shallow=False)[0] == []
    assert (tmp_path / "b" / "train.txt").read_text() == "synthetic_train_0000\nsynthetic_train_0001\n"
    assert not (tmp_path / "b" / "val.txt").exists()


def test_the_set_is_complete_and_has_every_class(tmp_path):
    generate_miniature_videos(tmp_path / "set", 3, 1, 1, num_frames=12, frame_size=(60, 50))
    videos = read_video_folder(tmp_path / "set")
    assert videos.problems == []
    assert videos.rule.names == MINIATURE_CLASSES
    pixels = np.zeros(256, dtype=np.int64)
    for summary in check_videos(videos, decode_frames=True):
        assert summary.problems == []
        assert (summary.num_frames, summary.num_labelled, summary.size) == (12, 12, (60, 50))
        pixels += summary.pixels
    assert (pixels[:5] > 0).all()
    assert pixels[255] > 0
    assert pixels[5:255].sum() == 0


def test_frames_follow_each_other():
    frames, numbers = draw_video(np.random.default_rng(0), (80, 60), 20, noise=0)
    assert frames.shape == (20, 60, 80, 3)
    assert numbers.shape == (20, 60, 80)
    changed = (numbers[1:] != numbers[:-1]).mean(axis=(1, 2))
    assert (changed > 0).all()
    assert changed.max() < 0.2
    assert (numbers[0] != numbers[-1]).mean() > 2 * changed.mean()


@pytest.mark.parametrize(
    "options",
    [{"num_train": -1}, {"num_train": 0, "num_validation": 0, "num_test": 0}, {"num_frames": 0}, {"noise": -1}],
)
def test_impossible_options_are_errors(tmp_path, options):
    with pytest.raises(ValueError, match="Received"):
        generate_miniature_videos(tmp_path / "set", **options)
    assert not list(tmp_path.iterdir())
