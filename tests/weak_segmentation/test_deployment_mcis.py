"""Reduced precision, compilation and export of the forward."""

import copy

import pytest
import torch
from tiny_mcis import random_labels, random_pixels, tiny_model
from torch.testing import assert_close

PAIR = random_pixels(seed=1), random_pixels(seed=2, size=(48, 80))


def test_bfloat16_autocast():
    model = tiny_model()
    with torch.no_grad():
        exact = model(*PAIR)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            fast = model(*PAIR)
    assert fast.co_attention_logits.dtype == torch.bfloat16
    for name in ("logits", "co_attention_logits", "contrastive_logits"):
        assert_close(fast[name].float(), exact[name], atol=0.05 * exact[name].abs().max().item(), rtol=0)


def test_affinities_are_not_rounded_by_autocast():
    """Products in the hundreds: in bfloat16 they would be off by 1 and more, and with them the softmax."""
    model = tiny_model()
    features = 20 * torch.rand(1, 16, 4, 4, generator=torch.Generator().manual_seed(0))
    exact = model.co_attention.affinity(features, features.flip(-1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fast = model.co_attention.affinity(features, features.flip(-1))
    assert exact.abs().max() > 100
    assert_close(fast, exact, atol=1e-3, rtol=0)


def test_training_under_bfloat16_autocast():
    model = tiny_model().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(*PAIR, random_labels(seed=1), random_labels(seed=2)).loss
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_bfloat16_weights():
    model, half = tiny_model(), tiny_model().to(torch.bfloat16)
    with torch.no_grad():
        exact, fast = model(*PAIR), half(*(pixels.bfloat16() for pixels in PAIR))
    assert fast.co_attention_logits.dtype == torch.bfloat16
    assert_close(fast.logits.float(), exact.logits, atol=0.05 * exact.logits.abs().max().item(), rtol=0)


@pytest.mark.slow
def test_compile():
    model = tiny_model()
    compiled = torch.compile(copy.deepcopy(model), fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        assert_close(compiled(*PAIR).contrastive_maps, model(*PAIR).contrastive_maps, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("fields", [{}, {"num_domains": 2}])
@pytest.mark.parametrize("inputs", [PAIR[:1], PAIR])
def test_export(inputs, fields):
    model = tiny_model(**fields)
    program = torch.export.export(model, inputs)
    others = tuple(torch.randn_like(pixels) for pixels in inputs)
    with torch.no_grad():
        ours, plain = program.module()(*others), model(*others)
    assert ours.keys() == plain.keys()
    for name, expected in plain.items():
        assert_close(ours[name], expected, atol=1e-5, rtol=1e-5)
