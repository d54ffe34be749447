"""Overlap against sets of pixels, and the same number for any way of spreading the images."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dense_hf.metrics import MeanIoU

K = 4


@st.composite
def image_lists(draw, ignore=255):
    images = []
    for _ in range(draw(st.integers(1, 4))):
        shape = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
        prediction = draw(arrays(np.uint8, shape, elements=st.integers(0, K - 1)))
        reference = draw(arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, ignore])))
        images.append((prediction, reference))
    return images


def pixel_sets(images):
    """Per class the sets of pixels with that annotation and with that prediction, ignored ones left out."""
    annotated, predicted = ([set() for _ in range(K)] for _ in range(2))
    for number, (prediction, reference) in enumerate(images):
        for pixel in np.ndindex(reference.shape):
            if reference[pixel] != 255:
                annotated[reference[pixel]].add((number, *pixel))
                predicted[prediction[pixel]].add((number, *pixel))
    return annotated, predicted


def mean(values):
    return sum(values) / len(values)


@given(images=image_lists(), classes=st.sampled_from(["occurring", "annotated"]))
def test_equals_sets_of_pixels(images, classes):
    annotated, predicted = pixel_sets(images)
    metrics = MeanIoU(K, classes=classes).update(*zip(*images))
    if not any(annotated):
        with pytest.raises(ValueError, match="no pixel"):
            metrics.compute()
        return
    iou = [len(a & p) / len(a | p) if a | p else math.nan for a, p in zip(annotated, predicted)]
    accuracy = [len(a & p) / len(a) if a else math.nan for a, p in zip(annotated, predicted)]
    total = sum(map(len, annotated))
    counted = [c for c in range(K) if annotated[c] or (predicted[c] and classes == "occurring")]
    present = [c for c in range(K) if annotated[c]]
    expected = {
        "mean_iou": mean([iou[c] for c in counted]),
        "weighted_iou": sum(len(annotated[c]) / total * iou[c] for c in present),
        "pixel_accuracy": sum(len(a & p) for a, p in zip(annotated, predicted)) / total,
        "mean_accuracy": mean([accuracy[c] for c in present]),
    }
    results = metrics.compute()
    assert results.pop("per_class_iou") == pytest.approx(iou, nan_ok=True)
    assert results.pop("per_class_accuracy") == pytest.approx(accuracy, nan_ok=True)
    assert results == pytest.approx(expected)


@given(images=image_lists(), data=st.data())
def test_any_spread_over_processes_gives_the_same_number(images, data):
    images.append((np.zeros((1, 1), np.uint8), np.zeros((1, 1), np.uint8)))
    whole = MeanIoU(K).update(*zip(*images)).compute()
    shuffled = data.draw(st.permutations(range(len(images))))
    cut = data.draw(st.integers(0, len(images)))
    first, second = MeanIoU(K), MeanIoU(K)
    for process, part in ((first, shuffled[:cut]), (second, shuffled[cut:])):
        for i in part:
            process.update([images[i][0]], [images[i][1]])
    assert repr(first.merge(second.state).compute()) == repr(whole)


def test_absent_classes_by_hand():
    """Class 1 is predicted but not annotated, class 3 neither."""
    prediction, reference = np.array([[0, 1, 2, 2]]), np.array([[0, 0, 2, 255]])
    occurring = MeanIoU(4).update([prediction], [reference]).compute()
    assert occurring["per_class_iou"] == pytest.approx([0.5, 0, 1, math.nan], nan_ok=True)
    assert occurring["mean_iou"] == pytest.approx((0.5 + 0 + 1) / 3)
    annotated = MeanIoU(4, classes="annotated").update([prediction], [reference]).compute()
    assert annotated["mean_iou"] == pytest.approx((0.5 + 1) / 2)
    assert occurring["weighted_iou"] == annotated["weighted_iou"] == pytest.approx(2 / 3 * 0.5 + 1 / 3)


def test_any_ignore_index_and_any_container():
    prediction, reference = torch.tensor([[0, 9], [1, 1]]), torch.tensor([[0, -100], [1, 0]])
    expected = MeanIoU(2).update([[[0, 0], [1, 1]]], [[[0, 255], [1, 0]]]).compute()
    assert MeanIoU(2, ignore_index=-100).update([prediction], [reference]).compute() == expected
    # a label that is ignored may lie inside the range of the classes
    assert MeanIoU(3, ignore_index=1).update([[1, 2]], [[1, 2]]).compute()["pixel_accuracy"] == 1


@pytest.mark.parametrize(
    ("predictions", "references"),
    [
        ([[0]], [[0], [0]]), ([[[0, 0]]], [[[0], [0]]]), ([[4]], [[0]]), ([[-1]], [[0]]), ([[0]], [[4]]),
        ([[0]], [[-1]]), ([[0.0]], [[0]]), ([["sky"]], [["sky"]]), ([[255]], [[0]]),
    ],
)  # fmt: skip
def test_bad_maps_are_refused_and_nothing_is_added(predictions, references):
    metrics = MeanIoU(K).update([[1]], [[1]])
    before = metrics.state
    with pytest.raises(ValueError, match="Received"):
        metrics.update([[0], *predictions], [[0], *references])
    assert np.array_equal(metrics.state, before)


@pytest.mark.parametrize(("label", "received"), [(4, "4"), (-1, "-1"), (254, "254"), (0.5, "float64")])
def test_the_label_that_cannot_be_is_named(label, received):
    for name, maps in (("predictions", ([[label, 0]], [[1, 1]])), ("references", ([[1, 1]], [[label, 0]]))):
        with pytest.raises(ValueError, match=rf"^{name} must be .*Received: {received}"):
            MeanIoU(K).update(*maps)


def test_one_class_is_enough():
    assert MeanIoU(1).update([[0, 0]], [[0, 255]]).compute()["mean_iou"] == 1


def test_classes_that_are_nowhere_are_nan_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(MeanIoU(3).update([[0]], [[0]]).compute()["per_class_iou"][1])


def test_a_foreign_state_and_impossible_options_are_refused():
    with pytest.raises(ValueError, match=r"\[4, 4\]"):
        MeanIoU(K).merge(np.zeros((3, 3), int))
    with pytest.raises(ValueError, match=r"^state must be"):
        MeanIoU(K).merge(np.zeros((K, K)))
    for options in ({"num_labels": 0}, {"num_labels": 2, "classes": "all"}):
        with pytest.raises(ValueError, match="Received"):
            MeanIoU(**options)
