"""Layout, ownership and merging of tiles: against the released code's numbers and against counting without tiles."""

import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from dense_hf.counting.image_processing_iocformer import IOCFormerImageProcessor
from dense_hf.counting.tiling import TileLayout, density_of_tiles, stitch_density, tile_spans

FIXTURES = Path(__file__).parents[1] / "fixtures" / "iocformer"
GOLDEN = json.loads((FIXTURES / "data_golden.json").read_text())
GOLDEN_ARRAYS = load_file(FIXTURES / "data_golden.safetensors")
IMAGES = ["a.jpg", "b.jpg", "c.jpg"]


@st.composite
def axes(draw):
    tile = draw(st.integers(1, 40))
    return draw(st.integers(1, 150)), tile, draw(st.integers(0, tile - 1))


@given(axes())
def test_cores_partition_the_axis_and_lie_inside_what_the_tile_sees(axis):
    length, tile, overlap = axis
    spans = tile_spans(length, tile, overlap)
    owners = np.zeros(length, int)
    for span in spans:
        assert span.core_start < span.core_stop
        assert span.start <= span.core_start
        assert span.core_stop <= span.start + tile
        owners[span.core_start : span.core_stop] += 1
    assert (owners == 1).all()
    assert spans[-1].start + tile == length
    assert all(b.start - a.start == tile - overlap for a, b in pairwise(spans))
    assert spans[0].start + tile > 0  # no tile of padding alone


@pytest.mark.parametrize("bad", [(0, 8, 0), (8, 0, 0), (8, 8, 8), (8, 8, -1)])
def test_impossible_layouts_are_refused(bad):
    with pytest.raises(ValueError, match="Received"):
        tile_spans(*bad)


@pytest.mark.parametrize("name", IMAGES)
def test_released_layout(name):
    num_h, num_w, padded_height, padded_width, size, pad_w, pad_h = GOLDEN[name][
        "patch_info num_h,num_w,H,W,crop,pad_w,pad_h"
    ]
    height, width = GOLDEN["sizes_hw"][name]
    layout = TileLayout(height, width)
    assert (layout.num_rows, layout.num_columns, layout.tile_size) == (num_h, num_w, size)
    assert (layout[0][0].start, layout[0][1].start) == (-pad_h, -pad_w)
    assert (layout.num_rows * size, layout.num_columns * size) == (padded_height, padded_width)


@pytest.mark.parametrize("name", IMAGES)
def test_released_points_come_back_in_pixels_of_the_image(name):
    """Feed the points that the released code sees in its patches; the annotation's points must come out."""
    patch_points = GOLDEN_ARRAYS[f"{name}.patch_points_rc"]
    height, width = GOLDEN["sizes_hw"][name]
    num_tiles = len(GOLDEN[name]["patch_counts"])
    logits = torch.full((num_tiles, 8, 2), -9.0)
    points = torch.zeros(num_tiles, 8, 3)
    for tile, row, column in patch_points.tolist():
        slot = int((logits[tile, :, 1] > 0).sum())
        logits[tile, slot, 1] = 9.0
        points[tile, slot, :2] = torch.tensor([column, row]) / 256
    outputs = SimpleNamespace(logits=logits, pred_points=points, density_map=None)
    (result,) = IOCFormerImageProcessor().post_process_object_counting(outputs, [(height, width)])

    inside = {(x, y) for x, y in map(tuple, GOLDEN["xml_points_xy"][name]) if 0 <= x < width and 0 <= y < height}
    assert {tuple(point) for point in result["points"].tolist()} == inside
    assert result["count"] == len(inside)
    released = torch.bincount(torch.tensor(patch_points[:, 0]), minlength=num_tiles)
    assert result["tile_counts"].tolist() == released.tolist()
    # the released patch sums count the doubly annotated pixel of a.jpg twice
    assert sum(GOLDEN[name]["patch_counts"]) == sum(value for *_, value in GOLDEN[name]["kpoint_nonzero_rc_value"])


