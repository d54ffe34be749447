"""Five frames of a street that a human labelled: readers and metrics on real masks, fetched and not kept.

They are the video example in Debian's package labelme-examples: a standing camera, a parked car and a lorry ("track",
as it is written there). Predictions are the masks themselves, made wrong in ways that can be counted.
"""

import json
import shutil
from math import isclose

import numpy as np
import pytest

from dense_hf.data import open_image, read_mask, read_video_folder
from dense_hf.metrics import MeanIoU, VideoConsistency

EXAMPLE = "video_annotation/data_dataset_voc"
FRAMES = [f"{number:08d}" for number in range(100, 105)]
CLASSES = {"_background_": 0, "car": 1, "track": 2}

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def folder(labelme_examples, tmp_path_factory):
    """The five frames in the layout of VSPW."""
    root = tmp_path_factory.mktemp("labelled")
    video = root / "set" / "data" / "street"
    for source, target in (("JPEGImages", "origin"), ("SegmentationClassPNG", "mask")):
        shutil.copytree(labelme_examples / EXAMPLE / source, video / target)
    (root / "set" / "val.txt").write_text("street\n")
    (root / "set" / "label_num_dic_final.json").write_text(json.dumps(CLASSES))
    return root / "set"


@pytest.fixture(scope="module")
def truth(folder):
    """Labels uint8 [5,H,W]."""
    videos = read_video_folder(folder, ignore_zero=False)
    (video,) = videos.splits["validation"]
    sizes = [open_image(frame.image_path).size for frame in video.frames]
    return np.stack([read_mask(frame.mask_path, size, videos.rule) for frame, size in zip(video.frames, sizes)])


def test_the_readers_take_it(folder, truth):
    videos = read_video_folder(folder, ignore_zero=False)
    (video,) = videos.splits["validation"]
    assert [frame.frame_id for frame in video.frames] == FRAMES
    assert videos.rule.names == tuple(CLASSES)
    assert truth.shape == (5, 563, 1000)
    assert set(np.unique(truth)) == {0, 1, 2}
    shares = [np.bincount(labels.ravel(), minlength=3) / labels.size for labels in truth]
    assert all(0.01 < share[1] < share[2] < 0.5 for share in shares), "a car, and a lorry that is larger"


def delayed(truth):
    """Each frame gets the labels of the frame before it."""
    return np.concatenate([truth[:1], truth[:-1]])


def torn(truth):
    """A fifth of the pixels gets another class, another fifth in each frame."""
    rng = np.random.default_rng(0)
    return np.where(rng.random(truth.shape) < 0.2, (truth + 1) % 3, truth).astype(np.uint8)


WRONG = {
    "truth": lambda truth: truth,
    "delayed": delayed,
    "torn": torn,
    "constant": lambda truth: truth * 0 + truth[0],
}


@pytest.mark.parametrize("wrong", WRONG)
def test_iou_against_counted_pixels(truth, wrong):
    predicted = WRONG[wrong](truth)
    results = MeanIoU(3).update(predicted, truth).compute()
    expected = []
    for label in range(3):
        here, there = predicted == label, truth == label
        expected.append((here & there).sum() / (here | there).sum())
    assert np.allclose(results["per_class_iou"], expected, rtol=1e-12)
    assert isclose(results["mean_iou"], sum(expected) / 3, rel_tol=1e-12)
    assert isclose(results["pixel_accuracy"], float((predicted == truth).mean()), rel_tol=1e-12)


@pytest.mark.parametrize("protocol", ["released", "thesis"])
@pytest.mark.parametrize("wrong", WRONG)
def test_consistency_against_brute_force(truth, wrong, protocol):
    """Windows of 2 to 5 frames; the released protocol leaves the last one out, and videos no longer than n."""
    predicted = WRONG[wrong](truth)
    lengths = (2, 3, 4) if protocol == "released" else (2, 3, 4, 5)
    results = VideoConsistency(windows=lengths, protocol=protocol).update(predicted, truth).compute()
    for length in lengths:
        scores = []
        for first in range(len(truth) - length + (protocol == "thesis")):
            window = slice(first, first + length)
            steady = truth[window].min(axis=0) == truth[window].max(axis=0)
            same = predicted[window].min(axis=0) == predicted[window].max(axis=0)
            scores.append((same & steady).sum() / steady.sum())
        assert isclose(results[f"vc{length}"], sum(scores) / len(scores), rel_tol=1e-12)
        if wrong in ("truth", "constant"):
            assert results[f"vc{length}"] == 1
        if wrong == "torn":
            assert isclose(results[f"vc{length}"], 0.8**length + 0.2**length, rel_tol=0.02)
