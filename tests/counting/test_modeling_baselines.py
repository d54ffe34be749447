"""The counters with networks of their own: any size, any number of points, padding, memory, and the ways of use."""

from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from PIL import Image
from safetensors.torch import load_file
from tiny_counters import TINY_COUNTERS, tiny_counter, tiny_counter_config
from tiny_density_counter import random_points, tiny_density_model
from tiny_iocformer import tiny_model as tiny_iocformer
from torch.testing import assert_close
from transformers import pipeline
from without_the_package import run_without_the_package

from dense_hf import (
    CounterImageProcessor,
    DensityCounterConfig,
    DSSINetConfig,
    IOCFormerImageProcessor,
    MCNNConfig,
    ObjectCountingPipeline,
)
from dense_hf.counting import modeling_dssinet, modeling_man
from dense_hf.counting.configuration_density_counter import METHODS
from dense_hf.counting.image_processing_counter import find_blobs
from dense_hf.inference.checkpoints import load_counter
from dense_hf.methods import method_of

NAMES = pytest.mark.parametrize("name", list(TINY_COUNTERS))
WITH_POINTS = ("lcfcn", "p2pnet")


def picture(width: int = 70, height: int = 50) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def shown(name: str, model: Any) -> Any:
    """A model that finds something."""
    with torch.no_grad():
        if name == "lcfcn":
            for conv in (model.score, model.score_fourth, model.score_third):
                conv.weight.normal_(std=3)
        elif name == "dssinet":
            model.heads[-1][-1].bias.fill_(0.01)
        elif name != "p2pnet":
            (model.head.output if name == "man" else model.output).bias.fill_(0.1)
    return model


@NAMES
@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (2, 3), (9, 1)])
def test_a_step_with_any_number_of_points(name, counts):
    model = tiny_counter(name).train()
    model.config.compat = False
    outputs = model(torch.randn(2, 3, 64, 96), labels=random_points(counts))
    outputs.loss.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.requires_grad]
    assert torch.isfinite(outputs.loss)
    assert all(torch.isfinite(gradient).all() for gradient in gradients if gradient is not None)
    assert (
        outputs.loss_dict.keys()
        == tiny_counter(name)(torch.randn(1, 3, 64, 64), labels=random_points((1,))).loss_dict.keys()
    )


@NAMES
@pytest.mark.parametrize("size", [(50, 70), (33, 65), (5, 90)])
def test_pictures_of_any_size(name, size):
    model = shown(name, tiny_counter(name))
    processor = CounterImageProcessor(**model.config.processor_settings)
    if name == "man" and min(size) < 32:
        processor.min_short_side = 32  # its backbone cannot halve less; the released limit is 512
    height, width = size
    result = processor.count_objects(model, picture(width, height), return_density_map=None)
    if name in WITH_POINTS:
        assert result["count"] == len(result["points"]) == len(result["scores"])
        assert bool((result["points"] >= 0).all())
        assert bool((result["points"] < torch.tensor([width, height])).all())
    else:
        assert tuple(result["density_map"].shape) == size
        assert float(result["density_map"].sum()) == pytest.approx(result["exact_count"], rel=1e-4, abs=1e-4)
        assert result["exact_count"] != 0


@NAMES
def test_nothing_is_counted_in_padding(name):
    """Whatever stands there."""
    model = shown(name, tiny_counter(name))
    pixels, mask = torch.randn(1, model.config.num_channels, 64, 64), torch.ones(1, 64, 64, dtype=torch.long)
    mask[:, :, 32:] = 0
    with torch.no_grad():
        outputs, alone = model(pixels, pixel_mask=mask), model(pixels[..., :32])
    if name == "lcfcn":
        assert bool((outputs.blob_logits[..., 32:] < 0).all())
        assert_close(outputs.blob_logits[..., :32], alone.blob_logits)
    elif name == "p2pnet":
        in_padding = model._anchors((8, 8), (64, 64))[:, 0] >= 32
        score = outputs.logits.softmax(dim=-1)[..., 1]
        assert float(score[:, in_padding].max()) < 1e-6
        assert_close(score[:, ~in_padding], alone.logits.softmax(dim=-1)[..., 1])
    else:
        half = outputs.density_map.shape[-1] // 2
        assert float(outputs.density_map[..., half:].abs().sum()) == 0
        assert_close(outputs.density_map[..., :half], alone.density_map)


