"""VC_n against the numbers of the released script, against brute force, and spread over processes."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import load_file

from dense_hf.metrics import MeanIoU, VideoConsistency

FIXTURES = Path(__file__).parents[1] / "fixtures" / "cffm"
GOLDEN = json.loads((FIXTURES / "vc.json").read_text(encoding="utf-8"))
EXPECTED = GOLDEN["expected"]
SKIPPED = "skipped (<=16 frames)"


def golden_videos():
    """Name to (prediction, reference): raw 0 and 255 are void, raw k is label k - 1."""
    tensors = load_file(FIXTURES / "vc.safetensors")
    lookup = np.full(256, 255, dtype=np.uint8)
    lookup[1:125] = np.arange(124)
    return {name: (tensors[f"pred.{name}"], lookup[tensors[f"gt_raw.{name}"]]) for name in GOLDEN["video_order"]}


def test_the_released_script():
    metrics = VideoConsistency()
    for prediction, reference in golden_videos().values():
        metrics.update(prediction, reference)
    results = metrics.compute()
    assert results["vc8"] == pytest.approx(EXPECTED["VC8"], rel=1e-12)
    assert results["vc16"] == pytest.approx(EXPECTED["VC16"], rel=1e-12)
    assert (results["num_videos"], results["num_skipped_videos"]) == (5, 1)
    for name, scores in zip(GOLDEN["video_order"], metrics.scores):
        expected = EXPECTED["per_video"].get(name, SKIPPED)
        if expected == SKIPPED:
            assert scores == {}
        else:
            for window in (8, 16):
                assert scores[window] == pytest.approx(expected[f"clip_scores_{window}"], rel=1e-12, nan_ok=True)


def test_the_overlap_of_the_released_script():
    """It skips short videos here as well, and takes the mean over annotated classes."""
    metrics = MeanIoU(124, classes="annotated")
    for prediction, reference in golden_videos().values():
        if len(reference) > 16:
            metrics.update(prediction, reference)
    results = metrics.compute()
    keys = ("pixel_accuracy", "mean_accuracy", "mean_iou", "weighted_iou")
    assert [results[key] for key in keys] == pytest.approx(EXPECTED["Acc_AccClass_mIoU_FWIoU"], rel=1e-12)


def brute_force(videos, windows, protocol):
    """Pixel by pixel, window by window, straight from the definitions."""
    pooled, per_video = {n: [] for n in windows}, {n: [] for n in windows}
    for prediction, reference in videos:
        frames = len(reference)
        if protocol == "released" and frames <= max(windows):
            continue
        for n in windows:
            scores = []
            for start in range(frames - n + (protocol == "thesis")):
                part, truth = prediction[start : start + n], reference[start : start + n]
                steady = consistent = 0
                for pixel in np.ndindex(reference.shape[1:]):
                    labels = {int(frame[pixel]) for frame in truth}
                    if len(labels) == 1 and not (protocol == "thesis" and 255 in labels):
                        steady += 1
                        consistent += len({int(frame[pixel]) for frame in part}) == 1
                if steady:
                    scores.append(consistent / steady)
            pooled[n] += scores
            if scores:
                per_video[n].append(sum(scores) / len(scores))
    values = pooled if protocol == "released" else per_video
    return {f"vc{n}": sum(v) / len(v) if v else math.nan for n, v in values.items()}


@st.composite
def video_lists(draw):
    labels = st.sampled_from([0, 0, 0, 0, 1, 255])
    videos = []
    for _ in range(draw(st.integers(1, 3))):
        shape = (draw(st.integers(1, 7)), draw(st.integers(1, 2)), draw(st.integers(1, 3)))
        videos.append(tuple(draw(arrays(np.uint8, shape, elements=labels)) for _ in range(2)))
    return videos


@given(videos=video_lists(), protocol=st.sampled_from(["released", "thesis"]))
def test_brute_force(videos, protocol):
    metrics = VideoConsistency(windows=(2, 4), protocol=protocol)
    for prediction, reference in videos:
        metrics.update(prediction, reference)
    results = metrics.compute()
    expected = brute_force(videos, (2, 4), protocol)
    assert {key: results[key] for key in expected} == pytest.approx(expected, rel=1e-12, nan_ok=True)


@given(videos=video_lists(), data=st.data(), protocol=st.sampled_from(["released", "thesis"]))
def test_any_spread_over_processes_gives_the_same_number(videos, data, protocol):
    def metrics_of(part):
        metrics = VideoConsistency(windows=(2, 3), protocol=protocol)
        for video in part:
            metrics.update(*video)
        return metrics

    whole = metrics_of(videos)
    shuffled = data.draw(st.permutations(range(len(videos))))
    cut = data.draw(st.integers(0, len(videos)))
    first, second = (metrics_of([videos[i] for i in part]) for part in (shuffled[:cut], shuffled[cut:]))
    assert repr(first.merge(second.state).compute()) == repr(whole.compute())  # equal to the last bit, NaN too
    again = VideoConsistency(windows=(2, 3), protocol=protocol).merge(whole.state)
    assert repr(again.scores) == repr(whole.scores)


def test_differences_of_the_protocols_by_hand():
    """Two pixels, 4 frames: one steady and predicted at random, one ignored and predicted steadily."""
    reference = np.array([[[3, 255]]] * 4)
    prediction = np.array([[[0, 1]], [[0, 1]], [[0, 1]], [[2, 1]]])
    released = VideoConsistency((2,)).update(prediction, reference)
    assert released.scores == [{2: [1, 1]}]  # the third window is missing
    thesis = VideoConsistency((2,), "thesis").update(prediction, reference)
    assert thesis.scores == [{2: [1, 1, 0]}]
    assert thesis.compute()["vc2"] == pytest.approx(2 / 3)
    frames = VideoConsistency((1,), "thesis").update(prediction, reference)
    assert frames.scores == [{1: [1, 1, 1, 1]}]
    assert [pairs.tolist() for pairs in frames._pixels[0].values()] == [[[1, 1]] * 4]  # not those that are ignored
    assert VideoConsistency((1,), "thesis").merge(frames.state).compute() == frames.compute()


def test_short_videos_are_counted_not_forgotten():
    frames = np.zeros((8, 2, 2), dtype=np.uint8)
    released = VideoConsistency().update(frames, frames).compute()
    assert math.isnan(released["vc8"])
    assert released["num_skipped_videos"] == released["num_videos"] == 1
    thesis = VideoConsistency(protocol="thesis").update(frames, frames).compute()
    assert thesis["vc8"] == 1
    assert math.isnan(thesis["vc16"])
    assert thesis["num_skipped_videos"] == 0


def test_tensors_and_lists_are_label_maps():
    frames = torch.randint(0, 3, (20, 4, 4), generator=torch.Generator().manual_seed(0))
    expected = VideoConsistency((2,)).update(frames.numpy(), frames.numpy()).compute()
    assert VideoConsistency((2,)).update(frames, frames.tolist()).compute() == expected


@pytest.mark.parametrize(
    ("predictions", "references"),
    [
        (np.zeros((3, 2, 2), int), np.zeros((4, 2, 2), int)),
        (np.zeros((3, 2, 2), int), np.zeros((3, 2, 1), int)),
        (np.zeros((2, 2), int), np.zeros((2, 2), int)),
        (np.zeros((3, 2, 2)), np.zeros((3, 2, 2), int)),
        ([[[1]], [[1, 2]]], np.zeros((2, 1, 1), int)),
        (np.zeros((0, 2, 2), int), np.zeros((0, 2, 2), int)),
    ],
)
def test_bad_videos_are_refused_and_nothing_is_added(predictions, references):
    metrics = VideoConsistency()
    with pytest.raises(ValueError, match=r"^predictions .*Received"):
        metrics.update(predictions, references)
    with pytest.raises(ValueError, match=r"^(predictions and )?references .*Received"):
        metrics.update(references, predictions)
    with pytest.raises(ValueError, match="no video"):
        metrics.compute()


@pytest.mark.parametrize("options", [{"windows": ()}, {"windows": (0,)}, {"windows": (8, 8)}, {"protocol": "paper"}])
def test_impossible_options_are_errors(options):
    with pytest.raises(ValueError, match="Received"):
        VideoConsistency(**options)


def test_a_foreign_state_is_refused():
    frames = np.zeros((9, 1, 1), dtype=np.uint8)
    state = VideoConsistency((4,)).update(frames, frames).state
    with pytest.raises(ValueError, match="windows"):
        VideoConsistency((8, 16)).merge(state)
    with pytest.raises(ValueError, match=r"\[M,4\]"):
        VideoConsistency().merge(np.zeros((3, 2), int))
    with pytest.raises(ValueError, match=r"^state must be"):
        VideoConsistency().merge(np.zeros((3, 4)))


def test_pooled_as_other_papers_print_it():
    """Scores of both lengths by hand: what is printed as VC16 is the mean of all windows of 8 and of 16."""
    rng = np.random.default_rng(0)
    truth = np.zeros((20, 2, 3), int)
    predicted = np.zeros((20, 2, 3), int)
    predicted[:, 0, 0] = rng.integers(0, 2, 20)
    predicted[7:, 0, 1] = 1

    def scores(n):
        return [(np.ptp(predicted[i : i + n], axis=0) == 0).mean() for i in range(20 - n)]

    found = VideoConsistency(protocol="dvis_pooled").update(predicted, truth).compute()
    assert found["vc8"] == pytest.approx(np.mean(scores(8)))
    assert found["vc16"] == pytest.approx(np.mean(scores(8) + scores(16)))
    assert found["vc16"] > VideoConsistency().update(predicted, truth).compute()["vc16"]
    # videos of 9 to 16 frames count in VC8, and so in what is printed as VC16; shorter ones in nothing
    pooled = VideoConsistency(protocol="dvis_pooled").update(predicted[:9], truth[:9]).update(truth[:8], truth[:8])
    assert pooled.compute()["vc16"] == pooled.compute()["vc8"] == pytest.approx(scores(8)[0])
    assert pooled.compute()["num_skipped_videos"] == 1
