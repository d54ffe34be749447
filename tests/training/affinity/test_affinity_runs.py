"""AffinityNet as a person runs it: labels, training that goes on bit for bit, refined maps, and what is refused."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from programs import run_processes
from safetensors.torch import load_file
from scipy.ndimage import gaussian_filter
from tiny_affinity import SECTIONS
from tiny_segmenter_runs import CLASSES, make_set

from dense_hf import AffinityNetModel, DeepLabLargeFOVConfig, ResNet38Config
from dense_hf.data import open_image, read_weak_split
from dense_hf.data.images import read_gray_map, write_gray_map
from dense_hf.inference.checkpoints import load_model
from dense_hf.inference.checks import with_pseudo_labels
from dense_hf.inference.localization_maps import read_maps
from dense_hf.inference.refined_maps import affinities_of
from dense_hf.training.affinity.dataset import AffinityAugmentation, AffinityTrainingSet
from dense_hf.training.affinity.options import parse_affinity_run
from dense_hf.training.classifier.options import parse_mcis_run
from dense_hf.training.segmenter.options import parse_segmenter_run
from dense_hf.weak_segmentation import (
    AffinityNetConfig,
    AffinityNetImageProcessor,
    CertainLabels,
    PseudoLabelSettings,
    RandomWalk,
)
from dense_hf.weak_segmentation.affinity_labels import labels_of_cells

REPOSITORY = Path(__file__).parents[3]
CHALLENGE = REPOSITORY / "scripts" / "configs" / "mcis" / "section_3.4.4_challenge.yaml"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Five images with coloured squares, the last without a class."""
    folder = make_set(tmp_path_factory.mktemp("affinity") / "set", train=5, val=1)
    table = (folder / "train" / "labels.csv").read_text().splitlines()
    table[-1] = table[-1].split(",")[0] + ","
    (folder / "train" / "labels.csv").write_text("\n".join(table) + "\n")
    return folder