def counter_of(name: str) -> tuple[Any, Any]:
    """A model that finds something, and its processor, of a counter of any kind."""
    if name == "iocformer":
        model = tiny_iocformer()
        return model, IOCFormerImageProcessor(tile_size=model.config.tile_size, threshold=0.01)
    if name in METHODS:
        model = tiny_density_model(name)
        torch.nn.init.constant_(model.head.output.bias, 0.1)
        return model, CounterImageProcessor(**DensityCounterConfig.from_method(name).processor_settings)
    model = shown(name, tiny_counter(name))
    return model, CounterImageProcessor(**model.config.processor_settings)


@pytest.mark.parametrize("name", ["iocformer", *METHODS, *TINY_COUNTERS])
def test_a_batch_changes_no_count(name):
    """Pictures of three sizes, odd ones too, padded to the sides of the largest, against each alone."""
    model, processor = counter_of(name)
    processor.min_short_side = processor.max_short_side = None  # 512 takes long
    pictures = [picture(75, 53), picture(130, 90), picture(41, 99)]
    inputs = processor(pictures, return_tensors="pt")
    with torch.no_grad():
        outputs = model(**{key: inputs[key] for key in ("pixel_values", "pixel_mask") if key in inputs})
    together = processor.post_process_object_counting(outputs, inputs["original_sizes"])
    for one, found in zip(pictures, together):
        alone = processor.count_objects(model, one)
        assert found["exact_count"] == pytest.approx(alone["exact_count"], rel=1e-4, abs=1e-5)
        assert_close(found["points"], alone["points"], atol=1e-3, rtol=0)
        assert_close(found["scores"], alone["scores"])
        assert alone["exact_count"] != 0


def test_released_padding_of_p2pnet_is_that_of_each_image():
    """With `count_padding`, an image has the proposals up to its own multiples of 32, not to those of the batch."""
    model, pixels = tiny_counter("p2pnet", count_padding=True), torch.randn(1, 3, 40, 70)
    batch = torch.nn.functional.pad(pixels, (0, 60, 0, 90))
    mask = torch.nn.functional.pad(torch.ones(1, 40, 70), (0, 60, 0, 90))
    with torch.no_grad():
        alone, padded = model(pixels), model(batch + 1 - mask, pixel_mask=mask)
    places = padded.pred_points * torch.tensor([130.0, 130.0])
    known = alone.pred_points * torch.tensor([70.0, 40.0])
    has_object = padded.logits[..., 1] > -100
    assert_close(padded.logits[has_object], alone.logits[0])
    assert_close(places[has_object], known[0])


def test_a_mask_of_another_form_hides_what_it_covers():
    """An image that does not lie at the top left, as no processor of ours pads one."""
    model, mask = shown("mcnn", tiny_counter("mcnn")), torch.zeros(1, 64, 64)
    mask[:, 16:48, 16:] = 1
    with torch.no_grad():
        density = model(torch.rand(1, 3, 64, 64), pixel_mask=mask).density_map
    assert float(density[:, :, 4:12, 4:].abs().min()) > 0
    density[:, :, 4:12, 4:] = 0
    assert float(density.abs().sum()) == 0


