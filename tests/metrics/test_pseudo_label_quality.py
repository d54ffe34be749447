"""Quality of pseudo labels, against counting pixel by pixel."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dense_hf.metrics import PseudoLabelQuality

# a mean over no label is said as NaN, not as a warning of numpy
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")
LABELS = hnp.arrays(np.uint8, (4, 5), elements=st.sampled_from([0, 1, 2, 255]))


@given(pairs=st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_counted_by_hand(pairs):
    given_pixels = np.concatenate([one.ravel() for one, _ in pairs])
    true_pixels = np.concatenate([one.ravel() for _, one in pairs])
    counted = true_pixels != 255
    given_pixels, true_pixels = given_pixels[counted], true_pixels[counted]
    quality = PseudoLabelQuality(3)
    for pseudo, mask in pairs:
        quality.merge(PseudoLabelQuality(3).update([pseudo], [mask]).state)  # as from many processes
    if not counted.any():
        with pytest.raises(ValueError, match="no pixel"):
            quality.compute()
        return
    result = quality.compute()
    whole = PseudoLabelQuality(3).update(*zip(*pairs)).compute()
    one_by_one = PseudoLabelQuality(3)
    for pseudo, mask in pairs:
        one_by_one.update([pseudo], [mask])
    for other in (whole, one_by_one.compute()):
        assert {k: str(v) for k, v in other.items()} == {k: str(v) for k, v in result.items()}
    assert result["ignored"] == pytest.approx((given_pixels == 255).mean())
    assert (result["num_images"], result["num_empty"]) == (len(pairs), sum((one == 255).all() for one, _ in pairs))
    defined = {"iou": [], "precision": [], "recall": []}
    for label in range(3):
        has, got = true_pixels == label, given_pixels == label
        for name, top, bottom in (
            ("iou", has & got, has | got),
            ("precision", has & got, got),
            ("recall", has & got, has),
            ("ignored", has & (given_pixels == 255), has),
        ):
            ours = result[f"per_class_{name}"][label]
            if not bottom.any():
                assert math.isnan(ours)
                continue
            assert ours == pytest.approx(top.sum() / bottom.sum())
            if name in defined:
                defined[name].append(ours)
    for name, values in defined.items():
        ours = result[f"mean_{name}"]
        assert ours == pytest.approx(np.mean(values)) if values else math.isnan(ours)


@pytest.mark.parametrize(
    ("pseudo", "mask", "message"),
    [
        ([[3]], [[0]], "pseudo_labels must be labels from 0 to 2, or 255. Received: 3"),
        ([[0]], [[3]], "masks must be labels from 0 to 2, or 255. Received: 3"),
        ([[0, 1]], [[0]], "size of its reference"),
        ([[0.5]], [[0]], "whole numbers"),
    ],
)
def test_what_does_not_fit(pseudo, mask, message):
    quality = PseudoLabelQuality(3)
    with pytest.raises(ValueError, match=message):
        quality.update([np.array(pseudo)], [np.array(mask)])
    assert quality.num_images == 0


@pytest.mark.parametrize("values", [[[0.5]], [[3]]])
def test_what_is_bad_is_named(values):
    with pytest.raises(ValueError, match=r"^pseudo_labels must be"):
        PseudoLabelQuality(3).update([values], [[[0]]])
    with pytest.raises(ValueError, match=r"^masks must be"):
        PseudoLabelQuality(3).update([[[0]]], [values])
