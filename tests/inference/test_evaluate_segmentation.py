"""scripts/evaluate_segmentation.py against masks compared by hand, one process and two, stopped and gone on with."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from programs import run_processes
from safetensors.torch import load_file, save_file
from tiny_segmenter_runs import CLASSES, SECTIONS, make_set

from dense_hf.data import open_image, read_weak_split
from dense_hf.inference import label_maps
from dense_hf.inference.label_maps import evaluate_segmentation
from dense_hf.weak_segmentation import (
    DeepLabLargeFOVConfig,
    DeepLabLargeFOVForSemanticSegmentation,
    DeepLabLargeFOVImageProcessor,
    DenseCRF,
    MultiScaleSegmenter,
)

SCRIPT = "evaluate_segmentation.py"
REPOSITORY = Path(__file__).parents[2]
WINDOWS = ("--window", 33, "--stride", 22)
NAMES = ("background", *CLASSES)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Five images to judge by: no share of two processes is equal."""
    return make_set(tmp_path_factory.mktemp("data") / "squares", train=2, val=5)


@pytest.fixture(scope="module")
def model_folder(data, tmp_path_factory):
    """Random weights, and logits scaled so that the segmenter sees all classes somewhere, and is in doubt."""
    folder = tmp_path_factory.mktemp("model") / "segmenter"
    torch.manual_seed(1)
    config = DeepLabLargeFOVConfig(**SECTIONS["model"], num_labels=4)
    config.id2label = dict(enumerate(NAMES))
    config.label2id = {name: number for number, name in enumerate(NAMES)}
    model = DeepLabLargeFOVForSemanticSegmentation(config)
    processor = DeepLabLargeFOVImageProcessor()
    images = [open_image(path) for path in (data / "val" / "images").iterdir()]
    with torch.no_grad():
        model.classifier.weight.normal_()
        logits = [model(**processor(image, return_tensors="pt")).logits[0].flatten(1) for image in images]
        std, mean = torch.std_mean(torch.cat(logits, dim=1), dim=1)
        model.classifier.weight /= std[:, None, None, None]
        model.classifier.bias.copy_(-mean / std)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def evaluate(data, model_folder, tmp_path, run_here):
    """Run the script here, and return its numbers."""

    def run(*words, model=model_folder):
        output = tmp_path / "numbers" / "results.json"
        run_here(SCRIPT, "--model", model, "--data_dir", data, "--quiet", "true", "--output", output, *words)
        return json.loads(output.read_text(encoding="utf-8"))

    return run


def by_hand(data, segmenter):
    """Label maps by name, and IoU per class from sets of pixels."""
    maps = {}
    intersection, union, correct, counted = np.zeros(4), np.zeros(4), 0, 0
    for path in sorted((data / "val" / "images").iterdir()):
        predicted = segmenter(open_image(path)).argmax(axis=0)
        truth = np.asarray(Image.open(data / "val" / "masks" / path.name))
        valid = truth != 255
        for label in range(4):
            here, there = (predicted == label) & valid, truth == label
            intersection[label] += (here & there).sum()
            union[label] += (here | there).sum()
        correct += ((predicted == truth) & valid).sum()
        counted += valid.sum()
        maps[path.stem] = predicted
    return maps, intersection / union, correct / counted


def test_the_whole_test_is_that_of_its_parts(evaluate, data, model_folder, tmp_path, capsys):
    """Two scales, mirrored, refined by the CRF: called by hand, image by image."""
    found = evaluate(*WINDOWS, "--scales", 0.5, 1.25, "--save_predictions", tmp_path / "maps", "--split", "validation")
    assert found["split"] == "val"
    model = DeepLabLargeFOVForSemanticSegmentation.from_pretrained(model_folder)
    processor = DeepLabLargeFOVImageProcessor.from_pretrained(model_folder)
    options = {"scales": (0.5, 1.25), "window": 33, "stride": 22}
    plain = MultiScaleSegmenter(model, processor, **options)

    def refined(image):
        return DenseCRF()(np.asarray(image), plain(image))

    maps, iou, accuracy = by_hand(data, refined)
    assert found["per_class_iou"] == pytest.approx(dict(zip(NAMES, iou)))
    assert found["mean_iou"] == pytest.approx(iou.mean())
    assert found["pixel_accuracy"] == pytest.approx(accuracy)
    assert found["num_images"] == 5
    assert found["settings"] == {"scales": [0.5, 1.25], "flip": True, "crf": True, "window": 33, "stride": 22}
    for name, labels in maps.items():
        written = Image.open(tmp_path / "maps" / f"{name}.png")
        assert written.mode == "P"
        np.testing.assert_array_equal(np.asarray(written), labels)
    text = capsys.readouterr().out
    assert f"| mIoU | {100 * iou.mean():.1f} |" in text
    assert f"| IoU of potted plant | {100 * iou[3]:.1f} |" in text
    unrefined = by_hand(data, plain)[0]
    assert any((unrefined[name] != labels).any() for name, labels in maps.items())  # the CRF does something here


