"""The strict loader by name: it fetches what a model needs and no more, works offline afterwards, and refuses."""

import json

import pytest
from fresh_processes import run_programs
from hub_stub import StubRepository
from safetensors.torch import load, save

LOAD = """
import sys
from dense_hf.inference.checkpoints import load_mcis
model, processor = load_mcis(sys.argv[1])
print(type(model).__name__, type(processor).__name__, model.training)
"""


def put(hub, name, files):
    hub.repositories["model", name] = StubRepository(commits=[dict(files)])


@pytest.fixture
def files(checkpoints):
    return {path.name: path.read_bytes() for path in (checkpoints / "mcis").iterdir()}


@pytest.mark.slow
def test_by_name_online_and_offline(hub, files, tmp_path):
    more = {"pytorch_model.bin": b"pickled", "checkpoint-1/model.safetensors": b"older", "modeling.py": b"exit(9)"}
    put(hub, "someone/whole", files | more)
    tensors = load(files["model.safetensors"])
    tensors.pop("classifier.weight")
    put(hub, "someone/headless", files | {"model.safetensors": save(tensors, {"format": "pt"})})
    names = [*tensors, "classifier.weight"]
    index = json.dumps({"weight_map": dict.fromkeys(names, "../../../outside.safetensors")}).encode()
    rest = {name: content for name, content in files.items() if name != "model.safetensors"}
    put(hub, "someone/outside", rest | {"model.safetensors.index.json": index})
    programs = {name: (LOAD, [f"someone/{name}"]) for name in ("whole", "headless", "outside", "lost")}
    online = run_programs(programs, tmp_path, hub.environment())
    offline = run_programs(programs, tmp_path, hub.environment(offline=True))
    for done in (online, offline):
        assert done["whole"][0] == 0, done["whole"][1]
        assert "MCISForImageClassification MCISImageProcessor False" in done["whole"][1]
        for name, words in (
            ("headless", "model.safetensors: expected the weights of MCISForImageClassification"),
            ("outside", "model.safetensors.index.json: expected for "),
            (
                "lost",
                "InvalidDataError: someone/lost: expected a folder with a checkpoint, or the name of one on the Hub",
            ),
        ):
            code, text = done[name]
            assert code == 1
            assert words in text.splitlines()[-1]
    fetched = {path.rsplit("/", 1)[-1] for _, path in hub.requests if "resolve" in path}
    assert {name.rsplit(".", 1)[-1] for name in fetched} == {"json", "safetensors"}
    assert not any("checkpoint-1" in path for _, path in hub.requests)
