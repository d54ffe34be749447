"""Crops against all windows of the image, and samples as functions of their key."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_segmenter_runs import make_set
from torch.nn import functional as F

from dense_hf.data import open_image, read_mask, read_weak_split
from dense_hf.data.weak_folder import WeakFolder, WeakImage
from dense_hf.data.weak_source import mask_rule
from dense_hf.inference.checks import with_pseudo_labels
from dense_hf.training.segmenter import dataset as segmenter_dataset
from dense_hf.training.segmenter.augmentation import SegmenterAugmentation, random_crop
from dense_hf.training.segmenter.dataset import SegmenterTrainingSet
from dense_hf.weak_segmentation import DeepLabLargeFOVImageProcessor

PLAIN = DeepLabLargeFOVImageProcessor(do_flip_channel_order=False, do_normalize=False)


def scaled(image, labels, scale):
    """An independent resampling: torch's for colours, and the label of the nearest pixel, written out."""
    height, width = labels.shape
    rows, columns = round(height * scale), round(width * scale)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    pixels = F.interpolate(pixels, (rows, columns), mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()
    nearest = [
        [labels[int((y + 0.5) * height / rows), int((x + 0.5) * width / columns)] for x in range(columns)]
        for y in range(rows)
    ]
    return pixels, np.array(nearest, dtype=np.uint8)


def windows(pixels, labels, side):
    """Every square, as it is and mirrored, by (y, x, mirrored)."""
    for y in range(max(len(labels) - side, 0) + 1):
        for x in range(max(labels.shape[1] - side, 0) + 1):
            part = pixels[y : y + side, x : x + side], labels[y : y + side, x : x + side]
            yield (y, x, False), part
            yield (y, x, True), tuple(one[:, ::-1] for one in part)


@pytest.mark.parametrize("size", [(14, 17), (7, 18)])  # the second is lower than a crop at all scales but one
def test_crops_are_windows_of_the_scaled_image_with_their_labels(size):
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    labels = rng.integers(0, 200, size, dtype=np.uint8)
    augmentation = SegmenterAugmentation(crop_size=9, scales=[0.7, 1.0, 1.3])
    every = {
        (scale, *place): part
        for scale in augmentation.scales
        for place, part in windows(*scaled(image, labels, scale), augmentation.crop_size)
    }
    seen = set()
    for _ in range(400):
        found, found_labels = random_crop(image, labels, augmentation, rng)
        matches = [
            place
            for place, (pixels, numbers) in every.items()
            if np.array_equal(numbers, found_labels) and np.abs(pixels - found).max() <= 1
        ]
        assert len(matches) == 1
        seen |= set(matches)
    for part in (slice(0, 2), slice(0, 3, 2), slice(0, 4, 3)):  # of each scale all rows, columns and mirrorings happen
        assert {place[part] for place in seen} == {place[part] for place in every}


def test_draws_are_uniform():
    rng = np.random.default_rng(0)
    image, labels = np.zeros((4, 8, 3), np.uint8), np.arange(32, dtype=np.uint8).reshape(4, 8)
    augmentation = SegmenterAugmentation(crop_size=4, scales=[1.0], horizontal_flip=0.25)
    crops = [random_crop(image, labels, augmentation, rng)[1] for _ in range(2000)]
    assert np.mean([crop[0, 0] > crop[0, 1] for crop in crops]) == pytest.approx(0.25, abs=0.04)
    corners = np.bincount([crop[0].min() for crop in crops], minlength=5)
    assert corners.min() > 2000 / 5 * 0.8


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"crop_size": 0}, "crop_size must be at least 1, received 0"),
        ({"scales": [1, -1]}, r"scales must be one or more positive numbers, received \[1, -1\]"),
        ({"scales": []}, "scales must be"),
        ({"horizontal_flip": 1.5}, "horizontal_flip must be a probability"),
    ],
)
def test_bad_augmentation(fields, message):
    with pytest.raises(ValueError, match=message):
        SegmenterAugmentation(**fields)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five images of 30 to 60 pixels."""
    data = make_set(tmp_path_factory.mktemp("data"))
    return with_pseudo_labels(read_weak_split(data), data / "train" / "masks", progress=False)


def training_set(folder, processor=PLAIN, crop_size=33, seed=1, cache=0, **augmentation):
    return SegmenterTrainingSet(folder, processor, SegmenterAugmentation(crop_size, **augmentation), seed, cache)


def equal(first, second):
    return all(torch.equal(first[key], second[key]) for key in ("pixel_values", "labels"))


def test_small_images_are_padded_with_the_mean_colour_and_ignored_labels(folder):
    whole = {"scales": [1.0], "horizontal_flip": 0.0, "crop_size": 70}
    sample = training_set(folder, DeepLabLargeFOVImageProcessor(), **whole)[0, 2]
    image = folder.images[2]
    picture = open_image(image.path)
    labels = read_mask(image.mask_path, picture.size, mask_rule(folder.class_names))
    height, width = labels.shape
    caffe = np.asarray(picture)[:, :, ::-1].transpose(2, 0, 1) - np.array([104.008, 116.669, 122.675])[:, None, None]
    assert sample["pixel_values"].shape == (3, 70, 70)
    np.testing.assert_allclose(sample["pixel_values"][:, :height, :width], caffe, atol=1e-4)
    np.testing.assert_array_equal(sample["labels"][:height, :width], labels)
    assert sample["labels"].dtype == torch.int64
    assert (sample["labels"][height:] == 255).all()
    assert (sample["labels"][:, width:] == 255).all()
    assert (sample["pixel_values"][:, height:] == 0).all()
    assert (sample["pixel_values"][:, :, width:] == 0).all()


def test_a_crop_of_few_columns_is_no_channel(tmp_path):
    """3 pixels high: the processor is told where the channels are."""
    Image.fromarray(np.full((3, 12, 3), 7, np.uint8)).save(tmp_path / "flat.png")
    Image.fromarray(np.ones((3, 12), np.uint8)).save(tmp_path / "labels.png")
    image = WeakImage("flat", tmp_path / "flat.png", (0,), mask_path=tmp_path / "labels.png")
    sample = training_set(WeakFolder(("cat",), (image,)), crop_size=12, scales=[1.0])[0, 0]
    assert (sample["pixel_values"][:, :3] == 7).all()
    assert (sample["pixel_values"][:, 3:] == 0).all()


def test_samples_depend_on_seed_epoch_and_index_only(folder):
    keys = [(epoch, index) for epoch in range(3) for index in range(7)]
    first = dict(zip(keys, map(training_set(folder).__getitem__, keys)))
    for cache in (0, 1, 100):
        other = training_set(folder, cache=cache)
        assert all(equal(first[key], other[key]) for key in reversed(keys))
    assert not equal(first[0, 0], first[1, 0])
    assert not equal(first[0, 0], training_set(folder, seed=2)[0, 0])


def test_indices_are_images_and_those_past_the_end_random_ones(folder):
    options = {"scales": [1.0], "horizontal_flip": 0.0, "crop_size": 60}
    samples = training_set(folder, **options)
    assert len(samples) == 5
    whole = [samples[0, index]["labels"] for index in range(5)]
    assert all(torch.equal(samples[4, index]["labels"], whole[index]) for index in range(5))
    drawn = [
        next(number for number in range(5) if torch.equal(whole[number], samples[epoch, 5]["labels"]))
        for epoch in range(60)
    ]
    assert set(drawn) == set(range(5))


@pytest.mark.parametrize(("cache", "reads"), [(0, 10), (2, 10), (5, 5)])
def test_the_cache_forgets_what_was_used_least_recently(folder, monkeypatch, cache, reads):
    opened = []
    monkeypatch.setattr(segmenter_dataset, "open_image", lambda path: opened.append(path) or open_image(path))
    samples = training_set(folder, cache=cache)
    for index in [*range(5), *range(5)]:
        samples[0, index]
    assert len(opened) == reads
    assert len(samples._cache) == cache


def test_a_negative_cache_is_refused(folder):
    with pytest.raises(ValueError, match=r"image_cache_size must be at least 0. Received: -1"):
        training_set(folder, cache=-1)


def test_a_picture_turned_by_its_tag_has_labels_that_stand_upright(tmp_path, folder):
    tag = Image.Exif()
    tag[0x0112] = 6
    picture = np.random.default_rng(0).integers(0, 255, (8, 12, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "turned.png", exif=tag)
    labels = np.arange(96, dtype=np.uint8).reshape(12, 8) % 4
    Image.fromarray(labels).save(tmp_path / "labels.png")
    image = replace(folder.images[0], path=tmp_path / "turned.png", mask_path=tmp_path / "labels.png")
    options = {"scales": [1.0], "horizontal_flip": 0.0, "crop_size": 12}
    sample = training_set(replace(folder, images=(image,)), **options)[0, 0]
    np.testing.assert_array_equal(sample["labels"][:, :8], labels)
    np.testing.assert_array_equal(sample["pixel_values"][:, :, :8].permute(1, 2, 0), np.rot90(picture, -1))
