"""`dense-hf export` and what it writes: names, shapes and numbers, on other inputs than it was traced with."""

import json
import os
import subprocess
import sys

import numpy as np
import programs
import pytest
import torch
from PIL import Image
from saved_checkpoints import saved
from tiny_cffm import tiny_model as tiny_cffm
from tiny_dilated import tiny_model as tiny_dilated
from tiny_mrcfa import tiny_model as tiny_mrcfa

from dense_hf import CFFMImageProcessor, InvalidDataError, MCNNForObjectCounting, MRCFAImageProcessor
from dense_hf.cli import main
from dense_hf.export import export_model
from dense_hf.export.graphs import graphs_of
from dense_hf.export.runtime_counting import PartCounting, TileCounting, find_blobs
from dense_hf.inference.checkpoints import load_counter

# what a machine without torch has: each of these raises when it is imported
WITHOUT_TORCH = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(f"there is no {{name}} here")
sys.meta_path.insert(0, Blocked())
from dense_hf.export.runtime import main
sys.exit(main({words!r}))
"""
HEAVY = {"torch", "torchvision", "transformers", "timm", "accelerate", "datasets", "scipy", "safetensors", "tqdm"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """IOCFormer as ONNX, and its checkpoint; by the program, whose process counts no lines."""
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("exported")
    words = ["-m", "dense_hf", "export", saved(folder / "model", "iocformer"), folder / "onnx"]
    programs.run([sys.executable, *words], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return folder


@pytest.mark.slow
def test_the_runtime_gives_the_tables_of_count_without_torch(exported, noise, tmp_path, monkeypatch):
    for number, size in enumerate(((70, 50), (32, 32), (20, 90))):
        noise(*size, number).save(tmp_path / f"{number}.png")
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    monkeypatch.chdir(tmp_path)
    ours = ["count", ".", "--model", str(exported / "model"), "--output", "ours", "--no-overlays"]
    assert main([*ours, "--threshold", "0.001"]) == 1
    words = [str(exported / "onnx"), ".", "--output", "theirs", "--threshold", "0.001"]
    code = WITHOUT_TORCH.format(blocked=HEAVY, words=words)
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 1, found.stderr
    documents = [json.loads((tmp_path / one / "counts.json").read_text()) for one in ("ours", "theirs")]
    for here, there in zip(*(document["images"] for document in documents), strict=True):
        assert here["count"] == there["count"]
        assert (here["file"], here["width"], here["crowded_tiles"]) == (
            there["file"], there["width"], there["crowded_tiles"],
        )  # fmt: skip
        for name in ("density_count", "mean_score"):
            assert there[name] == pytest.approx(here[name], abs=1e-4)
        for point, other in zip(here["points"], there["points"], strict=True):
            np.testing.assert_allclose([*other.values()], [*point.values()], atol=1e-3)
    assert sum(image["count"] for image in documents[0]["images"]) > 0
    assert documents[0]["errors"] == documents[1]["errors"]
    for name in ("counts.csv", "points.csv"):
        lines = [(tmp_path / one / name).read_text().splitlines() for one in ("ours", "theirs")]
        assert lines[0][0] == lines[1][0]
        assert len(lines[0]) == len(lines[1])


def test_names_and_shapes_stand_in_export_json(exported):
    document = json.loads((exported / "onnx/export.json").read_text())
    graph = document["graphs"]["model"]
    assert graph["inputs"] == {"pixel_values": ["batch", 3, 32, 32]}
    assert graph["outputs"] == ["logits", "pred_points", "density_map"]
    assert graph["largest_difference"] <= 1e-4
    assert (document["model_type"], document["processor"]["threshold"]) == ("iocformer", 0.35)


@pytest.mark.parametrize("words", [["--to", "torch", "--int8"], ["--size", "0x5"], ["--size", "480"]])
def test_what_cannot_be_is_refused(words, tmp_path, capsys):
    try:
        code = main(["export", str(tmp_path / "nothing"), str(tmp_path / "out"), *words])
    except SystemExit as error:
        code = error.code
    assert code == 2
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_no_export(tmp_path, exported):
    from dense_hf.export.runtime import ExportedCounter

    with pytest.raises(InvalidDataError, match=r"export\.json"):
        ExportedCounter(tmp_path)
    document = json.loads((exported / "onnx/export.json").read_text())
    document["graphs"]["model"]["file"] = "../../model.onnx"
    (tmp_path / "export.json").write_text(json.dumps(document))
    with pytest.raises(InvalidDataError, match="an ONNX file"):
        ExportedCounter(tmp_path).count(np.zeros((40, 40, 3), np.uint8))


class Program:
    """Runs a graph of torch as the runtime runs ONNX: the rules of counting need no exporter to be tested."""

    def __init__(self, graph):
        self.graph = graph

    def __call__(self, batch):
        with torch.no_grad():
            found = self.graph.module(torch.from_numpy(batch))
        return {name: value.numpy() for name, value in zip(self.graph.outputs, found)}


@pytest.mark.parametrize(
    ("name", "options", "threshold"),
    [
        ("iocformer", {"tile_overlap": 10}, 0.45),
        ("iocformer", {"tile_overlap": 10, "count_by": "density"}, None),
        ("iocformer", {"tile_overlap": 10, "count_by": "density"}, 0.45),
        ("mcnn", {}, None),
        ("man", {"max_part_side": 48}, None),
        ("dssinet", {}, None),
        ("lcfcn", {}, 0.45),
        ("p2pnet", {"parts_per_side": 2}, 0.45),
    ],
)
def test_counting_without_torch_is_counting(name, options, threshold, tmp_path, noise):
    model, processor = load_counter(saved(tmp_path, name), **options)
    settings = processor.to_dict()
    rules = TileCounting(settings) if "tile_size" in settings else PartCounting(settings)
    [graph] = graphs_of(model, processor)
    for size in ((130, 97), (64, 150)):
        image = noise(*size, size[0])
        ours = processor.count_objects(model, image, threshold=threshold, batch_size=3)
        theirs = rules(Program(graph), np.asarray(image), threshold, 3)
        assert theirs["count"] == ours["count"]
        if ours["density_count"] is None:
            assert theirs["density_count"] is None
        else:
            # where pictures are resized, Pillow and torchvision round differently: 8e-4 of the sum, measured
            close = 2e-3 if name == "dssinet" else 1e-5
            assert theirs["density_count"] == pytest.approx(ours["density_count"], rel=close)
        np.testing.assert_allclose(theirs["scores"], ours["scores"], atol=1e-5)
        both = [np.c_[np.asarray(one["points"]), np.asarray(one["scores"])] for one in (theirs, ours)]
        # equal scores come in any order
        found, expected = (one[np.lexsort(one.round(2).T[:2])] for one in both)
        np.testing.assert_allclose(found[:, :2], expected[:, :2], atol=1e-3)
        np.testing.assert_allclose(found[:, 2], expected[:, 2], atol=1e-5)


def test_blobs_are_those_of_scipy():
    from dense_hf.counting.image_processing_counter import find_blobs as with_scipy

    for seed in range(5):
        values = np.random.default_rng(seed).random((13, 17), dtype=np.float32)
        for threshold in (0.3, 0.6, 0.9, 1.0):
            points, scores = with_scipy(torch.from_numpy(values), threshold)
            ours = find_blobs(values, threshold)
            np.testing.assert_allclose(ours[0], points, atol=1e-6)
            np.testing.assert_array_equal(ours[1], scores)


@pytest.mark.parametrize(
    ("name", "graphs"),
    [("pspnet_video", ["model"]), ("ocrnet_video", ["model"]), ("tcb_ppm", ["clip", "first_frame", "next_frame"])],
)
def test_graphs_of_models_with_a_dilated_backbone(name, graphs):
    """One of those that see frames alone; it gives what the model gives."""
    model = tiny_dilated(name)
    found = graphs_of(model, None, (32, 48))
    assert [graph.name for graph in found] == graphs
    with torch.no_grad():
        torch.testing.assert_close(
            found[0].module(found[0].inputs["pixel_values"])[0], model(found[0].inputs["pixel_values"]).logits
        )


@pytest.mark.slow
def test_the_step_of_tcb_is_an_onnx_file(tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    tiny_dilated("tcb_ppm").save_pretrained(tmp_path / "model")
    CFFMImageProcessor().save_pretrained(tmp_path / "model")
    monkeypatch.setattr("dense_hf.export.files.graphs_of", lambda *arguments: graphs_of(*arguments)[2:])
    document = export_model(tmp_path / "model", tmp_path / "onnx", size=(64, 96))
    assert document["graphs"]["next_frame"]["largest_difference"] <= 1e-4
    assert document["graphs"]["next_frame"]["inputs"]["pixel_values"] == ["batch", 3, 64, 96]


@pytest.mark.slow
def test_a_video_frame_by_frame_is_that_of_a_session(tmp_path, monkeypatch):
    """CFFM, whose states are those of other frames: two graphs and the table of first references are a session."""
    pytest.importorskip("onnxscript")
    from dense_hf.export.runtime import ExportedVideo

    model = tiny_cffm(num_mining_layers=1, frame_offsets=[2, 1])
    model.save_pretrained(tmp_path / "model")
    CFFMImageProcessor().save_pretrained(tmp_path / "model")
    graphs = graphs_of(model, None, (32, 64))
    assert [graph.name for graph in graphs] == ["clip", "first_frame", "next_frame"]
    monkeypatch.setattr("dense_hf.export.files.graphs_of", lambda *_: graphs[1:])  # 15 s less
    document = export_model(tmp_path / "model", tmp_path / "onnx")
    assert document["graphs"]["next_frame"]["inputs"]["reference_1_0"][0] == "batch"
    video, session = ExportedVideo(tmp_path / "onnx"), model.new_session()
    frames = torch.randn(6, 1, 3, 32, 64, generator=torch.Generator().manual_seed(3))
    for frame in frames:
        expected = model.segment_frame(frame, session)
        np.testing.assert_allclose(video.segment_frame(frame.numpy()), expected, atol=1e-4)
    video.reset()
    np.testing.assert_allclose(
        video.segment_frame(frames[5].numpy()), model.segment_frame(frames[5], model.new_session()), atol=1e-4
    )


@pytest.mark.parametrize("name", ["mcnn", *(pytest.param(name, marks=pytest.mark.slow) for name in ("p2pnet", "man"))])
def test_programs_of_torch_export(name, tmp_path):
    """Of any batch and size: what the tracing saw is no constant. IOCFormer is one of docs/howto/export_a_model.md."""
    document = export_model(saved(tmp_path / "model", name), tmp_path / "programs", to="torch")
    described = document["graphs"]["model"]
    assert described["inputs"]["pixel_values"] == ["batch", 3, "height", "width"]
    model, _ = load_counter(tmp_path / "model")
    pixels = torch.randn(5, 3, 64, 160)
    found = torch.export.load(tmp_path / "programs/model.pt2").module()(pixels)
    with torch.no_grad():
        expected = model(pixels)
    for output, value in zip(described["outputs"], found, strict=True):
        torch.testing.assert_close(value, expected[output], atol=1e-5, rtol=0)


@pytest.mark.slow
def test_the_step_of_mrcfa_is_a_program(tmp_path, monkeypatch):
    tiny_mrcfa().save_pretrained(tmp_path / "model")
    MRCFAImageProcessor().save_pretrained(tmp_path / "model")
    monkeypatch.setattr("dense_hf.export.files.graphs_of", lambda *arguments: graphs_of(*arguments)[2:])
    document = export_model(tmp_path / "model", tmp_path / "programs", to="torch", size=(32, 64))
    assert document["graphs"]["next_frame"]["inputs"]["reference_1_0"][0] == "batch"


def test_a_program_of_one_batch_is_refused(tmp_path, monkeypatch):
    """`len` gives torch.export a number, and the program is for that many pictures alone."""
    forward = MCNNForObjectCounting.forward
    monkeypatch.setattr(
        MCNNForObjectCounting,
        "forward",
        lambda self, pixel_values, **options: forward(
            self, pixel_values.expand(len(pixel_values), -1, -1, -1), **options
        ),
    )
    with pytest.raises(ValueError, match=r"must take any batch.*pixel_values \[3, 3"):
        export_model(saved(tmp_path / "model", "mcnn"), tmp_path / "programs", to="torch")
    assert not (tmp_path / "programs").exists()


def test_a_picture_is_counted_like_its_array(exported):
    from dense_hf.export.runtime import ExportedCounter

    counter = ExportedCounter(exported / "onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 70, 3), dtype=np.uint8)
    assert counter.count(pixels)["count"] == counter.count(Image.fromarray(pixels), batch_size=1)["count"]
    with pytest.raises(ValueError, match="uint8"):
        counter.count(pixels[..., 0])
