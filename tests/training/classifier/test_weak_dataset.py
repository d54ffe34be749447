"""Pairs as samples: functions of (seed, epoch, index), drawn with the released probabilities, jittered as released."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms import functional

from dense_hf.data import WeakFolder, WeakImage, open_image, read_weak_split
from dense_hf.training.classifier import augmentation as weak_augmentation
from dense_hf.training.classifier.augmentation import WeakAugmentation, jitter_colors
from dense_hf.training.classifier.dataset import PairDrawer, WeakTrainingSet, collate_pairs
from dense_hf.training.epoch_sampler import EpochSampler
from dense_hf.weak_segmentation.configuration_mcis import MCISConfig
from dense_hf.weak_segmentation.image_processing_mcis import MCISImageProcessor

PROCESSOR = MCISImageProcessor(size={"height": 32, "width": 32})
STILL = WeakAugmentation(brightness=0, contrast=0, saturation=0, hue=0)


@pytest.fixture(scope="module")
def folder(weak_set):
    return read_weak_split(weak_set)


def make_set(folder, augmentation=None, seed=3, cache=0, **config):
    config = MCISConfig(**{"num_labels": len(folder.class_names), **config})
    return WeakTrainingSet(
        folder, PROCESSOR, config, augmentation or WeakAugmentation(horizontal_flip=0.5), seed, cache
    )


def flat(sample):
    """All of a sample as one list of tensors."""
    tensors = [value for value in sample.values() if isinstance(value, torch.Tensor)]
    return [*tensors, *sample["view_pixel_values"], torch.tensor(sample["epoch"])]


def equal(first, second):
    pairs = zip(flat(first), flat(second), strict=True)
    return all(one.shape == other.shape and torch.equal(one, other) for one, other in pairs)


def test_a_sample_is_a_function_of_seed_epoch_and_index(folder):
    keys = [(epoch, index) for epoch in (0, 1) for index in range(12)]  # 9 images: the last keys are past the end
    first, cached, other_seed = make_set(folder), make_set(folder, cache=4), make_set(folder, seed=4)
    expected = {key: first[key] for key in keys}
    for key in reversed(keys):  # other orders, other caches
        assert equal(cached[key], expected[key])
    assert not any(equal(expected[0, index], expected[1, index]) for index in range(12))
    assert not any(equal(other_seed[key], expected[key]) for key in keys)


def test_every_image_is_the_first_once_in_an_epoch(folder):
    trained = make_set(folder)
    sampler = EpochSampler(len(trained), seed=0, multiple_of=4)
    labels = [tuple(trained[key]["labels"].nonzero().flatten().tolist()) for key in sampler if key[1] < len(trained)]
    assert sorted(labels) == sorted(image.labels for image in folder.images)


def images_of(*labels, domains=None):
    domains = domains or [0] * len(labels)
    return [WeakImage(f"i{n}", Path("none"), own, domain) for n, (own, domain) in enumerate(zip(labels, domains))]


def test_partners_have_the_released_probabilities():
    images = images_of((0,), (0, 1), (1, 2), (1,), (), (2,), (3,))
    drawer, rng, draws = PairDrawer(images), np.random.default_rng(0), 4000
    for number, image in enumerate(images):
        expected = np.zeros(len(images))  # by enumeration: a class, then an image that has it
        for label in image.labels:
            having = [other for other, candidate in enumerate(images) if label in candidate.labels]
            expected[having] += 1 / len(image.labels) / len(having)
        if not image.labels:
            expected[:] = 1 / len(images)
        drawn = np.bincount([drawer.draw(number, rng) for _ in range(draws)], minlength=len(images)) / draws
        deviation = np.sqrt(expected * (1 - expected) / draws)
        assert (np.abs(drawn - expected) <= 4 * deviation).all(), (number, drawn, expected)
    assert drawer.draw(6, rng) == 6  # the only one of its class is its own partner


def test_pairs_across_domains_occur_in_both_orders():
    images = images_of(*[(0,)] * 4, domains=[0, 0, 1, 1])
    drawer, rng = PairDrawer(images), np.random.default_rng(0)
    pairs = {(images[n].domain, images[drawer.draw(n, rng)].domain) for n in [0, 1, 2, 3] * 20}
    assert pairs == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_domains_reach_a_model_that_has_several_and_no_other(folder):
    images = tuple(replace(image, domain=int(index >= 4)) for index, image in enumerate(folder.images))
    mixed = WeakFolder(folder.class_names, images)
    trained = make_set(mixed, num_domains=2)
    batch = collate_pairs([trained[0, index] for index in range(9)])
    assert batch["domains"].tolist() == [0] * 4 + [1] * 5
    assert batch["paired_domains"].shape == (9,)
    assert "domains" not in make_set(mixed)[0, 0]
    with pytest.raises(ValueError, match=r"from 0 to 1 .*Received: \[2\]"):
        make_set(WeakFolder(folder.class_names, (replace(images[0], domain=2),)), num_domains=2)


def test_views_keep_the_colours_of_the_file(folder):
    sample = make_set(folder, WeakAugmentation())[0, 2]
    image = open_image(folder.images[2].path)

    def pixels(picture, side):
        return PROCESSOR(picture, size={"height": side, "width": side}, return_tensors="pt")["pixel_values"][0]

    mirrored, small, large = sample["view_pixel_values"]
    assert torch.equal(mirrored, pixels(image, 32).flip(-1))
    assert torch.equal(small, pixels(image, 24))
    assert torch.equal(large, pixels(image, 64))
    assert not torch.equal(sample["pixel_values"], pixels(image, 32))
    assert torch.equal(make_set(folder, STILL)[0, 2]["pixel_values"], pixels(image, 32))


def test_mirroring_takes_the_views_along(folder):
    still = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}
    sample = make_set(folder, WeakAugmentation(**still, horizontal_flip=1), scale_views=[1.0])[0, 2]
    image = open_image(folder.images[2].path)
    expected = PROCESSOR(ImageOps.mirror(image), return_tensors="pt")["pixel_values"][0]
    assert torch.equal(sample["pixel_values"], expected)
    assert torch.equal(sample["view_pixel_values"][1], expected)
    assert torch.equal(sample["view_pixel_values"][0], expected.flip(-1))


def test_no_views_no_tensors(folder):
    trained = make_set(folder, flip_view=False, scale_views=[])
    batch = collate_pairs([trained[7, 0], trained[7, 1]])
    assert batch["view_pixel_values"] == []
    assert batch["epoch"] == 7
    shapes = {name: tuple(value.shape) for name, value in batch.items() if isinstance(value, torch.Tensor)}
    pixels, labels = (2, 3, 32, 32), (2, 3)
    assert shapes == {
        "pixel_values": pixels, "paired_pixel_values": pixels, "labels": labels, "paired_labels": labels
    }  # fmt: skip


# colours


def gray(pixels):
    return pixels @ np.array([0.299, 0.587, 0.114])


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_a_colour_changes_by_its_formula(name, monkeypatch):
    """Mixed with black, with the mean gray of the picture, with the gray of each pixel; in float, then cut off."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    augmentation = WeakAugmentation(**dict.fromkeys(weak_augmentation.FACTORS, 0) | {name: 0.3})
    factors, change = [], weak_augmentation.FACTORS[name]
    monkeypatch.setitem(
        weak_augmentation.FACTORS, name, lambda image, factor: factors.append(factor) or change(image, factor)
    )
    changed = np.asarray(jitter_colors(Image.fromarray(pixels), augmentation, np.random.default_rng(5)))
    (factor,) = factors
    mixed_with = {
        "brightness": 0,
        "contrast": gray(pixels).mean(),
        "saturation": gray(pixels)[..., None],
    }[name]
    expected = (factor * pixels + (1 - factor) * mixed_with).clip(0, 255)
    assert np.abs(changed - expected).max() <= 1.5
    assert np.abs(changed.astype(float) - pixels).max() > 5


