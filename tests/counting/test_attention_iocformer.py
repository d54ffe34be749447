"""Attention and dropout of our own: the numbers and gradients of the formulas, written out."""

import pytest
import torch
from tiny_iocformer import random_labels, tiny_model
from torch.testing import assert_close

from dense_hf.counting.attention_iocformer import DroppedAttention, DroppedReLU, drawn_numbers, kept_share

P = 0.3


def drawn_mask(shape, seed):
    """What stays of a tensor of this shape, and the share of all numbers that stays."""
    torch.manual_seed(seed)
    numbers, least = drawn_numbers(torch.Size(shape).numel(), P)
    torch.manual_seed(seed)
    return (numbers >= least).view(shape), kept_share(least)


@pytest.mark.parametrize(("queries", "keys", "width"), [(5, 3, 4), (1, 7, 2), (9, 9, 4)])
def test_attention_with_dropout_and_its_gradients(queries, keys, width):
    torch.manual_seed(1)
    query, key, value = (
        (3 * torch.randn(2, size, 3, last, dtype=torch.float64)).transpose(1, 2).requires_grad_()
        for size, last in ((queries, 4), (keys, 4), (keys, width))
    )
    probe = torch.randn(2, queries, 3, width, dtype=torch.float64)
    mask, share = drawn_mask((2, 3, queries, keys), seed=2)
    ours = DroppedAttention.apply(query, key, value, P)
    weights = (query @ key.transpose(2, 3)).softmax(dim=-1) * mask / share
    plain = (weights @ value).transpose(1, 2)
    assert_close(ours, plain)
    for a, b in zip(*(torch.autograd.grad((x * probe).sum(), [query, key, value]) for x in (ours, plain))):
        assert_close(a, b)


def test_relu_with_dropout_and_its_gradient():
    x = torch.randn(4, 5, 6, dtype=torch.float64, requires_grad=True)
    probe = torch.randn_like(x)
    mask, share = drawn_mask(x.shape, seed=3)
    ours, plain = DroppedReLU.apply(x, P), x.relu() * mask / share
    assert_close(ours, plain)
    assert_close(*(torch.autograd.grad((y * probe).sum(), x)[0] for y in (ours, plain)))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.97])
def test_as_many_are_dropped_as_asked(p):
    torch.manual_seed(0)
    numbers, least = drawn_numbers(200_003, p)
    stay = (numbers >= least).float()
    assert kept_share(least) == pytest.approx(1 - p, abs=1e-5)
    assert stay.mean().item() == pytest.approx(1 - p, abs=4 * (p * (1 - p) / 200_003) ** 0.5)
    # neighbors share a number of 64 bits, but no decision
    lanes = stay[:200_000].view(-1, 4)
    assert torch.corrcoef(lanes.T).fill_diagonal_(0).abs().max() < 0.02


def test_training_with_hardly_any_dropout_is_training_without():
    """All layers: dropout of 1e-6 takes our way and drops nothing, dropout of 0 takes that of PyTorch."""
    gradients = []
    for p in (0.0, 1e-6):
        model = tiny_model(attention_dropout=p, activation_dropout=p, dropout=0.0).train()
        torch.manual_seed(0)
        model(torch.randn(2, 3, 64, 64), labels=random_labels((5, 2))).loss.backward()
        gradients.append({name: one.grad for name, one in model.named_parameters() if one.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, plain in gradients[0].items():
        assert_close(gradients[1][name], plain, rtol=1e-4, atol=1e-6, msg=name)


def test_the_same_seed_drops_the_same():
    model = tiny_model(attention_dropout=0.5, activation_dropout=0.5).train()
    pixels = torch.randn(2, 3, 64, 64)
    outputs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        outputs.append(model(pixels).logits)
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.allclose(outputs[0], outputs[2])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_first_layer_of_a_batch_is_that_of_each_picture(attention):
    model = tiny_model().eval()
    model.set_attn_implementation(attention)
    pixels = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        together = model(pixels, output_attentions=attention == "eager")
        alone = [model(one[None]) for one in pixels]
    assert_close(together.logits, torch.cat([one.logits for one in alone]), rtol=1e-4, atol=1e-5)
    if attention == "eager":
        assert {len(weights) for weights in together.decoder_attentions} == {3}
