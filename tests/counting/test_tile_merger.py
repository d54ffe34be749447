"""`TileMerger` takes the tiles of an image some at a time: what comes out is that of all at once, from less."""

import pytest
import torch

from dense_hf.counting.tile_merging import TileMerger, merge_tiles
from dense_hf.counting.tiling import TileLayout, density_of_tiles


def outputs_of(num_tiles, num_classes=1, queries=50, sure=0.02, seed=0):
    """Random outputs, of which about a share `sure` of the queries is above 0.5."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.where(torch.rand(num_tiles, queries, num_classes + 1, generator=generator) < sure, 4.0, -4.0)
    points = torch.rand(num_tiles, queries, 3, generator=generator)
    return logits, points, torch.rand(num_tiles, num_classes, 4, 4, generator=generator)


@pytest.mark.parametrize(("num_classes", "overlap"), [(1, 0), (1, 8), (3, 8)])
@pytest.mark.parametrize("with_points", [True, False])
def test_tiles_in_any_batches(num_classes, overlap, with_points):
    layout = TileLayout(70, 90, 32, overlap)
    logits, points, density = outputs_of(len(layout), num_classes, sure=0.3)
    if not with_points:
        logits = points = None
    whole = merge_tiles(layout, logits, points, density, 0.5, return_density_map=True)
    merger, strips = TileMerger(layout, 0.5, keep_maps=True), []
    for first in range(0, len(layout), 5):
        part = slice(first, first + 5)
        merger.add(*(None if one is None else one[part] for one in (logits, points, density)))
    result = merger.merge(return_density_map=True, on_density=strips.append)
    assert whole.keys() == result.keys()
    for name, value in whole.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(result[name], value), name
        else:
            assert result[name] == value, name
    torch.testing.assert_close(torch.cat(strips), whole["density_map"], rtol=0, atol=0)
    if with_points:
        assert result["count"] > 10


@pytest.mark.parametrize(("num_classes", "overlap"), [(1, 0), (1, 8), (3, 8)])
@pytest.mark.parametrize("batch", [1, 5, 100])
def test_the_density_says_how_many_points(num_classes, overlap, batch):
    """Tile by tile: so many that all up to there are the rounded density up to there, the best ones."""
    layout = TileLayout(70, 90, 32, overlap)
    generator = torch.Generator().manual_seed(num_classes + overlap)
    logits = torch.randn(len(layout), 50, num_classes + 1, generator=generator)
    points = torch.rand(len(layout), 50, 3, generator=generator)
    density = 0.3 * torch.rand(len(layout), num_classes, 4, 4, generator=generator)
    merger = TileMerger(layout, None)
    for first in range(0, len(layout), batch):
        merger.add(*(one[first : first + batch] for one in (logits, points, density)))
    result = merger.merge()

    expected, sums, given = [], [0.0] * num_classes, [0] * num_classes
    in_image, owned = layout.to_image(points[..., :2])
    of_tiles = density_of_tiles(density, layout)
    for tile in range(len(layout)):
        for kind in range(num_classes):
            sums[kind] += float(of_tiles[tile, kind])
            number, given[kind] = round(sums[kind]) - given[kind], round(sums[kind])
            scores = logits[tile].sigmoid()[:, 1:]
            own = [q for q in range(50) if owned[tile, q] and int(scores[q].argmax()) == kind]
            best = sorted(own, key=lambda q: -float(scores[q, kind]))[:number]
            expected += [(*in_image[tile, q].tolist(), float(scores[q, kind]), kind) for q in best]
    found = zip(*result["points"].T.tolist(), result["scores"].tolist(), result["classes"].tolist())
    assert sorted(found) == sorted(expected)
    assert result["count"] == len(expected) > 10
    if num_classes == 1:
        assert result["count"] == round(result["density_count"])


def test_points_by_density_in_tiles_with_less_than_half_an_object():
    """Sums are rounded, not tiles."""
    layout = TileLayout(32, 32 * 10, 32)
    logits, points, _ = outputs_of(10, sure=0)
    result = merge_tiles(layout, logits, points, torch.full((10, 1, 4, 4), 0.4 / 16), threshold=None)
    assert (result["count"], result["tile_counts"].max()) == (4, 1)
    assert merge_tiles(layout, logits, points, torch.zeros(10, 1, 4, 4), threshold=None)["count"] == 0


def test_more_density_than_queries_is_told():
    result = merge_tiles(TileLayout(32, 32, 32), *outputs_of(1)[:2], torch.full((1, 1, 4, 4), 10.0), threshold=None)
    assert (result["count"], result["crowded_tiles"]) == (50, 1)
    assert result["density_count"] == 160


def test_points_by_density_need_a_density():
    with pytest.raises(ValueError, match="density branch"):
        merge_tiles(TileLayout(32, 32, 32), *outputs_of(1)[:2], None, threshold=None)


def held(merger):
    """Bytes of all tensors that an object holds, with what they are views of."""
    storages, left = {}, [vars(merger)]
    while left:
        one = left.pop()
        if isinstance(one, torch.Tensor):
            storages[one.untyped_storage().data_ptr()] = one.untyped_storage().nbytes()
        elif isinstance(one, dict):
            left += one.values()
        elif isinstance(one, list | tuple):
            left += one
    return sum(storages.values())


def test_what_is_kept_is_what_was_found():
    """Of 20 times as many tiles in which nothing is: a density count of 8 bytes a tile, nothing of their queries."""
    sizes, found = {}, outputs_of(4, sure=0.5)
    for number in (40, 800):
        merger = TileMerger(TileLayout(32, 32 * number, 32), 0.5)
        merger.add(*found)
        for first in range(4, number, 4):
            merger.add(*outputs_of(4, sure=0, seed=first))
        assert merger.merge()["count"] > 50
        sizes[number] = held(merger)
    assert sizes[800] - sizes[40] == 8 * 760
    assert sizes[40] < 20_000  # the queries of 40 tiles alone are 40,000


def test_tiles_that_are_missing():
    layout = TileLayout(64, 64, 32)
    merger = TileMerger(layout, 0.5)
    merger.add(*outputs_of(3))
    with pytest.raises(ValueError, match=r"4 tiles\. Received: outputs of 3"):
        merger.merge()
    with pytest.raises(ValueError, match=r"pred_points must have one row for each of 2 tiles\. Received: 1"):
        merger.add(torch.zeros(2, 3, 2), torch.zeros(1, 3, 3), None)
