"""Pixels in and class maps out, and the Auto classes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_deeplab import tiny_segmenter
from transformers import AutoImageProcessor, AutoModel, AutoModelForSemanticSegmentation, pipeline

from dense_hf import DeepLabLargeFOVForSemanticSegmentation, DeepLabLargeFOVImageProcessor


def test_released_pixels_are_blue_green_red():
    image = np.zeros((4, 6, 3), dtype=np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = 200, 100, 50
    pixels = DeepLabLargeFOVImageProcessor()(Image.fromarray(image), return_tensors="pt")["pixel_values"]
    assert pixels.shape == (1, 3, 4, 6)
    expected = torch.tensor([50 - 104.008, 100 - 116.669, 200 - 122.675])
    torch.testing.assert_close(pixels[0, :, 2, 3], expected, check_dtype=False)


def test_labels_keep_their_numbers():
    image, labels = (
        np.zeros((8, 6, 3), np.uint8),
        np.random.default_rng(0).choice([0, 7, 255], (8, 6)).astype(np.uint8),
    )
    processor = DeepLabLargeFOVImageProcessor()
    same = processor(image, labels, return_tensors="pt")["labels"]
    assert torch.equal(same[0], torch.from_numpy(labels).long())
    resized = processor(image, labels, do_resize=True, size={"height": 5, "width": 9}, return_tensors="pt")
    assert resized["labels"].shape == (1, 5, 9)
    assert set(resized["labels"].unique().tolist()) <= {0, 7, 255}
    with pytest.raises(ValueError, match=r"Received: \[\[6, 8\]\]"):
        processor(image, labels.T)


def test_class_maps_of_images():
    logits = torch.zeros(2, 3, 2, 2)
    logits[0, 1, :, 1] = 1
    logits[1, 2] = 1
    processor = DeepLabLargeFOVImageProcessor()
    first, second = processor.post_process_semantic_segmentation(SimpleNamespace(logits=logits), [(5, 9), (3, 3)])
    assert first.shape == (5, 9)
    assert first[:, 1:].eq(1).all()
    assert first[:, 0].eq(0).all()
    assert second.eq(2).all()
    with pytest.raises(ValueError, match="Received: 1"):
        processor.post_process_semantic_segmentation(SimpleNamespace(logits=logits), [(5, 9)])


def test_auto_classes_and_pipeline(tmp_path):
    model = tiny_segmenter()
    model.save_pretrained(tmp_path)
    DeepLabLargeFOVImageProcessor().save_pretrained(tmp_path)
    pixels = torch.randn(1, 3, 65, 65)
    for auto_class in (AutoModel, AutoModelForSemanticSegmentation):
        loaded = auto_class.from_pretrained(tmp_path).eval()
        assert isinstance(loaded, DeepLabLargeFOVForSemanticSegmentation)
        with torch.no_grad():
            torch.testing.assert_close(loaded(pixels).logits, model(pixels).logits)
    assert isinstance(AutoImageProcessor.from_pretrained(tmp_path), DeepLabLargeFOVImageProcessor)
    segmented = pipeline("image-segmentation", model=str(tmp_path))(Image.new("RGB", (70, 50), "red"))
    assert {one["mask"].size for one in segmented} == {(70, 50)}
