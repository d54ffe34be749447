"""CFFM++ against numbers that the authors' released code computed."""

import json

import pytest
import torch
from released_cffm import FIXTURES
from safetensors.torch import load_file
from torch.testing import assert_close

from dense_hf import InvalidDataError, convert_original_checkpoint
from dense_hf.cli import main
from dense_hf.convert_cffm import rename_plus_checkpoint
from dense_hf.video_segmentation import prototype_branch_cffm_plus
from dense_hf.video_segmentation.configuration_cffm import CFFMConfig, CFFMPlusConfig
from dense_hf.video_segmentation.modeling_cffm import CFFMForVideoSemanticSegmentation
from dense_hf.video_segmentation.modeling_cffm_plus import CFFMPlusForVideoSemanticSegmentation

CLOSE = {"atol": 1e-4, "rtol": 0}


@pytest.fixture(scope="module")
def golden():
    return load_file(FIXTURES / "cffmpp_tiny.safetensors")


@pytest.fixture(scope="module")
def official(golden):
    return {name[2:]: tensor for name, tensor in golden.items() if name.startswith("w.")}


def convert(tmp_path, state_dict, **overrides):
    torch.save({"meta": {"CLASSES": ["wall"]}, "state_dict": state_dict}, tmp_path / "iter_40000.pth")
    return convert_original_checkpoint(tmp_path / "iter_40000.pth", "cffm_plus", **overrides)


@pytest.fixture(scope="module")
def model(official, tmp_path_factory):
    return convert(tmp_path_factory.mktemp("released"), official)


def test_from_pixels(model, golden):
    with torch.no_grad():
        outputs = model(golden["in.pixel_values"], prototypes=golden["in.centers"], output_auxiliary_logits=True)
    assert_close(outputs.logits, golden["out.head_logits_1_4"], **CLOSE)
    assert_close(outputs.auxiliary_logits, golden["out.aux_logits"], **CLOSE)


def test_both_parts(model, golden):
    """Logits at 1/8 of CFFM and of the branch, and that without prototypes CFFM is all there is."""
    enlarge = torch.nn.Upsample((24, 40), mode="bilinear")
    parts = {}
    model.classifier.register_forward_hook(lambda module, inputs, output: parts.update(cffm=output))
    with torch.no_grad():
        model(golden["in.pixel_values"], prototypes=golden["in.centers"])
        plain = model(golden["in.pixel_values"]).logits
    assert_close(parts["cffm"], golden["out.logits2_1_8"], **CLOSE)
    assert_close(plain, enlarge(golden["out.logits2_1_8"]), **CLOSE)


@pytest.mark.parametrize("pixels_at_once", [7, 10_000])
def test_the_branch_layer_by_layer_and_folded(model, golden, pixels_at_once, monkeypatch):
    """As training computes it, and with its last matrix folded into the classifier, in blocks of pixels."""
    monkeypatch.setattr(prototype_branch_cffm_plus, "PIXELS_AT_ONCE", pixels_at_once)
    with torch.no_grad():
        _, target = model.extract(golden["in.pixel_values"][:, -1])
        known = model.prototype_state(golden["in.centers"])
        pixels, size = target.halved.flatten(2).transpose(1, 2), target.halved.shape[-2:]
        layered = model.prototype_attention(pixels, *known).transpose(1, 2).unflatten(2, size)
        layered = model.prototype_classifier(layered)
        folded = model.prototype_attention.classify(pixels, *known, model.prototype_classifier)
    assert pixels.shape[1] > 7
    assert_close(layered, golden["out.logits3_1_8"], **CLOSE)
    assert_close(folded.transpose(1, 2).unflatten(2, size), golden["out.logits3_1_8"], **CLOSE)


def test_a_frame_alone_uses_no_prototypes(model, golden):
    """Frames 0 to 2 of a video."""
    with torch.no_grad():
        alone = model(golden["in.pixel_values"][:, -1:], prototypes=golden["in.centers"]).logits
    assert_close(alone, golden["out.aux_logits"][:, -1], **CLOSE)


