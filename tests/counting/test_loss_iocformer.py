"""Parts of IOCFormer's loss by hand, and against the same in another library."""

import pytest
import torch
from torchvision.ops import sigmoid_focal_loss as focal_loss_of_torchvision

from dense_hf import IOCFormerConfig
from dense_hf.counting.counter_interface import read_labels
from dense_hf.counting.density_losses import loss_of_density
from dense_hf.counting.loss_iocformer import (
    density_loss,
    density_term,
    iocformer_loss,
    mean_num_points,
    set_losses,
    sigmoid_focal_loss,
    unpad_labels,
)


@pytest.mark.parametrize("gamma", [0.5, 2.0, 3.0])
def test_the_focal_loss_is_that_of_torchvision(gamma):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 9, 3, generator=generator)
    targets = (torch.rand(2, 9, 3, generator=generator) > 0.7).float()
    ours = sigmoid_focal_loss(logits, targets, 0.25, gamma)
    torch.testing.assert_close(ours, focal_loss_of_torchvision(logits, targets, 0.25, gamma))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_places_are_matched_and_points_are_judged(dtype):
    """Query 0 has come to where the object of query 1 is, and the other way round; their places have not."""
    first, second = [0.125, 0.25, 0.5], [0.75, 0.5, 0.5]
    places = torch.tensor([first[:2], second[:2], [0.5, 0.875]])
    points = torch.tensor([[second, first, [0.5, 0.875, 0.5]]] * 2)
    logits = torch.tensor([[[-1.0, 2.0], [0.5, -0.5], [1.0, -2.0]]] * 2, dtype=dtype)
    targets = [torch.tensor([first]), torch.tensor([second, first])]
    config = IOCFormerConfig()
    focal, distance = set_losses(logits, points, targets, torch.tensor(3.0), config, places)
    between = sum(abs(one - other) for one, other in zip(first, second))
    torch.testing.assert_close(distance, torch.tensor(3 * between / 3))
    wanted = torch.zeros(2, 3, 2)
    wanted[0, 0, 1] = wanted[1, 0, 1] = wanted[1, 1, 1] = 1
    expected = focal_loss_of_torchvision(logits.float(), wanted, config.focal_alpha, config.focal_gamma).sum() / 3
    torch.testing.assert_close(focal, expected)


def test_an_object_is_matched_by_the_score_of_its_class():
    """Two queries at one place; the object is of class 1, and query 1 is surer of that."""
    points = torch.tensor([[[0.5, 0.5, 0.1]] * 2])
    logits = torch.tensor([[[0.0, 3.0, -3.0], [0.0, -3.0, 3.0]]])
    config = IOCFormerConfig(num_labels=2)
    targets, classes = [torch.tensor([[0.5, 0.5, 0.1]])], [torch.tensor([1])]
    focal, _ = set_losses(logits, points, targets, torch.tensor(1.0), config, classes=classes)
    wanted = torch.zeros(1, 2, 3)
    wanted[0, 1, 2] = 1
    expected = focal_loss_of_torchvision(logits, wanted, config.focal_alpha, config.focal_gamma).sum()
    torch.testing.assert_close(focal, expected)


def test_density_loss_by_hand():
    """Two images, two classes: sums (2, 6) and (4, 12) where there are (3, 0) and (1, 2)."""
    density_map = torch.tensor([[[[1.0, 1.0]], [[3.0, 3.0]]], [[[2.0, 2.0]], [[6.0, 6.0]]]])
    targets, classes = [torch.zeros(3, 3)] * 2, [torch.tensor([0, 0, 0]), torch.tensor([1, 0, 1])]
    assert density_loss(density_map, targets, classes) == ((1 + 6) + (3 + 10)) / 2
    assert density_loss(density_map, targets) == ((8 - 3) + (16 - 3)) / 2
    for known in (None, classes):  # all of it is where the map is
        assert density_loss(density_map.to("meta"), targets, known).device.type == "meta"
    assert mean_num_points(targets, torch.device("meta"), False).device.type == "meta"


