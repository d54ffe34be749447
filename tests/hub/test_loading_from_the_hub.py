"""Checkpoints that were uploaded load in fresh interpreters: with dense_hf, without it, and by name.

The Hub is the stand-in of `hub_stub.py`; the real one was not reached.
"""

import numpy as np
import pytest
import torch
from fresh_processes import dense_hf, run_programs
from hub_stub import HubStub
from PIL import Image
from programs import empty_home
from safetensors.torch import load_file
from tiny_checkpoints import CHECKPOINTS

# logits of the model for a picture, and all numbers that its pipelines return for it
LOAD = """
import sys
way, source, tasks, picture, output = sys.argv[1:]
tasks = tasks.split(",")
if way == "import":
    import dense_hf
import numpy as np, torch
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoImageProcessor, AutoModel, AutoModelForSemanticSegmentation, pipeline
options = {} if way == "import" else {"trust_remote_code": True}
auto_class = AutoModelForSemanticSegmentation if "image-segmentation" in tasks else AutoModel
model = auto_class.from_pretrained(source, **options).eval()
processor = AutoImageProcessor.from_pretrained(source, **options)
image = Image.open(picture).convert("RGB")
with torch.no_grad():
    logits = model(processor(image, return_tensors="pt")["pixel_values"]).logits

def make(task):
    more = {}
    if task in ("image-classification", "image-segmentation"):
        # without it transformers asks whether a video processor, which there is not, may run code (docs/hub.md)
        more = {"trust_remote_code": False}
    return pipeline(task, model=source, device="cpu", **(more | options))

def numbers(value):
    if isinstance(value, dict):
        return [number for key in sorted(value) for number in numbers(value[key])]
    if isinstance(value, (list, tuple)):
        return [number for part in value for number in numbers(part)]
    if isinstance(value, (str, type(None))):
        return []
    return np.asarray(value, dtype=np.float32).ravel().tolist()

found = [number for task in tasks for number in numbers(make(task)(image))]
save_file({"logits": logits.contiguous(), "found": torch.tensor(found)}, output)
modules = {type(part).__module__.split(".")[0] for part in (model, processor)}
print(f"loaded from {sorted(modules)}; dense_hf is {'' if 'dense_hf' in sys.modules else 'not '}there")
"""
WAYS = ["import", "without", "name, import", "name, without"]


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("picture") / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def loaded(checkpoints, picture, tmp_path_factory):
    """Exit code, output and numbers of each way and model; and what the Hub held."""
    results = {}
    with HubStub() as hub:
        folder = tmp_path_factory.mktemp("push")
        pushes = {name: dense_hf("push", checkpoints / name, f"someone/tiny-{name}") for name in CHECKPOINTS}
        for name, (code, text) in run_programs(pushes, folder, hub.environment()).items():
            assert code == 0, f"{name}: {text[-3000:]}"
        for name in CHECKPOINTS:  # a copy as `hf download` makes it
            (folder / name).mkdir()
            for path, content in hub.files(f"someone/tiny-{name}").items():
                (folder / name / path).write_bytes(content)
        for way in WAYS:
            place = tmp_path_factory.mktemp("load")
            by_name, package = way.startswith("name"), way.endswith("import")
            empty_home()
            environment = hub.environment(offline=not by_name)
            programs = {
                name: (
                    LOAD,
                    [
                        "import" if package else "without",
                        f"someone/tiny-{name}" if by_name else str(folder / name),
                        tasks,
                        str(picture),
                        str(place / f"{name}.safetensors"),
                    ],
                )
                for name, (_, _, tasks) in CHECKPOINTS.items()
            }
            for name, (code, text) in run_programs(programs, place, environment, package).items():
                results[way, name] = code, text, place / f"{name}.safetensors"
    return results, hub


# One test of all: with several, each process of pytest-xdist would push and load everything.
@pytest.mark.slow
@pytest.mark.smoke
def test_checkpoints_load_in_fresh_interpreters(loaded, picture, subtests):
    results, hub = loaded
    for way, name in results:
        with subtests.test(way=way, model=name):
            check_what_was_loaded(results, way, name, picture)
    for name in CHECKPOINTS:
        with subtests.test("the repository has what it needs and no more", model=name):
            check_repository(hub.files(f"someone/tiny-{name}"), name)


def check_what_was_loaded(results, way, name, picture):
    code, text, file = results[way, name]
    assert code == 0, text[-3000:]
    assert "Do you wish to run the custom code?" not in text
    without = way.endswith("without")
    ours = name != "segformer"
    assert f"loaded from {['transformers_modules' if without else 'dense_hf'] if ours else ['transformers']}" in text
    assert ("dense_hf is not there" in text) == without
    make_model, processor, _ = CHECKPOINTS[name]
    theirs = load_file(file)
    pixels = processor(Image.open(picture), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        torch.testing.assert_close(theirs["logits"], make_model().eval()(pixels).logits, atol=1e-5, rtol=0)
    assert len(theirs["found"]) > 0
    first = load_file(results["import", name][2])
    torch.testing.assert_close(theirs["found"], first["found"], atol=1e-5, rtol=0)


def check_repository(files, name):
    card = files["README.md"].decode()
    assert f'model="someone/tiny-{name}"' in card
    assert "value: 0.25" in card
    assert files["results.json"] == b'{"mean_iou": 0.25}'
    rest = {path for path in files if not path.endswith(".py")}
    assert ("requirements.txt" in rest) == ("handler.py" in files)  # of an endpoint
    rest.discard("requirements.txt")
    assert rest == {"README.md", "results.json", "config.json", "preprocessor_config.json", "model.safetensors"}
    code = {path for path in files if path.endswith(".py")} - {"handler.py"}
    assert bool(code) == (name != "segformer")