@pytest.mark.smoke
@NAMES
def test_saved_loaded_and_in_a_pipeline(name, tmp_path):
    model = shown(name, tiny_counter(name))
    processor = CounterImageProcessor(**model.config.processor_settings)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    expected = processor.count_objects(model, picture())
    loaded, its_processor = load_counter(tmp_path)
    assert its_processor.count_objects(loaded, picture())["exact_count"] == pytest.approx(expected["exact_count"])
    found = pipeline("object-counting", model=str(tmp_path))(picture())
    assert found["count"] == expected["count"]
    assert len(found["points"]) == len(expected["points"])


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("mcnn", {"column_kernels": [[4, 3, 3, 3], [3, 3, 3, 3]]}, "kernels odd"),
        ("mcnn", {"column_channels": [[4, 6, 4]]}, "as many columns"),
        ("man", {"encoder_attention_heads": 7}, "must divide the channels"),
        ("man", {"trim": 0}, "trim"),
        ("dssinet", {"stage_channels": [[4, 4]]}, "stage_channels"),
        ("mspsnet", {"branch_channels": [[4], [4], [3]]}, "end with one number"),
        ("lcfcn", {"stage_channels": [[4, 4]]}, "stage_channels"),
        ("lcfcn", {"fc_channels": 10**6}, "at most 16,384"),
        ("p2pnet", {"anchor_rows": 0}, "anchor_rows"),
    ],
)
def test_settings_that_cannot_work_are_named(name, fields, message):
    with pytest.raises((ValueError, StrictDataclassError), match=message):
        tiny_counter(name, **fields)


def test_forms_of_the_configurations():
    assert DSSINetConfig.pruned(head_channels=3).stage_channels[3] == [184, 276, 228]
    gray = MCNNConfig.gray()
    assert (gray.num_channels, gray.output_activation, gray.processor_settings["do_grayscale"]) == (1, "relu", True)
    model = tiny_counter(
        "mcnn", **{key: getattr(gray, key) for key in ("num_channels", "output_activation", "target")}
    )
    outputs = model(torch.rand(1, 1, 32, 32) * 255, labels=random_points((3,)))
    assert torch.isfinite(outputs.loss)
    assert float(outputs.density_map.min()) >= 0


# MAN


def test_region_attention_by_matrices(monkeypatch):
    """Corners and regions with the matrix of all pairs of cells, as it is written in the paper."""
    torch.manual_seed(0)
    size, heads, channels = (3, 4), 2, 8
    attention = modeling_man.RegionAttention(channels, heads, dropout=0.0).eval()
    tokens = torch.randn(2, 12, channels)
    rows, columns = torch.arange(12) // size[1], torch.arange(12) % size[1]
    before = ((rows[:, None] <= rows) & (columns[:, None] <= columns)).float()
    parts = attention.in_proj(tokens).chunk(9, dim=-1)
    q, k, v, q1, k1, q2, k2, ql, kl = (part.view(2, 12, heads, 4).transpose(1, 2) for part in parts)
    one, two = (q1 @ k1.mT).softmax(-1), (q2 @ k2.mT).softmax(-1)
    region = (one @ before) * (two @ before.T) + (one @ before.T) * (two @ before)
    scores = 0.1 * q @ k.mT / 2 + (ql @ kl.mT / 2) * region
    expected = attention.out_proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
    for cells in (2**24, 40, 1):
        monkeypatch.setattr(modeling_man, "ATTENTION_CELLS", cells)
        found, regions = attention(tokens, size, with_regions=True)
        assert_close(found, expected)
        assert_close(regions, region.sum(dim=1) @ tokens)


def test_large_images_are_counted_in_parts():
    model = shown("man", tiny_counter("man"))
    processor = CounterImageProcessor(max_part_side=96)
    whole = picture(150, 90)
    parts = [whole.crop((0, 0, 75, 90)), whole.crop((75, 0, 150, 90))]
    expected = sum(processor.count_objects(model, part)["exact_count"] for part in parts)
    assert processor.count_objects(model, whole)["exact_count"] == pytest.approx(expected, rel=1e-5)
    assert method_of("man").config_class().processor_settings["max_part_side"] == 3584


# DSSI-Net


@pytest.mark.parametrize("cells", [1, 4 * 64 * 5, 4 * 64 * 16])
def test_strips_of_the_enlarged_image_give_the_same_map(cells, monkeypatch):
    model, pixels = shown("dssinet", tiny_counter("dssinet")), torch.randn(1, 3, 48, 64)
    expected = model(pixels).density_map.detach()
    monkeypatch.setattr(modeling_dssinet, "STRIP_CELLS", cells)
    with torch.no_grad():
        assert_close(model(pixels).density_map, expected)


