"""PSPNet, OCRNet, TCB and NetWarp compute what the code released with VSPW computed, at the width of the tables.

Weights are 58 to 89 million numbers that are drawn anew, which takes most of the time.
"""

import json

import pytest
import torch
from released_dilated import FOLDER, case, given_flow, official_state_dict
from torch.nn import functional as F
from torch.testing import assert_close

from dense_hf.lazy_names import load_name
from dense_hf.methods import converters, method_of
from dense_hf.video_segmentation.modeling_tcb import released_references

CLOSE = {"atol": 1e-4, "rtol": 0}
LOSS = {"atol": 2e-5, "rtol": 0}


def convert(name: str, **overrides):
    """A case, and the model from the released tensors."""
    found = case(name)
    function = load_name(converters()[found.meta["method"]])
    return found, function(official_state_dict(found.meta), **overrides)


def check_clip(found, outputs):
    meta, golden = found.meta, found.golden
    assert_close(outputs.logits, golden["logits"], **CLOSE)
    enlarged = F.interpolate(outputs.logits, size=found.pixels.shape[-2:], mode="bilinear")
    assert_close(enlarged.softmax(1), golden["probabilities"], **CLOSE)
    auxiliary = outputs.auxiliary_logits.reshape(golden["aux_logits"].shape)
    assert_close(auxiliary, golden["aux_logits"], **CLOSE)
    terms = (outputs.loss, outputs.loss_dict["loss_target"], outputs.loss_dict["loss_auxiliary"])
    for ours, theirs in zip(terms, ("loss", "loss_main", "loss_aux")):
        assert_close(ours, torch.tensor(meta[theirs]), **LOSS)


@pytest.mark.slow
def test_pspnet_and_its_gradients():
    found, model = convert("vspw_pspnet")
    outputs = model(found.pixels, labels=found.labels)
    outputs.loss.backward()
    check_clip(found, outputs)
    ours = {
        "head.branches.3.conv.weight": "decoder.ppm.3.1.weight",
        "encoder._backbone.conv1.0.weight": "encoder.conv1.weight",
    }
    for name, theirs in ours.items():
        gradient, (_, norm) = model.get_parameter(name).grad, found.meta["gradients"][theirs]
        assert gradient.norm() == pytest.approx(norm, rel=2e-3)


@pytest.mark.slow
def test_tcb_with_frame_weights():
    """Those of the released code, which weigh another frame than they were made of."""
    found, model = convert("vspw_tcb_ppm_weight")
    assert model.config.frame_weights == "released"
    with torch.no_grad():
        check_clip(found, model(found.pixels, labels=found.labels))


@pytest.mark.slow
def test_tcb_with_the_released_memory():
    """The contexts of the first target of a video count for ever; references are frames to come."""
    found, model = convert("vspw_tcb_ocr_mem", memory="anchor", compat="vspw")
    session = model.new_session()
    for row, (target, references) in enumerate(zip(found.meta["targets"], found.meta["references"])):
        assert list(released_references(target, found.meta["frames"])) == references
        with torch.no_grad():
            outputs = model(found.pixels[:, [*references, target]], session=session)
        assert_close(outputs.logits, found.golden["logits"][:, row], **CLOSE)


@pytest.mark.slow
def test_netwarp_along_a_given_flow():
    found, model = convert("vspw_netwarp_psp")
    flow = given_flow(found.meta)
    with torch.no_grad():
        check_clip(found, model(found.pixels, labels=found.labels, flow=flow))
        transformed = model.transformed_flow(flow, found.pixels[:, 1], found.pixels[:, 0])
    assert_close(transformed, found.golden["transformed_flow"], **CLOSE)


def test_references_of_a_whole_video():
    """As the released data set gave them, numbers below zero included."""
    meta = json.loads((FOLDER / "vspw_tcb_ocr_mem.json").read_text())
    expected = meta["references_of_whole_video"]
    assert [list(released_references(index, len(expected))) for index in range(len(expected))] == expected
    with pytest.raises(ValueError, match=r"more frames. Received: 5"):
        released_references(0, 5)


@pytest.mark.parametrize(
    ("method", "theirs", "fields"),
    [
        ("pspnet_video", "pspnet", {}),
        ("ocrnet_video", "ocrnet", {}),
        ("tcb", "tcb_ppm", {}),
        ("tcb", "tcb_ocr", {"head": "ocr"}),
        ("netwarp", "netwarp_psp", {}),
        ("netwarp", "netwarp_ocr", {"head": "ocr"}),
    ],
)
def test_numbers_of_parameters(method, theirs, fields):
    """Those of the released classes, less what they never use."""
    expected = json.loads((FOLDER / "param_counts_124.json").read_text())[theirs]
    row = method_of(method)
    with torch.device("meta"):
        model = row.model_class(row.config_class(num_labels=124, **fields))
    total = sum(p.numel() for p in model.parameters())
    assert total == expected["total"] - expected["unused"]