@pytest.fixture(scope="module")
def maps(tmp_path_factory, data) -> Path:
    """Maps that have seen something of each class, and are blurred."""
    folder = tmp_path_factory.mktemp("maps")
    for image in read_weak_split(data, "train").images:
        mask = np.asarray(Image.open(data / "train" / "masks" / f"{image.name}.png"))
        for class_id in image.labels:
            seen = gaussian_filter(np.where(mask == class_id + 1, 1.0, 0.0), 4)
            write_gray_map(folder / f"{image.name}_{class_id}.png", np.uint8(255 * seen / seen.max()))
    (folder / "settings.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("config") / "run.yaml"
    path.write_text(yaml.safe_dump({"refinement": SECTIONS}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory, run_here, data, maps, config) -> Path:
    """OUTPUT_DIR of a run of six steps."""
    output = tmp_path_factory.mktemp("trained") / "affinity"
    run_here("train_affinity.py", "--config", config, "--data_dir", data, "--maps", maps, "--output_dir", output)
    return output


@pytest.fixture(scope="module")
def refined(tmp_path_factory, run_here, data, maps, config, trained) -> Path:
    output = tmp_path_factory.mktemp("refined") / "maps"
    run_here("refine_maps.py", *refinement(data, maps, config, trained, output))
    return output


def refinement(data, maps, config, trained, output) -> list[str]:
    options = {"--config": config, "--model": trained, "--maps": maps, "--data_dir": data, "--output": output}
    return [str(word) for pair in options.items() for word in pair] + ["--quiet", "true"]


# training


def test_what_training_writes(trained, data, maps):
    files = {path.name for path in trained.iterdir()}
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "README.md", "results.json"} <= files
    results = json.loads((trained / "results.json").read_text())
    assert results == {"epochs": 2, "seed": 1, "num_training_images": 5}
    assert "nobody has drawn masks" in (trained / "README.md").read_text()
    settings = CertainLabels(high_power=16, crf=False)
    for image in read_weak_split(data, "train").images:
        labels = np.asarray(Image.open(trained / "_certain_labels" / f"{image.name}.png"))
        assert np.array_equal(labels, settings(read_maps(maps, image), np.asarray(open_image(image.path))))
        assert image.labels or (labels == 0).all()
    state = json.loads((trained / "checkpoint-6" / "trainer_state.json").read_text())
    losses = [entry["loss"] for entry in state["log_history"] if "loss" in entry]
    assert len(losses) == 6
    assert all(0 < loss < 10 for loss in losses)


def test_the_recipe_of_the_optimizer(trained):
    groups = torch.load(trained / "checkpoint-2" / "optimizer.pt", weights_only=True)["param_groups"]
    assert [(group["initial_lr"], group["momentum"], group["weight_decay"]) for group in groups] == [
        (0.01, 0, 5e-4),
        (0.1, 0, 5e-4),
    ]
    assert groups[1]["lr"] == pytest.approx(0.1 * (1 - 2 / 6) ** 0.9)
    first, last = (load_file(trained / f"checkpoint-{step}" / "model.safetensors") for step in (2, 6))
    assert all(not torch.equal(first[name], last[name]) for name in first if name.endswith("weight"))


def test_a_resumed_run_ends_with_the_same_weights(run_here, tmp_path, data, maps, config, trained):
    output = tmp_path / "again"
    options = ["--config", config, "--data_dir", data, "--maps", maps, "--output_dir", output]
    run_here("train_affinity.py", *options, "--save_total_limit", 99)
    for step in (4, 6):
        os.remove(output / f"checkpoint-{step}" / "trainer_state.json")  # as if it had been killed there
    (output / "_certain_labels" / "train_0.png").write_bytes(b"\x89PNG")
    run_here("train_affinity.py", *options, "--resume_from_checkpoint", "auto")
    one, other = (load_file(folder / "model.safetensors") for folder in (trained, output))
    assert all(torch.equal(one[name], other[name]) for name in one)
    labels = [(folder / "_certain_labels" / "train_0.png").read_bytes() for folder in (trained, output)]
    assert labels[0] == labels[1]


def test_samples_are_crops_with_labels_of_their_cells(data, trained):
    folder = with_pseudo_labels(read_weak_split(data, "train"), trained / "_certain_labels", progress=False)
    plain = AffinityAugmentation(brightness=0, contrast=0, saturation=0, hue=0, horizontal_flip=0, crop_size=64)
    processor = AffinityNetImageProcessor()
    samples = AffinityTrainingSet(folder, processor, plain, stride=8, seed=3)
    assert len(samples) == 5
    for index, image in enumerate(folder.images):  # all are smaller than 64 x 64, so they are not moved
        sample = samples[0, index]
        labels = np.asarray(Image.open(image.mask_path))
        padded = np.pad(labels, [(0, 64 - side) for side in labels.shape], constant_values=255)
        assert np.array_equal(sample["labels"].numpy(), labels_of_cells(padded, 8))
        expected = processor(open_image(image.path), return_tensors="pt")["pixel_values"][0]
        height, width = labels.shape
        assert torch.equal(sample["pixel_values"][:, :height, :width], expected)
        assert (sample["pixel_values"][:, height:] == 0).all()
    coloured = AffinityTrainingSet(folder, processor, AffinityAugmentation(crop_size=32), stride=8, seed=3)
    assert torch.equal(coloured[1, 0]["pixel_values"], coloured[1, 0]["pixel_values"])
    assert not torch.equal(coloured[1, 0]["pixel_values"], coloured[2, 0]["pixel_values"])
    assert coloured[1, 9]["labels"].shape == (4, 4)


# refined maps


def test_refined_maps_are_those_of_the_walk(refined, trained, data, maps):
    model, processor = load_model(str(trained), AffinityNetModel, "an AffinityNet")
    walk, number, changed = RandomWalk(num_steps=3), 0, 0
    for image in read_weak_split(data, "train").images:
        if not image.labels:
            continue
        picture, attention = open_image(image.path), read_maps(maps, image)
        expected = walk(attention, affinities_of(model, processor, picture), model.offsets, 8)
        for class_id, values in expected.items():
            found = read_gray_map(refined / f"{image.name}_{class_id}.png", picture.size)
            assert np.array_equal(found, values)
            assert found.max() == 255
            changed += not np.array_equal(found, attention[class_id])
            number += 1
    assert number == changed == 8
    summary = json.loads((refined / "refinement.json").read_text())
    assert (summary["num_images"], summary["num_maps"], summary["num_steps"]) == (5, 8, 3)
    assert len(list(refined.iterdir())) == 8 + 2


def test_pseudo_labels_follow(refined, data, run_here, tmp_path):
    options = ("--maps", refined, "--data_dir", data, "--output", tmp_path / "labels", "--background_score", 0.2)
    run_here("make_pseudo_labels.py", *options)
    summary = json.loads((tmp_path / "labels" / "pseudo_labels.json").read_text())
    assert summary["num_labels"] == 5
    assert all(summary["pixels_per_class"][name] > 0 for name in CLASSES)
    image = read_weak_split(data, "train").images[0]
    expected = PseudoLabelSettings()(read_maps(refined, image), None, 3, open_image(image.path))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "labels" / f"{image.name}.png")), expected)


@pytest.mark.slow
def test_two_processes_go_on_and_make_what_one_makes(
    refined, trained, data, maps, config, tmp_path, script_environment
):
    """From what a killed process has left: some files, one of them damaged, and a part of another."""
    output = tmp_path / "maps"
    shutil.copytree(refined, output)
    (output / "refinement.json").unlink()
    (output / ".train_1_2.png.0.partial").write_bytes(b"")
    names = [image.name for image in read_weak_split(data, "train").images if image.labels]
    for path in output.glob(f"{names[0]}_*.png"):
        path.write_bytes(path.read_bytes()[:20])
    for path in output.glob(f"{names[1]}_*.png"):
        path.unlink()
    before = {path: path.stat().st_mtime_ns for path in output.glob(f"{names[2]}_*.png")}
    script, options = str(REPOSITORY / "scripts" / "refine_maps.py"), refinement(data, maps, config, trained, output)
    done = run_processes(2, [sys.executable, script, *options], env=script_environment)
    assert done.stdout.count("8 maps of 5 images") == 1
    for path in refined.iterdir():
        assert (output / path.name).read_bytes() == path.read_bytes()
    assert before == {path: path.stat().st_mtime_ns for path in before}


