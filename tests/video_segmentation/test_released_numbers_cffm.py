"""The model, its loss and its gradients against numbers that the authors' released code computed."""

import json

import pytest
import torch
from released_cffm import FIXTURES, from_features, from_pixels, official_state_dict
from torch.testing import assert_close

from dense_hf import convert_original_checkpoint
from dense_hf.convert_cffm import rename_checkpoint
from dense_hf.video_segmentation.configuration_cffm import CFFMConfig
from dense_hf.video_segmentation.modeling_cffm import CFFMForVideoSemanticSegmentation

pytestmark = pytest.mark.no_cover

CLOSE = {"atol": 1e-4, "rtol": 0}


@pytest.fixture(scope="module", params=["cffm_tiny", "cffm_b1"])
def converted(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("released") / "iter_160000.pth"
    torch.save({"meta": {"CLASSES": ["wall"]}, "state_dict": official_state_dict(request.param)}, path)
    return convert_original_checkpoint(path, "cffm"), from_pixels(request.param)


def test_from_pixels(converted):
    model, case = converted
    with torch.no_grad():
        outputs = model(case.pixels, labels=case.labels)
    assert_close(outputs.logits, case.golden["logits"], **CLOSE)
    assert_close(outputs.auxiliary_logits, case.golden["auxiliary_logits"], **CLOSE)
    assert_close(outputs.loss, case.golden["loss"][0], **CLOSE)
    enlarged = torch.nn.functional.interpolate(outputs.logits, case.pixels.shape[-2:], mode="bilinear")
    assert enlarged.argmax(1).sum().item() == pytest.approx(case.meta["argmax_at_input_size_sum"], abs=200)


def test_a_frame_alone(converted):
    model, case = converted
    with torch.no_grad():
        alone = model(case.pixels[:, -1:])
        short = model(case.pixels[:, -3:])
    assert_close(alone.logits, case.golden["single_frame_logits"], **CLOSE)
    assert_close(short.logits, case.golden["single_frame_logits"], **CLOSE)


def test_what_inference_leaves_out(converted):
    model, case = converted
    with torch.no_grad():
        outputs = model(case.pixels)
    assert outputs.loss is None
    assert outputs.auxiliary_logits is None
    assert_close(outputs.logits, case.golden["logits"], **CLOSE)


HEADS = ["head_div", "head_nondiv"]  # features of 28 x 56, and of 31 x 54 over 16 x 27: nothing divides anything


@pytest.mark.parametrize("name", HEADS)
def test_from_features(name):
    case = from_features(name)
    before_classifier = []
    case.model.classifier.register_forward_hook(lambda module, inputs, output: before_classifier.append(inputs[0]))
    with torch.no_grad():
        outputs = case.model(case.pixels, labels=case.labels)
        alone, two = case.model(case.pixels[:, -1:]), case.model(case.pixels[:, -2:])
    assert_close(before_classifier[0].chunk(2, dim=1)[1], case.golden["out.enhanced_target"], **CLOSE)
    assert_close(outputs.logits, case.golden["out.final_logits"], **CLOSE)
    assert_close(outputs.auxiliary_logits, case.golden["out.aux_logits"], **CLOSE)
    assert_close(outputs.loss, case.golden["out.loss_seg"][0], **CLOSE)
    assert_close(alone.logits, case.golden["out.single_frame_logits"], **CLOSE)
    assert_close(two.logits, case.golden["out.two_frame_logits"], **CLOSE)


@pytest.mark.parametrize("name", HEADS)
def test_pooled_tokens(name):
    """The authors keep cells row by row, we window by window."""
    case = from_features(name)
    pooled = []
    layer = case.model.mining_layers[0]
    for pooling in (*layer.reference_pooling, layer.target_pooling):
        pooling.register_forward_hook(lambda module, inputs, output: pooled.append((module.cells, output)))
    with torch.no_grad():
        case.model(case.pixels)
    for ours, key in zip(pooled, ("ref0", "ref1", "ref2", "target")):
        cells, tokens = ours
        expected = case.golden[f"out.block0_pool_{key}"]
        rows, columns = (size // cells for size in expected.shape[1:3])
        tokens = tokens.view(-1, rows, columns, cells, cells, tokens.shape[-1]).transpose(2, 3)
        assert_close(tokens.reshape(expected.shape), expected, **CLOSE)


@pytest.mark.parametrize("name", HEADS)
def test_gradients(name):
    case = from_features(name)
    case.model(case.pixels, labels=case.labels).loss.backward()
    official = {f"decode_head.{key[5:]}": g for key, g in case.golden.items() if key.startswith("grad.")}
    for n in (1, 4):
        assert_close(case.maps[n - 1].grad, official.pop(f"decode_head.in.c{n}"), **CLOSE)
    ours = dict(case.model.named_parameters())
    expected = rename_checkpoint(official)
    assert len(expected) > 40
    for key, gradient in expected.items():
        assert_close(ours[key].grad, gradient, **CLOSE, msg=lambda m, key=key: f"{key}: {m}")


@pytest.mark.parametrize("backbone", ["b0", "b1", "b2", "b5"])
def test_numbers_of_parameters(backbone):
    """Those of the released code less its classifier that nothing uses; Table 4.1 to its rounding."""
    expected = json.loads((FIXTURES / "param_counts.json").read_text())[backbone]

    def count(**fields) -> int:
        with torch.device("meta"):
            model = CFFMForVideoSemanticSegmentation(CFFMConfig.from_backbone(backbone, **fields))
        return sum(parameter.numel() for parameter in model.parameters())

    unused = expected["conv_seg_unused"]
    assert count(num_labels=124) == expected["total_without_conv_seg"]
    assert round(count(num_labels=124) / 1e6, 1) == {"b0": 4.7, "b1": 15.5, "b2": 26.5, "b5": 85.5}[backbone]
    assert count(num_labels=124, num_mining_layers=0) == expected["segformer_like"]
    assert count(num_labels=19) == expected["total_cityscapes_19"] - 129 * 19
    if backbone == "b1":  # Table 4.3
        assert count(num_labels=124, num_mining_layers=1) == expected["total_N1"] - unused
        assert count(num_labels=124, num_mining_layers=3) == expected["total_N3"] - unused