def test_switches(evaluate, data, model_folder):
    found = evaluate(*WINDOWS, "--scales", 1, "--no_flip", "--no-crf")
    model = DeepLabLargeFOVForSemanticSegmentation.from_pretrained(model_folder)
    processor = DeepLabLargeFOVImageProcessor.from_pretrained(model_folder)
    _, iou, _ = by_hand(data, MultiScaleSegmenter(model, processor, (1,), window=33, stride=22, flip=False))
    assert found["mean_iou"] == pytest.approx(iou.mean())
    assert (found["settings"]["flip"], found["settings"]["crf"]) == (False, False)


def test_training_evaluates_the_same(evaluate, data, tmp_path, run_here):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({"segmenter": SECTIONS}))
    places = ("--data_dir", data, "--pseudo_labels", data / "train" / "masks", "--output_dir", tmp_path / "run")
    short = ("--max_steps", 1, "--eval_strategy", "steps", "--eval_steps", 1, "--save_strategy", "no")
    run_here("train_deeplab.py", "--config", path, *places, *short)
    expected = json.loads((tmp_path / "run" / "results.json").read_text())["validation"]
    found = evaluate(*WINDOWS, "--scales", 1, "--no_flip", "--no_crf", model=tmp_path / "run")
    assert {key: found[key] for key in expected} == expected


def test_options_may_stand_in_the_file(evaluate, data, model_folder, tmp_path, run_here):
    path = tmp_path / "file.yaml"
    part = {"scales": [1.0], "flip": False, "crf": False, "window": 33, "stride": 11, "model": str(model_folder)}
    path.write_text(yaml.safe_dump({"segmenter": {"model": {}}, "evaluation": {**part, "data_dir": str(data)}}))
    output = tmp_path / "numbers.json"
    run_here(SCRIPT, "--config", path, "--stride", 22, "--quiet", "true", "--output", output)
    assert json.loads(output.read_text()) == evaluate(*WINDOWS, "--scales", 1, "--no_flip", "--no_crf")


def test_absent_classes_are_null(evaluate, data, tmp_path):
    """One image; a class that is neither there nor predicted."""
    alone = tmp_path / "alone"
    for kind in ("images", "masks"):
        (alone / "val" / kind).mkdir(parents=True)
    Image.new("RGB", (20, 20)).save(alone / "val" / "images" / "black.png")
    Image.new("L", (20, 20), 0).save(alone / "val" / "masks" / "black.png")
    (alone / "val" / "labels.csv").write_text("image,labels\nblack.png,cat\n")
    (alone / "classes.txt").write_text((data / "classes.txt").read_text())
    found = evaluate(*WINDOWS, "--scales", 1, "--no_flip", "--no_crf", "--data_dir", alone)
    assert None in found["per_class_iou"].values()
    assert found["mean_iou"] is not None


@pytest.mark.parametrize(("kept", "words"), [(0, "any class but the background"), (1, "No mask has a pixel of")])
def test_masks_without_classes_are_remarked(kept, words, tmp_path, monkeypatch):
    """Of 0 and 255, as drawing programs write them, nothing is left but background."""
    folder = make_set(tmp_path / "squares", train=1, val=2)
    for path in (folder / "val" / "masks").iterdir():
        numbers = np.array(Image.open(path))
        numbers[numbers > kept] = 255
        if kept:
            numbers[0, 0] = 1
        Image.fromarray(numbers).save(path)
    said = []
    monkeypatch.setattr(label_maps.logger, "warning", said.append)
    images = read_weak_split(folder, "val", with_masks=True)
    rng = np.random.default_rng(0)
    evaluate_segmentation(lambda image: rng.random((len(NAMES), image.height, image.width)), images, progress=False)
    assert words in "".join(said)


