"""Clips in, class maps out."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.testing import assert_close

from dense_hf.video_segmentation.image_processing_clip import CFFMImageProcessor


def frame(width: int = 40, height: int = 30, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [  # (height, width), by the rule of the released code
        ((480, 853), (480, 864)),
        ((1080, 1920), (480, 864)),
        ((720, 1280), (480, 864)),
        ((480, 640), (480, 640)),
        ((853, 480), (864, 480)),
        ((400, 1600), (224, 864)),
        ((100, 100), (480, 480)),
    ],
)
def test_sizes(shape, expected):
    pixels = CFFMImageProcessor()(Image.new("RGB", shape[::-1]), return_tensors="pt")["pixel_values"]
    assert pixels.shape == (1, 1, 3, *expected)


def test_every_nesting_gives_the_same_clips():
    processor = CFFMImageProcessor(do_resize=False)
    frames = [frame(seed=seed) for seed in range(3)]
    array = np.stack([np.array(one) for one in frames])
    expected = processor(frames, return_tensors="pt")["pixel_values"]
    assert expected.shape == (1, 3, 3, 30, 40)
    for images in ([frames], array, [array], array[None], torch.from_numpy(array).permute(0, 3, 1, 2)):
        assert_close(processor(images, return_tensors="pt")["pixel_values"], expected, atol=0, rtol=0)
    two = processor([frames, frames[::-1]], return_tensors="pt")["pixel_values"]
    assert_close(two, torch.cat([expected, expected.flip(1)]), atol=0, rtol=0)
    assert_close(processor(frames[0], return_tensors="pt")["pixel_values"], expected[:, :1], atol=0, rtol=0)
    assert_close(processor(array[0], return_tensors="pt")["pixel_values"], expected[:, :1], atol=0, rtol=0)


def test_pixels_are_normalised():
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    pixels = CFFMImageProcessor(do_resize=False)(frame(), return_tensors="pt")["pixel_values"][0, 0]
    expected = ((np.array(frame()) - mean) / std).transpose(2, 0, 1)
    np.testing.assert_allclose(pixels.numpy(), expected, atol=1e-5)


def test_shrinking_takes_single_pixels_not_means():
    """Bilinear without antialiasing, as the released code: every second line of a striped frame disappears."""
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[::4] = stripes[1::4] = 200
    processor = CFFMImageProcessor(size={"shortest_edge": 16, "longest_edge": 16}, size_divisor=1)
    pixels = processor(stripes, return_tensors="pt", do_normalize=False, do_rescale=False)["pixel_values"]
    # lines 1.5 + 4n: halfway between a bright and a dark line
    assert pixels.unique().tolist() == [100]


def test_labels():
    maps = np.zeros((2, 6, 8), np.uint8)
    maps[:, 2:], maps[1, 0] = 124, 255
    frames = [frame(8, 6, seed) for seed in range(2)]
    processor = CFFMImageProcessor(do_resize=False, do_reduce_labels=True)
    for nested in (list(maps), [[Image.fromarray(one) for one in maps]], maps, torch.from_numpy(maps)):
        labels = processor(frames, segmentation_maps=nested, return_tensors="pt")["labels"]
        assert labels.dtype == torch.int64
        expected = np.where(maps == 124, 123, 255)[None]
        np.testing.assert_array_equal(labels.numpy(), expected)
    enlarged = CFFMImageProcessor()(frames, segmentation_maps=list(maps), return_tensors="pt")
    assert enlarged["labels"].shape == (1, 2, *enlarged["pixel_values"].shape[-2:])
    assert set(enlarged["labels"].unique().tolist()) == {0, 124, 255}


def test_clips_that_do_not_fit_together():
    processor = CFFMImageProcessor()
    with pytest.raises(ValueError, match=r"one size. Received: \[\[30, 40\], \[30, 50\]\]"):
        processor([frame(), frame(50, 30)])
    with pytest.raises(ValueError, match="as many frames"):
        processor([[frame()], [frame(), frame()]])
    with pytest.raises(ValueError, match="one segmentation map per frame"):
        processor([frame(), frame()], segmentation_maps=[np.zeros((30, 40), np.uint8)])
    with pytest.raises(ValueError, match="shortest_edge"):
        processor(frame(), size={"height": 3, "width": 3})


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 70), st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_class_maps_are_those_of_all_classes_at_once(labels, height, width, seed):
    torch.manual_seed(seed)
    logits = torch.randn(2, labels, 6, 9)
    processor = CFFMImageProcessor(size={"shortest_edge": 24, "longest_edge": 36}, size_divisor=8)
    maps = processor.post_process_semantic_segmentation(SimpleNamespace(logits=logits), [(height, width), (24, 36)])
    scale = min(36 / max(height, width), 24 / min(height, width))
    seen = [-(-max(int(side * scale + 0.5), 1) // 8) * 8 for side in (height, width)]
    for one, result, size, first in zip(logits, maps, ((height, width), (24, 36)), (seen, (24, 40))):
        enlarged = torch.nn.functional.interpolate(one[None], first, mode="bilinear")
        enlarged = torch.nn.functional.interpolate(enlarged, size, mode="bilinear")[0]
        assert_close(result, enlarged.argmax(0))


def test_class_maps_without_sizes():
    logits = torch.randn(2, 5, 6, 9)
    outputs = SimpleNamespace(logits=logits)
    assert_close(torch.stack(CFFMImageProcessor().post_process_semantic_segmentation(outputs)), logits.argmax(1))
    with pytest.raises(ValueError, match=r"one size for each of 2 maps\. Received: 1"):
        CFFMImageProcessor().post_process_semantic_segmentation(outputs, [(3, 3)])


def test_saved_and_loaded(tmp_path):
    CFFMImageProcessor(size_divisor=8, do_reduce_labels=True).save_pretrained(tmp_path)
    loaded = CFFMImageProcessor.from_pretrained(tmp_path)
    assert (loaded.size_divisor, loaded.do_reduce_labels, dict(loaded.size)) == (
        8,
        True,
        dict(CFFMImageProcessor.size),
    )