def test_streamed(model, golden):
    """Frame 9 of a video whose frames 0, 3 and 6 are the references of the clip."""
    session = model.new_session(golden["in.centers"])
    for number in range(10):
        logits = model.segment_frame(golden["in.pixel_values"][:, number // 3], session)
    assert_close(logits, golden["out.head_logits_1_4"], **CLOSE)


def test_sizes_come_from_the_shapes(model):
    assert (model.config.num_labels, model.config.decoder_hidden_size, model.config.num_mining_layers) == (13, 32, 2)
    assert (model.config.model_type, model.config.prototype_weight) == ("cffm_plus", 0.5)


def test_missing_and_unexpected_tensors_are_named(tmp_path, official):
    damaged = dict(official)
    del damaged["decode_head.linear_pred3.bias"]
    damaged["decode_head.decoder_swin.blocks.1.norm1.weight"] = torch.zeros(32)
    with pytest.raises(InvalidDataError) as error:
        convert(tmp_path, damaged)
    assert "missing: prototype_classifier.bias" in str(error.value)
    assert "unexpected: decode_head.decoder_swin.blocks.1.norm1.weight" in str(error.value)


def test_neither_reads_the_other(tmp_path, official):
    torch.save(official, tmp_path / "plus.pth")
    with pytest.raises(InvalidDataError, match=r"unexpected: .*decoder_swin"):
        convert_original_checkpoint(tmp_path / "plus.pth", "cffm")
    cffm = {name: t for name, t in official.items() if "swin" not in name and "pred3" not in name}
    with pytest.raises(InvalidDataError, match=r"missing: .*prototype_attention"):
        convert(tmp_path, cffm)


def test_overrides(tmp_path, official):
    model = convert(tmp_path, official, prototype_weight=1.0, encoder_config={"num_attention_heads": [1, 1, 1, 1]})
    assert model.config.prototype_weight == 1.0
    assert model.config.encoder_config.depths == [1, 2, 1, 1]


def test_on_the_command_line(tmp_path, official, capsys):
    torch.save({"state_dict": official}, tmp_path / "plus.pth")
    words = ["convert", str(tmp_path / "plus.pth"), "cffm_plus", str(tmp_path / "out")]
    assert main(words) == 0, capsys.readouterr().err
    assert (tmp_path / "out" / "preprocessor_config.json").exists()
    assert type(CFFMPlusForVideoSemanticSegmentation.from_pretrained(tmp_path / "out").config) is CFFMPlusConfig


@pytest.mark.parametrize(("backbone", "released"), [("b0", 5.69), ("b1", 16.50), ("b2", 27.55), ("b5", 86.49)])
def test_numbers_of_parameters(backbone, released):
    """The branch has 1,020,356 parameters as released; 198,728 of them are in no forward and are not here."""

    def count(model_class, config_class) -> int:
        with torch.device("meta"):
            model = model_class(config_class.from_backbone(backbone, num_labels=124))
        return sum(parameter.numel() for parameter in model.parameters())

    total = count(CFFMPlusForVideoSemanticSegmentation, CFFMPlusConfig)
    key_and_value, self_output, table = 2 * (256 * 256 + 256), 256 * 256 + 256, 169 * 8
    assert key_and_value + self_output + table == 198_728
    assert total - count(CFFMForVideoSemanticSegmentation, CFFMConfig) == 1_020_356 - 198_728
    conv_seg = 15_996
    assert abs((total + 198_728 + conv_seg) / 1e6 - released) < 0.006


@pytest.mark.parametrize("backbone", ["b0", "b1"])
def test_every_name_of_the_released_checkpoints_has_a_place(backbone):
    """The lists are of real size; the model is built without memory."""
    entries = json.loads((FIXTURES / f"state_dict_cffmpp_{backbone}.json").read_text())
    tensors = {name: torch.empty(shape, device="meta") for name, (shape, _) in entries.items()}
    with torch.device("meta"):
        expected = CFFMPlusForVideoSemanticSegmentation(CFFMPlusConfig.from_backbone(backbone, num_labels=124))
    ours = {name: tensor.shape for name, tensor in rename_plus_checkpoint(tensors).items()}
    wanted = expected.state_dict().items()
    assert ours == {name: tensor.shape for name, tensor in wanted if not name.endswith("num_batches_tracked")}


def test_streamed_with_frozen_centres_of_the_online_memory(model, golden):
    """The same number as offline, by the session that otherwise finds its prototypes on the way."""
    session = model.new_session(golden["in.centers"], memory="prototypes", frozen=True)
    for number in range(10):
        logits = model.segment_frame(golden["in.pixel_values"][:, number // 3], session)
    assert_close(logits, golden["out.head_logits_1_4"], **CLOSE)
