"""The sum and its gradient, made band by band, against enlarging the whole map."""

from unittest.mock import patch

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from dense_hf.video_segmentation import enlarged_cross_entropy as module
from dense_hf.video_segmentation.enlarged_cross_entropy import enlarged_cross_entropy

IGNORED = 255
SIDES = st.integers(1, 12)


def drawn(num_labels, h, w, height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(num_labels, h, w, generator=generator)
    labels = torch.randint(0, num_labels + 1, (height, width), generator=generator)
    return logits.requires_grad_(), labels.masked_fill(labels == num_labels, IGNORED).to(torch.uint8)


def plain(logits, labels, ignore_index=IGNORED):
    enlarged = F.interpolate(logits[None].double(), size=labels.shape, mode="bilinear", align_corners=False)
    return F.cross_entropy(enlarged, labels[None].long(), ignore_index=ignore_index, reduction="sum")


@given(num_labels=st.integers(1, 6), h=SIDES, w=SIDES, height=SIDES, width=SIDES, rows=st.integers(1, 5))
def test_sum_and_gradient_are_those_of_the_whole_map(num_labels, h, w, height, width, rows):
    logits, labels = drawn(num_labels, h, w, height, width)
    with patch.object(module, "BAND_BYTES", rows * 4 * width * num_labels):
        total = enlarged_cross_entropy(logits, labels, IGNORED)
    expected = plain(logits, labels)
    torch.testing.assert_close(total, expected.float(), rtol=1e-5, atol=1e-5)
    weight = 0.7  # of the sum in what is derived
    ours, theirs = (torch.autograd.grad(weight * one, logits)[0] for one in (total, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_map_at_its_usual_size():
    logits, labels = drawn(124, 30, 54, 120, 216)
    total, expected = enlarged_cross_entropy(logits, labels, IGNORED), plain(logits, labels)
    torch.testing.assert_close(total, expected.float(), rtol=1e-6, atol=0)
    ours, theirs = (torch.autograd.grad(one, logits)[0] for one in (total, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("is_derived", [True, False])
def test_bands_are_as_many_rows_as_fit(is_derived):
    logits, labels = drawn(5, 4, 6, 13, 11)
    expected, rows = plain(logits, labels), []

    def resize(maps, size):
        rows.append((maps.shape[-2], *size))
        return F.interpolate(maps, size=size, mode="bilinear")

    with patch.object(module, "BAND_BYTES", 4 * 11 * 5 * 3 + 1), patch.object(module, "resize", resize):
        total = enlarged_cross_entropy(logits.requires_grad_(is_derived), labels, IGNORED)
    assert rows == [(3, 3, 11)] * 4 + [(1, 1, 11)]
    torch.testing.assert_close(total, expected.float())
    with patch.object(module, "BAND_BYTES", 1), patch.object(module, "resize", resize):
        enlarged_cross_entropy(logits, labels, IGNORED)
    assert rows[5:] == [(1, 1, 11)] * 13


def test_half_precision_changes_neither():
    logits, labels = drawn(5, 4, 6, 13, 11)
    of_float = torch.autograd.grad(enlarged_cross_entropy(logits, labels, IGNORED), logits)[0]
    with torch.autocast("cpu", torch.bfloat16):
        total = enlarged_cross_entropy(logits, labels, IGNORED)
    assert total.dtype == torch.float32
    assert torch.equal(torch.autograd.grad(total, logits)[0], of_float)
    half = logits.detach().bfloat16().requires_grad_()
    total = enlarged_cross_entropy(half, labels, IGNORED)
    assert torch.equal(total, enlarged_cross_entropy(half.detach().float(), labels, IGNORED))
    assert torch.autograd.grad(total, half)[0].dtype == torch.bfloat16


def test_pixels_that_are_all_ignored_cost_nothing():
    logits, labels = drawn(3, 2, 2, 6, 5)
    total = enlarged_cross_entropy(logits, labels.fill_(IGNORED), IGNORED)
    assert total == 0
    assert not torch.autograd.grad(total, logits)[0].any()


def test_another_label_may_be_ignored():
    logits, labels = drawn(4, 3, 3, 7, 9)
    labels = labels.long().masked_fill(labels == IGNORED, -100)
    total, expected = enlarged_cross_entropy(logits, labels, -100), plain(logits, labels, -100)
    torch.testing.assert_close(total, expected.float(), rtol=1e-5, atol=0)
    ours, theirs = (torch.autograd.grad(one, logits)[0] for one in (total, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_no_gradient_is_made_that_nobody_asks_for():
    logits, labels = drawn(4, 3, 3, 7, 9)
    with patch.object(torch.Tensor, "index_add_", side_effect=AssertionError("a gradient")):
        assert not enlarged_cross_entropy(logits.detach(), labels, IGNORED).requires_grad


def test_it_is_derived_once_and_says_so():
    logits, labels = drawn(3, 2, 3, 4, 6)
    total = enlarged_cross_entropy(logits, labels, IGNORED)
    (gradient,) = torch.autograd.grad(total, logits, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        gradient.sum().backward()


def test_a_label_without_a_class_is_an_error():
    logits, labels = drawn(3, 2, 3, 4, 6)
    labels[0, 0] = 7
    with pytest.raises(IndexError, match="7"):
        enlarged_cross_entropy(logits, labels, IGNORED)
