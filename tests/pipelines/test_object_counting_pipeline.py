"""`pipeline("object-counting")` with a small model of random weights: the way in and out, not the accuracy."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dense_hf.counting.image_processing_iocformer import IOCFormerImageProcessor, count_image
from dense_hf.counting.modeling_iocformer import IOCFormerForObjectCounting
from dense_hf.pipelines import ObjectCountingPipeline


@pytest.fixture(scope="module")
def picture(noise):
    return noise(150, 100)


@pytest.fixture(scope="module")
def processor(counter_checkpoint):
    return IOCFormerImageProcessor.from_pretrained(counter_checkpoint)


@pytest.fixture(scope="module")
def model(counter_checkpoint):
    return IOCFormerForObjectCounting.from_pretrained(counter_checkpoint)


@pytest.fixture(scope="module")
def counter(model, processor):
    return ObjectCountingPipeline(model=model, image_processor=processor, device="cpu")


def test_one_image(counter, model, processor, picture):
    result = counter(picture)
    expected = count_image(model, processor, picture)
    assert result["count"] == expected["count"] == len(result["points"])
    assert 5 < result["count"] < 60
    assert [[p["x"], p["y"]] for p in result["points"]] == expected["points"].tolist()
    assert [p["score"] for p in result["points"]] == expected["scores"].tolist()
    assert result["density_count"] == pytest.approx(expected["density_count"])
    assert "density_map" not in result
    assert json.loads(json.dumps(result)) == result


def test_every_way_to_give_images(counter, picture, tmp_path):
    picture.save(tmp_path / "a.png")
    picture.crop((0, 0, 40, 30)).save(tmp_path / "b.png")
    paths = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    results = counter(paths)
    assert results[0] == counter(picture) == counter(tmp_path / "a.png")
    assert results[1] == counter(Image.open(paths[1])) != results[0]
    assert counter(paths[:1]) == results[:1]
    assert list(counter(path for path in paths)) == results
    assert counter([picture, paths[1]]) == results


def test_tiles_per_forward_pass_do_not_change_the_count(model, processor, counter, picture):
    sizes = []
    hook = model.register_forward_pre_hook(
        lambda _, __, kwargs: sizes.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    try:
        one = counter(picture, batch_size=1)
        assert set(sizes) == {1}
        sizes.clear()
        at_construction = ObjectCountingPipeline(model=model, image_processor=processor, device="cpu", batch_size=4)
        four = at_construction([picture])[0]
        assert sizes == [4, 2]
    finally:
        hook.remove()
    assert one["count"] == four["count"]
    np.testing.assert_allclose(
        sorted((p["x"], p["y"]) for p in one["points"]), sorted((p["x"], p["y"]) for p in four["points"]), atol=1e-3
    )


def test_options(counter, picture):
    everything = counter(picture, threshold=0.0, return_density_map=True)
    assert everything["count"] == 6 * 12  # capped at the number of queries, though both channels pass
    assert everything["density_map"].shape == (100, 150)
    assert everything["density_map"].sum() == pytest.approx(everything["density_count"], rel=1e-4)
    assert counter(picture, threshold=1.0)["points"] == []
    with pytest.raises(ValueError, match="Received: 35"):
        counter(picture, threshold=35)
    with pytest.raises(TypeError, match="treshold"):
        counter(picture, treshold=0.3)


def test_bad_images_are_named(counter, picture, tmp_path):
    picture.save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"cut\.jpg.*truncated"):
        counter(str(tmp_path / "cut.jpg"))
    bomb = tmp_path / "giant.png"
    Image.new("1", (10000, 9000)).save(bomb)
    with pytest.raises(ValueError, match=r"giant\.png.*at most 89478485 pixels"):
        counter(str(bomb))


def test_broken_weights_do_not_count_zero(model, processor, picture):
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    try:
        model.class_head.bias.data[1] = float("nan")
        with pytest.raises(ValueError, match="logits must be finite"):
            ObjectCountingPipeline(model=model, image_processor=processor, device="cpu")(picture)
    finally:
        model.load_state_dict(weights)


@pytest.mark.slow
def test_a_saved_pipeline_works_without_the_package(counter, counter_checkpoint, picture, tmp_path):
    """All code that the pipeline needs travels with it."""
    picture.save(tmp_path / "a.png")
    source = Path(__file__).parents[2] / "src"
    environment = {"PATH": "", "HOME": str(tmp_path), "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    environment["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "1")
    save = """
import sys
from dense_hf.counting.configuration_iocformer import IOCFormerConfig
from dense_hf.counting.image_processing_iocformer import IOCFormerImageProcessor
from dense_hf.counting.modeling_iocformer import IOCFormerForObjectCounting
from dense_hf.pipelines import ObjectCountingPipeline, register_pipelines
register_pipelines()
IOCFormerConfig.register_for_auto_class()
IOCFormerForObjectCounting.register_for_auto_class("AutoModel")
IOCFormerImageProcessor.register_for_auto_class()
model = IOCFormerForObjectCounting.from_pretrained(sys.argv[1])
ObjectCountingPipeline(model=model, image_processor=IOCFormerImageProcessor(tile_size=64)).save_pretrained(sys.argv[2])
"""
    subprocess.run(
        [sys.executable, "-c", save, counter_checkpoint, tmp_path / "hub"],
        check=True,
        env={**environment, "PYTHONPATH": str(source)},
    )
    load = """
import json, sys
sys.modules["dense_hf"] = None  # importing it would fail
from transformers import pipeline
counter = pipeline("object-counting", model=sys.argv[1], trust_remote_code=True, device="cpu")
print(json.dumps(counter(sys.argv[2])))
"""
    run = subprocess.run(
        [sys.executable, "-c", load, tmp_path / "hub", tmp_path / "a.png"],
        check=True,
        env=environment,
        capture_output=True,
        text=True,
    )
    result = json.loads(run.stdout.splitlines()[-1])
    assert result["count"] == counter(picture)["count"]
