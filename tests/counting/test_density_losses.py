"""Losses of density maps: the released numbers, brute force, and what must hold whatever the map is."""

import math

import pytest
import torch
from released_counters import draw, golden, official_state_dict, pixels, points_of
from torch.testing import assert_close

from dense_hf.counting.density_head import KernelGenerator
from dense_hf.counting.density_losses import (
    bayesian_loss,
    distribution_matching_loss,
    generalized_loss,
    kernel_density,
    kernel_generation_loss,
    noisy_annotation_loss,
    sum_of_squares_loss,
)
from dense_hf.counting.transport_losses import balanced_transport, unbalanced_transport


def case(name, **kwargs):
    """Numbers of a case, its points, and its map, which wants a gradient."""
    _, numbers = golden(name)
    return numbers, points_of(numbers) or [numbers["points"]], numbers["density"].clone().requires_grad_()


def close(loss, density, expected, gradient):
    """1e-5 of the loss, 1e-4 of the largest gradient."""
    assert_close(loss.reshape(1), expected.reshape(1), rtol=1e-5, atol=1e-6)
    loss.backward()
    assert float((density.grad - gradient).abs().max()) <= 1e-4 * float(gradient.abs().max())


@pytest.mark.parametrize("variant", ["bg0_ratio1.0", "bg1_ratio1.0", "bg1_ratio0.15"])
def test_bayesian_loss_as_released(variant):
    numbers, points, density = case("bl_loss")
    shares = [numbers[f"ratio{index}"] for index in range(len(points))]
    ratio = None if variant.startswith("bg0") else float(variant.partition("ratio")[2])
    loss = bayesian_loss(density, points, 8, numbers["image_short_side"], shares, background_ratio=ratio)["loss"]
    close(loss, density, numbers[f"{variant}.loss"], numbers[f"{variant}.grad"])
    empty = bayesian_loss(density, [points[1]] * len(points), 8, numbers["image_short_side"])["loss"]
    assert_close(empty.reshape(1), numbers["all_empty.loss"])


@pytest.mark.parametrize("ratio", [1.0, 0.15])
def test_trimmed_bayesian_loss_as_released(ratio):
    numbers, points, density = case("man_loss")
    shares = [numbers[f"ratio{index}"] for index in range(len(points))]
    options = {"background_ratio": ratio, "background": "difference", "trim": 0.9}
    loss = bayesian_loss(density, points, 16, numbers["image_short_side"], shares, **options)["loss"]
    close(loss, density, numbers[f"bg1_ratio{ratio}.loss"], numbers[f"bg1_ratio{ratio}.grad"])


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("sum_to_one", [False, True])
def test_noisy_annotation_loss_as_released(background, sum_to_one):
    numbers, points, density = case("noisycc_loss")
    parts = noisy_annotation_loss(
        density, points, 8, 168, [numbers["ratio"]], background=background, sum_to_one=sum_to_one
    )
    name = f"bg{background:d}_reg{sum_to_one:d}"
    close(parts["loss"], density, numbers[f"{name}.loss"], numbers[f"{name}.grad"])
    empty = noisy_annotation_loss(density, [points[0][:0]], 8, 168)["loss"]
    assert_close(empty.reshape(1), numbers["empty.loss"])


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("iterations", [10, 100])
def test_distribution_matching_loss_as_released(normalized, iterations):
    numbers, points, density = case("dmcount_loss")
    options = {"regularization": 0.1, "normalized_coordinates": True} if normalized else {}
    parts = distribution_matching_loss(density, points, 8, iterations=iterations, **options)
    name = f"norm{normalized:d}_iter{iterations}"
    expected = numbers[f"{name}.losses"]
    assert_close(parts["loss_count"], expected[1])
    assert_close(parts["loss_tv"], expected[2])
    assert_close(0.1 * parts["ot_objective"], expected[4], rtol=1e-5, atol=0)
    assert_close(parts["wasserstein"], expected[5], rtol=1e-5, atol=0)
    close(parts["loss"], density, expected[3], numbers[f"{name}.grad"])


@pytest.mark.parametrize("variant", ["per_l1_l2", "per_l2_l1", "exp_l1_l2", "exp_l2_l1"])
def test_generalized_loss_as_released(variant):
    numbers, points, density = case("gl_loss")
    cost, point_norm, pixel_norm = variant.split("_")
    parts = generalized_loss(density, points, 8, cost=cost, point_norm=point_norm, pixel_norm=pixel_norm)
    expected = numbers[f"{variant}.losses"]
    for name, value in zip(("emd", "point", "pixel", "entropy"), expected):
        assert_close(parts[f"loss_{name}"], value, rtol=1e-5, atol=1e-7)
    close(parts["loss"], density, expected[4], numbers[f"{variant}.grad"])


