"""Models are complete however they are saved, also where dense_hf is not installed and a model came with its code.

What is saved here, with dense_hf, is loaded and saved again in fresh interpreters without it, and the pipelines of
both must give the same numbers there.
"""

import json
from pathlib import Path

import pytest
from fresh_processes import run_programs
from tiny_checkpoints import CHECKPOINTS

from dense_hf.methods import method_of

MODELS = ("iocformer", "cffm", "mcis", "deeplab")
OWN_PIPELINES = {
    "iocformer": "object_counting.ObjectCountingPipeline",
    "cffm": "video_semantic_segmentation.VideoSemanticSegmentationPipeline",
    "mcis": "weakly_supervised_segmentation.WeaklySupervisedSegmentationPipeline",
}
AUTO_CLASSES = {
    "iocformer": {"AutoConfig", "AutoModel"},
    "cffm": {"AutoConfig", "AutoModel", "AutoModelForSemanticSegmentation"},
    "mcis": {"AutoConfig", "AutoModel", "AutoModelForImageClassification"},
    "deeplab": {"AutoConfig", "AutoModel", "AutoModelForSemanticSegmentation"},
}

# loads a checkpoint with the Auto class of its task, and saves it in another place
NEXT = """
import sys, transformers
auto_class, source, target, how = sys.argv[1:]
model = getattr(transformers, auto_class).from_pretrained(source, trust_remote_code=True)
processor = transformers.AutoImageProcessor.from_pretrained(source, trust_remote_code=True)
if how == "trainer":
    arguments = transformers.TrainingArguments(target, report_to=[], use_cpu=True)
    transformers.Trainer(model, arguments, processing_class=processor).save_model()
elif how == "push":
    model.push_to_hub(target)
    processor.push_to_hub(target)
    model.config.push_to_hub(target)
elif how == "push while saving":
    model.save_pretrained("local", push_to_hub=True, repo_id=target)
    processor.save_pretrained("local", push_to_hub=True, repo_id=target)
else:
    processor.save_pretrained(target)
    model.save_pretrained(target)
    model.config.save_pretrained(target)
"""

USE = """
import sys
import numpy as np
from PIL import Image
from transformers import pipeline
task, source = sys.argv[1:]
image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8))
named = task if task == "image-segmentation" else None  # ours are told by the checkpoint
use = pipeline(named, model=source, trust_remote_code=True, device="cpu")
found = use(image, labels=[0], num_references=0) if task.startswith("weakly") else use(image)
if named:
    found = [(one["label"], np.asarray(one["mask"]).sum()) for one in found]
print("numbers", repr(str(found)[:4000]))
"""


def auto_class(name):
    """The last of the task's Auto classes that transformers has, or AutoModel."""
    return sorted(AUTO_CLASSES[name])[-1]


def check_files(name, files):
    """A checkpoint names all Auto classes and the pipeline, and has the files that it names.

    Args:
        name: of the model.
        files: content by name.
    """
    config = json.loads(files["config.json"])
    assert set(config["auto_map"]) == AUTO_CLASSES[name]
    named = list(config["auto_map"].values())
    if name in OWN_PIPELINES:
        ((task, row),) = config["custom_pipelines"].items()
        assert task == method_of(name).task
        assert row["impl"] == OWN_PIPELINES[name]
        assert "image_pipeline.py" in files
        named.append(row["impl"])
    else:
        assert "custom_pipelines" not in config
    for reference in named:
        module, cls = reference.split(".")
        assert f"class {cls}(".encode() in files[f"{module}.py"]


def files_of(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}


@pytest.mark.parametrize("name", MODELS)
def test_any_order_of_saving_is_complete(name, tmp_path):
    """Files that two parts have in common are written by both."""
    make_model, processor, _ = CHECKPOINTS[name]
    model = make_model()
    parts = {"model": model, "processor": processor, "config": model.config}
    for order in (["model", "processor"], ["processor", "model", "config"], ["config", "model", "processor"]):
        folder = tmp_path / "-".join(order)
        for part in order:
            parts[part].save_pretrained(folder)
        check_files(name, files_of(folder))
    first, *others = (files_of(folder) for folder in sorted(tmp_path.iterdir()))
    assert all(files.keys() == first.keys() for files in others)
    assert all(files[path] == first[path] for files in others for path in first if path.endswith(".py"))


def test_a_config_alone_is_complete(tmp_path):
    """A push of it, to a repository that has the model already, must not take anything away."""
    CHECKPOINTS["mcis"][0]().config.save_pretrained(tmp_path / "after")
    type(CHECKPOINTS["mcis"][0]().config)().save_pretrained(tmp_path / "before")
    for folder in ("before", "after"):
        check_files("mcis", files_of(tmp_path / folder))


@pytest.mark.slow
def test_every_way_of_saving_keeps_pipeline_and_auto_class(hub, checkpoints, tmp_path, subtests):
    """Without dense_hf, from what was saved with it: by itself, by the trainer, to the Hub in two ways."""
    ways = dict(zip(MODELS, ("save", "trainer", "push", "push while saving"), strict=True))
    places = {
        name: f"someone/{name}" if way.startswith("push") else str(tmp_path / "saved" / name)
        for name, way in ways.items()
    }
    environment = hub.environment()

    def run(programs, package=False):
        done = run_programs(programs, tmp_path, environment, package)
        for name, (code, text) in done.items():
            assert code == 0, f"{name}: {text[-3000:]}"
        return {
            name: [line for line in text.splitlines() if line.startswith("numbers")]
            for name, (_, text) in done.items()
        }

    with_package = ["AutoModel", str(checkpoints / "mcis"), "someone/with-package", "push"]
    run({"with package": ("import dense_hf\n" + NEXT, with_package)}, package=True)
    check_files("mcis", hub.files("someone/with-package"))
    run({name: (NEXT, [auto_class(name), str(checkpoints / name), places[name], ways[name]]) for name in MODELS})
    for name in MODELS:
        with subtests.test(model=name, way=ways[name]):
            check_files(name, hub.files(places[name]) if ways[name].startswith("push") else files_of(places[name]))
    uses = {}
    for name in MODELS:
        task = CHECKPOINTS[name][2].split(",")[0]
        uses |= {
            f"{name} {n}": (USE, [task, place]) for n, place in enumerate((str(checkpoints / name), places[name]))
        }
    numbers = run(uses)
    for name in MODELS:
        with subtests.test(model=name, way=ways[name], what="numbers"):
            assert len(numbers[f"{name} 0"]) == 1
            assert numbers[f"{name} 1"] == numbers[f"{name} 0"]
