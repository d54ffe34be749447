"""Position codes, starts and readout of small data: against brute force, and untouched where they are off."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_iocformer import random_labels, tiny_config, tiny_model
from torch.testing import assert_close

from dense_hf import IOCFormerForObjectCounting
from dense_hf.counting.loss_iocformer import set_losses
from dense_hf.counting.positions_iocformer import cell_centers, code_points, grid_points, sample_map

SMALL_DATA = {
    "position_scale": 4,
    "position_temperature": 20,
    "tied_position_start": True,
    "query_grid": True,
    "feature_norm": True,
    "local_readout": True,
}


def references_of(model) -> torch.Tensor:
    return model.decoder.ref_point_head(model.query_position_embeddings.weight).sigmoid().detach()


@given(number=st.integers(1, 1000))
@settings(max_examples=60, deadline=None)
def test_a_grid_has_each_number_of_points_and_no_holes(number):
    points = grid_points(number)
    assert points.shape == (number, 2)
    assert ((points > 0) & (points < 1)).all()
    places = cell_centers(torch.zeros(40, 40))
    # no place of the tile is further from a query than a square grid of as many, a row of one fewer and its edge leave
    assert torch.cdist(places, points).min(dim=1).values.max() < 1.3 / max(1, number**0.5 - 1)


@pytest.mark.parametrize("number", [9, 12])
def test_queries_start_on_the_grid(number):
    model = tiny_model(query_grid=True, num_queries=number)
    assert_close(references_of(model), grid_points(number), atol=1e-5, rtol=0)
    if number == 9:
        thirds = [1 / 6, 0.5, 5 / 6]
        assert_close(references_of(model), torch.tensor([(x, y) for y in thirds for x in thirds]), atol=1e-5, rtol=0)


def test_tokens_and_queries_at_one_place_have_one_code():
    config = tiny_config(position_scale=4, position_temperature=20)
    model = tiny_model(position_scale=4, position_temperature=20)
    tokens = model.position_embedding(torch.zeros(2, 7, 3, 5))[0]
    for row in range(3):
        for column in range(5):
            place = torch.tensor([(column + 0.5) / 5, (row + 0.5) / 3])
            assert_close(tokens[5 * row + column], code_points(place, config))
    x, y = 0.3, 0.6
    fastest = code_points(torch.tensor([x, y]), config)[[0, 8]]  # four waves a tile, y first
    assert_close(fastest, torch.sin(2 * torch.pi * 4 * torch.tensor([y, x])))


@pytest.mark.parametrize("scale", [None, 6.0])
def test_a_tied_start_looks_near_the_reference(scale):
    """The distance of what is attended to by place alone, against that of an untied start and of chance."""
    distances = {}
    for tied in (False, True):
        model = tiny_model(
            seed=1,
            position_scale=scale,
            position_temperature=20,
            tied_position_start=tied,
            query_grid=True,
            d_model=64,
        )
        attention = model.decoder.layers[0].encoder_attn
        keys = attention.k_pos_proj(model.position_embedding(torch.zeros(1, 7, 8, 8)))[0]
        queries = attention.q_pos_sine_proj(code_points(references_of(model), model.config))
        weights = (queries @ keys.T / 8).softmax(dim=-1)
        away = torch.cdist(references_of(model), cell_centers(torch.zeros(8, 8)))
        distances[tied] = float((weights.detach() * away).sum(-1).mean())
    chance = float(away.mean())
    assert distances[True] < 0.6 * min(distances[False], chance)


@pytest.mark.parametrize("scale", [None, 3.0])
def test_each_head_of_a_tied_start_looks_in_its_direction(scale):
    """Attention of a head by place alone is largest at the place that its direction names."""
    fields = {"position_scale": scale, "position_temperature": 20, "d_model": 64, "decoder_attention_heads": 4}
    model = tiny_model(seed=1, tied_position_start=True, **fields)
    attention = model.decoder.layers[1].encoder_attn
    reference = torch.tensor([0.4, 0.6])
    query = attention.q_pos_sine_proj(code_points(reference, model.config)).view(4, 16)
    for head, (x, y) in enumerate([(1, 0), (0, 1), (-1, 0), (0, -1)]):
        moved = reference + torch.tensor([x, y]) / 16
        swapped = code_points(moved, model.config).roll(32 if scale is None else 0)  # the order of tokens
        key = attention.k_pos_proj(swapped).view(4, 16)[head]
        bias = attention.k_pos_proj.bias.view(4, 16)[head]
        assert_close(query[head] - bias, 6 * (key - bias), atol=1e-4, rtol=1e-4)


def test_a_tied_start_begins_without_a_scale_of_the_query():
    model = tiny_model(tied_position_start=True)
    assert_close(model.decoder.query_scale(torch.randn(3, 16)), torch.ones(3, 16))


@given(seed=st.integers(0, 99), height=st.integers(1, 5), width=st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_memory_is_read_where_it_is(seed, height, width):
    generator = torch.Generator().manual_seed(seed)
    feature_map = torch.randn(2, 3, height, width, generator=generator)
    centers, memory = cell_centers(feature_map), feature_map.flatten(2).transpose(1, 2)
    assert_close(sample_map(feature_map, centers[None]), memory, atol=1e-5, rtol=1e-5)
    if width > 1:  # halfway between two cells is their mean
        between = (centers[:1] + centers[1:2]) / 2
        assert_close(sample_map(feature_map, between[None])[:, 0], memory[:, :2].mean(1))


def test_an_offset_of_the_local_readout_is_the_same_everywhere():
    model = tiny_model(query_grid=True, local_readout=True)
    pixels = torch.randn(1, 3, 32, 32)
    bias = model.point_head.layers[-1].bias
    with torch.no_grad():
        before = model(pixels).pred_points
        bias[:2] = torch.tensor([0.25, -0.5])
        after = model(pixels).pred_points
    assert_close(before[0, :, :2], grid_points(12), atol=1e-5, rtol=0)
    moved = (grid_points(12) + torch.tensor([0.25, -0.5]) / 4).clamp(0, 1)
    assert_close(after[0, :, :2], moved, atol=1e-5, rtol=0)


def test_the_local_readout_sees_what_is_at_its_reference():
    """A change of the memory reaches the start of the queries next to it, and no others."""
    model = tiny_model(seed=3, num_queries=16, density_branch=False, **SMALL_DATA)
    memory = torch.randn(1, 16, 16)
    changed = memory.clone()
    changed[:, 15] = torch.randn(16)  # the lower right corner
    queries = model.query_position_embeddings.weight[None]
    positions = model.position_embedding(torch.zeros(1, 7, 4, 4))

    def start(values):
        seen = []
        hook = model.decoder.layers[0].register_forward_pre_hook(lambda layer, arguments: seen.append(arguments[0]))
        model.decoder(queries, values, spatial_position_embeddings=positions, memory_size=(4, 4))
        hook.remove()
        return seen[0][0]

    difference = (start(memory) - start(changed)).detach().abs().sum(dim=1).view(4, 4)
    near = torch.zeros(4, 4, dtype=torch.bool)
    near[2:, 2:] = True
    assert difference[~near].max() < 1e-4
    assert difference[near].min() > 0.1


def test_a_query_of_the_local_readout_is_matched_by_its_place():
    """The point of the second query is nearer to the object, the place of the first: the first one is taught."""
    config = tiny_config(point_cost=5)
    logits = torch.zeros(1, 2, 2)
    points = torch.tensor([[[0.9, 0.9, 0.0], [0.2, 0.2, 0.0]]])
    targets, one = [torch.tensor([[0.1, 0.1, 0.0]])], torch.tensor(1.0)
    places = torch.tensor([[0.1, 0.2], [0.7, 0.7]])
    assert set_losses(logits, points, targets, one, config)[1] == pytest.approx(0.2)
    assert set_losses(logits, points, targets, one, config, places)[1] == pytest.approx(1.6)


def test_all_of_it_trains_and_comes_back_from_a_file(tmp_path):
    model = tiny_model(num_frozen_backbone_stages=0, **SMALL_DATA)
    pixels = torch.randn(2, 3, 32, 32)
    torch.nn.init.normal_(model.point_head.layers[-1].weight, std=0.1)
    torch.nn.init.normal_(model.decoder.query_scale.layers[-1].weight, std=0.1)
    torch.nn.init.ones_(model.density_branch.density_head.bias)
    model(pixels, labels=random_labels()).loss.backward()
    assert [name for name, value in model.named_parameters() if value.grad is None] == []
    model.save_pretrained(tmp_path)
    again = IOCFormerForObjectCounting.from_pretrained(tmp_path)
    with torch.no_grad():
        assert_close(again(pixels).pred_points, model(pixels).pred_points)


def test_settings_have_bounds():
    for name, value in (("position_scale", 0), ("position_temperature", 0.5), ("position_scale", 1e9)):
        with pytest.raises(ValueError, match=name):
            tiny_config(**{name: value})
