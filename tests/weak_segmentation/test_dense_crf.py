"""The dense CRF: released numbers, the exact O(N^2) mean field, pydensecrf2 where it is installed, and its laws."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from released_mcis import golden
from torch.testing import assert_close

from dense_hf.weak_segmentation import DenseCRF
from dense_hf.weak_segmentation.permutohedral_lattice import PermutohedralLattice

AFFINITYNET = DenseCRF(10, gaussian_compat=3, bilateral_srgb=13, bilateral_compat=10, channel_order="rgb")
IMAGES = hnp.arrays(np.uint8, (6, 7, 3))
SCORES = hnp.arrays(np.float32, (3, 6, 7), elements=st.floats(0.015625, 1, width=32))


def smooth_picture(height, width, num_labels, seed=0):
    """Regions with soft edges and some noise, and probabilities that know them only roughly."""
    draw = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    waves = np.stack([np.sin(rows / a + columns / b) for a, b in draw.uniform(8, 40, (3, 2))], axis=-1)
    image = np.clip(128 + 100 * waves + draw.normal(0, 4, waves.shape), 0, 255).astype(np.uint8)
    logits = np.stack([2 * np.cos(rows / a - columns / b) for a, b in draw.uniform(5, 30, (num_labels, 2))])
    scores = np.exp(logits + draw.normal(0, 0.5, logits.shape))
    return image, (scores / scores.sum(axis=0)).astype(np.float32)


def exact_mean_field(crf, image, probabilities):
    """All pairs of pixels, in double precision, as the paper has it."""
    height, width = image.shape[:2]
    places = np.stack(np.mgrid[:height, :width], axis=-1).reshape(-1, 2).astype(float)
    colours = image.reshape(-1, 3).astype(float)

    def gaussian(features):
        kernel = np.exp(-((features[:, None] - features[None]) ** 2).sum(axis=-1) / 2)
        root = np.sqrt(kernel.sum(axis=1))
        return kernel / root[:, None] / root

    message = crf.gaussian_compat * gaussian(places / crf.gaussian_sxy)
    message += crf.bilateral_compat * gaussian(
        np.concatenate([places / crf.bilateral_sxy, colours / crf.bilateral_srgb], axis=1)
    )
    scores = probabilities.reshape(len(probabilities), -1).astype(float)
    unary = (scores / scores.sum(axis=0)).clip(crf.min_probability, 1)
    current = unary / unary.sum(axis=0)
    for _ in range(crf.num_iterations):
        current = unary * np.exp(current @ message)
        current /= current.sum(axis=0)
    return current.reshape(probabilities.shape)


@pytest.mark.parametrize("case", [0, 1])
def test_released_numbers(case):
    tensors = {name: tensor.numpy() for name, tensor in golden("crf").items()}
    image = tensors[f"case{case}/image_bgr_u8"][:, :, ::-1]
    refined = DenseCRF()(image, tensors[f"case{case}/prob"])
    expected = tensors[f"case{case}/crf"]
    np.testing.assert_allclose(refined, expected, atol=1e-4, rtol=0)
    assert (refined.argmax(axis=0) == expected.argmax(axis=0)).all()
    # the fixture tells the order of the channels
    assert np.abs(DenseCRF(channel_order="rgb")(image, tensors[f"case{case}/prob"]) - expected).max() > 0.01


@pytest.mark.parametrize(
    ("crf", "size", "num_labels"),
    [
        (DenseCRF(), (375, 500), 21),
        (DenseCRF(channel_order="rgb"), (61, 47), 5),
        (AFFINITYNET, (90, 120), 4),
    ],
)
def test_equals_pydensecrf2(crf, size, num_labels):
    reference = pytest.importorskip(
        "pydensecrf.densecrf", reason="needs pydensecrf2, a compiled package: pip install dense_hf[crf]"
    )
    image, probabilities = smooth_picture(*size, num_labels)
    theirs = reference.DenseCRF2D(size[1], size[0], num_labels)
    unary = -np.log(np.clip(probabilities / probabilities.sum(axis=0), crf.min_probability, 1))
    theirs.setUnaryEnergy(np.ascontiguousarray(unary.reshape(num_labels, -1)))
    theirs.addPairwiseGaussian(sxy=crf.gaussian_sxy, compat=crf.gaussian_compat)
    theirs.addPairwiseBilateral(
        sxy=crf.bilateral_sxy,
        srgb=crf.bilateral_srgb,
        rgbim=np.ascontiguousarray(image if crf.channel_order == "rgb" else image[:, :, ::-1]),
        compat=crf.bilateral_compat,
    )
    expected = np.array(theirs.inference(crf.num_iterations)).reshape(probabilities.shape)
    refined = crf(image, probabilities)
    np.testing.assert_allclose(refined, expected, atol=1e-4, rtol=0)
    assert (refined.argmax(axis=0) == expected.argmax(axis=0)).all()


def test_close_to_the_exact_mean_field():
    for crf, bound in BOUNDS:
        for seed in range(3):
            image, probabilities = smooth_picture(24, 30, 4, seed)
            print(abs(crf(image, probabilities) - exact_mean_field(crf, image, probabilities)).max(), abs(crf(image, probabilities) - exact_mean_field(crf, image, probabilities)).mean(), abs(probabilities - exact_mean_field(crf, image, probabilities)).max(), abs(probabilities - exact_mean_field(crf, image, probabilities)).mean())

BOUNDS = ((DenseCRF(), 1), (DenseCRF(bilateral_srgb=13),1),(AFFINITYNET, 1), (DenseCRF(bilateral_compat=0),1), (DenseCRF(gaussian_compat=0),1))
