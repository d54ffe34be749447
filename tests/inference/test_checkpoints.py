"""One table of broken checkpoints: every way to a model refuses each in one line with the file and tensor."""

import importlib.util
import json
import os
import re
import runpy
import shutil
import sys
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_affinity import tiny_affinity_net
from tiny_checkpoints import CHECKPOINTS
from tiny_segmenter_runs import make_set
from transformers import pipeline

from dense_hf import (
    AffinityNetImageProcessor,
    AffinityNetModel,
    InvalidDataError,
    MCISConfig,
    MCISForImageClassification,
    strict_loading,
)
from dense_hf.cli import main
from dense_hf.data import generate_miniature_videos
from dense_hf.inference.checkpoints import load_counter, load_mcis, load_model, load_segmenter, load_video_model

ROOT = Path(__file__).parents[2]
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
HEADS = {  # a tensor of each model that is its own, and no sum or norm
    "iocformer": "class_head.weight",
    "cffm": "classifier.weight",
    "mcis": "classifier.weight",
    "deeplab": "classifier.weight",
    "affinity": "projections.0.weight",
}
CARD = "---\nlibrary_name: transformers\n---\n# A model\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Name of a model -> folder of a checkpoint with a card. Not to be changed."""
    root = tmp_path_factory.mktemp("checkpoints")
    for name in HEADS:
        if name == "affinity":
            model, processor = tiny_affinity_net(), AffinityNetImageProcessor()
        else:
            make, processor, _ = CHECKPOINTS[name]
            model = make()
        model.save_pretrained(root / name)
        processor.save_pretrained(root / name)
        (root / name / "README.md").write_text(CARD)
    return {name: root / name for name in HEADS}


# What can be wrong: each changes a folder, given the name of a tensor, and is told by a file and by words.


def change(tensors_of):
    """A fault of the tensors."""

    def spoil(folder, name):
        tensors = load_file(folder / WEIGHTS)
        tensors_of(tensors, name)
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})

    return spoil


def cut(size):
    """A fault of the file."""

    def spoil(folder, name):
        path = folder / WEIGHTS
        path.write_bytes(path.read_bytes()[:size])

    return spoil


def shards(file_name, make=None):
    """An index that says that the tensor is in a file; `make` makes what is there."""

    def spoil(folder, name):
        tensors = load_file(folder / WEIGHTS)
        save_file({name: tensors.pop(name)}, folder.parent / "outside.safetensors", metadata={"format": "pt"})
        save_file(tensors, folder / "rest.safetensors", metadata={"format": "pt"})
        (folder / WEIGHTS).unlink()
        if make is not None:
            make(folder, folder / file_name)
        named = str(folder.parent / "outside.safetensors") if file_name == "absolute" else file_name
        weight_map = dict.fromkeys(tensors, "rest.safetensors") | {name: named}
        (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))

    return spoil


def only_bin(folder, name):
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def set_nan(tensors, name):
    tensors[name].view(-1)[0] = float("nan")


OF_A_MODEL = "of [A-Z][A-Za-z0-9]+(For[A-Z]|Model)"  # as its class is called
FAULTS = {
    "without a head": (change(lambda tensors, name: tensors.pop(name)), WEIGHTS, OF_A_MODEL + ".*{name} missing"),
    "extra tensor": (change(lambda t, name: t.update(extra=torch.ones(2))), WEIGHTS, OF_A_MODEL + ".*extra"),
    "int64": (change(lambda t, name: t.update({name: t[name].long()})), WEIGHTS, "{name} of floating.*I64"),
    "NaN": (change(set_nan), WEIGHTS, "finite numbers in {name}"),
    "shape": (
        change(lambda t, name: t.update({name: t[name][1:].clone()})),
        WEIGHTS,
        r"{name} of shape \[.*Received: \[",
    ),
    "truncated": (cut(-10), WEIGHTS, "complete weights"),
    "empty": (cut(0), WEIGHTS, "complete weights"),
    "outside": (shards("../outside.safetensors"), INDEX, "{name} the plain name.*outside.safetensors"),
    "absolute": (shards("absolute"), INDEX, "{name} the plain name.*outside.safetensors"),
    "link": (
        shards("one.safetensors", lambda folder, path: path.symlink_to(folder.parent / "outside.safetensors")),
        "one.safetensors",
        "a file of the folder itself.*a link to",
    ),
    "FIFO": (
        shards("one.safetensors", lambda folder, path: os.mkfifo(path)),
        "one.safetensors",
        "a regular file.*p",
    ),
    "bin shard": (
        shards("pytorch_model-1.bin"),
        INDEX,
        "{name} the plain name of a .safetensors.*pytorch_model-1.bin",
    ),
    "only bin": (only_bin, "", "weights in model.safetensors.*pytorch_model.bin"),
}