@pytest.mark.parametrize("name", ["kdmg_loss", "kdmg_loss_softmax"])
def test_kernel_generation_loss_as_released(name):
    meta, _ = golden(name)
    numbers, points, density = case(name)
    generator = KernelGenerator(meta["in_channels"], meta["kernel_size"], meta["softmax"])
    generator.load_state_dict({key[6:]: value for key, value in official_state_dict(meta).items()})
    kernels = generator(pixels(meta))
    target = kernel_density(kernels, points, 8, density.shape[-2:], compat=True)
    assert_close(target, numbers["kernel_density"], atol=1e-5 * float(numbers["kernel_density"].max()), rtol=0)
    close(kernel_generation_loss(density, points, 8, kernels)["loss"], density, numbers["loss"], numbers["grad"])
    for key, parameter in generator.named_parameters():
        total, norm = meta["gradients"][f"adapt.{key}"]
        assert float(parameter.grad.norm()) == pytest.approx(norm, rel=1e-4)
        assert float(parameter.grad.sum()) == pytest.approx(total, abs=1e-4 * norm * parameter.numel() ** 0.5)


# brute force


def some(counts=(3, 0, 1), side=4, seed=3, dtype=torch.float64):
    """A positive map with cells of 8 pixels, and points, one of them outside."""
    density = torch.from_numpy(draw("map", (len(counts), 1, side, side), seed, uniform=True)).to(dtype)
    points = [torch.from_numpy(draw(f"p{n}", (n, 2), seed, uniform=True)).to(dtype) * 8 * side for n in counts]
    points[counts.index(max(counts))][0, 0] = -3.0
    return density, points


@pytest.mark.parametrize(("background", "trim"), [("inverse", 1.0), ("difference", 0.5), (None, 1.0)])
def test_bayesian_loss_by_loops(background, trim):
    density, points = some()
    expected = []
    for image, some_points in zip(density[:, 0], points):
        sums, of_background = [0.0] * len(some_points), 0.0
        for row in range(4):
            for column in range(4):
                value, x, y = float(image[row, column]), 8 * column + 4, 8 * row + 4
                squares = [(float(p[0]) - x) ** 2 + (float(p[1]) - y) ** 2 for p in some_points]
                weights = [math.exp(-square / 128) for square in squares]
                if background and squares:
                    length = 50 * 0.4
                    far = length**2 / (min(squares) + 1e-5)
                    if background == "difference":
                        far = (length - math.sqrt(min(squares))) ** 2
                    weights.append(math.exp(-far / 128))
                for n in range(len(some_points)):
                    sums[n] += value * weights[n] / sum(weights)
                of_background += value * (weights[-1] / sum(weights) if background and squares else not squares)
        errors = sorted(abs(1 - total) for total in sums)[: math.ceil(trim * len(some_points))]
        expected.append(sum(errors) + of_background)
    options = {"background_ratio": 0.4 if background else None, "background": background or "inverse", "trim": trim}
    loss = bayesian_loss(density, points, 8, 50, **options)["loss"]
    assert float(loss) == pytest.approx(sum(expected) / 3)


def test_the_gradient_of_transport_is_that_of_its_value():
    """By finite differences of the entropic objective, which its dual gives once Sinkhorn has converged."""
    cost = torch.tensor([[1.0, 4.0, 9.0, 2.0], [5.0, 1.0, 0.5, 3.0]], dtype=torch.float64)
    mass = torch.tensor([0.3, 0.2, 0.4, 0.1], dtype=torch.float64)

    def value(of_cells):
        kernel, source = (-cost / 2).exp(), torch.full((2,), 0.5, dtype=torch.float64)
        u = source.clone()
        for _ in range(500):
            v = of_cells / (kernel.T @ u)
            u = source / (kernel @ v)
        return 2 * ((source * u.log()).sum() + (of_cells * v.log()).sum())

    potential, _ = balanced_transport(mass, cost, 2.0, 1000)
    for first, second in ((0, 1), (1, 2), (3, 0)):  # along the simplex: mass goes from one cell to another
        step = torch.zeros(4, dtype=torch.float64)
        step[first], step[second] = 1e-5, -1e-5
        slope = float((value(mass + step) - value(mass - step)) / 2e-5)
        assert float(potential[first] - potential[second]) == pytest.approx(slope, abs=1e-3)  # it stops early


def test_unbalanced_transport_is_the_cheapest():
    """The primal cost of the plan of its potentials is that which a general optimizer finds."""
    cost = torch.tensor([[0.1, 0.6], [0.3, 0.2], [0.8, 0.1]], dtype=torch.float64)
    mass = torch.tensor([0.5, 1.5, 0.7], dtype=torch.float64)
    blur, reach = 0.1, 0.5
    cells, points = unbalanced_transport(mass, 2, cost, blur, reach, 0.95, 1.0)

    def primal(plan):
        product = mass[:, None] * torch.ones(2)

        def divergence(a, b):
            return (torch.xlogy(a, a / b) - a + b).sum()

        marginals = divergence(plan.sum(dim=1), mass) + divergence(plan.sum(dim=0), torch.ones(2).double())
        return (plan * cost).sum() + blur * divergence(plan, product) + reach * marginals

    ours = ((cells[:, None] + points[None] - cost) / blur).exp() * mass[:, None]
    for start in (ours.sqrt(), torch.full((3, 2), 0.5, dtype=torch.float64)):
        roots = start.clone().requires_grad_()
        optimizer = torch.optim.LBFGS([roots], max_iter=200, tolerance_change=1e-14, line_search_fn="strong_wolfe")

        def step(roots=roots, optimizer=optimizer):
            optimizer.zero_grad()
            value = primal(roots.square())
            value.backward()
            return value

        optimizer.step(step)
        assert float(primal(ours)) == pytest.approx(float(primal(roots.detach().square())), abs=1e-4)