def test_only_slopes_that_nothing_passes_are_frozen():
    model = tiny_counter("dssinet").train()
    model(torch.randn(1, 3, 32, 32), labels=random_points((2,))).loss.backward()
    assert all((parameter.grad is not None) == parameter.requires_grad for parameter in model.parameters())


# P2PNet


def test_padding_counts_only_when_asked_for():
    torch.manual_seed(0)
    pixels = torch.randn(1, 3, 40, 70)
    inside, everywhere = (tiny_counter("p2pnet", count_padding=count) for count in (False, True))
    filled = torch.nn.functional.pad(pixels, (0, 26, 0, 24))
    with torch.no_grad():
        left, right, whole = inside(pixels), everywhere(pixels), everywhere(filled)
    assert_close(right.logits, whole.logits)  # the model fills up what the caller did not
    assert_close(right.pred_points * torch.tensor([70.0, 40.0]), whole.pred_points * torch.tensor([96.0, 64.0]))
    anchors = everywhere._anchors((64 // 8, 96 // 8), (64, 96))
    kept = ((anchors[:, 0] < 70) & (anchors[:, 1] < 40)).nonzero()[:, 0]
    assert_close(left.logits, right.logits[:, kept])
    assert left.logits.shape[1] < right.logits.shape[1]


def test_anchors_of_unequal_rows_and_columns():
    model = tiny_counter("p2pnet", anchor_rows=3, anchor_columns=2)
    anchors = model._anchors((1, 2), (12, 24)).tolist()
    cell = [[3.0, 2.0], [9.0, 2.0], [3.0, 6.0], [9.0, 6.0], [3.0, 10.0], [9.0, 10.0]]
    assert anchors == cell + [[x + 12, y] for x, y in cell]


# LCFCN


def test_blobs_by_hand():
    probabilities = torch.zeros(4, 6)
    probabilities[0, 0] = probabilities[1, 1] = 0.6  # they touch at a corner
    probabilities[3, 4:] = torch.tensor([0.7, 0.9])
    points, scores = find_blobs(probabilities, 0.5)
    assert_close(points * torch.tensor([6.0, 4.0]), torch.tensor([[1.0, 1.0], [5.0, 3.5]]))
    assert_close(scores, torch.tensor([0.6, 0.9]))
    assert len(find_blobs(probabilities, 0.95)[0]) == 0


@NAMES
def test_every_setting_survives_saving(name, tmp_path):
    config = tiny_counter_config(name)
    config.save_pretrained(tmp_path)
    loaded = type(config).from_pretrained(tmp_path)
    keys = method_of(name).config_keys
    assert {key: config.to_dict()[key] for key in keys} == {key: loaded.to_dict()[key] for key in keys}


WITHOUT_THE_PACKAGE = """
import sys, torch
from PIL import Image
from safetensors.torch import load_file
from safetensors.torch import save_file
from transformers import AutoImageProcessor, AutoModel
counts = {}
for name in sys.argv[2:]:
    model = AutoModel.from_pretrained(name, trust_remote_code=True)
    processor = AutoImageProcessor.from_pretrained(name, trust_remote_code=True)
    counts[name] = torch.tensor(processor.count_objects(model, Image.open(sys.argv[1]))["exact_count"])
save_file(counts, "counts.safetensors")
"""


@pytest.mark.slow
def test_checkpoints_bring_their_code(tmp_path):
    """The same counts in an interpreter that has transformers but not dense_hf."""
    picture().save(tmp_path / "picture.png")
    expected = {}
    for name in TINY_COUNTERS:
        model = shown(name, tiny_counter(name))
        processor = CounterImageProcessor(**model.config.processor_settings)
        counter = ObjectCountingPipeline(model=model, image_processor=processor)
        counter.save_pretrained(tmp_path / name)
        expected[name] = counter.image_processor.count_objects(model, picture())["exact_count"]
    run_without_the_package(WITHOUT_THE_PACKAGE, tmp_path, "picture.png", *TINY_COUNTERS)
    found = load_file(tmp_path / "counts.safetensors")
    assert {name: float(found[name]) for name in TINY_COUNTERS} == pytest.approx(expected, rel=1e-5)