@pytest.fixture(scope="module")
def broken(whole, tmp_path_factory):
    """`broken(model, fault)`: the folder, made once."""
    made = {}

    def make(model, fault):
        if (model, fault) not in made:
            folder = tmp_path_factory.mktemp("broken") / model
            shutil.copytree(whole[model], folder)
            FAULTS[fault][0](folder, HEADS[model])
            made[model, fault] = folder
        return made[model, fault]

    return make


# All ways to a model: each gets the folder of a checkpoint and where data is, and returns what the user reads.


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """data/squares: images with labels and masks; data/videos; data/photo: an image and nothing else."""
    root = tmp_path_factory.mktemp("data")
    make_set(root / "squares", train=1, val=1)
    generate_miniature_videos(root / "videos", 1, 1, 0, num_frames=2, frame_size=(64, 48), disable_progress=True)
    (root / "photo").mkdir()
    Image.new("RGB", (40, 40)).save(root / "photo" / "1.png")
    return root


def command(*words):
    def run(folder, data, output, capsys):
        places = {"photo": data / "photo", "output": output}
        arguments = [str(word).format(**places) for word in words]
        assert main([*arguments, "--model", str(folder)]) == 2
        return capsys.readouterr().err

    return run


def push(folder, data, output, capsys):
    assert main(["push", str(folder), "someone/x", "--dry-run"]) == 2
    return capsys.readouterr().err


def script(name, *words):
    def run(folder, data, output, capsys):
        places = {"model": folder, "data": data, "output": output}
        sys.argv = [name, *(word.format(**places) for word in words)]
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(ROOT / "scripts" / name), run_name="__main__")
        assert capsys.readouterr().out == ""
        return str(stop.value.code)

    return run


def task(name):
    def run(folder, data, output, capsys):
        with pytest.raises(InvalidDataError) as raised:
            pipeline(name, model=str(folder))
        return str(raised.value)

    return run


