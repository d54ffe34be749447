"""Losses against dots, blobs, proposals and structure: released numbers, brute force, and gradients."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from released_counters import draw, golden
from scipy import ndimage
from torch.testing import assert_close

from dense_hf.counting import baseline_losses
from dense_hf.counting.baseline_losses import dividing_lines, flood
from dense_hf.counting.density_losses import (
    lcfcn_loss,
    multiscale_dots_loss,
    multiscale_ssim_loss,
    point_matching_loss,
)

NOTHING = torch.zeros(0, 2)
SHARED = ["11111222", "11132222", "41333222", "44335526", "44455556", "44455566"]


def lone_points(seed: int, number: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    places = torch.randperm(height * width, generator=generator)[:number]
    return torch.stack([places % width, places // width], dim=1).float()


# structural similarity


@pytest.mark.parametrize("scale", ["0.2", "1.0"])
def test_structural_similarity_as_released(scale):
    meta, numbers = golden("dssinet")
    target = numbers["target"]
    noise = torch.from_numpy(draw("noise_map", target.shape, meta["seed"], uniform=True)).float()
    predicted = (target * float(scale) + 0.02 * noise).requires_grad_()
    loss = multiscale_ssim_loss(predicted, target)["loss"]
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(numbers[f"loss_scale{scale}"]), rel=1e-5)
    expected = numbers[f"loss_scale{scale}.grad"]
    assert float((predicted.grad - expected).abs().max()) <= 1e-4 * float(expected.abs().max())


def mean_ssim_of_scipy(ours: np.ndarray, theirs: np.ndarray, dilation: int) -> float:
    """Structural similarity by correlations of scipy, a window with holes."""
    window = np.zeros((4 * dilation + 1, 4 * dilation + 1))
    window[::dilation, ::dilation] = np.exp(-np.add.outer(*[np.arange(-2, 3) ** 2] * 2) / 2)
    window /= window.sum()
    smooth = lambda values: ndimage.correlate(values, window, mode="constant")  # noqa: E731
    mean, other = smooth(ours), smooth(theirs)
    first, second = smooth(ours**2) - mean**2, smooth(theirs**2) - other**2
    both = smooth(ours * theirs) - mean * other
    numerator = (2 * mean * other + 2.55**2) * (2 * both + 7.65**2)
    return float((numerator / ((mean**2 + other**2 + 2.55**2) * (first + second + 7.65**2))).mean())


def test_structural_similarity_of_scipy():
    target = ndimage.gaussian_filter(np.random.default_rng(0).random((48, 32)), 3)
    ours = target * 0.7 + 0.1 * target[::-1]
    expected = []
    a, b = ours / target.max() * 255, target / target.max() * 255
    for level, dilation in enumerate((1, 2, 3, 6, 9)):
        if level:
            a, b = (x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2).mean(axis=(1, 3)) for x in (a, b))
        expected.append(mean_ssim_of_scipy(a, b, dilation))
    found = multiscale_ssim_loss(torch.tensor(ours)[None, None], torch.tensor(target)[None, None])
    assert [float(found[f"similarity_{scale}"]) for scale in range(1, 6)] == pytest.approx(expected, rel=1e-9)


def test_a_negative_similarity_is_a_number():
    """The released code takes its root."""
    target = torch.rand(1, 1, 32, 32)
    predicted = (1 - 3 * target).requires_grad_()
    found = multiscale_ssim_loss(predicted, target)
    found["loss"].backward()
    assert torch.isfinite(found["loss"])
    assert torch.isfinite(predicted.grad).all()


def test_structural_similarity_with_an_empty_target_and_equal_maps():
    target = torch.zeros(1, 1, 16, 16)
    assert float(multiscale_ssim_loss(target, target)["loss"]) == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(multiscale_ssim_loss(torch.rand(1, 1, 16, 16), target)["loss"])
    with pytest.raises(ValueError, match="sides at least 16"):
        multiscale_ssim_loss(target[..., :8], target[..., :8])


def test_gradient_of_structural_similarity():
    target = torch.rand(1, 1, 16, 16, dtype=torch.float64)
    predicted = (target + 0.1 * torch.rand_like(target)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: multiscale_ssim_loss(x, target)["loss"], predicted, fast_mode=True)


def test_full_precision_under_autocast():
    target = torch.rand(1, 1, 32, 32)
    expected = multiscale_ssim_loss(target * 0.5, target)["loss"]
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(multiscale_ssim_loss(target * 0.5, target)["loss"], expected)


# dots


@pytest.mark.parametrize("number", [0, 1, 2, 3, 40])
def test_dots_by_hand(number):
    height, width = 64, 96
    points = torch.rand(number, 2) * torch.tensor([float(width), float(height)])
    strides = {"stride_8": 8, "stride_4": 4, "stride_2": 2, "fused": 16}
    maps = {name: torch.randn(1, 1, height // side, width // side) for name, side in strides.items()}
    found = multiscale_dots_loss(maps, [points], (height, width), compat=False)
    for (name, side), weight in zip(strides.items(), (0.1, 0.2, 0.3, 0.1)):
        target = torch.zeros(height // side, width // side)
        for x, y in points.tolist():
            target[int(y / side), int(x / side)] += 1
        if side == 2:
            target = target.clamp(max=1)
        expected = weight * (maps[name][0, 0] - target).square().sum()
        assert float(found[name]) == pytest.approx(float(expected), rel=1e-6)
    assert float(found["loss"]) == pytest.approx(sum(float(found[name]) for name in strides), rel=1e-6)


def test_the_false_target_of_an_empty_image():
    maps = {name: torch.zeros(2, 1, 4, 4) for name in ("stride_8", "stride_4", "stride_2", "fused")}
    points = [NOTHING, torch.tensor([[5.0, 5.0]])]
    assert float(multiscale_dots_loss(maps, points, (8, 8))["fused"]) == pytest.approx(0.1)
    assert float(multiscale_dots_loss(maps, points, (8, 8), compat=False)["fused"]) == pytest.approx(0.05)


# proposals


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (2, 3)])
@pytest.mark.parametrize("compat", [True, False])
def test_matching_by_trying_all(counts, compat):
    from itertools import permutations

    torch.manual_seed(sum(counts))
    logits, predicted = torch.randn(2, 5, 2), torch.rand(2, 5, 2) * 40
    points = [torch.rand(count, 2) * 40 for count in counts]
    classes, distance = torch.zeros(2, 5, dtype=torch.long), 0.0
    for image, targets in enumerate(points):
        probability = logits[image].softmax(dim=-1)[:, 1]

        def cost(chosen, image=image, targets=targets, probability=probability):
            gaps = [float((predicted[image, q] - targets[t]).norm()) for t, q in enumerate(chosen)]
            return 0.05 * sum(gaps) - float(sum(probability[q] for q in chosen))

        best = min(permutations(range(5), len(targets)), key=cost)
        classes[image, list(best)] = 1
        distance += sum(float((predicted[image, q] - targets[t]).square().sum()) for t, q in enumerate(best))
    log = logits.log_softmax(dim=-1)
    weights = torch.where(classes == 1, 1.0, 0.5)
    ce = -(weights * log.gather(2, classes[..., None])[..., 0]).sum() / weights.sum()
    found = point_matching_loss(logits, predicted, points, compat=compat)
    assert_close(found["loss_ce"], ce)
    assert float(found["loss_point"]) == pytest.approx(distance / max(1, sum(counts)), rel=1e-5)
    expected = ce if compat else ce + 2e-4 * found["loss_point"]
    assert_close(found["loss"], expected)


def test_gradient_of_matching():
    logits = torch.randn(1, 4, 2, dtype=torch.float64, requires_grad=True)
    predicted = (torch.rand(1, 4, 2, dtype=torch.float64) * 20).requires_grad_()
    points = [torch.rand(2, 2, dtype=torch.float64) * 20]
    assert torch.autograd.gradcheck(
        lambda one, two: point_matching_loss(one, two, points, compat=False)["loss"], (logits, predicted)
    )


def test_diverged_predictions_are_named():
    with pytest.raises(ValueError, match="not finite"):
        point_matching_loss(torch.full((1, 3, 2), float("nan")), torch.zeros(1, 3, 2), [torch.zeros(1, 2)])


# blobs


@pytest.mark.parametrize("name", ["lcfcn", "lcfcn_one"])
def test_blobs_as_released(name):
    _, numbers = golden(name)
    logits = numbers["loss.logits"].clone().requires_grad_()
    points = numbers["loss.points_row_col"].flip(1).float()
    loss = lcfcn_loss(logits, [points])["loss"]
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(numbers["loss.value"]), rel=1e-5)
    expected = numbers["loss.grad_logits"]
    assert float((logits.grad - expected).abs().max()) <= 1e-4 * float(expected.abs().max())
    if "loss.boundaries" in numbers:
        probability = logits.detach().sigmoid()[0, 0].numpy()
        is_point = np.zeros(probability.shape, dtype=bool)
        is_point[points[:, 1].long(), points[:, 0].long()] = True
        found = dividing_lines(ndimage.black_tophat(probability, 7), is_point)
        assert (found == numbers["loss.boundaries"].numpy().astype(bool)).all()


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_blobs_of_few_points(number):
    logits = (3 * torch.randn(2, 1, 24, 32)).requires_grad_()
    points = [lone_points(0, number, 24, 32), NOTHING]
    loss = lcfcn_loss(logits, points)
    loss["loss"].backward()
    assert torch.isfinite(logits.grad).all()
    assert (float(loss["loss_point"].detach()) > 0) == (number > 0)
    twice = torch.cat([points[0], points[0]])
    assert_close(lcfcn_loss(logits, [twice, NOTHING])["loss"], loss["loss"])  # two points in one pixel are one


def test_gradient_of_blobs():
    logits = torch.randn(1, 1, 9, 9, dtype=torch.float64, requires_grad=True)
    points = [torch.tensor([[1.0, 1.0], [7.0, 6.0], [4.0, 4.0]])]
    assert torch.autograd.gradcheck(lambda x: lcfcn_loss(x, points)["loss"], logits)


def naive_flood(relief: np.ndarray, is_point: np.ndarray) -> np.ndarray:
    """The lowest labeled pixel that came first spreads, found by looking at all."""
    labels = np.where(is_point, np.cumsum(is_point).reshape(is_point.shape), 0)
    waiting = [(relief[y, x], 0, y, x) for y, x in np.argwhere(is_point)]
    age = 0
    while waiting:
        first = min(waiting)
        waiting.remove(first)
        _, _, y, x = first
        for dy, dx in ((-1, 0), (0, -1), (0, 1), (1, 0)):
            v, u = y + dy, x + dx
            if 0 <= v < relief.shape[0] and 0 <= u < relief.shape[1] and not labels[v, u]:
                labels[v, u], age = labels[y, x], age + 1
                waiting.append((max(relief[v, u], first[0]), age, v, u))
    return labels


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(3, 9), st.integers(3, 9))
def test_flooding_by_looking_at_all(seed, number, height, width):
    rng = np.random.default_rng(seed)
    relief = np.where(rng.random((height, width)) < 0.4, 0, rng.random((height, width)))
    is_point = np.zeros((height, width), dtype=bool)
    is_point.flat[rng.choice(height * width, number, replace=False)] = True
    relief[is_point] = rng.random(number)  # who is first of equal ones is another matter, see below
    assert (flood(relief, is_point) == naive_flood(relief, is_point)).all()
    within = rng.random((height, width)) < 0.5
    lines = dividing_lines(relief, is_point, within)
    assert (lines == dividing_lines(relief, is_point) & within).all()


def test_flat_ground_is_shared_as_scikit_image_shares_it():
    """Six points on flat ground; the basins are those of `skimage.segmentation.watershed`, version 0.26."""
    is_point = np.zeros((6, 8), dtype=bool)
    for y, x in ((0, 1), (1, 6), (2, 3), (4, 0), (4, 5), (5, 7)):
        is_point[y, x] = True
    assert ["".join(map(str, row)) for row in flood(np.zeros((6, 8)), is_point)] == SHARED


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.sampled_from([1, 2, 5, 10**9]))
def test_the_heap_floods_as_scikit_image_does(seed, number, levels):
    """Heights of few levels, where nearly all is decided by who came first, and of many; equal points, too."""
    segmentation = pytest.importorskip("skimage.segmentation")
    rng = np.random.default_rng(seed)
    height, width = rng.integers(5, 40, size=2)
    relief = (rng.integers(0, levels, size=(height, width)) / levels).astype(np.float32)
    number = min(number, height * width)
    sources = np.zeros((height, width), dtype=int)
    sources.flat[np.sort(rng.choice(height * width, number, replace=False))] = np.arange(1, number + 1)
    found = baseline_losses.flood_by_heap(relief, sources, np.ones((height, width), dtype=bool))
    assert (found == segmentation.watershed(relief, sources)).all()


@pytest.mark.parametrize("kind", ["heap", "library"])
def test_a_ridge_divides(kind, monkeypatch):
    """Two points on flat ground, and a ridge between them."""
    if kind == "heap":
        monkeypatch.setattr(baseline_losses, "watershed", None)
    else:
        pytest.importorskip("skimage")
    relief = np.zeros((20, 31), dtype=np.float32)
    relief[:, 15] = 1
    is_point = np.zeros((20, 31), dtype=bool)
    is_point[3, 2] = is_point[17, 29] = True
    basins = flood(relief, is_point)
    assert (basins[:, :15] == 1).all()
    assert (basins[:, 16:] == 2).all()
    lines = dividing_lines(relief, is_point)
    assert not lines[:, :14].any()
    assert not lines[:, 17:].any()
    assert lines[:, 15].all()
