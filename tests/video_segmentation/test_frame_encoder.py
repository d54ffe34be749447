"""The encoder of every frame: the numbers and gradients of transformers' own, without its copies."""

import pytest
import torch
from torch.testing import assert_close
from transformers import SegformerConfig, SegformerModel

from dense_hf.video_segmentation.frame_encoder import FrameEncoder, FrameReduction, set_layer_norm_eps


def encoders():
    """Ours and that of transformers, with the same weights and epsilons."""
    torch.manual_seed(0)
    config = SegformerConfig(
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 2, 1, 1],
        num_attention_heads=[1, 2, 3, 4],
        hidden_dropout_prob=0.0,
        drop_path_rate=0.0,
    )
    ours, theirs = FrameEncoder(config).eval(), SegformerModel(config).eval()
    theirs.load_state_dict(ours.state_dict())
    set_layer_norm_eps(theirs)
    return ours, theirs


@pytest.mark.parametrize("count", [1, 3])
def test_maps_and_gradients_are_those_of_transformers(count):
    ours, theirs = encoders()
    frames = torch.randn(count, 3, 64, 96)
    maps = [encoder(frames, output_hidden_states=True).hidden_states for encoder in (ours, theirs)]
    for a, b in zip(*maps):
        assert_close(a, b, rtol=1e-5, atol=1e-5)
    probes = [torch.randn_like(one) for one in maps[1]]
    gradients = [
        torch.autograd.grad(sum((a * b).sum() for a, b in zip(own, probes)), list(encoder.parameters()))
        for own, encoder in zip(maps, (ours, theirs))
    ]
    for (name, _), a, b in zip(theirs.named_parameters(), *gradients):
        assert (a - b).norm() <= 1e-5 * b.norm() + 1e-6, name


def test_maps_have_their_channels_last_in_memory():
    """What follows is written for that; a single frame is where the copies were."""
    ours, _ = encoders()
    with torch.no_grad():
        maps = ours(torch.randn(1, 3, 64, 96)).hidden_states
    for one in maps:
        assert one.stride()[1] == 1
        assert one.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels", [8, 32])
def test_reduced_tokens_in_bfloat16_are_those_of_float32(channels):
    """On a CPU with AMX, PyTorch's own convolution of 8 channels and 8 x 8 pixels is wrong by more than all of it."""
    torch.manual_seed(0)
    reduction = FrameReduction(channels, 8).eval()
    tokens = torch.randn(2, 16 * 24, channels)
    with torch.no_grad():
        exact = reduction(tokens, 16, 24)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert_close(reduction(tokens, 16, 24).float(), exact, atol=0.05, rtol=0)
        half = reduction.bfloat16()(tokens.bfloat16(), 16, 24)
    assert_close(half.float(), exact, atol=0.05, rtol=0)
