"""Windows blend, and mirror images are treated alike."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_deeplab import tiny_segmenter

from dense_hf import DeepLabLargeFOVImageProcessor
from dense_hf.weak_segmentation.multi_scale_segmenter import MultiScaleSegmenter, starts, windowed


def pointwise(squares):
    """Probabilities of 3 classes that depend on a pixel's own colour only."""
    return squares.softmax(dim=1)


@settings(deadline=None, max_examples=50)
@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(1, 20).flatmap(lambda w: st.tuples(st.just(w), st.integers(1, w))),
)
def test_windows_give_what_the_whole_image_gives(height, width, sides):
    window, stride = sides
    pixels = torch.randn(3, height, width)
    found = windowed(pointwise, pixels, window, stride, batch_size=3)
    torch.testing.assert_close(found, pointwise(pixels[None])[0])


def test_released_windows():
    assert starts(401, 401, 267) == [0]
    assert starts(750, 401, 267) == [0, 267, 349]


@pytest.mark.parametrize("size", [(30, 50), (70, 41)])
def test_flip_equivariance(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    segmenter = MultiScaleSegmenter(tiny_segmenter(), DeepLabLargeFOVImageProcessor(), (0.5, 1), window=33, stride=22)
    found, mirrored = segmenter(image), segmenter(image[:, ::-1].copy())
    assert found.shape == (5, *size)
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-5)
    assert found.std(axis=(1, 2)).max() > 1e-3
    np.testing.assert_allclose(mirrored, found[:, :, ::-1], atol=1e-5)


def test_refinement_sees_image_and_probabilities():
    image, seen = np.zeros((20, 25, 3), dtype=np.uint8), []

    def refine(*arguments):
        seen.append([one.shape for one in arguments])
        return 1 - arguments[1]

    options = {"scales": (1,), "window": 33, "stride": 22}
    plain = MultiScaleSegmenter(tiny_segmenter(), DeepLabLargeFOVImageProcessor(), **options)(image)
    refined = MultiScaleSegmenter(tiny_segmenter(), DeepLabLargeFOVImageProcessor(), **options, refine=refine)(image)
    assert seen == [[(20, 25, 3), (5, 20, 25)]]
    np.testing.assert_array_equal(refined, 1 - plain)
    options["refine"] = lambda image, probabilities: probabilities[:1]
    with pytest.raises(ValueError, match=r"Received: \[1, 20, 25\]"):
        MultiScaleSegmenter(tiny_segmenter(), DeepLabLargeFOVImageProcessor(), **options)(image)
