"""The two affinities, their scales, and how many positions a softmax attends to; released values are the default."""

import math

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from tiny_mcis import random_labels, random_pixels, tiny_config, tiny_model
from torch.nn import functional as F
from torch.testing import assert_close

from dense_hf import MCISForImageClassification
from dense_hf.weak_segmentation.co_attention_mcis import attend, attended_positions


def features(seed: int) -> torch.Tensor:
    return torch.rand(2, 16, 3, 2, generator=torch.Generator().manual_seed(seed))


def test_a_cosine_is_that_of_torch():
    model = tiny_model(affinity="cosine", affinity_scale=20)
    first, second = features(1), features(2)
    found = model.co_attention.affinity(first, second)
    for here in range(6):
        for there in range(6):
            expected = F.cosine_similarity(first.flatten(2)[..., here], second.flatten(2)[..., there])
            assert_close(found[:, here, there], 20 * expected)
    assert list(model.co_attention.parameters()) == []


def test_a_scale_is_a_factor_and_one_is_the_released_code():
    model = tiny_model()
    first, second = features(1), features(2)
    released = model.co_attention.affinity(first, second)
    weight = model.co_attention.affinities[0].weight
    assert torch.equal(released, (first.flatten(2).transpose(1, 2) @ weight.T) @ second.flatten(2))
    model.config.affinity_scale = 0.5
    assert_close(model.co_attention.affinity(first, second), 0.5 * released)


def test_features_are_scaled_before_the_convolutions():
    model = tiny_model()
    backbone = model.backbone(random_pixels()).feature_maps[-1]
    assert torch.equal(model.extract_features(random_pixels()), model.neck(backbone))
    model.config.feature_scale = 0.25
    assert_close(model.extract_features(random_pixels()), model.neck(0.25 * backbone))


def test_a_gate_is_the_cosine_of_what_a_position_has_and_gets():
    model = tiny_model()
    first, second = features(1), features(2)
    affinity = model.co_attention.affinity(first, second)
    plain = attend(second, affinity.transpose(1, 2), first.shape[-2:])
    assert torch.equal(model.co_attention(first, second)[0], plain)
    model.config.co_attention_gate = "similarity"
    gated = model.co_attention(first, second)[0]
    for place in ((0, 0), (1, 1), (2, 0)):
        here = (slice(None), slice(None), *place)
        cosine = (first[here] * plain[here]).sum(1) / (first[here].norm(dim=1) * plain[here].norm(dim=1))
        assert_close(gated[here], cosine[:, None] * plain[here])


def test_attended_positions_of_known_softmaxes():
    one_hot, even = torch.zeros(1, 8, 3), torch.zeros(1, 8, 3)
    one_hot[0, 2] = 1000
    half = torch.full((1, 8, 3), -math.inf)
    half[0, :4] = 0
    assert attended_positions(one_hot) == pytest.approx(1)
    assert attended_positions(even) == pytest.approx(8)
    assert attended_positions(half) == pytest.approx(4)


def test_a_cosine_trains_and_comes_back_from_a_file(tmp_path):
    model = tiny_model(affinity="cosine", affinity_scale=20, feature_scale=0.5).train()
    pixels = (random_pixels(), random_pixels(seed=1))
    model(*pixels, labels=random_labels(), paired_labels=random_labels(seed=1)).loss.backward()
    assert [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None] == []
    model.eval().save_pretrained(tmp_path)
    again = MCISForImageClassification.from_pretrained(tmp_path)
    with torch.no_grad():
        assert_close(again(*pixels).co_attention_logits, model(*pixels).co_attention_logits)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"affinity": "dot"}, "affinity must be one of"),
        ({"affinity_scale": 0}, "affinity_scale must be positive"),
        ({"co_attention_gate": "max"}, "co_attention_gate must be one of"),
    ],
)
def test_settings_that_cannot_be(fields, message):
    with pytest.raises(StrictDataclassError, match=message):
        tiny_config(**fields)
