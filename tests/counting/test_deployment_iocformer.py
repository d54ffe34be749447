"""Reduced precision, compilation and export of the forward."""

import copy

import pytest
import torch
from tiny_iocformer import random_labels, tiny_model
from torch.testing import assert_close

pytestmark = pytest.mark.no_cover


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_bfloat16_autocast(pixels):
    model = tiny_model()
    with torch.no_grad():
        exact = model(pixels)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            fast = model(pixels)
    assert_close(fast.pred_points.float(), exact.pred_points, atol=0.02, rtol=0)
    assert_close(fast.density_map.float(), exact.density_map, atol=0.02, rtol=0.05)


def test_training_under_bfloat16_autocast(pixels):
    model = tiny_model().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(pixels, labels=random_labels()).loss
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.slow
def test_compile(pixels):
    model = tiny_model()
    # traces everything; generating C++ for these graphs takes minutes on a CPU
    compiled = torch.compile(copy.deepcopy(model), fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        ours, plain = compiled(pixels), model(pixels)
    assert_close(ours.logits, plain.logits, atol=1e-5, rtol=0)
    assert_close(ours.density_map, plain.density_map, atol=1e-5, rtol=0)


@pytest.mark.parametrize("fields", [{}, {"density_branch": False}, {"regression_branch": False}])
def test_export(pixels, fields):
    model = tiny_model(**fields)
    program = torch.export.export(model, (pixels,))
    other = torch.randn_like(pixels)
    with torch.no_grad():
        ours, plain = program.module()(other), model(other)
    assert ours.keys() == plain.keys()
    for name in {"logits", "pred_points", "density_map"} & plain.keys():
        assert_close(ours[name], plain[name], atol=1e-5, rtol=0)


def test_exporting_does_not_change_training(pixels):
    """Constants made while tracing must not be kept for later (they would not be differentiable)."""
    model = tiny_model()
    torch.export.export(model, (pixels,))
    with torch.inference_mode():
        model(pixels)
    model.train()(pixels, labels=random_labels()).loss.backward()
