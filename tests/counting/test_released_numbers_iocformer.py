"""The model, its losses and its gradients against numbers that the authors' released code computed."""

import json

import pytest
import torch
from released_iocformer import FIXTURES, labels, official_state_dict, pixels, small_case
from safetensors.torch import load_file
from torch.testing import assert_close

from dense_hf import convert_original_checkpoint
from dense_hf.convert_iocformer import rename
from dense_hf.counting.loss_iocformer import match_points

pytestmark = pytest.mark.no_cover

CASES = ["cltr", "ioc", "ioc_merge", "ioc_merge2", "ioc_no_dete"]
CLOSE = {"atol": 1e-4, "rtol": 0}
TO_RELEASED_ORDER = [1, 0, 2]  # (x, y, distance) -> (row, column, distance)


def check_losses(outputs, expected: dict) -> None:
    for name, value in outputs.loss_dict.items():
        released = expected["count_loss_mean_l1" if name == "loss_density" else name]
        assert value.item() == pytest.approx(released, abs=1e-4), name
    total = expected.get("total_loss", expected["sum_set_losses_weighted"])
    assert outputs.loss.item() == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("prefix", ["", "masked."], ids=["whole", "padded"])
@pytest.mark.parametrize("name", CASES)
def test_small_networks(name, prefix, monkeypatch):
    case = small_case(name, monkeypatch)
    golden = {key.removeprefix(prefix): value for key, value in case.golden.items() if key.startswith(prefix)}
    pixel_mask = 1 - golden["mask_true_is_pad"].float() if prefix else None
    with torch.no_grad():
        outputs = case.model(
            case.golden["features"], pixel_mask=pixel_mask, labels=case.labels, output_hidden_states=True
        )
    assert_close(outputs.logits, golden["logits"], **CLOSE)
    assert_close(outputs.pred_points[..., TO_RELEASED_ORDER], golden["points"], **CLOSE)
    assert_close(outputs.encoder_last_hidden_state, golden["encoder_memory"], **CLOSE)
    if "reference_points" in golden:
        assert_close(outputs.reference_points.expand(2, -1, -1).flip(-1), golden["reference_points"], **CLOSE)
    for layer, auxiliary in enumerate(outputs.auxiliary_outputs):
        assert_close(auxiliary["logits"], golden[f"aux{layer}.logits"], **CLOSE)
        assert_close(auxiliary["pred_points"][..., TO_RELEASED_ORDER], golden[f"aux{layer}.points"], **CLOSE)
    decoder_states = [case.model.decoder.layernorm(state) for state in outputs.decoder_hidden_states[1:-1]]
    assert_close(torch.stack([*decoder_states, outputs.last_hidden_state]), golden["decoder_hs"], **CLOSE)
    if "density_map" in golden:
        assert_close(outputs.density_map, golden["density_map"], **CLOSE)
    check_losses(outputs, case.meta[f"{prefix}results"])


@pytest.mark.parametrize("name", CASES)
def test_encoder_layers_before_the_merge(name, monkeypatch):
    case = small_case(name, monkeypatch)
    golden = {key: value for key, value in case.golden.items() if key.startswith("encoder_layer")}
    if not golden:
        pytest.skip("the fixture has no encoder layers")
    seen = []
    for layer in case.model.encoder.layers:
        layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        case.model(case.golden["features"])
    for index, states in enumerate(seen):
        assert_close(states, golden[f"encoder_layer{index}_out"], **CLOSE)


@pytest.mark.parametrize("name", CASES)
def test_matching_of_released_predictions(name, monkeypatch):
    case = small_case(name, monkeypatch)
    results = case.meta["results"]
    matches = {("logits", "points"): results["matcher"]}
    for layer, expected in enumerate(results["matcher_aux"]):
        matches[f"aux{layer}.logits", f"aux{layer}.points"] = expected
    for (logits, points), expected in matches.items():
        for image, (queries, matched) in enumerate(expected):
            targets = case.golden[f"target{image}.points"]
            ours = match_points(case.golden[logits][image], case.golden[points][image], targets, case.model.config)
            assert [index.tolist() for index in ours] == [queries, matched]


@pytest.mark.parametrize("name", CASES)
def test_gradients(name, monkeypatch):
    """Sum and norm of every parameter's gradient. Ours are ordered (x, y), which changes neither."""
    case = small_case(name, monkeypatch)
    results = case.meta["results"]
    case.model(case.golden["features"], labels=case.labels).loss.backward()
    ours = {key: parameter.grad for key, parameter in case.model.named_parameters()}
    unused = set(results["params_without_grad"])
    shapes = json.loads((FIXTURES / "small_shapes.json").read_text())[name]
    for official, (expected_sum, expected_norm) in results["grad_sum_norm_eval_mode"].items():
        if official in unused:
            continue
        names = rename({official: torch.zeros(shapes[official])})
        gradient = torch.cat([ours[key].flatten() for key in names])
        assert gradient.norm().item() == pytest.approx(expected_norm, rel=2e-3, abs=1e-4), official
        assert gradient.sum().item() == pytest.approx(expected_sum, rel=2e-3, abs=2e-4 * expected_norm + 1e-4), (
            official
        )


@pytest.fixture(scope="module", params=["iocformer", "cltr"])
def real_size(request, tmp_path_factory):
    """A checkpoint of real size as the authors write it, converted."""
    listing = {"iocformer": "ioc", "cltr": "cltr"}[request.param]
    meta = json.loads((FIXTURES / f"full_{listing}.json").read_text())
    state_dict = {f"module.{name}": tensor for name, tensor in official_state_dict(meta, listing).items()}
    path = tmp_path_factory.mktemp("released") / "model_best.pth"
    torch.save({"epoch": 1499, "arch": "", "state_dict": state_dict, "best_prec1": 15.9, "optimizer": {"a": 1}}, path)
    golden = load_file(FIXTURES / f"full_{listing}.golden.safetensors")
    return convert_original_checkpoint(path, request.param), meta, golden


def test_real_size_from_pixels(real_size):
    model, meta, golden = real_size
    with torch.no_grad():
        outputs = model(pixels(2, meta["seed"]), labels=labels(golden, [40, 3]))
    assert_close(outputs.logits, golden["logits"], **CLOSE)
    assert_close(outputs.pred_points[..., TO_RELEASED_ORDER], golden["points"], **CLOSE)
    assert_close(outputs.encoder_last_hidden_state, golden["encoder_memory"], **CLOSE)
    if "density_map" in golden:
        assert_close(outputs.density_map, golden["density_map"], **CLOSE)
    check_losses(outputs, meta["results"])


def test_numbers_of_parameters(real_size):
    model, meta, _ = real_size
    expected = {"ioc": (52_496_968, 52_274_568), "cltr": (43_497_671, 43_275_271)}[meta["family"]]
    parameters = list(model.parameters())
    assert sum(p.numel() for p in parameters) == expected[0]
    assert sum(p.numel() for p in parameters if p.requires_grad) == expected[1]
