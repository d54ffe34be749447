"""`pipeline("object-counting")` with a small model of random weights: the way in and out, not the accuracy."""

import base64
import io
import json
import sys

import numpy as np
import programs
import pytest
import torch
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


def test_regions_have_what_lies_in_them(counter, picture):
    """Points by their place, densities by the map; two halves are the whole."""
    whole = counter(picture, return_density_map=True)
    halves = {"left": (0, 0, 70, 100), "right": [(70, 0), (150, 0), (150, 100), (70, 100)]}
    regions = counter(picture, regions=halves)["regions"]
    assert [region["name"] for region in regions] == ["left", "right"]
    assert regions[0]["count"] == sum(point["x"] < 70 for point in whole["points"])
    assert sum(region["count"] for region in regions) == whole["count"]
    assert regions[0]["density_count"] == pytest.approx(whole["density_map"][:, :70].sum(dtype=float), rel=1e-6)
    labels = np.zeros((100, 150), np.int64)
    labels[:, :70] = 5
    (left,) = counter(picture, regions=labels)["regions"]
    assert left == {**regions[0], "name": "5"}
    with pytest.raises(ValueError, match="the size of the picture, 150 x 100"):
        counter(picture, regions=labels[:50])


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
    pixels = np.asarray(picture)
    assert counter(pixels) == counter(torch.from_numpy(pixels.copy()).permute(2, 0, 1)) == results[0]
    assert counter([pixels]) == results[:1]
    gray = np.asarray(picture.convert("L"))
    assert counter(gray) == counter(picture.convert("L"))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    assert counter(base64.b64encode(buffer.getvalue()).decode()) == results[0]


@pytest.mark.parametrize(
    ("given", "received"),
    [
        (b"\x89PNG", "bytes"),
        ([b"\x89PNG"], "bytes"),
        (np.zeros((4, 4, 3)), "ndarray of float64"),
        ([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.float32)], "ndarray of float32"),
        (torch.zeros(3, 4, 4), "Tensor of torch.float32"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"ndarray of uint8 \[2, 4, 4, 3\]"),
        ([["a.png"]], "list"),
        (5, "int"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_picture_is_told_before_anything_is_counted(counter, given, received):
    accepted = r"A picture is a URL, base64, an image, an array or a path.*uint8 array \[H, W, 3\]"
    with pytest.raises(TypeError, match=f"{accepted}.*Received: {received}"):
        counter(given)


def test_pages_and_white(counter, picture, tmp_path):
    Image.new("L", (90, 60)).save(tmp_path / "s.tif", save_all=True, append_images=[picture.convert("L")])
    assert counter(tmp_path / "s.tif", page=1) == counter(picture.convert("L"))
    with pytest.raises(ValueError, match=r"s\.tif.*stack of 2.*`page`"):
        counter(tmp_path / "s.tif")
    deep = np.asarray(picture.convert("L")).astype(np.uint16) * 16  # of a camera of 12 bits
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert counter(tmp_path / "deep.png", white=16 * 255) == counter(picture.convert("L"))
    with pytest.raises(ValueError, match="white must be"):
        counter(tmp_path / "deep.png", white=0)


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
    for name in ("reef.jgp", "no/such/reef.jpg", "reef"):  # mistyped: no base64
        with pytest.raises(ValueError, match=f"{name} cannot be read as an image.*no such file"):
            counter(name)
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
def test_a_saved_pipeline_works_without_the_package(
    counter, counter_checkpoint, picture, tmp_path, script_environment
):
    """All code that the pipeline needs travels with it."""
    picture.save(tmp_path / "a.png")
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
    programs.run(
        [sys.executable, "-c", save, counter_checkpoint, tmp_path / "hub"],
        check=True,
        env=script_environment,
    )
    load = """
import json, sys
sys.modules["dense_hf"] = None  # importing it would fail
from transformers import pipeline
counter = pipeline("object-counting", model=sys.argv[1], trust_remote_code=True, device="cpu")
print(json.dumps(counter(sys.argv[2])))
"""
    without = {**script_environment, "PYTHONPATH": "", "HF_HOME": programs.empty_home()}
    done = programs.run(
        [sys.executable, "-c", load, tmp_path / "hub", tmp_path / "a.png"],
        check=True,
        env=without,
        capture_output=True,
        text=True,
    )
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["count"] == counter(picture)["count"]


def test_results_as_a_table(counter, picture):
    result = counter(picture)
    table = result.to_pandas()
    assert list(table.columns) == ["x", "y", "score"]
    assert table.to_dict("records") == result["points"]
    assert list(counter(Image.new("RGB", (8, 8)), threshold=1.0).to_pandas().columns) == ["x", "y", "score"]


def test_results_for_supervision(counter, picture):
    supervision = pytest.importorskip("supervision", reason="an optional library")
    result = counter(picture)
    detections = result.to_supervision(side=4)
    assert isinstance(detections, supervision.Detections)
    assert len(detections) == result["count"]
    centers = detections.get_anchors_coordinates(supervision.Position.CENTER)
    assert np.allclose(centers, [(p["x"], p["y"]) for p in result["points"]], atol=1e-3)
    assert np.allclose(detections.area, 16, rtol=1e-3)
    assert set(detections.class_id) == {0}
    whole = np.array([[0, 0], [150, 0], [150, 100], [0, 100]])
    assert supervision.PolygonZone(whole).trigger(detections).all()
    assert len(counter(Image.new("RGB", (8, 8)), threshold=1.0).to_supervision()) == 0
