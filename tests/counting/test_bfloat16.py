"""Counting in bfloat16: what autocast computes in it, outputs and places of points in float32."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_checkpoints import CHECKPOINTS
from tiny_counters import TINY_COUNTERS
from tiny_models_of_methods import tiny_of

from dense_hf.cli import main
from dense_hf.inference.checkpoints import load_counter
from dense_hf.methods import method_of

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8))
make_iocformer = CHECKPOINTS["iocformer"][0]


@pytest.mark.parametrize("name", ["iocformer", "density_counter", *TINY_COUNTERS])
def test_a_counter_in_bfloat16_is_near_itself(name, tmp_path):
    model = tiny_of(name)
    for parameter in model.parameters():  # what starts at 0 would answer 0
        if not parameter.any():
            torch.nn.init.uniform_(parameter, 0.5, 1)
    model.save_pretrained(tmp_path)
    settings = {"tile_size": 32} if name == "iocformer" else {}
    method_of(name).processor_class(**settings).save_pretrained(tmp_path)
    model, processor = load_counter(tmp_path)
    fast, _ = load_counter(tmp_path, bf16=True)
    assert {parameter.dtype for parameter in fast.parameters()} == {torch.float32}
    values = next(iter(processor.iter_tiles(processor.to_pixels(PICTURE)))) if name == "iocformer" else None
    values = processor(PICTURE, return_tensors="pt")["pixel_values"] if values is None else values
    with torch.no_grad():
        expected, got = model(pixel_values=values), fast(pixel_values=values)
    moved = 0.0
    for key, tensor in expected.items():
        if isinstance(tensor, torch.Tensor):
            assert got[key].dtype == torch.float32, key
            # 1e-6: the ReLU before a density map may have let nothing through
            difference = (got[key] - tensor).abs().max() / tensor.abs().max().clamp_min(1e-6)
            assert difference < 0.05, key
            moved = max(moved, difference.item())
    assert moved > 1e-5, "it computes in float32"
    assert processor.count_objects(fast, PICTURE)["count"] >= 0


@pytest.mark.parametrize("local_readout", [False, True])
def test_places_have_no_steps_of_bfloat16(local_readout):
    """They had: 1 of 256 pixels in the right half of a tile."""
    model = make_iocformer(**({"local_readout": True} if local_readout else {})).eval()
    torch.nn.init.normal_(model.point_head.layers[-1].weight, std=0.1)
    values = torch.randn(1, 3, 32, 32)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        states = model(pixel_values=values, output_hidden_states=True)
    references = states.reference_points
    assert references.dtype == states.pred_points.dtype == torch.float32
    assert not torch.equal(references, references.bfloat16().float())
    with torch.no_grad():
        hidden = torch.randn(1, *references.shape[1:-1], model.config.d_model)
        expected = model._predict(hidden, references)
        with torch.autocast("cpu", torch.bfloat16):
            got = model._predict(hidden, references)
    for one, other in zip(got, expected):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    with torch.no_grad():
        half = model.bfloat16()(pixel_values=values.bfloat16())
    assert half.logits.dtype == torch.bfloat16
    assert half.pred_points.dtype == torch.float32
    assert not torch.equal(half.pred_points, half.pred_points.bfloat16().float())


def test_a_run_says_that_it_was_in_bfloat16(counter_checkpoint, tmp_path, capsys):
    photo, output = tmp_path / "a.png", tmp_path / "out"
    PICTURE.save(photo)
    command = ["count", str(photo), "--model", counter_checkpoint, "--output", str(output), "--no-overlays"]
    assert main([*command, "--bf16"]) == 0
    assert json.loads((output / "counts.json").read_text())["bf16"] is True
    assert main([*command, "--resume"]) == 2
    assert "bf16" in capsys.readouterr().err
    assert main(command) == 0
    assert "bf16" not in json.loads((output / "counts.json").read_text())
