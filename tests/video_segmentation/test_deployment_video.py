"""Reduced precision, gradient checkpointing, compilation, export: clips and the streaming step of every method."""

import copy
from unittest.mock import patch

import pytest
import torch
from tiny_video import random_clip, random_labels
from torch.testing import assert_close

from dense_hf.video_segmentation import enlarged_cross_entropy

pytestmark = pytest.mark.no_cover

CLOSE = {"atol": 1e-4, "rtol": 0}
# traces everything; generating C++ for these graphs takes minutes on a CPU
COMPILER = {"backend": "aot_eager"}


class Step(torch.nn.Module):
    """The streaming step as a module, as `torch.export` wants it."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(self, frame, references):
        return self.model.step(frame, references)


@pytest.fixture(scope="module")
def clip():
    return random_clip()


@pytest.fixture(scope="module")
def labels(clip):
    return random_labels(clip)


def references_of(model, clip):
    """What the session of a model holds for the frame after `clip`."""
    session = model.new_session()
    for frame in clip[:, [0] * 6 + [1] * 3].unbind(1):
        model.segment_frame(frame, session)
    return session.references()


def test_bfloat16_autocast(tiny_model, clip):
    model = tiny_model()
    with torch.no_grad():
        exact = model(clip).logits
        with torch.autocast("cpu", dtype=torch.bfloat16):
            fast = model(clip).logits
    assert_close(fast.float(), exact, atol=0.05 * exact.abs().max().item(), rtol=0)


def test_bfloat16_weights(tiny_model, clip):
    model = tiny_model()
    session = model.new_session()
    with torch.no_grad():
        exact = model(clip).logits
    half = tiny_model().to(torch.bfloat16)
    with torch.no_grad():
        fast = half(clip.bfloat16()).logits
    assert fast.dtype == torch.bfloat16
    assert_close(fast.float(), exact, atol=0.05 * exact.abs().max().item(), rtol=0)
    for frame in clip.bfloat16().unbind(1):
        assert half.segment_frame(frame, session).dtype == torch.bfloat16


def test_training_under_bfloat16_autocast(tiny_model, clip, labels):
    model = tiny_model().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(clip, labels=labels).loss
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_gradient_checkpointing(tiny_model, clip, labels):
    gradients = []
    for checkpointing in (False, True):
        model = tiny_model().train()
        for module in model.modules():
            if isinstance(module, (torch.nn.Dropout2d, torch.nn.Dropout)):
                module.p = 0.0
            if hasattr(module, "drop_prob"):
                module.drop_prob = 0.0
        if checkpointing:
            model.gradient_checkpointing_enable()
            parts = [n for n, module in model.named_modules() if getattr(module, "gradient_checkpointing", False)]
            assert any("mining" in name for name in parts)
            assert any("encoder" in name for name in parts)
        model(clip, labels=labels).loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for plain, recomputed in zip(*gradients):
        assert_close(plain, recomputed, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_compile(smallest_model, clip):
    model = smallest_model()
    compiled = torch.compile(copy.deepcopy(model), fullgraph=True, **COMPILER)
    with torch.no_grad():
        assert_close(compiled(clip[:, :2]).logits, model(clip[:, :2]).logits, **CLOSE)


@pytest.mark.slow
def test_compiled_step(smallest_model, clip):
    model = smallest_model()
    references, frame = references_of(model, clip), clip[:, -1]
    compiled = torch.compile(Step(copy.deepcopy(model)), fullgraph=True, **COMPILER)
    with torch.no_grad():
        assert_close(compiled(frame, references), model.step(frame, references), **CLOSE)
        assert_close(compiled(frame, None), model.step(frame, None), **CLOSE)


def test_a_compiler_sees_the_loss_of_a_map_as_one_band():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 4, 6, generator=generator).requires_grad_()
    labels = torch.randint(0, 5, (13, 11), generator=generator)
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    with patch.object(enlarged_cross_entropy, "BAND_BYTES", 1):
        losses = [
            function(logits, labels, 255)
            for function in (
                torch.compile(enlarged_cross_entropy.enlarged_cross_entropy, backend=backend, fullgraph=True),
                enlarged_cross_entropy.enlarged_cross_entropy,
            )
        ]
    assert_close(*losses)
    assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in losses))
    code = "".join(part.code for graph in graphs for part in graph.modules() if hasattr(part, "code"))
    assert code.count("log_softmax(") == 1


@pytest.mark.slow
def test_compiled_training(smallest_model, clip, labels):
    model, compiled = smallest_model(), smallest_model()
    loss = torch.compile(compiled, **COMPILER)(clip[:, :2], labels=labels[:, :2]).loss
    loss.backward()
    model(clip[:, :2], labels=labels[:, :2]).loss.backward()
    for (name, ours), (_, plain) in zip(compiled.named_parameters(), model.named_parameters()):
        assert_close(ours.grad, plain.grad, atol=1e-4, rtol=1e-3, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("num_frames", [1, 4])
def test_export(tiny_model, clip, num_frames):
    model = tiny_model()
    program = torch.export.export(model, (clip[:, -num_frames:],))
    other = torch.randn_like(clip[:, -num_frames:])
    with torch.no_grad():
        assert_close(program.module()(other)["logits"], model(other).logits, **CLOSE)


def test_exported_step(tiny_model, clip):
    """A video segmented by nothing but the exported programs: one for frames alone, one with references."""
    model = tiny_model()
    references = references_of(model, clip)
    with torch.no_grad():
        alone = torch.export.export(Step(model), (clip[:, 0], None)).module()
        helped = torch.export.export(Step(model), (clip[:, 0], references)).module()
    session, remembered = model.new_session(), model.new_session()
    with torch.no_grad():
        for frame in torch.randn(6, *clip[:, 0].shape):
            references = remembered.references()
            logits, states = (alone if references is None else helped)(frame, references)
            remembered.append(states, frame.shape)
            assert_close(logits, model.segment_frame(frame, session), **CLOSE)


def test_exporting_does_not_change_training(tiny_model, clip, labels):
    """Constants made while tracing must not be kept for later (they would not be differentiable)."""
    model = tiny_model()
    torch.export.export(model, (clip,))
    with torch.inference_mode():
        model(clip)
    model.train()(clip, labels=labels).loss.backward()
