"""From maps to pseudo labels: the rules pixel by pixel, with and without saliency."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dense_hf.weak_segmentation import aggregate_maps, make_pseudo_label, resize_map

MAPS = hnp.arrays(np.uint8, (4, 5))
STEPS = hnp.arrays(np.uint8, (4, 5), elements=st.sampled_from([0, 31, 32, 76, 77, 178, 242, 243, 252, 253, 255]))


def reference(attention, saliency, **options):
    """The documented rules, one pixel at a time."""
    height, width = next(iter(attention.values())).shape
    scaled = {}
    for class_id, values in attention.items():
        low, high = float(values.min()), float(values.max())
        scaled[class_id] = [
            [np.float32((float(v) - low) / (high - low + 1e-8)) for v in row] for row in values.tolist()
        ]
    label = np.zeros((height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            scores = {class_id + 1: scaled[class_id][y][x] for class_id in sorted(attention)}
            if saliency is not None:
                certain = any(score > 0.95 for score in scores.values())
                scores = {0: np.float32(1) - np.float32(saliency[y, x]) / np.float32(255)} | scores
                scores = {k: score if score >= np.float32(0.3) else 0 for k, score in scores.items()}
            elif "background_power" in options:
                scores = {0: (1 - max(scores.values())) ** options["background_power"]} | scores
            else:
                scores = {0: np.float32(options.get("background_score", 0.2))} | scores
            best = max(scores.values())
            label[y, x] = min(k for k, score in scores.items() if score == best)
            if sum(score > 0.99 for score in scores.values()) > 1:
                label[y, x] = 255
            if saliency is not None and label[y, x] == 0 and (saliency[y, x] >= 32 or certain):
                label[y, x] = 255
    if ((label > 0) & (label < 255)).sum() < 0.01 * label.size:
        label[:] = 255
    return label


@given(first=STEPS | MAPS, second=STEPS | MAPS, saliency=STEPS | MAPS)
@settings(max_examples=100, deadline=None)
def test_rules_with_saliency(first, second, saliency):
    attention = {2: first, 7: second}
    assert np.array_equal(make_pseudo_label(attention, saliency, 20), reference(attention, saliency))


@given(
    first=MAPS, second=STEPS | MAPS, options=st.sampled_from([{}, {"background_score": 0.5}, {"background_power": 4}])
)
@settings(max_examples=100, deadline=None)
def test_rules_without_saliency(first, second, options):
    attention = {0: first, 1: second}
    assert np.array_equal(make_pseudo_label(attention, None, 2, **options), reference(attention, None, **options))


@given(first=MAPS, second=MAPS, saliency=MAPS)
@settings(max_examples=30, deadline=None)
def test_order_of_classes_and_classes_without_a_map_do_not_matter(first, second, saliency):
    label = make_pseudo_label({2: first, 7: second}, saliency, 20)
    assert np.array_equal(label, make_pseudo_label({7: second, 2: first}, saliency, 200))
    assert set(np.unique(label)) <= {0, 3, 8, 255}


def test_inputs_are_not_changed():
    attention, saliency = np.arange(20, dtype=np.uint8).reshape(4, 5), np.full((4, 5), 200, np.uint8)
    make_pseudo_label({0: attention}, saliency, 1)
    assert attention.max() == 19
    assert (saliency == 200).all()


def test_tensors_are_taken_too():
    attention, saliency = np.arange(20, dtype=np.uint8).reshape(4, 5), np.full((4, 5), 200, np.uint8)
    ours = make_pseudo_label({0: torch.from_numpy(attention)}, torch.from_numpy(saliency), 1)
    assert np.array_equal(ours, make_pseudo_label({0: attention}, saliency, 1))


def test_no_class_at_all_leaves_nothing_to_learn():
    assert (make_pseudo_label({}, np.zeros((4, 5), np.uint8), 20) == 255).all()


GOOD = np.zeros((4, 5), np.uint8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({0: GOOD}, np.zeros((5, 4), np.uint8), 20), r"saliency must have the size of attention\[0\], \[4, 5\]"),
        (({0: GOOD, 3: np.zeros((9, 9), np.uint8)}, None, 20), r"attention\[3\] must have the size of attention\[0\]"),
        (({20: GOOD, -1: GOOD}, GOOD, 20), r"class ids must be from 0 to 19. Received: \[-1, 20\]"),
        (
            ({0: GOOD.astype(np.float32)}, GOOD, 20),
            r"attention\[0\] must be a uint8 array \[H, W\]. Received: float32",
        ),
        (({0: GOOD}, GOOD.tolist(), 20), "saliency must be a uint8 array .* Received: int64"),
        (({0: GOOD}, np.zeros((4, 5, 3), np.uint8), 20), "saliency must be a uint8 array"),
        (({}, None, 20), "needs saliency or at least one class"),
        (({0: GOOD}, None, 255), "num_labels must be from 1 to 254"),
    ],
)
def test_what_does_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_pseudo_label(*arguments)


# aggregation


def test_aggregation_written_out():
    maps = np.array([[[1, -2], [4, 2]], [[3, 3], [6, 0]], [[-9, -9], [-9, 5]]], np.float32)
    # the third has a mean of -5.5, a probability of 0.004: it does not count, but the divisor stays 3
    expected = [[(1 / 4 + 3 / 6) * 85, 3 / 6 * 85], [2 * 85, 2 / 4 * 85]]
    assert aggregate_maps(maps).tolist() == [[int(value) for value in row] for row in expected]
    assert np.array_equal(aggregate_maps(torch.from_numpy(maps)), aggregate_maps(maps))
    # with no least probability it counts
    assert aggregate_maps(maps, min_probability=0)[1, 1] == int((2 / 4 + 1) * 85)


def test_the_first_map_always_counts():
    unlikely = np.full((1, 2, 2), -9, np.float32)
    unlikely[0, 0, 0] = 1
    assert aggregate_maps(unlikely)[0, 0] in (254, 255)
    assert aggregate_maps(np.concatenate([unlikely, unlikely]))[0, 0] in (126, 127)


def test_large_numbers(recwarn):
    maps = np.full((3, 2, 2), -2000, np.float32)
    maps[1] = 2000
    assert aggregate_maps(maps).tolist() == [[85, 85], [85, 85]]
    assert not recwarn.list


def test_maps_without_evidence_are_empty():
    assert not aggregate_maps(np.full((5, 3, 3), -1, np.float32)).any()
    assert not aggregate_maps(np.zeros((5, 3, 3), np.float32)).any()


@pytest.mark.parametrize(
    "maps", [np.zeros((3, 3)), np.zeros((0, 3, 3)), np.full((1, 2, 2), np.nan), np.full((2, 2, 2), np.inf)]
)
def test_maps_that_are_none(maps):
    with pytest.raises(ValueError, match="finite numbers"):
        aggregate_maps(maps)


def test_resizing():
    attention = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    assert np.array_equal(resize_map(attention, (8, 8)), attention)
    assert resize_map(attention, (31, 50)).shape == (31, 50)
    edge = np.zeros((8, 8), np.uint8)
    edge[:, 4:] = 255
    large = resize_map(edge, (80, 80)).astype(int)  # bicubic overshoots, so it must be cut off
    assert large.min() == 0
    assert large.max() == 255
    assert (np.diff(large, axis=1)[:, 38:42] >= 0).all()
