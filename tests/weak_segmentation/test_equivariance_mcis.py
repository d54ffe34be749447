"""The loss by which class maps follow the size of their image."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from tiny_mcis import random_labels, random_pixels, tiny_model
from torch.nn import functional as F
from torch.testing import assert_close

from dense_hf import MCISConfig
from dense_hf.weak_segmentation.equivariance_mcis import equivariance_loss, shrink


def random_maps(size=(9, 12), seed=0):
    return torch.randn(2, 5, *size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("factor", [1.0, 3.7])
def test_maps_that_shrink_with_the_image_cost_nothing(factor):
    maps = random_maps()
    shrunk = factor * F.interpolate(maps, size=(3, 4), mode="bilinear", align_corners=False)
    assert equivariance_loss(maps, shrunk, torch.ones(2, 5)) < 1e-5
    assert equivariance_loss(maps, shrunk.roll(1, dims=3), torch.ones(2, 5)) > 0.1


def test_one_image_and_class_by_hand():
    """Maps of 2 x 2, so that nothing is resized: |0 - 0.5|, |1 - 1|, |0.5 - 0|, |0 - 0| / 4."""
    maps = torch.tensor([[[[-3.0, 2.0], [1.0, 0.0]], [[5.0, 5.0], [5.0, 5.0]]]])
    shrunk = torch.tensor([[[[2.0, 4.0], [-1.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]]])
    assert_close(equivariance_loss(maps, shrunk, torch.tensor([[1.0, 0.0]])), torch.tensor(0.25), atol=1e-4, rtol=0)
    assert_close(equivariance_loss(maps, shrunk, torch.tensor([[0.0, 1.0]])), torch.tensor(0.75), atol=1e-4, rtol=0)
    assert_close(equivariance_loss(maps, shrunk, torch.tensor([[1.0, 1.0]])), torch.tensor(0.5), atol=1e-4, rtol=0)
    assert equivariance_loss(maps, shrunk, torch.zeros(1, 2)) == 0


def test_only_classes_of_the_image_get_gradients():
    maps, shrunk = random_maps().requires_grad_(), random_maps((3, 4), seed=1).requires_grad_()
    labels = torch.tensor([[1, 0, 0, 0, 0], [0, 0, 1, 0, 1]])
    equivariance_loss(maps, shrunk, labels).backward()
    for one in (maps, shrunk):
        assert torch.equal(one.grad.abs().amax(dim=(2, 3)) > 0, labels > 0)


def test_the_copy_has_the_colours_of_the_image():
    pixels = torch.randn(1, 3, 1, 1).expand(1, 3, 50, 70)
    assert_close(shrink(pixels, 0.3), pixels[:, :, :15, :21])


def test_it_is_a_term_of_the_loss_that_trains_head_and_backbone():
    torch.manual_seed(0)
    model = tiny_model(equivariance_weight=0.5)
    pixels, labels = random_pixels(), random_labels()
    outputs = model(pixels, labels=labels)
    assert set(outputs.loss_dict) == {"loss_basic", "loss_equivariance"}
    assert_close(outputs.loss, outputs.loss_dict["loss_basic"] + outputs.loss_dict["loss_equivariance"])
    shrunk = model(shrink(pixels, 0.3)).activation_maps
    expected = 0.5 * equivariance_loss(outputs.activation_maps, shrunk, labels)
    assert expected > 0
    assert_close(outputs.loss_dict["loss_equivariance"], expected)
    outputs.loss_dict["loss_equivariance"].backward()
    for parameter in (
        model.classifier.weight,
        model.neck[0].weight,
        model.backbone.stages[0].get_submodule("0").weight,
    ):
        assert parameter.grad.abs().max() > 0
    paired = model(pixels, pixels.flip(-1), labels=labels, paired_labels=labels)
    assert_close(paired.loss_dict["loss_equivariance"], expected)  # of the image, whatever its partner


def test_some_steps_make_maps_more_equivariant():
    model = tiny_model(equivariance_weight=1.0)
    pixels, labels = random_pixels(size=(96, 96)), random_labels()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for _ in range(25):
        losses.append(model(pixels, labels=labels).loss_dict["loss_equivariance"])
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.6 * losses[0]


def test_without_a_weight_nothing_is_computed():
    model = tiny_model()
    calls = []
    model.backbone.register_forward_hook(lambda *_: calls.append(1))
    outputs = model(random_pixels(), labels=random_labels())
    assert len(calls) == 1
    assert "loss_equivariance" not in outputs.loss_dict


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"equivariance_weight": -1.0}, "equivariance_weight"),
        ({"equivariance_weight": float("inf")}, "equivariance_weight"),
        ({"equivariance_scale": 0.0}, "equivariance_scale"),
        ({"equivariance_scale": 1.0}, "equivariance_scale"),
    ],
)
def test_bad_fields(fields, problem):
    with pytest.raises((StrictDataclassError, ValueError), match=problem):
        MCISConfig(**fields)