def test_a_stopped_evaluation_goes_on(evaluate, data, tmp_path):
    """Maps that are there are read: one that was changed stays changed, and one that is gone is made anew."""
    options = (*WINDOWS, "--scales", 1, "--no_flip", "--no_crf", "--predictions", tmp_path / "maps")
    first = evaluate(*options)
    gone, changed = tmp_path / "maps" / "val_0.png", tmp_path / "maps" / "val_1.png"
    before = gone.read_bytes()
    gone.unlink()
    assert evaluate(*options) == first
    assert gone.read_bytes() == before
    shutil.copy(data / "val" / "masks" / "val_1.png", changed)
    labels = np.asarray(Image.open(changed)).copy()
    labels[labels == 255] = 0
    Image.fromarray(labels).save(changed)
    assert evaluate(*options)["pixel_accuracy"] > first["pixel_accuracy"]


def test_predictions_of_others_are_not_taken(evaluate, model_folder, tmp_path):
    options = (*WINDOWS, "--scales", 1, "--no_flip", "--no_crf", "--predictions", tmp_path / "maps")
    evaluate(*options)
    message = r"(?s)^evaluate_segmentation.py: .*predictions.json.*choose another folder"
    with pytest.raises(SystemExit, match=message):
        evaluate(*options, "--flip", "true")
    other = shutil.copytree(model_folder, tmp_path / "segmenter")
    weights = load_file(other / "model.safetensors")
    weights["classifier.bias"] += 1
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SystemExit, match=message):
        evaluate(*options, model=other)
    with pytest.raises(SystemExit, match="a new or empty folder"):
        evaluate(*options[:-1], model_folder)


@pytest.mark.slow
def test_two_processes_give_the_integers_of_one(evaluate, data, model_folder, tmp_path, script_environment):
    """Five images, three for a process and two for the other."""
    words = ["--model", model_folder, "--data_dir", data, *WINDOWS, "--scales", 0.5, 1, "--quiet", "true"]
    script = REPOSITORY / "scripts" / SCRIPT
    more = ["--output", tmp_path / "two.json", "--predictions", tmp_path / "two"]
    command = [sys.executable, script, *words, *more]
    done = run_processes(2, command, env=script_environment)
    assert done.stdout.count("| mIoU |") == 1
    assert json.loads((tmp_path / "two.json").read_text()) == evaluate(*WINDOWS, "--scales", 0.5, 1)
    assert len(list((tmp_path / "two").glob("*.png"))) == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--split", "train", "--data_dir", "nowhere"), "nowhere.*nothing there"),
        (("--split", "test"), "labels.csv"),
        (("--stride", "500"), "stride must be from 1 to window"),
        (("--scales", "0"), "scales must be positive factors"),
    ],
)
def test_mistakes_are_named(evaluate, words, message):
    with pytest.raises(SystemExit, match=rf"(?s)^evaluate_segmentation.py: .*{message}"):
        evaluate(*words)


def test_a_folder_without_a_model(evaluate, tmp_path):
    with pytest.raises(SystemExit, match=r"^evaluate_segmentation.py: .*config.json: expected an existing file"):
        evaluate(model=tmp_path)


def test_a_model_of_other_classes(evaluate, data, tmp_path):
    other = shutil.copytree(data, tmp_path / "other")
    for file in (other / "classes.txt", *other.glob("*/labels.csv")):
        file.write_text(file.read_text().replace("dog", "lamp"))
    message = "a model of the 4 classes of the data, background, cat, lamp, .*without lamp; and also dog"
    with pytest.raises(SystemExit, match=message):
        evaluate("--data_dir", other)


def test_a_bad_mask_is_found_before_anything_is_segmented(evaluate, data, tmp_path):
    other = shutil.copytree(data, tmp_path / "other")
    path = other / "val" / "masks" / "val_4.png"
    Image.new("L", Image.open(path).size, 9).save(path)
    with pytest.raises(SystemExit, match=r"val_4.png.*class numbers 0-3, 255.*9 at"):
        evaluate("--data_dir", other, "--predictions", tmp_path / "maps")
    assert not (tmp_path / "maps").exists()