# configuration


def test_the_challenge_is_a_file_that_every_step_reads():
    options = ["--config", str(CHALLENGE), "--output_dir", "unused"]
    classifier = parse_mcis_run(arguments=options)
    config, training = classifier.config, classifier.training
    assert isinstance(config.backbone_config, ResNet38Config)
    assert config.backbone_config.width == 64
    assert (config.equivariance_weight, config.equivariance_scale) == (1, 0.3)
    assert (training.learning_rate, training.lr_schedule, training.lr_power) == (0.005, "poly", 0.9)
    assert (training.weight_decay, training.num_train_epochs) == (5e-4, 15)
    assert training.per_device_train_batch_size == 8
    affinity = parse_affinity_run(arguments=[*options, "--data_dir", "data", "--maps", "maps"])
    assert affinity.config.to_dict() == AffinityNetConfig().to_dict()
    assert affinity.more == [CertainLabels()]
    arguments = affinity.training
    assert (arguments.learning_rate, arguments.lr_schedule, arguments.momentum) == (0.1, "poly", 0)
    assert (arguments.num_train_epochs, arguments.per_device_train_batch_size) == (8, 8)
    assert affinity.augmentation.crop_size == 448
    parts = yaml.safe_load(CHALLENGE.read_text())
    assert RandomWalk(**parts["refinement"]["walk"]) == RandomWalk()
    assert parts["localization"] == {"num_references": 0}
    assert PseudoLabelSettings(**parts["pseudo_labels"]).background_score == 0.2
    segmenter = parse_segmenter_run(arguments=[*options, "--data_dir", "data", "--pseudo_labels", "labels"])
    assert isinstance(segmenter.config, DeepLabLargeFOVConfig)
    assert segmenter.config.head == "deeplabv3"
    arguments = segmenter.training
    assert (arguments.learning_rate, arguments.lr_schedule, arguments.weight_decay) == (0.007, "poly", 1e-4)
    assert (arguments.num_train_epochs, arguments.per_device_train_batch_size, arguments.max_steps) == (100, 48, -1)


# mistakes


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"models": {}}, "did you mean model"),
        ({"walk": {"steps": 1}}, "num_steps"),
        ({"model": {"radius": 1}}, "radius must be at least 2"),
        ({"labels": {"low_power": 40}}, "low_power must be positive and not above high_power"),
        ({"data": {"crop_size": 0}}, "crop_size must be at least 1"),
        ({"data": {"image_std": [1, 0, 1], "image_cache_size": -1}}, "image_std .*; image_cache_size"),
        ({"training": {"head_lr_factor": 0}}, "head_lr_factor must be positive"),
        ({"training": {"eval_strategy": "epoch"}}, "nothing to judge by"),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path, part, words):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"refinement": part}), encoding="utf-8")
    options = ["--config", str(path), "--output_dir", "unused", "--data_dir", "data", "--maps", "maps"]
    with pytest.raises(ValueError, match=words):
        parse_affinity_run(arguments=options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--maps", "MAPS"], "data_dir must name a folder"),
        (["--data_dir", "SET"], "maps must name a folder"),
        (["--data_dir", "SET", "--maps", "SET"], "expected a map NAME_ID.png for each class of each image"),
        (["--data_dir", "SET", "--maps", "MAPS", "--backbone_weights", "nothing.pth"], "expected a checkpoint"),
        (["--data_dir", "SET", "--maps", "MAPS", "--low_power", "50"], "low_power"),
    ],
)
def test_a_training_that_cannot_be_ends_with_a_sentence(run_here, tmp_path, data, maps, config, options, words):
    places = {"SET": str(data), "MAPS": str(maps)}
    options = [places.get(word, word) for word in options]
    with pytest.raises(SystemExit, match=words):
        run_here("train_affinity.py", "--config", config, *options, "--output_dir", tmp_path / "out")


def test_labels_made_otherwise_are_not_mixed(run_here, tmp_path, data, maps, config):
    options = ["--config", config, "--data_dir", data, "--maps", maps, "--output_dir", tmp_path / "out"]
    run_here("train_affinity.py", *options, "--max_steps", 1, "--save_strategy", "no")
    with pytest.raises(SystemExit, match=r"labels of .*low_power"):
        run_here("train_affinity.py", *options, "--low_power", 3)


def test_maps_refined_otherwise_are_not_mixed(run_here, refined, trained, data, maps, config):
    options = refinement(data, maps, config, trained, refined)
    with pytest.raises(SystemExit, match=r"refined maps of .*num_steps"):
        run_here("refine_maps.py", *options, "--num_steps", 4)
    DeepLabLargeFOVConfig().save_pretrained(refined.parent / "other")
    with pytest.raises(SystemExit, match="expected an AffinityNet"):
        run_here("refine_maps.py", *refinement(data, maps, config, refined.parent / "other", refined))