def test_hue_turns_as_in_torchvision_on_floats():
    gradient = np.stack(np.meshgrid(np.linspace(40, 215, 16), np.linspace(60, 200, 16)), axis=-1)
    pixels = np.dstack([gradient, np.full((16, 16), 120)]).astype(np.uint8)
    turned = np.asarray(weak_augmentation.FACTORS["hue"](Image.fromarray(pixels), 0.08)).astype(float)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1) / 255
    expected = 255 * functional.adjust_hue(tensor, 0.08).permute(1, 2, 0).numpy()
    assert np.abs(turned - expected).mean() < 2.5  # Pillow has 256 hues
    assert np.abs(expected - pixels).mean() > 10


def test_factors_and_orders_are_the_released_ones(monkeypatch):
    calls = []
    for name in weak_augmentation.FACTORS:
        monkeypatch.setitem(
            weak_augmentation.FACTORS, name, lambda image, factor, name=name: calls.append((name, factor)) or image
        )
    rng = np.random.default_rng(0)
    for _ in range(600):
        jitter_colors(Image.new("RGB", (2, 2)), WeakAugmentation(), rng)
    orders = {tuple(name for name, _ in calls[start : start + 4]) for start in range(0, len(calls), 4)}
    assert orders == set(itertools.permutations(weak_augmentation.FACTORS))
    for name, low, high in (
        ("brightness", 0.7, 1.3),
        ("contrast", 0.7, 1.3),
        ("saturation", 0.7, 1.3),
        ("hue", -0.1, 0.1),
    ):
        factors = [factor for other, factor in calls if other == name]
        assert low <= min(factors) < low + 0.02 * (high - low)
        assert high >= max(factors) > high - 0.02 * (high - low)
        assert np.mean(factors) == pytest.approx((low + high) / 2, abs=0.06 * (high - low))


# what cannot work


@pytest.mark.parametrize(
    ("fields", "word"),
    [({"hue": 0.6}, "hue must be in"), ({"brightness": -1, "horizontal_flip": 2}, "horizontal_flip must be in")],
)
def test_augmentation_out_of_range(fields, word):
    with pytest.raises(ValueError, match=word):
        WeakAugmentation(**fields)


def test_a_model_with_other_classes(folder):
    with pytest.raises(ValueError, match=r"must have the 3 classes of the images\. Received: num_labels=4"):
        make_set(folder, num_labels=4)
    with pytest.raises(ValueError, match="image_cache_size must be at least 0"):
        make_set(folder, cache=-1)