def space(name):
    def run(folder, data, output, capsys):
        spec = importlib.util.spec_from_file_location(f"space_{name}", ROOT / "spaces" / name / "app.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        with pytest.raises(InvalidDataError) as raised:
            module.build(str(folder))
        return str(raised.value)

    return run


GIVEN = ("--model", "{model}", "--data_dir")
WAYS = {
    "count": ("iocformer", command("count", "{photo}", "--output", "{output}")),
    "localize": ("mcis", command("localize", "{photo}", "--output", "{output}")),
    "segment": ("cffm", command("segment", "{photo}", "--output", "{output}")),
    "evaluate_counting": ("iocformer", script("evaluate_counting.py", *GIVEN, "{data}")),
    "evaluate_segmentation": ("deeplab", script("evaluate_segmentation.py", *GIVEN, "{data}/squares")),
    "evaluate_video": ("cffm", script("evaluate_video.py", *GIVEN, "{data}/videos")),
    "make_maps": ("mcis", script("make_maps.py", *GIVEN, "{data}/squares", "--output", "{output}")),
    "make_prototypes": ("cffm", script("make_prototypes.py", *GIVEN, "{data}/videos", "--output", "{output}")),
    "refine_maps": (
        "affinity",
        script("refine_maps.py", *GIVEN, "{data}/squares", "--maps", "{data}", "--output", "{output}"),
    ),
    "push": ("mcis", push),
    "pipeline count": ("iocformer", task("object-counting")),
    "pipeline segment": ("cffm", task("video-semantic-segmentation")),
    "pipeline localize": ("mcis", task("weakly-supervised-segmentation")),
    "space count": ("iocformer", space("count")),
    "space video": ("cffm", space("video")),
    "space weak_labels": ("mcis", space("weak_labels")),
}


@pytest.mark.timeout(60)  # a FIFO that somebody opens
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_checkpoint_is_refused_in_one_line(fault, way, broken, data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", sys.argv)
    if way.startswith("space"):  # the page is built after the model is loaded
        for name in ("gradio", "gradio.data_classes", "gradio.processing_utils"):
            monkeypatch.setitem(sys.modules, name, MagicMock())
    model, run = WAYS[way]
    _, file, words = FAULTS[fault]
    folder = broken(model, fault)
    capsys.readouterr()
    message = run(folder, data, tmp_path / "out", capsys).strip()
    assert "\n" not in message
    assert str(folder / file) in message
    assert re.search(words.format(name=re.escape(HEADS[model])), message), message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("model", HEADS)
def test_a_whole_checkpoint_is_loaded(model, whole):
    """Also with names of tensors that transformers changes when it reads them: those of timm's backbones are such."""
    loaders = {"iocformer": load_counter, "mcis": load_mcis, "cffm": load_video_model, "deeplab": load_segmenter}
    if model == "affinity":
        loaded, processor = load_model(whole[model], AffinityNetModel, "an AffinityNet")
    elif model == "deeplab":
        segmenter = load_segmenter(whole[model], "cpu")
        loaded, processor = segmenter.model, segmenter.image_processor
    else:
        loaded, processor = loaders[model](str(whole[model]))
    stored = load_file(whole[model] / WEIGHTS)
    assert not loaded.training
    assert processor is not None
    sums = [
        sorted((tuple(tensor.shape), tensor.double().sum().item()) for tensor in tensors.values())
        for tensors in (loaded.state_dict(), stored)
    ]
    assert sums[0] == sums[1]
    assert torch.equal(loaded.state_dict()[HEADS[model]], stored[HEADS[model]])


def test_sharded_weights_are_loaded(whole, tmp_path):
    model, processor = load_mcis(str(whole["mcis"]))
    model.save_pretrained(tmp_path, max_shard_size="5KB")
    processor.save_pretrained(tmp_path)
    assert (tmp_path / INDEX).exists()
    again, _ = load_mcis(str(tmp_path))
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("sharded", [False, True])
def test_the_file_with_the_fault_is_named(sharded, whole, tmp_path):
    """That of a tensor too many; of one that is missing the only file, or the index."""
    model, processor = load_mcis(str(whole["mcis"]))
    model.save_pretrained(tmp_path, max_shard_size="5KB" if sharded else "1GB")
    processor.save_pretrained(tmp_path)
    last = max(tmp_path.glob("*.safetensors"))
    index = json.loads((tmp_path / INDEX).read_text()) if sharded else {"weight_map": {}}
    tensors = load_file(last)

    def write(changed):
        save_file(changed, last, metadata={"format": "pt"})
        if sharded:
            others = {name: file for name, file in index["weight_map"].items() if file != last.name}
            weight_map = others | dict.fromkeys(changed, last.name)
            (tmp_path / INDEX).write_text(json.dumps(index | {"weight_map": weight_map}))

    write(tensors | {"one.more": torch.zeros(1)})
    with pytest.raises(InvalidDataError, match=rf"^{re.escape(str(last))}: expected no tensors but those.*one\.more"):
        load_mcis(str(tmp_path))
    missing = max(tensors)
    write({name: tensor for name, tensor in tensors.items() if name != missing} | {"one.more": torch.zeros(1)})
    where = tmp_path / (INDEX if sharded else WEIGHTS)
    with pytest.raises(InvalidDataError, match=rf"^{re.escape(str(where))}: expected the weights.*{missing} missing"):
        load_mcis(str(tmp_path))


def test_counters_of_batch_norm_may_be_missing(whole, tmp_path):
    folder = shutil.copytree(whole["cffm"], tmp_path / "cffm")
    tensors = load_file(folder / WEIGHTS)
    tensors.pop("decoder.batch_norm.num_batches_tracked")
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    load_video_model(str(folder))
    tensors["decoder.batch_norm.num_batches_tracked"] = torch.tensor(1.5)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(InvalidDataError, match=r"num_batches_tracked of whole numbers\. Received: F32"):
        load_video_model(str(folder))


def test_half_precision_is_no_fault(whole, tmp_path):
    load_mcis(str(whole["mcis"]))[0].half().save_pretrained(tmp_path)
    shutil.copy(whole["mcis"] / "preprocessor_config.json", tmp_path)
    assert load_mcis(str(tmp_path))[0].dtype == torch.float16


def test_links_of_the_cache_of_the_hub(whole, tmp_path):
    """They lead to the blobs of the same repository, and nowhere else."""
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "123", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(whole["mcis"].iterdir()):
        shutil.copy(path, blobs / str(number))
        (snapshot / path.name).symlink_to(Path("..", "..", "blobs", str(number)))
    load_mcis(str(snapshot))
    (snapshot / WEIGHTS).unlink()
    (snapshot / WEIGHTS).symlink_to(whole["mcis"] / WEIGHTS)
    with pytest.raises(InvalidDataError, match="expected a file of the folder itself"):
        load_mcis(str(snapshot))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (INDEX, "[" * 100_000, "index.json: expected JSON"),
        (INDEX, "[]", "expected a JSON object"),
        (INDEX, '{"weight_map": ["a"]}', "expected a weight_map"),
        (INDEX, '{"weight_map": {"classifier.weight": 3}}', "the plain name.*Received: 3"),
        (INDEX, r'{"weight_map": {"classifier.weight": "a\\b.safetensors"}}', "classifier.weight the plain name"),
        (INDEX, r'{"weight_map": {"classifier.weight": "a\u0000.safetensors"}}', "classifier.weight the plain name"),
        (INDEX, " " * (2**24 + 1), "a file of at most"),
        ("config.json", "{", "config.json: expected JSON"),
        ("config.json", '{"model_type": "unknown"}', "config.json: expected the configuration of a classifier"),
        ("config.json", '{"model_type": "iocformer"}', r"expected a classifier \(mcis\). Received: iocformer"),
        ("config.json", '{"model_type": "mcis", "hidden_size": "x"}', "config.json: expected the configuration"),
        ("config.json", '{"model_type": "mcis", "transformers_weights": "a.safetensors"}', "expected weights in"),
        ("preprocessor_config.json", "3", "preprocessor_config.json: expected a JSON object"),
        ("adapter_config.json", "{}", "a whole model"),
    ],
)
def test_settings_that_cannot_be_used(name, content, words, whole, tmp_path):
    folder = shutil.copytree(whole["mcis"], tmp_path / "mcis")
    if name == INDEX:
        (folder / WEIGHTS).unlink()
    (folder / name).write_text(content)
    with pytest.raises(InvalidDataError, match=words) as raised:
        load_mcis(str(folder))
    assert "\n" not in str(raised.value)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", WEIGHTS])