@pytest.mark.parametrize(
    "loss",
    [
        lambda density, points: bayesian_loss(density, points, 8, 50, background_ratio=0.4),
        lambda density, points: bayesian_loss(density, points, 8, 50, background="difference", background_ratio=0.4),
        lambda density, points: noisy_annotation_loss(density, points, 8, 50, sum_to_one=True),
        lambda density, points: sum_of_squares_loss(density, torch.linspace(0, 1, 48).double().view(3, 1, 4, 4)),
    ],
)
def test_gradients_are_those_of_the_values(loss):
    density, points = some()
    assert torch.autograd.gradcheck(lambda value: loss(value, points)["loss"], density.requires_grad_())


@pytest.mark.parametrize("compat", [True, False])
def test_gradients_of_generated_kernels(compat):
    density, points = some((2, 1))
    kernels = torch.from_numpy(draw("kernels", (2, 9, 2, 2), 1, uniform=True)).requires_grad_()

    def loss(value, generated):
        return kernel_generation_loss(value, points, 8, generated, compat=compat)["loss"]

    assert torch.autograd.gradcheck(loss, (density.requires_grad_(), kernels))


# what the released code does, and what the repaired forms do


def test_windows_of_released_kernels_are_one_cell_off():
    kernels = torch.zeros(2, 9, 4, 4)
    kernels[0, 4], kernels[1, 4] = 1, 2  # all mass in the middle
    points = [torch.tensor([[28.0, 36.0]])] * 2
    released = kernel_density(kernels, points, 8, (8, 8), compat=True)
    repaired = kernel_density(kernels, points, 8, (8, 8), compat=False)
    assert released[0, 0].nonzero().tolist() == [[3, 2]]  # the cell of the point is row 4, column 3
    assert repaired[0, 0].nonzero().tolist() == [[4, 3]]
    assert released[1].sum() == 1  # the kernels of the first image
    assert repaired[1].sum() == 2
    corner = [torch.tensor([[1.0, 1.0]])] * 2
    uniform = torch.full((2, 9, 4, 4), 1 / 9)
    assert float(kernel_density(uniform, corner, 8, (8, 8), True)[0].sum()) == pytest.approx(1)  # moved inside
    assert float(kernel_density(uniform, corner, 8, (8, 8), False)[0].sum()) == pytest.approx(4 / 9)  # cut


def test_the_repaired_grid_of_gl_is_centered():
    """A map with its mass in the cells of the points is cheaper there than with the released grid."""
    density = torch.full((1, 1, 8, 8), 1e-4)
    density[0, 0, 2, 5] = 1
    points = [torch.tensor([[44.0, 20.0]])]
    released, repaired = (generalized_loss(density, points, 8, compat=compat) for compat in (True, False))
    assert repaired["loss_emd"] < released["loss_emd"]


def test_transport_is_summed_over_the_batch_as_released():
    density, points = some((3,))
    twice = density.repeat(2, 1, 1, 1)
    gradients = []
    for compat in (True, False):
        leaf = twice.clone().requires_grad_()
        distribution_matching_loss(leaf, points * 2, 8, variation_weight=0, compat=compat)["loss_ot"].backward()
        gradients.append(leaf.grad)
    assert_close(gradients[0], 2 * gradients[1])


ALL = {
    "bayesian": lambda density, points: bayesian_loss(density, points, 8, 50),
    "noisy": lambda density, points: noisy_annotation_loss(density, points, 8, 50),
    "matching": lambda density, points: distribution_matching_loss(density, points, 8),
    "generalized": lambda density, points: generalized_loss(density, points, 8),
    "kernels": lambda density, points: kernel_generation_loss(density, points, 8, torch.full((4, 25, 2, 2), 0.04)),
}


@pytest.mark.parametrize("name", ALL)
def test_few_points_and_reduced_precision(name):
    """Images with 0 to 3 points; under autocast the loss and its gradient are those of float32."""
    density, points = some((0, 1, 2, 3), dtype=torch.float32)
    leaf = density.clone().requires_grad_()
    exact = ALL[name](leaf, points)["loss"]
    exact.backward()
    assert torch.isfinite(leaf.grad).all()
    half = density.to(torch.bfloat16).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = ALL[name](half, points)["loss"]
    assert loss.dtype == torch.float32
    rounded = ALL[name](density.to(torch.bfloat16).float(), points)["loss"]
    assert torch.equal(loss, rounded)


def test_wrong_arguments_are_named():
    density, points = some()
    with pytest.raises(ValueError, match=r"background must be .* Received: 'both'"):
        bayesian_loss(density, points, 8, 50, background="both")
    with pytest.raises(ValueError, match=r"cost must be .*'l3'"):
        generalized_loss(density, points, 8, point_norm="l3")
