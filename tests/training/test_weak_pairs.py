"""A pair is a function of (seed, epoch, index); partners share a class with the probabilities of the released code."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from tiny_mcis_runs import tiny_config, tiny_processor
from torch.utils.data import DataLoader
from torchvision.transforms import functional

from dense_hf.data import generate_miniature_weak, open_image
from dense_hf.data.weak_folder import WeakImage
from dense_hf.data.weak_source import read_weak_training
from dense_hf.training import weak_augmentation
from dense_hf.training.epoch_sampler import EpochSampler
from dense_hf.training.weak_augmentation import WeakAugmentation, jitter_colors
from dense_hf.training.weak_dataset import WeakTrainingSet, collate_pairs
from dense_hf.training.weak_pairs import PairDrawer

RELEASED = WeakAugmentation()
NOTHING = WeakAugmentation(brightness=0, contrast=0, saturation=0, hue=0)


def training_set(folder, augmentation=RELEASED, seed=1, extra_sources=(), image_cache_size=0, **fields):
    images = read_weak_training(folder, extra_sources)
    return WeakTrainingSet(images, tiny_processor(), tiny_config(**fields), augmentation, seed, image_cache_size)


def same(first, second):
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return torch.equal(torch.as_tensor(first), torch.as_tensor(second))


def drawer(*labels):
    return PairDrawer([WeakImage(str(number), Path("unused"), classes) for number, classes in enumerate(labels)])


LABELS = ((0, 1), (0,), (1, 2), (1,), (), (3,), (0, 1, 2))


@pytest.mark.parametrize("number", range(len(LABELS)))
def test_partners_come_as_often_as_they_should(number):
    """One class of the image, then one image of the class: the probabilities, added up over the classes."""
    expected = np.zeros(len(LABELS))
    for label in LABELS[number]:
        having = [other for other, labels in enumerate(LABELS) if label in labels]
        expected[having] += 1 / len(LABELS[number]) / len(having)
    if not LABELS[number]:
        expected[:] = 1 / len(LABELS)
    rng, draws = np.random.default_rng(number), 5000
    counts = np.bincount([drawer(*LABELS).draw(number, rng) for _ in range(draws)], minlength=len(LABELS))
    assert (counts[expected == 0] == 0).all()
    deviations = (counts - draws * expected)[expected > 0] / np.sqrt(draws * expected[expected > 0])
    assert np.abs(deviations).max() < 4  # of a Poisson's standard deviations


def test_a_class_with_one_image_is_paired_with_itself():
    rng = np.random.default_rng(0)
    assert {drawer(*LABELS).draw(5, rng) for _ in range(20)} == {5}


def test_every_image_is_the_first_of_a_pair_once_in_an_epoch(weak_set):
    data, sampler = training_set(weak_set, NOTHING), EpochSampler(8, seed=1, multiple_of=1)
    sampler.start_epoch(4)
    firsts = [data[key]["pixel_values"] for key in sampler]
    for image in data.images:
        pixels = tiny_processor()(open_image(image.path), return_tensors="pt")["pixel_values"][0]
        assert sum(torch.equal(pixels, first) for first in firsts) == 1


def test_sample_depends_on_seed_epoch_and_index_only(weak_set):
    keys = [(epoch, index) for epoch in (0, 3) for index in range(10)]  # 8 images: the last ones go past the end
    first, second = training_set(weak_set), training_set(weak_set, image_cache_size=3)
    in_order = {key: first[key] for key in keys}
    torch.rand(5), np.random.rand(5)
    backwards = {key: second[key] for key in reversed(keys)}
    assert all(same(in_order[key], backwards[key]) for key in keys)
    assert not same(in_order[0, 1]["pixel_values"], in_order[3, 1]["pixel_values"])
    assert not same(in_order[0, 0], training_set(weak_set, seed=2)[0, 0])


def test_worker_processes_give_the_same_samples(weak_set):
    data, sampler = training_set(weak_set), EpochSampler(8, 1, 5)
    sampler.start_epoch(2)
    batches = list(DataLoader(data, batch_size=5, sampler=sampler, collate_fn=collate_pairs, num_workers=2))
    keys = iter(sampler)
    assert len(batches) == 2
    assert all(same(batch, collate_pairs([data[next(keys)] for _ in range(5)])) for batch in batches)


def test_partners_in_a_data_set_share_a_class_and_have_the_right_labels(weak_set):
    data = training_set(weak_set, NOTHING)
    pixels = [tiny_processor()(open_image(i.path), return_tensors="pt")["pixel_values"][0] for i in data.images]
    for epoch in range(5):
        for number, image in enumerate(data.images):
            sample = data[epoch, number]
            (partner,) = (i for i, known in enumerate(pixels) if torch.equal(known, sample["paired_pixel_values"]))
            assert sample["labels"].nonzero().flatten().tolist() == list(image.labels)
            assert sample["paired_labels"].nonzero().flatten().tolist() == list(data.images[partner].labels)
            assert bool((sample["labels"] * sample["paired_labels"]).any()) == bool(image.labels)


def test_views_keep_their_colours(weak_set):
    """Of the image as it is in its file: mirrored, and at the sizes of the configuration."""
    data = training_set(weak_set, scale_views=[0.75, 2.0])
    for number, image in enumerate(data.images):
        sample, picture = data[0, number], open_image(image.path)
        expected = [
            tiny_processor()(picture, size={"height": side, "width": side}, return_tensors="pt")["pixel_values"][0]
            for side in (48, 36, 96)
        ]
        assert same(sample["view_pixel_values"], [expected[0].flip(-1), *expected[1:]])
        assert not torch.equal(sample["pixel_values"], expected[0])
    none = training_set(weak_set, flip_view=False, scale_views=[])
    assert none[0, 0]["view_pixel_values"] == []
    assert collate_pairs([none[0, 0], none[0, 1]])["view_pixel_values"] == []


def test_a_mirrored_image_has_mirrored_views(weak_set):
    augmentation = WeakAugmentation(brightness=0, contrast=0, saturation=0, hue=0, horizontal_flip=1)
    sample = training_set(weak_set, augmentation, scale_views=[1.0])[0, 0]
    picture = open_image(training_set(weak_set).images[0].path)
    mirrored = tiny_processor()(ImageOps.mirror(picture), return_tensors="pt")["pixel_values"][0]
    assert torch.equal(sample["pixel_values"], mirrored)
    assert same(sample["view_pixel_values"], [mirrored.flip(-1), mirrored])


def test_colours_change_in_every_order_and_within_their_range(monkeypatch):
    seen = []

    def record(name):
        return lambda image, factor: seen.append((name, factor)) or image

    monkeypatch.setattr(weak_augmentation, "FACTORS", {name: record(name) for name in weak_augmentation.FACTORS})
    rng, image = np.random.default_rng(0), Image.new("RGB", (2, 2))
    for _ in range(400):
        jitter_colors(image, RELEASED, rng)
    orders = {tuple(name for name, _ in seen[start : start + 4]) for start in range(0, len(seen), 4)}
    assert orders == set(permutations(weak_augmentation.FACTORS))
    for name in weak_augmentation.FACTORS:
        factors = [factor for other, factor in seen if other == name]
        low, high = (-0.1, 0.1) if name == "hue" else (0.7, 1.3)
        assert low <= min(factors) < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < max(factors) <= high


def test_one_property_alone_is_that_of_torchvision():
    pixels = np.random.default_rng(1).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    only = WeakAugmentation(brightness=0, contrast=0, saturation=0.3, hue=0)
    changed = np.asarray(jitter_colors(Image.fromarray(pixels), only, np.random.default_rng(3)))
    rng = np.random.default_rng(3)
    order = list(rng.permutation(list(weak_augmentation.FACTORS)))
    draws = {name: rng.uniform(1 - (name == "saturation") * 0.3, 1 + (name == "saturation") * 0.3) for name in order}
    expected = functional.adjust_saturation(Image.fromarray(pixels), draws["saturation"])
    assert np.array_equal(changed, np.asarray(expected))
    assert not np.array_equal(changed, pixels)


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    """Images from elsewhere: the validation split of another synthetic set, whose names are its own."""
    folder = tmp_path_factory.mktemp("web") / "set"
    generate_miniature_weak(folder, 0, 6, 0, seed=5, image_size=(40, 40), disable_progress=True)
    return folder


def test_pairs_across_domains_occur_in_both_orders(weak_set, web):
    source = {"data_dir": str(web), "split": "val", "domain": 1}
    data = training_set(weak_set, NOTHING, extra_sources=[source], num_domains=2)
    assert len(data) == 14
    samples = [data[epoch, index] for epoch in range(3) for index in range(14)]
    batch = collate_pairs(samples[:14])
    assert batch["domains"].tolist() == [0] * 8 + [1] * 6
    assert {(sample["domains"], sample["paired_domains"]) for sample in samples} == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_one_matrix_for_all_needs_no_domains(weak_set, web):
    source = {"data_dir": str(web), "split": "val", "domain": 3}
    assert "domains" not in collate_pairs([training_set(weak_set, extra_sources=[source])[0, 13]])
    with pytest.raises(ValueError, match=r"num_domains=2.*\[3\]"):
        training_set(weak_set, extra_sources=[source], num_domains=2)


def test_a_batch_is_what_the_model_takes(weak_set):
    data = training_set(weak_set)
    batch = collate_pairs([data[2, index] for index in range(3)])
    assert batch["epoch"] == 2
    assert batch["labels"].shape == batch["paired_labels"].shape == (3, 3)
    assert [tuple(views.shape) for views in batch["view_pixel_values"]] == [(3, 3, s, s) for s in (48, 36, 96)]


@pytest.mark.parametrize(
    "options", [{"brightness": -0.1}, {"contrast": 1.5}, {"hue": 0.6}, {"horizontal_flip": 2}, {"saturation": 2}]
)
def test_impossible_changes_are_errors(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        WeakAugmentation(**options)


def test_impossible_sets_are_errors(weak_set):
    with pytest.raises(ValueError, match="image_cache_size"):
        training_set(weak_set, image_cache_size=-1)
    with pytest.raises(ValueError, match="num_labels=4"):
        training_set(weak_set, num_labels=4)