def peaks(tile: torch.Tensor, queries: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A translation-covariant detector: pixels brighter than their 8 neighbours. [1, h, w] -> logits, points."""
    neighbourhood = torch.nn.functional.max_pool2d(tile, 3, 1, 1)[0]
    bright = ((tile[0] == neighbourhood) & (tile[0] > 0)).nonzero()
    logits, points = torch.full((queries, 2), -9.0), torch.zeros(queries, 3)
    logits[: len(bright), 1] = tile[0][bright[:, 0], bright[:, 1]]
    scale = torch.tensor([tile.shape[2], tile.shape[1]])
    points[: len(bright), :2] = (bright.flip(1) + 0.5) / scale
    return logits, points


@st.composite
def images_and_tiles(draw, context):
    tile = draw(st.integers(2 * context + 1, 24))
    overlap = draw(st.integers(2 * context, tile - max(1, tile // 8)))
    height, width = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    seed = draw(st.integers(0, 2**31))
    values = np.random.default_rng(seed).permutation(height * width).reshape(1, height, width) % 251 + 1
    return torch.tensor(values, dtype=torch.float32), tile, overlap


def tiles_of(image: torch.Tensor, layout: TileLayout) -> torch.Tensor:
    """Brute force: pad the whole image, then slice."""
    rows, columns = layout.rows, layout.columns
    padded = torch.nn.functional.pad(image, (-columns[0].start, 0, -rows[0].start, 0))
    return torch.stack(
        [
            padded[:, row.start - rows[0].start :, column.start - columns[0].start :][
                :, : layout.tile_size, : layout.tile_size
            ]
            for row in rows
            for column in columns
        ]
    )


@settings(max_examples=60, deadline=None)
@given(images_and_tiles(context=1))
def test_tiled_points_are_the_points_of_the_whole_image(case):
    """The detector looks one pixel around; tiles that share two or more pixels must find the same, and only once."""
    image, tile, overlap = case
    layout = TileLayout(image.shape[1], image.shape[2], tile, overlap)
    logits, points = zip(*(peaks(view, tile * tile) for view in tiles_of(image, layout)))
    processor = IOCFormerImageProcessor(tile_size=tile, tile_overlap=overlap)
    outputs = {"logits": torch.stack(logits), "pred_points": torch.stack(points)}
    (tiled,) = processor.post_process_object_counting(outputs, [image.shape[1:]])

    whole_logits, whole_points = peaks(image, image.shape[1] * image.shape[2])
    found = whole_logits.amax(1).sigmoid() >= 0.35
    expected = whole_points[found, :2] * torch.tensor([image.shape[2], image.shape[1]])
    assert tiled["count"] == int(found.sum()) == int(tiled["tile_counts"].sum())
    assert sorted(tiled["points"].sub(0.5).round().tolist()) == sorted(expected.sub(0.5).round().tolist())


@settings(max_examples=60, deadline=None)
@given(images_and_tiles(context=0))
def test_without_context_any_overlap_finds_the_same(case):
    image, tile, overlap = case
    layout = TileLayout(image.shape[1], image.shape[2], tile, overlap)
    bright = image * (image > 200)
    logits, points = [], []
    for view in tiles_of(bright, layout):
        where = view[0].nonzero()
        padding = tile * tile - len(where)
        logits.append(torch.cat([torch.full((len(where), 2), 5.0), torch.full((padding, 2), -5.0)]))
        points.append(torch.cat([(where.flip(1) + 0.5) / tile, torch.zeros(padding, 2)]))
    logits = torch.stack(logits)
    logits[..., 0] = -5.0
    processor = IOCFormerImageProcessor(tile_size=tile, tile_overlap=overlap)
    (result,) = processor.post_process_object_counting(
        {"logits": logits, "pred_points": torch.stack(points)}, [image.shape[1:]]
    )
    expected = bright[0].nonzero().flip(1)
    assert sorted(result["points"].floor().long().tolist()) == sorted(expected.tolist())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 6), st.integers(1, 5), st.data())
def test_tiled_density_is_the_density_of_the_whole_image(height, width, grid, cell, data):
    """Each cell's value depends on its place in the image only; shared cells must count once."""
    tile = grid * cell
    overlap = cell * data.draw(st.integers(0, grid - 1))  # cells of neighbours coincide
    layout = TileLayout(height, width, tile, overlap)
    left, top = layout.columns[0].start, layout.rows[0].start
    field = torch.rand((height - top) // cell, (width - left) // cell, generator=torch.Generator().manual_seed(0))
    maps = torch.stack(
        [
            field[(row.start - top) // cell :, (column.start - left) // cell :][:grid, :grid][None]
            for row in layout.rows
            for column in layout.columns
        ]
    )
    torch.testing.assert_close(density_of_tiles(maps, layout).sum(), field.double().sum())
    stitched = stitch_density(maps, layout)
    assert stitched.shape == (height, width)
    torch.testing.assert_close(stitched.sum(), field.sum())
    # cells wholly inside the image keep their place
    inside = field[-(height // cell) :, -(width // cell) :] if height >= cell and width >= cell else field[:0]
    if len(inside) > 1 and inside.shape[1] > 1:
        pooled = torch.nn.functional.avg_pool2d(
            stitched[None, height % cell :, width % cell :], cell, divisor_override=1
        )
        torch.testing.assert_close(pooled[0, 1:, 1:], inside[1:, 1:])


@given(axes(), axes(), st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_stitched_density_keeps_the_sum_for_cells_that_do_not_fit(rows, columns, grid):
    tile, overlap = rows[1], rows[2]
    layout = TileLayout(rows[0], columns[0], tile, overlap)
    maps = torch.rand(len(layout), 1, grid, grid, generator=torch.Generator().manual_seed(1))
    stitched = stitch_density(maps, layout)
    assert stitched.shape == (rows[0], columns[0])
    torch.testing.assert_close(stitched.double().sum(), density_of_tiles(maps, layout).sum(), rtol=1e-4, atol=1e-6)
