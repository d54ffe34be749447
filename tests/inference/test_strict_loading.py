"""The strict loader part by part: settings before anything is built, files, what is fetched, and tensors."""

import json
from pathlib import Path

import pytest
import torch
from huggingface_hub.utils import filter_repo_objects
from torch import nn

from dense_hf import InvalidDataError, strict_loading
from dense_hf.setting_bounds import MOST_PIXELS
from dense_hf.strict_loading import (
    INDEX,
    WEIGHTS,
    build_and_load,
    check_settings,
    checkpoint_folder,
    load_strictly,
    one_line,
    weight_files,
)

MOST = 2**24
ALLOWED = [
    {"hidden_size": MOST, "hidden_sizes": [MOST, -MOST, 2], "num_labels": 65_535},
    {"num_layers": 256, "depths": [200, 56], "num_blocks": [256, 256]},
    {"size": [1, MOST_PIXELS // 2], "tile": {"size": {"height": 4096, "width": 2304}}},
    {"label2id": {"layers": 4000, "backbone": 1}, "id2label": {"0": "device"}},
    {"backbone": "tf_efficientnet_lite0.in1k", "device": None, "return_tensors": None},
]
REFUSED = [
    ({"hidden_size": MOST + 1}, "hidden_size of at most 16,777,216. Received: 16777217"),
    ({"inner": [{"hidden_size": -MOST - 1}]}, "hidden_size of at most 16,777,216. Received: -16777217"),
    ({"num_layers": 257}, "num_layers of at most 256. Received: 257"),
    ({"num_layers": [1, 257]}, "num_layers of at most 256. Received: 257"),
    ({"stages": 257}, "stages of at most 256. Received: 257"),
    ({"depth": 257.0}, "depth of at most 256. Received: 257.0"),
    ({"depths": [200, "x", 57]}, "depths of at most 256. Received: 257"),
    ({"num_labels": 65_536}, "num_labels of at most 65,535. Received: 65536"),
    ({"backbone": "org/model"}, "the plain name of a backbone, not an address. Received: org/model"),
    ({"id2label": {"0": "fish", "1": 3}}, "names of classes as text in id2label. Received: ['fish', 3]"),
    ({"device": "cuda"}, "no device, which belongs to a call. Received: cuda"),
    ({"return_tensors": "pt"}, "no return_tensors, which belongs to a call. Received: pt"),
    ({"size": {"height": 4097, "width": 2304}}, "a size of at most 9,437,184 pixels. Received: 9,439,488"),
    ({"size": 3073}, "a size of at most 9,437,184 pixels. Received: 9,443,329"),
    ({"label2id": {"fish": MOST + 1}}, "label2id of at most 16,777,216. Received: 16777217"),
]
SETTINGS = ("config.json", "preprocessor_config.json", "processor_config.json")


def settings(folder: Path, name: str, content: dict) -> Path:
    """A folder with these settings, and no others."""
    for other in SETTINGS[:2]:
        (folder / other).write_text("{}")
    (folder / name).write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("name", SETTINGS)
def test_large_settings_are_read(name, tmp_path):
    for content in ALLOWED:
        read = check_settings(settings(tmp_path, name, content))
        assert read == (content if name == "config.json" else {})


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize(("content", "words"), REFUSED)
def test_settings_that_are_too_much_are_refused_by_file_and_name(name, content, words, tmp_path):
    with pytest.raises(InvalidDataError) as raised:
        check_settings(settings(tmp_path, name, content))
    assert str(raised.value) == f"{tmp_path / name}: expected {words}"


def test_settings_of_the_largest_size_are_read(tmp_path, monkeypatch):
    folder = settings(tmp_path, "config.json", {"name": "x" * 100})
    size = (folder / "config.json").stat().st_size
    monkeypatch.setattr(strict_loading, "_MAX_JSON_BYTES", size)
    check_settings(folder)
    monkeypatch.setattr(strict_loading, "_MAX_JSON_BYTES", size - 1)
    with pytest.raises(InvalidDataError, match=rf"config\.json: expected a file of at most {size - 1} bytes"):
        check_settings(folder)


def test_blobs_are_those_of_the_cache_alone(tmp_path):
    """A folder "blobs" two folders above means nothing elsewhere."""
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    (blobs / "1").write_bytes(b"")
    for place in ("snapshots", "pictures"):
        folder = tmp_path / place / "123"
        folder.mkdir(parents=True)
        (folder / WEIGHTS).symlink_to(blobs / "1")
    assert weight_files(tmp_path / "snapshots/123") == [tmp_path / "snapshots/123" / WEIGHTS]
    with pytest.raises(InvalidDataError, match="a file of the folder itself"):
        weight_files(tmp_path / "pictures/123")


REPOSITORY = [
    *("README.md", "config.json", "preprocessor_config.json", "modeling.py", "pytorch_model.bin", INDEX, WEIGHTS),
    *("model-00001-of-00002.safetensors", "runs/a.json", "other/model.safetensors"),
]


def test_json_and_safetensors_of_a_repository_are_fetched_and_nothing_else(tmp_path, monkeypatch):
    asked = []

    def snapshot_download(name, allow_patterns, ignore_patterns, **options):
        asked.append((name, options))
        patterns = {"allow_patterns": allow_patterns, "ignore_patterns": ignore_patterns}
        for file in filter_repo_objects(REPOSITORY, **patterns):
            (tmp_path / file).write_text("")
        return str(tmp_path)

    monkeypatch.setattr(strict_loading, "snapshot_download", snapshot_download)
    assert checkpoint_folder("org/fish", revision="v1") == tmp_path
    assert asked == [("org/fish", {"revision": "v1"})]
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json", "preprocessor_config.json", WEIGHTS, "model-00001-of-00002.safetensors", INDEX,
    }  # fmt: skip


class UsesUpItsConfig(nn.Linear):
    """Takes its sizes from a list, and out of it."""

    def __init__(self, config: dict):
        super().__init__(config["sizes"].pop(), config["sizes"].pop())


def test_to_measure_a_model_leaves_its_config_alone():
    state = nn.Linear(2, 3).state_dict()
    model = build_and_load(UsesUpItsConfig, {"sizes": [3, 2]}, state)
    assert torch.equal(model.weight, state["weight"])
    assert not model.training


def test_an_error_of_another_library_becomes_one_line():
    assert one_line(ValueError("a\n  b\tc")) == "a b c"
    assert one_line(RuntimeError()) == "RuntimeError"


def test_of_many_names_five_are_said():
    assert strict_loading._listed([*"abcde"]) == "a, b, c, d, e"
    assert strict_loading._listed([*"abcdef"]) == "a, b, c, d, e and 1 more"
    assert strict_loading._listed([*"abcdefg"]) == "a, b, c, d, e and 2 more"


def test_what_does_not_fit_is_listed_and_counters_may_be_missing():
    layers = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    tensors = {name: tensor + 1 for name, tensor in layers.state_dict().items() if "num_batches" not in name}
    load_strictly(layers, tensors)
    for name, tensor in tensors.items():
        assert torch.equal(layers.state_dict()[name], tensor)
    saved = layers.state_dict()  # which says that its norms have counters
    del saved["1.num_batches_tracked"]
    load_strictly(layers, saved)
    wrong = {name: tensor for name, tensor in tensors.items() if name not in ("1.bias", "0.bias")}
    wrong |= {"b": torch.zeros(1), "a": torch.zeros(1), "0.weight": torch.zeros(4, 2), "1.weight": torch.zeros(5)}
    with pytest.raises(ValueError, match="exactly the tensors of the model") as raised:
        load_strictly(layers, wrong)
    assert str(raised.value).split("model. ")[1] == (
        "missing: 0.bias, 1.bias; unexpected: a, b; "
        "of another shape: 0.weight [4, 2] (expected [3, 2]), 1.weight [5] (expected [3])"
    )
