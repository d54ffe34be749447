"""Weights that are finite and outputs that are not: every evaluation says so, with the picture and the model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_mcis import tiny_model

from dense_hf import InvalidDataError, MCISImageProcessor
from dense_hf.data import WeakImage
from dense_hf.data.counting_examples import CountingExample
from dense_hf.data.weak_folder import WeakFolder
from dense_hf.inference.class_scores import evaluate_classification
from dense_hf.inference.counts import evaluate_counting
from dense_hf.inference.finite_outputs import judging, require_finite
from dense_hf.inference.label_maps import evaluate_segmentation
from dense_hf.inference.localization_maps import make_maps
from dense_hf.weak_segmentation import LocalizationSettings

BROKEN = r"reef\.png.*finite.*NaN or infinity"


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """A file, as a picture of a data set with image-level labels and with a mask."""
    folder = tmp_path_factory.mktemp("data")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)).save(folder / "reef.png")
    Image.fromarray(np.ones((48, 64), np.uint8)).save(folder / "mask.png")
    return WeakImage("reef", folder / "reef.png", (0,), mask_path=folder / "mask.png")


def overflowing(model: torch.nn.Module) -> torch.nn.Module:
    """Its weights are finite, what comes of them is not."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(3e38)
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    return model


def test_class_scores_and_maps(image, tmp_path):
    model, processor = overflowing(tiny_model()), MCISImageProcessor(size={"height": 64, "width": 64})
    with pytest.raises(ValueError, match=BROKEN):
        evaluate_classification(model, processor, [image], progress=False)
    names = tuple(model.config.id2label.values())
    folder = WeakFolder(names, (image, replace(image, name="other")))
    with pytest.raises(ValueError, match=r"reef\.png.*finite"):
        make_maps(model, processor, folder, tmp_path / "maps", LocalizationSettings(), "broken", progress=False)
    assert not list((tmp_path / "maps").glob("*.png"))


def test_label_maps(image):
    folder = WeakFolder(("fish",), (image,))
    probabilities = np.full((2, 48, 64), 0.5, np.float32)
    assert evaluate_segmentation(lambda _: probabilities, folder, progress=False)["num_images"] == 1
    probabilities[1, 3, 4] = np.nan
    with pytest.raises(ValueError, match=BROKEN):
        evaluate_segmentation(lambda _: probabilities, folder, progress=False)


def test_a_segmenter_of_several_scales():
    from tiny_deeplab import tiny_segmenter

    from dense_hf import DeepLabLargeFOVImageProcessor
    from dense_hf.weak_segmentation import MultiScaleSegmenter

    segmenter = MultiScaleSegmenter(
        overflowing(tiny_segmenter()), DeepLabLargeFOVImageProcessor(), window=65, stride=43
    )
    with pytest.raises(ValueError, match="logits must be finite"):
        segmenter(Image.new("RGB", (64, 48), "gray"))


def test_counts(image, counter_checkpoint):
    from dense_hf.inference.checkpoints import load_counter

    model, processor = load_counter(counter_checkpoint, "cpu")
    example = CountingExample(image.path, (64, 48), np.zeros((0, 2), np.float32))
    evaluate_counting(model, processor, [example], progress=False)
    with pytest.raises(ValueError, match=r"reef\.png \(IOCFormer.*finite"):
        evaluate_counting(overflowing(model), processor, [example], progress=False)


def test_label_maps_of_videos(image, segmenter_checkpoint, monkeypatch):
    from dense_hf.data.labels import LabelRule
    from dense_hf.data.videos import Frame, Video, VideoSet
    from dense_hf.inference.checkpoints import load_video_model
    from dense_hf.inference.video_label_maps import evaluate_videos

    model, processor = load_video_model(segmenter_checkpoint, [64, 48], "cpu")
    video = Video("v", (Frame("reef", image.path, image.mask_path),))
    names = tuple(model.config.id2label.values())
    videos = VideoSet(Path(), LabelRule(names, {number: number for number in range(len(names))}), {"test": [video]})
    assert evaluate_videos(model, processor, videos, [video], "thesis", progress=False)["num_videos"] == 1
    with pytest.raises(ValueError, match=BROKEN):
        evaluate_videos(overflowing(model), processor, videos, [video], "thesis", progress=False)


def test_what_is_said():
    require_finite(np.zeros(3))
    require_finite(torch.zeros(3, dtype=torch.bfloat16))
    with pytest.raises(ValueError, match="in 2 of 3 numbers"):
        require_finite(torch.tensor([0, float("inf"), float("nan")]))
    with pytest.raises(InvalidDataError, match=r"^a: expected"), judging("b"):  # has a name already
        raise InvalidDataError("a", "c", "d")
