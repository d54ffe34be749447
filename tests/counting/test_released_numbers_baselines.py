"""MCNN, MAN, DSSI-Net, MPS, LCFCN and P2PNet at full width give what their released code gives, gradients included."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from released_counters import (
    check_gradients,
    draw,
    golden,
    official_state_dict,
    pixels,
    points_of,
)
from torch import Tensor
from torch.nn import functional as F

from dense_hf import convert_original_checkpoint
from dense_hf.counting.density_losses import multiscale_ssim_loss
from dense_hf.lazy_names import load_name
from dense_hf.methods import converters

ARCHITECTURES = {"man_batch": "man", "lcfcn_one": "lcfcn"}


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-5) -> None:
    """Nothing differs by more than this part of the largest value."""
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) <= tolerance * float(theirs.abs().max())


def labels_of(points: list[Tensor], meta: dict[str, Any], shares: list[Tensor] | None = None) -> Tensor:
    """Labels [B, N, 2 or 4] of points in pixels."""
    labels = torch.full((len(points), max(1, *map(len, points)), 2 if shares is None else 4), -100.0)
    for index, xy in enumerate(points):
        labels[index, : len(xy), :2] = xy / torch.tensor([meta["width"], meta["height"]])
        if shares is not None:
            labels[index, : len(xy), 2], labels[index, : len(xy), 3] = 0.1, shares[index]
    return labels


def of_rows(numbers: dict[str, Tensor]) -> list[Tensor]:
    """(x, y) of the points of a case that has rows and columns."""
    return [numbers["points_row_col"].flip(1).float()]


def names_of(model: torch.nn.Module, official: dict[str, Tensor]) -> dict[str, str]:
    """Our names to theirs, by what the tensors hold."""
    by_content = {
        (tuple(t.shape), float(t.flatten()[0]), float(t.double().sum())): name for name, t in official.items()
    }
    return {
        name: by_content[tuple(t.shape), float(t.flatten()[0]), float(t.double().sum())]
        for name, t in ((name, parameter.detach()) for name, parameter in model.named_parameters())
    }


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """Makes the model of a case, from a file as the authors' code writes it, and what it says in float32;
    `model` and `pixels` are in float64, for gradients."""

    def make(name: str, **overrides: Any) -> SimpleNamespace:
        meta, numbers = golden(name)
        official = official_state_dict(meta)
        architecture = ARCHITECTURES.get(name, name)
        if in_file := {
            "mcnn": official,
            "mcnn_gray": {"state_dict": official},
            "p2pnet": {"model": official, "epoch": 7},
        }.get(name):
            path = tmp_path_factory.mktemp("released") / "model.pth"
            torch.save(in_file, path)
            model = convert_original_checkpoint(path, architecture, **overrides)
            path.unlink()
        else:  # the same, without waiting for the disk
            model = load_name(converters()[architecture])(official, **overrides)
        names = names_of(model, official)
        with torch.no_grad():
            outputs = model(pixels(meta))
        exact = {"model": model.double(), "pixels": pixels(meta).double()}
        return SimpleNamespace(meta=meta, numbers=numbers, names=names, outputs=outputs, **exact)

    return make


@pytest.mark.parametrize("name", ["mcnn", "mcnn_gray"])
def test_mcnn(case, name):
    one = case(name)
    assert one.model.num_parameters() == one.meta["parameters"]
    density_map = one.model(one.pixels).density_map
    close(one.outputs.density_map[:, 0], one.numbers["density"].view(density_map[:, 0].shape))
    seed, size = one.meta["seed"], density_map[:, 0].shape
    target = torch.from_numpy(draw("target", size, seed, uniform=True)).float()
    loss = F.mse_loss(density_map[:, 0], torch.where(target > 0.85, target, 0).double(), reduction="sum")
    assert float(loss.detach()) == pytest.approx(float(one.numbers["loss"]), rel=1e-5)
    loss.backward()
    check_gradients(one.model, one.names, one.meta["gradients"])


@pytest.mark.slow
def test_dssinet(case):
    one = case("dssinet")
    assert one.model.num_parameters() == one.meta["parameters"]
    close(one.outputs.density_map, one.numbers["density"])
    # a slope is one number in which much cancels out: 1.2e-3 of the released one is float32's (measured)
    with torch.backends.mkldnn.flags(enabled=False):
        density_map = one.model.float()(one.pixels.float()).density_map
        loss = multiscale_ssim_loss(density_map, one.numbers["target"])["loss"]
        loss.backward()
    assert float(loss.detach()) == pytest.approx(float(one.numbers["ssim_loss"]), rel=1e-5)
    check_gradients(one.model, one.names, one.meta["gradients"])
    unused = {name for name, parameter in one.model.named_parameters() if parameter.grad is None}
    assert {one.names[name] for name in unused} == {
        name for name, gradient in one.meta["gradients"].items() if gradient is None
    }


@pytest.mark.slow
def test_mps(case):
    one = case("mps")
    assert one.model.num_parameters() == one.meta["parameters"]
    outputs = one.model(one.pixels, labels=labels_of(of_rows(one.numbers), one.meta))
    close(one.outputs.density_map[:, 0], one.numbers["map_fused16"])
    for stride in (8, 4, 2):
        close(one.outputs.auxiliary_outputs[f"stride_{stride}"][:, 0], one.numbers[f"map_stride{stride}"])
    terms = [*outputs.loss_dict.values(), outputs.loss]
    assert [float(term.detach()) for term in terms] == pytest.approx(one.numbers["losses"].tolist(), rel=1e-5)
    outputs.loss.backward()
    check_gradients(one.model, one.names, one.meta["gradients"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lcfcn", "lcfcn_one"])
def test_lcfcn(case, name):
    one = case(name)
    assert one.model.num_parameters() == one.meta["parameters_of_this"]
    outputs = one.model(one.pixels, labels=labels_of(of_rows(one.numbers), one.meta))
    close(one.outputs.blob_logits, one.numbers["logits"])
    assert float(outputs.loss.detach()) == pytest.approx(float(one.numbers["model_loss"]), rel=1e-5)
    outputs.loss.backward()
    check_gradients(one.model, one.names, one.meta["gradients"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["man", "man_batch"])
def test_man(case, name, monkeypatch):
    one = case(name)
    assert one.model.num_parameters() == one.meta["parameters"]
    labels = labels_of(points_of(one.numbers), one.meta, points_of(one.numbers, "ratio"))
    short_sides = torch.full((len(labels),), float(one.meta["image_short_side"]))
    outputs = one.model(one.pixels, labels=labels, image_short_sides=short_sides)
    close(one.outputs.density_map, one.numbers["density"])
    bayesian, consistency = one.numbers["losses"][:2] if name == "man" else one.numbers["losses_per_image"].mean(dim=0)
    terms = outputs.loss_dict
    assert float((terms["loss_points"] + terms["loss_background"]).detach()) == pytest.approx(
        float(bayesian), rel=1e-5
    )
    assert float(terms["loss_consistency"].detach()) == pytest.approx(float(consistency), rel=1e-4)
    outputs.loss.backward()
    check_gradients(one.model, one.names, one.meta["gradients"])
    monkeypatch.setattr("dense_hf.counting.modeling_man.ATTENTION_CELLS", 100)
    with torch.no_grad():
        close(one.model(one.pixels).density_map, one.numbers["density"])


@pytest.mark.slow
def test_p2pnet(case):
    one = case("p2pnet")
    unused = 3_606_272  # which no forward of the released code uses
    assert one.model.num_parameters() == one.meta["parameters"] - unused
    labels = labels_of(points_of(one.numbers), one.meta)
    outputs = one.model(one.pixels, labels=labels)
    close(one.outputs.logits, one.numbers["logits"])
    close(one.outputs.pred_points * one.meta["width"], one.numbers["points"])
    found = one.outputs.logits.softmax(dim=-1)[..., 1] > 0.5
    assert found.sum(dim=1).tolist() == one.meta["predicted_count"]
    ce, point, released, repaired = one.numbers["losses"].tolist()
    assert [float(outputs.loss_dict[name].detach()) for name in ("loss_ce", "loss_point")] == pytest.approx(
        [ce, point], rel=1e-5
    )
    assert float(outputs.loss.detach()) == pytest.approx(released, rel=1e-5)
    outputs.loss.backward()
    check_gradients(one.model, one.names, one.meta["gradients"])
    assert all(parameter.grad is None for parameter in one.model.regression_head.parameters())
    one.model.zero_grad()
    one.model.config.compat = False
    outputs = one.model(one.pixels, labels=labels)
    assert float(outputs.loss.detach()) == pytest.approx(repaired, rel=1e-5)
    outputs.loss.backward()
    check_gradients(one.model, one.names, one.meta["gradients_fixed"])
    assert all(parameter.grad is not None for parameter in one.model.regression_head.parameters())