def test_a_fifo_is_not_opened(name, whole, tmp_path):
    folder = shutil.copytree(whole["mcis"], tmp_path / "mcis")
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(InvalidDataError, match=f"{name}: expected a regular file"):
        load_mcis(str(folder))


def test_what_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidDataError, match="something else than a folder"):
        load_mcis(str(tmp_path / "file"))
    with pytest.raises(InvalidDataError, match="or the name of one on the Hub"):
        load_mcis("no/such/folder")
    with pytest.raises(ValueError, match=r"device must be one of this machine\. Received: toaster"):
        load_mcis(str(ROOT / "checkpoints" / "mcis-crops"), "toaster")


def test_other_options_of_from_pretrained_are_heeded(whole):
    folder = Path(whole["mcis"])
    config = MCISConfig.from_pretrained(folder, affinity_scale=7)
    model = strict_loading.load_checkpoint(MCISForImageClassification, folder, config, dtype=torch.float64)
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float64}
    assert model.config.affinity_scale == 7  # that which was given, not that of the folder


def test_models_that_are_larger_than_their_weights_are_not_built(whole, monkeypatch):
    folder = Path(whole["mcis"])
    config, tensors = MCISConfig.from_pretrained(folder), load_file(folder / WEIGHTS)

    def load():
        return strict_loading.load_checkpoint(MCISForImageClassification, folder, config)

    monkeypatch.setattr(strict_loading, "_MAY_BE_MISSING", 0)
    monkeypatch.setattr(strict_loading, "_TENSORS_MAY_BE_MISSING", -len(tensors))
    monkeypatch.setattr(strict_loading, "_MAX_TENSORS", len(tensors))
    load()
    strict_loading.build_and_load(MCISForImageClassification, config, tensors)
    for limit, value, words in (
        ("_MAY_BE_MISSING", -1, r"describes [\d,]+ numbers, and the weights are"),
        ("_TENSORS_MAY_BE_MISSING", -len(tensors) - 1, rf"{len(tensors)} tensors, and the weights are {len(tensors)}"),
        ("_MAX_TENSORS", len(tensors) - 1, f"at most {len(tensors) - 1} tensors"),
    ):
        with monkeypatch.context() as context:
            context.setattr(strict_loading, limit, value)
            with pytest.raises(InvalidDataError, match=words):
                load()
    monkeypatch.setattr(strict_loading, "_MAY_BE_MISSING", -1)
    with pytest.raises(ValueError, match="the tensors of a MCISForImageClassification of"):
        strict_loading.build_and_load(MCISForImageClassification, config, tensors)


def test_whole_numbers_of_a_model_are_whole_numbers_in_its_file():
    layer = torch.nn.Linear(1, 1)
    layer.register_buffer("index", torch.zeros(1, dtype=torch.int64))
    report = {"missing_keys": [], "unexpected_keys": [], "mismatched_keys": []}
    types = {"weight": "F32", "bias": "F16", "index": "I64"}

    def misfits(**changed):
        stored = {name: strict_loading.StoredTensor(Path("a"), one, 1) for name, one in {**types, **changed}.items()}
        return list(strict_loading._misfits(layer, report, stored))

    assert misfits() == []
    assert misfits(index="F32") == [("index", "index of whole numbers", "F32")]
    assert misfits(bias="I64") == [("bias", "bias of floating point numbers", "I64")]
