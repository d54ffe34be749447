"""Reduced precision, compilation and export of the segmenters' forward."""

import copy

import pytest
import torch
from tiny_deeplab import tiny_segmenter
from torch.testing import assert_close

pytestmark = pytest.mark.no_cover

HEADS = ("largefov", "deeplabv3")


def pictures(size=(65, 97)):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("head", HEADS)
def test_bfloat16_autocast(head):
    model = tiny_segmenter(head=head)
    with torch.no_grad():
        exact = model(pictures()).logits
        with torch.autocast("cpu", dtype=torch.bfloat16):
            fast = model(pictures()).logits
    assert fast.dtype == torch.bfloat16
    assert_close(fast.float(), exact, atol=0.05 * exact.abs().max().item(), rtol=0)


@pytest.mark.parametrize("head", HEADS)
def test_training_under_bfloat16_autocast(head):
    model = tiny_segmenter(head=head).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(pictures(), torch.randint(0, 5, (2, 65, 97))).loss
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
def test_compile(head):
    model = tiny_segmenter(head=head)
    compiled = torch.compile(copy.deepcopy(model), fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        assert_close(compiled(pictures()).logits, model(pictures()).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_export(head):
    model = tiny_segmenter(head=head)
    program = torch.export.export(model, (pictures(),))
    others = torch.randn(2, 3, 65, 97)
    with torch.no_grad():
        assert_close(program.module()(others).logits, model(others).logits, atol=1e-5, rtol=1e-5)
