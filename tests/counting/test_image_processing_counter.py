"""The processor of the counters of Table 2.3: parts, sizes, and the way back."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_density_counter import tiny_density_model
from torch.testing import assert_close

from dense_hf import CounterImageProcessor
from dense_hf.counting.tiling import PartLayout

SETTINGS = [
    {},
    {"size_divisor": 32},
    {"parts_per_side": 2},
    {"max_part_side": 40, "size_divisor": 8},
    {"min_short_side": 100},
    {"max_short_side": 33},
    {"size_divisor": 32, "resize_to_multiple": True},
]


@pytest.fixture(scope="module")
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 101, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1080, 1920), (1080, 1920)),
        ((400, 600), (512, 768)),
        ((2160, 3840), (2048, 3641)),
        ((3000, 2900), (2119, 2048)),
    ],
)
def test_sizes_as_released_with_bl(size, expected):
    assert PartLayout(*size, min_short_side=512, max_short_side=2048).resized == expected


@settings(max_examples=40, deadline=None)
@given(
    st.integers(12, 90),
    st.integers(12, 90),
    st.integers(1, 3),
    st.one_of(st.none(), st.integers(20, 60)),
    st.sampled_from([1, 8, 32]),
    st.one_of(st.none(), st.integers(20, 70)),
)
def test_parts_cover_an_image_once_and_maps_keep_their_sum(height, width, parts, most, divisor, least):
    layout = PartLayout(height, width, divisor, min_short_side=least, parts_per_side=parts, max_part_side=most)
    covered = torch.zeros(layout.resized)
    for top, left, h, w in layout.boxes:
        assert h >= 1
        assert w >= 1
        assert most is None or max(h, w) <= most
        covered[top : top + h, left : left + w] += 1
    assert (covered == 1).all()
    maps = []
    for part in range(len(layout)):
        rows, columns = (max(1, side // 8) for side in layout.padded(part))
        maps.append(torch.rand(rows, columns) - 0.2)  # a map may be negative
    whole = layout.stitch(maps)
    assert whole.shape == (height, width)
    assert float(whole.sum()) == pytest.approx(float(sum(one.double().sum() for one in maps)), abs=1e-3)


@pytest.mark.parametrize("options", SETTINGS)
def test_one_image_counts_as_in_a_call(picture, options):
    processor, model = CounterImageProcessor(**options), tiny_density_model()
    result = processor.count_objects(model, picture, batch_size=2, return_density_map=True)
    inputs = processor(picture, return_tensors="pt")
    with torch.no_grad():
        outputs = model(inputs["pixel_values"])
    (other,) = processor.post_process_object_counting(outputs, inputs["original_sizes"], return_density_map=True)
    assert result["count"] == max(0, round(result["exact_count"]))
    if not options.get("parts_per_side"):  # parts of a call have one size, by padding
        assert_close(result["density_map"], other["density_map"])
    assert float(result["density_map"].sum()) == pytest.approx(result["density_count"], rel=1e-4)
    assert result["points"].shape == (0, 2)
    assert len(result["tile_counts"]) == len(processor.tile_layout(70, 101))


def test_of_large_parts_fewer_go_through_at_once(picture, monkeypatch):
    processor, model = CounterImageProcessor(max_part_side=40), tiny_density_model()
    batches = []
    model.register_forward_pre_hook(lambda *given: batches.append(len(given[2]["pixel_values"])), with_kwargs=True)
    together = processor.count_objects(model, picture)
    assert max(batches) > 1
    batches.clear()
    monkeypatch.setattr("dense_hf.counting.tiling.PIXELS_AT_ONCE", 40 * 40)
    apart = processor.count_objects(model, picture)
    assert max(batches) == 1
    assert apart["density_count"] == pytest.approx(together["density_count"], rel=1e-6)


def test_padding_of_a_batch_is_not_counted(picture):
    processor = CounterImageProcessor()
    small = picture.crop((0, 0, 48, 32))
    inputs = processor([picture, small], return_tensors="pt")
    assert inputs["pixel_values"].shape == (2, 3, 70, 101)
    assert inputs["pixel_mask"][1].sum() == 48 * 32
    maps = torch.ones(2, 1, 9, 13)
    counts = processor.post_process_object_counting(SimpleNamespace(density_map=maps), inputs["original_sizes"])
    assert [count["count"] for count in counts] == [9 * 13, 5 * 7]


def test_points_come_back_to_pixels_of_the_image(picture):
    class Points(torch.nn.Module):
        def forward(self, pixel_values):
            rows = len(pixel_values)
            logits = torch.tensor([[0.0, 2.0], [0.0, -2.0], [0.0, 1.0]]).repeat(rows, 1, 1)
            points = torch.tensor([[0.5, 0.25], [0.1, 0.1], [1.0, 1.0]]).repeat(rows, 1, 1)
            return SimpleNamespace(logits=logits, pred_points=points, density_map=None)

    processor = CounterImageProcessor(size_divisor=128, min_short_side=140)  # 140 x 202, then 256 x 256
    result = processor.count_objects(Points(), picture)
    assert result["count"] == 2
    assert_close(result["points"][0], torch.tensor([64.0, 32.0]))
    assert result["points"][1].tolist() == pytest.approx([101, 70], abs=1e-3)  # in the padding: at the border
    assert result["density_count"] is None
    four = CounterImageProcessor(parts_per_side=2).count_objects(Points(), picture)
    assert_close(four["points"][:4], torch.tensor([[25.0, 8.75], [75.5, 8.75], [25.0, 43.75], [75.5, 43.75]]))
    assert CounterImageProcessor(threshold=0.8).count_objects(Points(), picture)["count"] == 1
    assert processor.count_objects(Points(), picture, threshold=0.8)["count"] == 1
    with pytest.raises(ValueError, match="needs a model with a density map"):
        processor.count_objects(Points(), picture, return_density_map=True)


def test_gray_and_unnormalized_pixels(picture):
    pixels = CounterImageProcessor(do_grayscale=True, do_rescale=False, do_normalize=False)(
        picture, return_tensors="pt"
    )
    gray = torch.from_numpy(np.asarray(picture.convert("L"))).float()
    assert pixels["pixel_values"].shape == (1, 1, 70, 101)
    assert float((pixels["pixel_values"][0, 0] - gray).abs().max()) <= 1
    normalized = CounterImageProcessor(do_grayscale=True)(picture, return_tensors="pt")["pixel_values"]
    assert_close(normalized[0, 0], (pixels["pixel_values"][0, 0] / 255 - 0.485) / 0.229, atol=1e-4, rtol=0)


def test_what_cannot_be_is_refused(picture, tmp_path):
    with pytest.raises(ValueError, match="min_short_side must not be above max_short_side"):
        CounterImageProcessor(min_short_side=9, max_short_side=3)
    with pytest.raises(ValueError, match="parts_per_side must be at least 1"):
        CounterImageProcessor(parts_per_side=0)
    with pytest.raises(ValueError, match="tile_size"):
        CounterImageProcessor(tile_size=3)
    processor = CounterImageProcessor(parts_per_side=2)
    with pytest.raises(ValueError, match="size_divisor must be given to the processor"):
        processor(picture, size_divisor=3)
    with pytest.raises(ValueError, match=r"4 parts\. Received: outputs of 1"):
        processor.post_process_object_counting({"density_map": torch.ones(1, 1, 4, 4)}, [(70, 101)])
    with pytest.raises(ValueError, match="must be finite"):
        processor.post_process_object_counting({"density_map": torch.full((4, 1, 4, 4), torch.nan)}, [(70, 101)])
    with pytest.raises(ValueError, match=r"for scores of points, a density map has none\. Received: 0\.3"):
        processor.post_process_object_counting({"density_map": torch.ones(4, 1, 4, 4)}, [(70, 101)], threshold=0.3)
    with pytest.raises(ValueError, match="Received: neither"):
        processor.post_process_object_counting({}, [(70, 101)])
    processor.save_pretrained(tmp_path)
    assert CounterImageProcessor.from_pretrained(tmp_path).parts_per_side == 2
