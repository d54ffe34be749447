"""scripts/train_deeplab.py as a person runs it."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from PIL import Image
from programs import Program
from safetensors.torch import load_file
from tiny_segmenter_runs import make_set, segmenter_sections
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

from dense_hf.training.backbone_weights import PACKAGED_WEIGHTS

SCRIPT = "train_deeplab.py"
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_set(tmp_path_factory.mktemp("data") / "squares")


@pytest.fixture(scope="module")
def labels(data, tmp_path_factory):
    """Pseudo labels that are not quite the masks."""
    folder = tmp_path_factory.mktemp("labels") / "pseudo"
    folder.mkdir()
    for path in (data / "train" / "masks").iterdir():
        Image.fromarray(np.roll(np.asarray(Image.open(path)), 2, axis=1)).save(folder / path.name)
    (folder / "settings.json").write_text('{"background_score": 0.2, "crf": true}')
    return folder


@pytest.fixture
def options(data, labels, tmp_path):
    """Words of a tiny run, keys of sections as arguments."""

    def write(name="run", **sections):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"segmenter": segmenter_sections(**sections)}))
        words = ["--config", path, "--data_dir", data, "--pseudo_labels", labels, "--output_dir", tmp_path / name]
        return [*map(str, words)]

    return write


def test_a_run_with_evaluation(options, tmp_path, run_here):
    training = {"eval_strategy": "steps", "eval_steps": 3, "report_to": "tensorboard", "bf16": True, "use_cpu": True}
    label_source = {"label_source": "localisation maps of MCIS"}
    run_here(SCRIPT, *options(training=training, data=label_source), "--seed", 4)
    folder = tmp_path / "run"
    names = {"config.json", "model.safetensors", "preprocessor_config.json", "README.md", "results.json"}
    assert names <= {path.name for path in folder.iterdir()}
    assert list(folder.rglob("events.out.tfevents*"))

    results = json.loads((folder / "results.json").read_text())
    assert (results["steps"], results["best_step"], results["seed"]) == (6, 6, 4)
    assert (results["labels"], results["label_source"]) == ("pseudo", "localisation maps of MCIS")
    assert results["num_training_images"] == 5
    numbers = results["validation"]
    assert numbers["num_images"] == 3
    assert set(numbers["per_class_iou"]) == {"background", "cat", "dog", "potted plant"}
    history = json.loads((folder / "checkpoint-6" / "trainer_state.json").read_text())["log_history"]
    assert [entry["step"] for entry in history if "eval_mean_iou" in entry] == [3, 6]
    assert history[-1]["eval_mean_iou"] == numbers["mean_iou"]

    card = ModelCard.load(folder / "README.md")
    assert "**pseudo labels** (localisation maps of MCIS)" in card.content
    assert "They were made with:\n\n```yaml\nbackground_score: 0.2\ncrf: true\n```" in card.content
    assert "weakly-supervised" in card.data.tags
    assert "Trained with dense_hf on: **squares**" in card.content
    assert {metric.metric_type: metric.metric_value for metric in card.data.eval_results} == {
        key: numbers[key] for key in ("mean_iou", "pixel_accuracy")
    }
    model = AutoModelForSemanticSegmentation.from_pretrained(folder)
    assert model.config.id2label == {0: "background", 1: "cat", 2: "dog", 3: "potted plant"}
    saved, last = load_file(folder / "model.safetensors"), load_file(folder / "checkpoint-6" / "model.safetensors")
    assert all(torch.equal(saved[key], last[key]) for key in last)  # as `best_step` says, though both were as good
    assert AutoImageProcessor.from_pretrained(folder).do_flip_channel_order


def test_without_evaluation_masks_are_not_needed(options, data, tmp_path, run_here):
    """The default. The masks in the place of pseudo labels are called what they are."""
    alone = shutil.copytree(data / "train", tmp_path / "alone")
    shutil.copy(data / "classes.txt", alone)
    words = options(training={"max_steps": 1})
    run_here(SCRIPT, *words, "--data_dir", alone, "--pseudo_labels", alone / "masks", "--dataset_name", "mine")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert "validation" not in results
    assert results["labels"] == "drawn"
    card = ModelCard.load(tmp_path / "run" / "README.md")
    assert "**masks that people have drawn**" in card.content
    assert "weakly-supervised" not in card.data.tags
    assert "None: there was no evaluation" in card.content
    assert not card.data.eval_results


def test_a_timm_backbone_with_frozen_norms_and_packaged_weights(options, tmp_path, run_here, capsys):
    """EfficientNet-Lite0: its weights arrive, its norms stay, all else learns."""
    pytest.importorskip(PACKAGED_WEIGHTS["efficientnet-lite0"].distribution.replace("-", "_"))
    path = REPOSITORY / "scripts" / "configs" / "deeplab" / "efficientnet.yaml"
    words = ["--config", path, *options()[2:], "--max_steps", 1, "--per_device_train_batch_size", 2, "--crop_size", 65]
    run_here(SCRIPT, *words, "--weight_decay", 0, "--save_strategy", "no", "--disable_tqdm", "true")
    assert "Backbone: 240 tensors of package:efficientnet-lite0" in capsys.readouterr().out
    trained = load_file(tmp_path / "run" / "model.safetensors")
    model = AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "run").eval()
    package = PACKAGED_WEIGHTS["efficientnet-lite0"]
    file = Path(pytest.importorskip(package.distribution.replace("-", "_")).__file__).parent / package.file
    original = list(torch.load(file, weights_only=True).values())
    ours = [key for key in trained if key.startswith("backbone._backbone.")]
    norms = [key for key in ours if trained[key].ndim == 1]
    assert len(ours) == 240
    assert len(norms) == 4 * 48

    def is_original(key):
        return any(value.shape == trained[key].shape and torch.equal(value, trained[key]) for value in original)

    assert all(is_original(key) for key in norms)
    changed = [key for key in ours if key not in norms and not is_original(key)]
    assert len(changed) == len(ours) - len(norms)
    assert model(torch.zeros(1, 3, 128, 128)).logits.shape == (1, 4, 16, 16)
    processor = AutoImageProcessor.from_pretrained(tmp_path / "run")
    assert (processor.do_rescale, processor.do_flip_channel_order) == (True, False)
    assert list(processor.image_mean) == [0.5, 0.5, 0.5]


def test_a_trained_model_goes_on_with_other_classes_and_the_same_pixels(options, data, tmp_path, run_here):
    pixels = {"do_rescale": True, "do_flip_channel_order": False, "image_mean": [0.5, 0.4, 0.3]}
    run_here(SCRIPT, *options("first", data=pixels, training={"max_steps": 1}))
    more = shutil.copytree(data, tmp_path / "more")
    (more / "classes.txt").write_text((data / "classes.txt").read_text() + "horse\n")
    words = options("second", training={"max_steps": 1})
    content = yaml.safe_load((tmp_path / "second.yaml").read_text())
    content["segmenter"]["model"] = {"model_name_or_path": str(tmp_path / "first")}
    (tmp_path / "second.yaml").write_text(yaml.safe_dump(content))
    run_here(SCRIPT, *words, "--data_dir", more)
    model = AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "second")
    assert model.config.id2label[4] == "horse"
    assert model.classifier.out_channels == 5
    assert model.config.head_hidden_size == 8
    processor = AutoImageProcessor.from_pretrained(tmp_path / "second")
    assert (processor.do_rescale, list(processor.image_mean)) == (True, [0.5, 0.4, 0.3])


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bits(options, tmp_path, script_environment, run_here, same_weights):
    """SIGKILL in the middle; the last checkpoint is cut off as by a crash."""
    whole, killed = options("whole", training={"max_steps": 9}), options("killed", training={"max_steps": 9})
    command = [sys.executable, str(REPOSITORY / "scripts" / SCRIPT), *killed]
    with Program(command, env=script_environment) as process:
        deadline = time.monotonic() + 300
        while not (tmp_path / "killed" / "checkpoint-2").exists() and process.poll() is None:
            if time.monotonic() > deadline:
                break
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "checkpoint-9").exists()
    checkpoints = (tmp_path / "killed").glob("checkpoint-*")
    last = max(checkpoints, key=lambda path: int(path.name.rpartition("-")[2]))
    (last / "model.safetensors").write_bytes(b"cut off")

    run_here(SCRIPT, *killed, "--resume_from_checkpoint", "auto")
    run_here(SCRIPT, *whole)
    assert same_weights(tmp_path / "whole" / "checkpoint-9", tmp_path / "killed" / "checkpoint-9")
    results = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("whole", "killed")]
    assert results[0] == results[1]


# what is wrong is said in one line, before the first step


def bad_label(data, labels):
    Image.fromarray(np.full((5, 5), 1, np.uint8)).save(labels / "train_2.png")


def no_labels(data, labels):
    for path in labels.iterdir():
        path.unlink()


def bad_settings(data, labels):
    (labels / "settings.json").write_text("[1]")


def no_masks(data, labels):
    shutil.rmtree(data / "val" / "masks")
    (data / "val" / "masks").mkdir()


def bad_mask(data, labels):
    size = Image.open(data / "val" / "masks" / "val_1.png").size
    Image.new("L", size, 77).save(data / "val" / "masks" / "val_1.png")


def other_classes(data, labels):
    (data / "val" / "classes.txt").write_text("dog\ncat\npotted plant\n")


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        (bad_label, (), "train_2.png.*size of its frame"),
        (bad_settings, (), r"settings.json.*a JSON object.*\[1\]"),
        (no_labels, (), "5 images without a file"),
        (no_masks, ("--eval_strategy", "steps", "--eval_steps", "1"), "a mask NAME.png for each image.*3 missing"),
        (bad_mask, ("--eval_strategy", "steps", "--eval_steps", "1"), "val_1.png.*class numbers 0-3, 255.*77"),
        (other_classes, ("--eval_strategy", "steps", "--eval_steps", "1"), "the classes of the training images, cat"),
        (None, ("--data_dir", "nowhere"), "nowhere.*a folder.*nothing there"),
        (None, ("--backbone_weights", "nothing.pth"), "nothing.pth.*a checkpoint"),
    ],
)
def test_mistakes_are_named_before_the_first_step(options, data, labels, tmp_path, run_here, change, words, message):
    folders = [shutil.copytree(data, tmp_path / "data"), shutil.copytree(labels, tmp_path / "labels")]
    if change is not None:
        change(*folders)
    places = ("--data_dir", folders[0], "--pseudo_labels", folders[1])
    with pytest.raises(SystemExit, match=rf"(?s)^train_deeplab.py: .*{message}"):
        run_here(SCRIPT, *options(), *places, *words)
    assert not (tmp_path / "run").exists()


def test_deeplabv3_needs_two_images(options, run_here):
    words = options(model={"head": "deeplabv3"}, training={"per_device_train_batch_size": 1})
    with pytest.raises(SystemExit, match=r"per_device_train_batch_size of at least 2. Received: 1"):
        run_here(SCRIPT, *words)
