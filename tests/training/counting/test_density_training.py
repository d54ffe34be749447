"""Counters that learn from crops and whole images: samples, recipes of Table 2.3, and a run from file to count."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tiny_counters import tiny_counter
from tiny_density_counter import tiny_density_model
from torch.testing import assert_close
from torchvision.models import get_model
from transformers import pipeline

from dense_hf import CounterImageProcessor, DensityCounterConfig, DensityCounterForObjectCounting
from dense_hf.cli import main
from dense_hf.counting.configuration_density_counter import METHODS
from dense_hf.counting.counter_interface import read_labels
from dense_hf.counting.density_targets import gaussian_map, normalized_gaussian_map
from dense_hf.data.counting_examples import read_examples
from dense_hf.methods import method_of
from dense_hf.training.backbone_weights import load_encoder_weights
from dense_hf.training.counting.augmentation import CountingAugmentation
from dense_hf.training.counting.crops import CropRule, CropTrainingSet, draw_crop
from dense_hf.training.counting.dataset import collate_crops
from dense_hf.training.counting.options import CountingTrainingArguments, parse_counting_run

FOLDER = Path(__file__).parents[3] / "scripts" / "configs" / "counting"
STILL = CountingAugmentation(horizontal_flip=0, scale=0, grayscale=0)
EVERYTHING = CountingAugmentation(
    horizontal_flip=0.5, vertical_flip=0.5, rotation=0.5, scale=0.7, scale_range=[0.7, 1.4], grayscale=0.5
)
# published (validation), and the recipe: optimizer, rate, weight decay, batch, epochs, crop, flip, what is best
ROWS = {
    "csrnet": ("43.05, 78.46, 1.91", "sgd", 1e-7, 5e-4, 1, 400, None, 0.0, "mae"),
    "can": ("47.77, 83.67, 2.10", "adam", 1e-4, 5e-4, 26, 400, 384, 0.2, "mae"),
    "can_commissarma": ("47.77, 83.67, 2.10", "sgd", 1e-7, 0.0, 1, 400, None, 0.5, "mae"),
    "bl": ("19.67, 44.21, 0.39", "adam", 1e-5, 1e-4, 1, 1000, 512, 0.5, "mae_plus_2_mse"),
    "noisycc": ("19.48, 41.76, 0.39", "adam", 3e-6, 0.0, 1, 1000, 512, 0.5, "mae_plus_2_mse"),
    "dmcount": ("19.65, 42.56, 0.42", "adam", 1e-5, 1e-4, 10, 1000, 512, 0.5, "mae_plus_2_mse"),
    "gl": ("18.13, 44.57, 0.33", "adam", 1e-5, 1e-5, 1, 500, 512, 0.5, "mae"),
    "kdmg": ("22.79, 47.32, 0.90", "adam", 5e-7, 1e-4, 1, 1000, 512, 0.5, "mae_plus_mse"),
}


@pytest.mark.parametrize("method", ROWS)
def test_rows_of_the_table(method):
    path = FOLDER / f"table_2.3_{method}.yaml"
    run = parse_counting_run("density_counter", arguments=["--config", str(path), "--output_dir", "unused"])
    published, optimizer, rate, decay, batch, epochs, crop, flip, best = ROWS[method]
    comment = path.read_text(encoding="utf-8").partition("\nmodel:")[0].replace("\n# ", " ")
    assert comment.startswith("# Table 2.3, ")
    assert published in comment
    assert run.config.to_dict() == DensityCounterConfig.from_method(method).to_dict()
    arguments = run.training
    assert (arguments.optimizer, arguments.learning_rate, arguments.weight_decay) == (optimizer, rate, decay)
    assert (arguments.per_device_train_batch_size, arguments.num_train_epochs) == (batch, epochs)
    assert (run.data.crop_size, run.augmentation.horizontal_flip) == (crop, flip)
    assert (run.augmentation.scale, run.augmentation.grayscale, arguments.lr_milestones) == (0, 0, [epochs])
    assert (arguments.metric_for_best_model, arguments.load_best_model_at_end) == (best, True)


def test_every_file_is_a_row():
    assert {path.stem for path in FOLDER.glob("*.yaml")} >= {"smoke", *(f"table_2.3_{name}" for name in METHODS)}
    parse_counting_run("density_counter", arguments=["--config", str(FOLDER / "smoke.yaml"), "--output_dir", "x"])


@pytest.mark.parametrize(("name", "index"), [("vgg16", 3), ("vgg19", 4)])
def test_a_file_of_torchvision_is_the_trunk(tmp_path, monkeypatch, name, index):
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in get_model(name, weights=None).state_dict().items()}
    numbers = iter(range(len(shapes)))  # one number in a tensor: the classifier alone would be 500 MB
    state = {key: torch.tensor(float(next(numbers))).expand(shape) for key, shape in shapes.items()}
    monkeypatch.setattr("dense_hf.training.backbone_weights._read_file", lambda path: state)
    config = DensityCounterConfig(
        backbone_config={
            "model_type": "timm_backbone",
            "backbone": name,
            "features_only": True,
            "out_indices": [index],
        },
        head_channels=[4],
    )
    model = DensityCounterForObjectCounting(config)
    report = load_encoder_weights(model, method_of("density_counter"), str(tmp_path / "vgg.pth"))
    for key, value in model.backbone._backbone.state_dict().items():
        assert torch.equal(value, state[key.replace("_", ".", 1)]), key
    assert {"classifier.6.bias"} <= set(report.left_out)


# samples


def image_with_points(height=60, width=80, number=9, seed=0):
    """Each point is a white pixel on black."""
    rng = np.random.default_rng(seed)
    places = rng.choice(height * width, number, replace=False)
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    image.view(3, -1)[:, places] = 255
    points = torch.from_numpy(np.stack([places % width, places // width], axis=1)).float() + 0.5
    return image, points


@pytest.mark.parametrize("seed", range(12))
def test_points_stay_on_what_they_point_at(seed):
    """Through crops, flips and turns; scaling is off, which would blur them."""
    image, points = image_with_points()
    augmentation = CountingAugmentation(horizontal_flip=0.5, vertical_flip=0.5, rotation=0.9, scale=0, grayscale=0.5)
    rng = np.random.default_rng(seed)
    crop, labels, _, short_side = draw_crop(image, points, CropRule(size=40), augmentation, rng)
    assert crop.shape == (3, 40, 40)
    assert short_side == 60
    white = {(int(x), int(y)) for y, x in (crop[0] > 250).nonzero().tolist()}
    assert {(int(x), int(y)) for x, y in labels[:, :2].tolist()} == white
    assert (labels[:, 3] > 0).all()


def test_a_point_outside_is_kept_if_enough_of_its_box_is_visible():
    image, points = image_with_points(number=30)
    outside = 0
    for seed in range(10):
        rule = CropRule(size=32, least_visible=0.3)
        _, labels, _, _ = draw_crop(image, points, rule, STILL, np.random.default_rng(seed))
        assert (labels[:, 3] >= 0.3).all()
        outside += int(((labels[:, :2] < 0) | (labels[:, :2] > 32)).any(dim=1).sum())
    assert outside > 0


def test_sizes_of_crops():
    image, points = image_with_points()
    rng = np.random.default_rng(0)
    whole, labels, _, _ = draw_crop(image, points, CropRule(), STILL, rng)
    assert torch.equal(whole, image)
    assert torch.equal(labels[:, :2], points)
    half, _, _, _ = draw_crop(image, points, CropRule(share=0.5, multiple=16), STILL, rng)
    assert half.shape == (3, 16, 32)
    large, labels, _, short_side = draw_crop(image, points, CropRule(size=120), STILL, rng)
    assert large.shape == (3, 120, 120)  # an image that is too small is enlarged
    assert short_side == 120
    assert len(labels) <= 9


def test_the_first_four_crops_are_the_corners():
    image, points = image_with_points(number=0)
    image[0] = torch.arange(60)[:, None].expand(60, 80)
    image[1] = torch.arange(80)[None].expand(60, 80)
    rule, rng = CropRule(size=40, corners=True), np.random.default_rng(0)
    crops = [draw_crop(image, points, rule, STILL, rng, number)[0] for number in range(7)]
    found = [(int(crop[0, 0, 0]), int(crop[1, 0, 0])) for crop in crops]
    assert found[:4] == [(0, 0), (0, 40), (20, 0), (20, 40)]
    assert not set(found[4:]) & set(found[:4])
    free = [draw_crop(image, points, CropRule(size=40), STILL, np.random.default_rng(0), k)[0] for k in (0, 5)]
    assert torch.equal(free[0], free[1])


def test_noise_is_uniform_and_comes_with_the_sample(tiny_set):
    examples = read_examples(tiny_set, ["train"], progress=False)["train"]
    rule, processor = CropRule(size=64, corners=True), CounterImageProcessor(size_divisor=80)
    still, noisy = (
        CropTrainingSet(examples, processor, rule, replace(STILL, noise=noise), 1, samples_per_image=4)
        for noise in (0.0, 0.03)
    )
    difference = noisy[2, 3]["pixel_values"] - still[2, 3]["pixel_values"]
    inside = difference[:, :64, :64].double()
    assert not difference[:, 64:].any()  # the padding
    assert not difference[:, :, 64:].any()
    assert 0.029 < float(inside.max()) <= 0.0301
    assert -0.029 > float(inside.min()) >= -0.0301
    assert float(inside.var()) == pytest.approx(0.06**2 / 12, rel=0.05)
    assert torch.equal(noisy[2, 3]["pixel_values"], noisy[2, 3]["pixel_values"])
    assert not torch.equal(noisy[2, 3]["pixel_values"], noisy[3, 3]["pixel_values"])
    with pytest.raises(ValueError, match=r"samples_per_image must be at least 4\. Received: 3"):
        CropTrainingSet(examples, processor, rule, STILL, 1, samples_per_image=3)


TURNING = CountingAugmentation(horizontal_flip=0.5, vertical_flip=0.5, rotation=0.5, scale=0, grayscale=0)
MAPS = {
    "adaptive": lambda points, size, window=None: gaussian_map(points, size, window=window),
    "points": lambda points, size, window=None: gaussian_map(points, size, dots="points", window=window),
    "fixed": lambda points, size, window=None: gaussian_map(points, size, 15.0, window=window),
    "normalized": lambda points, size, window=None: normalized_gaussian_map(points, size, window=window),
    "normalized, fixed": lambda points, size, window=None: normalized_gaussian_map(points, size, 4.0, window),
}


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("number", [0, 1, 3, 12])
def test_the_target_of_a_crop_is_cut_out_of_that_of_the_image(name, number):
    """Points in the middles of pixels, so that a mirrored image has the mirrored map."""
    image, points = image_with_points(number=number)
    whole = MAPS[name](points, (60, 80))
    image = whole.float()[None].expand(3, -1, -1)  # what is cut, mirrored and turned is the map
    for seed in range(6):
        crop, labels, around, _ = draw_crop(image, points, CropRule(size=36), TURNING, np.random.default_rng(seed))
        sides = torch.tensor([36.0, 36.0])
        targets = read_labels(labels[None, :, :2] / sides, (36, 36), image_points=around[None] / sides)
        assert_close(MAPS[name](*targets.whole(0)).float(), crop[0], atol=1e-6, rtol=1e-4)


def test_a_padded_crop_has_no_target_outside_of_the_image(tiny_set):
    """The sum over all of an image is that of its own map, not of one that leaks into padding."""
    examples = read_examples(tiny_set, ["train"], progress=False)["train"]
    samples = CropTrainingSet(
        examples, CounterImageProcessor(size_divisor=64), CropRule(), STILL, 1, with_image_points=True
    )
    batch = collate_crops([samples[0, 0]])
    size = tuple(batch["pixel_values"].shape[-2:])
    targets = read_labels(batch["labels"], size, image_points=batch["image_points"])
    points, inner, window = targets.whole(0)
    assert inner == examples[0].size[::-1]
    assert window == (0, 0, size[1], size[0])
    expected = gaussian_map(torch.from_numpy(examples[0].points), inner)
    assert_close(gaussian_map(points, inner, window=window)[: inner[0], : inner[1]], expected, atol=1e-6, rtol=0)
    assert float(gaussian_map(points, inner, window=window).sum()) == pytest.approx(float(expected.sum()))


@pytest.mark.parametrize("name", ["csrnet", "dssinet", "mcnn"])
def test_models_learn_from_the_map_of_the_whole_image(name):
    """A point beside a crop changes its loss."""
    model = tiny_density_model(name) if name == "csrnet" else tiny_counter(name)
    labels = torch.tensor([[[0.5, 0.5]]])
    losses = []
    for beside in ([], [[1.02, 0.5, -1]]):
        around = torch.tensor([[[-0.5, 0.0, -1], [1.5, 1.0, -1], [0.5, 0.5, 0], *beside]])
        outputs = model(torch.zeros(1, 3, 64, 64), labels=labels, image_points=around[..., :2])
        losses.append(float(outputs.loss.detach()))
    assert losses[0] != losses[1]


def test_a_sample_depends_on_seed_epoch_and_index_only(tiny_set):
    examples = read_examples(tiny_set, ["train"], progress=False)["train"]
    processor = CounterImageProcessor(min_short_side=120, size_divisor=16)
    sets = [CropTrainingSet(examples, processor, CropRule(size=72), EVERYTHING, 1, 2, cache) for cache in (0, 3)]
    keys = [(epoch, index) for epoch in (0, 2) for index in range(14)]  # 6 images, twice: the last go past the end
    first = {key: sets[0][key] for key in keys}
    second = {key: sets[1][key] for key in reversed(keys)}
    for key in keys:
        assert all(torch.equal(first[key][name], second[key][name]) for name in first[key])
    assert not torch.equal(first[0, 1]["pixel_values"], first[2, 1]["pixel_values"])
    assert first[0, 0]["pixel_values"].shape == (3, 80, 80)  # padded to multiples
    batch = collate_crops([first[key] for key in keys[:4]])
    assert set(batch) == {"pixel_values", "labels", "image_short_sides"}
    assert batch["labels"].shape[-1] == 4
    with pytest.raises(ValueError, match=r"give a crop_size.*4 x 4, 5 x 4"):
        collate_crops([{"pixel_values": torch.zeros(3, h, 4), "labels": torch.zeros(1, 4)} for h in (4, 5)])


# options


def test_impossible_options_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"optimizer must be one of adam, sgd.*momentum must be in \[0, 1\)"):
        CountingTrainingArguments(output_dir=str(tmp_path), optimizer="lion", momentum=1.5)
    common = ["--output_dir", str(tmp_path)]
    with pytest.raises(ValueError, match=r"crop_share must be above 0.*crop_share would be ignored"):
        parse_counting_run("density_counter", arguments=[*common, "--crop_share", "0", "--crop_size", "9"])
    with pytest.raises(ValueError, match="scale_range must be two positive numbers"):
        parse_counting_run("density_counter", arguments=[*common, "--scale_range", "2", "1"])
    with pytest.raises(ValueError, match=r"momentum \(the optimizer is Adam\)"):
        parse_counting_run("density_counter", arguments=[*common, "--momentum", "0.5"])


def test_crops_are_refused_where_tiles_decide(tiny_set, tiny_model, tmp_path, run_here):
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump({"model": tiny_model, "data": {"data_dir": str(tiny_set), "crop_size": 32}}))
    with pytest.raises(SystemExit, match="Crops of IOCFormer are its tiles"):
        run_here(
            "train_counter.py", "--method", "iocformer", "--config", file, "--output_dir", tmp_path / "x", "--use_cpu"
        )


# a run


@pytest.fixture(scope="module")
def trained(tiny_set, run_here, tmp_path_factory):
    """KDMG, which has two rates, with SGD for once; whole images are counted in quarters."""
    folder = tmp_path_factory.mktemp("density")
    backbone = {"model_type": "timm_backbone", "backbone": "test_resnet", "features_only": True, "out_indices": [3]}
    sections = {
        "model": {
            "backbone_config": backbone,
            "head_channels": [8, 4],
            "upsample": "nearest",
            "loss_type": "kernel_generation",
            "generated_kernel_size": 3,
            "processor_settings": {"parts_per_side": 2, "min_short_side": 90},
        },
        "data": {"data_dir": str(tiny_set), "crop_size": 64, "least_visible": 0.3, "scale": 0.0},
        "training": {
            "optimizer": "sgd",
            "learning_rate": 1e-4,
            "lr_factors": '{"kernel_generator.": 0.2}',
            "metric_for_best_model": "mae_plus_2_mse",
            "per_device_train_batch_size": 3,
            "num_train_epochs": 3,
            "eval_start_epoch": 1,
            "eval_every_epochs": 1,
            "save_strategy": "steps",
            "save_steps": 2,
            "save_total_limit": 99,
            "logging_steps": 1,
            "disable_tqdm": True,
        },
    }
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump(sections), encoding="utf-8")
    words = ["--method", "density_counter", "--config", file]
    run_here("train_counter.py", *words, "--output_dir", folder / "whole")
    stopped = folder / "whole" / "checkpoint-2"
    run_here("train_counter.py", *words, "--output_dir", folder / "again", "--resume_from_checkpoint", stopped)
    return folder


def test_a_resumed_run_ends_with_the_same_bits(trained):
    states = [
        torch.load(trained / name / "checkpoint-6" / "optimizer.pt", weights_only=True) for name in ("whole", "again")
    ]
    assert [group["lr"] for group in states[0]["param_groups"]] == [1e-4, 2e-5]
    for number, state in states[0]["state"].items():
        assert torch.equal(state["momentum_buffer"], states[1]["state"][number]["momentum_buffer"])
    results = [json.loads((trained / name / "results.json").read_text()) for name in ("whole", "again")]
    assert results[0] == results[1]
    assert results[0]["validation"]["mae_plus_2_mse"] == pytest.approx(
        results[0]["validation"]["mae"] + 2 * results[0]["validation"]["mse"]
    )


@pytest.mark.smoke
def test_a_trained_counter_is_judged_piped_and_called(trained, tiny_set, run_here, tmp_path, noise):
    folder, numbers = str(trained / "whole"), tmp_path / "numbers.json"
    assert "# KDMG" in (trained / "whole" / "README.md").read_text(encoding="utf-8")
    run_here("evaluate_counting.py", "--model", folder, "--data_dir", tiny_set, "--output", numbers, "--quiet")
    evaluated, results = (json.loads(Path(file).read_text()) for file in (numbers, trained / "whole" / "results.json"))
    assert evaluated["test"]["mae"] == pytest.approx(results["test"]["mae"])
    picture = noise(100, 80)
    picture.save(tmp_path / "noise.png")
    counter = pipeline("object-counting", model=folder, device="cpu")
    assert (counter.image_processor.parts_per_side, counter.image_processor.min_short_side) == (2, 90)
    counted = counter(picture, return_density_map=True)
    assert counted["points"] == []
    assert counted["density_map"].shape == (80, 100)
    assert counted["density_map"].sum() == pytest.approx(counted["density_count"], rel=1e-4)
    assert main(["count", str(tmp_path / "noise.png"), "--model", folder, "--output", str(tmp_path / "out")]) == 0
    with (tmp_path / "out" / "counts.csv").open(newline="") as file:
        assert [int(row["count"]) for row in csv.DictReader(file)] == [counted["count"]]