def test_another_density_loss_gets_its_options_and_the_classes():
    generator = torch.Generator().manual_seed(0)
    density_map = torch.rand(1, 2, 4, 4, generator=generator)
    labels = torch.rand(1, 5, 3, generator=generator)
    classes = [torch.tensor([0, 1, 1, 0, 1])]
    options = {"sigma": 3.0}
    config = IOCFormerConfig(density_loss="bayesian", density_loss_options=options, num_labels=2, tile_size=64)
    ours = density_term(density_map, unpad_labels(labels), labels, config, classes)
    points = read_labels(labels, (64, 64), class_labels=classes[0][None], num_labels=2)
    torch.testing.assert_close(ours, loss_of_density("bayesian", options, density_map, points)["loss"])
    without = loss_of_density("bayesian", None, density_map, points)["loss"]
    assert abs(float(ours - without)) > 1e-3


def test_points_are_averaged_over_processes(monkeypatch):
    some, device = [torch.zeros(2, 3), torch.zeros(3, 3)], torch.device("cpu")
    assert mean_num_points(some, device, True) == 5
    for number in (0, 1):
        assert mean_num_points([torch.zeros(number, 3)], device, True) == 1
    # as if another process had 13
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda total: total.add_(13))
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    assert mean_num_points(some, device, True) == 9
    assert mean_num_points(some, device, False) == 5


def test_labels_lie_in_their_tile():
    """On its edges, too; distances to neighbors may be longer than its side."""
    rows = torch.tensor([[[0.0, 1.0, 1.5], [1.0, 0.0, 0.1], [-100, -100, -100]]])
    (points,) = unpad_labels(rows)
    assert points.tolist() == rows[0, :2].tolist()
    for wrong in (1.001, -0.001, 1.9):
        with pytest.raises(ValueError, match=r"in \[0, 1\].*image 0"):
            unpad_labels(torch.tensor([[[0.5, wrong, 0.1]]]))


def test_a_model_without_names_of_classes_has_one():
    labels = torch.tensor([[[0.5, 0.5, 0.1]]])
    predictions = [(torch.zeros(1, 2, 2), torch.full((1, 2, 3), 0.5))]
    losses = [
        iocformer_loss(predictions, None, labels, IOCFormerConfig(**fields), over_processes=False)[0]
        for fields in ({"id2label": {}}, {})
    ]
    assert torch.equal(*losses)


@pytest.mark.parametrize("over_processes", [False, True])
def test_the_loss_is_the_weighted_sum_of_its_parts(over_processes, monkeypatch):
    """Two layers, two classes, places of their own; with another process that has 2 points more."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.rand(2, 4, 3, generator=generator)
    labels[1, 2:] = -100
    class_labels = torch.tensor([[0, 1, 1, 0], [1, 0, 7, 7]])
    predictions = [
        (torch.randn(2, 6, 3, generator=generator), torch.rand(2, 6, 3, generator=generator)) for _ in range(2)
    ]
    places, density_map = torch.rand(6, 2, generator=generator), torch.rand(2, 2, 4, 4, generator=generator)
    density_map[:, 1] /= 100  # too little of one class, or an error of each class and one of their sum are the same
    weights = {"class_loss_coefficient": 2, "point_loss_coefficient": 3, "density_loss_coefficient": 5}
    config = IOCFormerConfig(num_labels=2, **weights)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda total: total.add_(8))
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    loss, terms = iocformer_loss(predictions, density_map, labels, config, over_processes, places, class_labels)
    targets, classes = [labels[0], labels[1, :2]], [class_labels[0], class_labels[1, :2]]
    num_points = torch.tensor(7.0 if over_processes else 6.0)
    expected = {"loss_density": density_loss(density_map, targets, classes)}
    total = 5 * expected["loss_density"]
    for suffix, (logits, points) in zip(("", "_0"), predictions):
        parts = set_losses(logits, points, targets, num_points, config, places, classes)
        expected |= {f"loss_ce{suffix}": parts[0], f"loss_point{suffix}": parts[1]}
        total = total + 2 * parts[0] + 3 * parts[1]
    assert terms.keys() == expected.keys()
    for name, term in terms.items():
        torch.testing.assert_close(term, expected[name])
    torch.testing.assert_close(loss, total)
