"""Reading checkpoints of the authors' code: what is tolerated, and what is refused by name."""

import json

import pytest
import torch
from released_cffm import FIXTURES, official_state_dict, official_tensor
from torch.testing import assert_close
from transformers import AutoImageProcessor, AutoModel, SegformerModel

from dense_hf import InvalidDataError, convert_original_checkpoint
from dense_hf.cli import main
from dense_hf.convert_cffm import rename_checkpoint
from dense_hf.video_segmentation.modeling_cffm import CFFMForVideoSemanticSegmentation


@pytest.fixture(scope="module")
def official():
    return official_state_dict("cffm_tiny")


@pytest.fixture(scope="module")
def imagenet(official):
    """A file as it comes with SegFormer: no prefix, and the classifier of ImageNet."""
    encoder = {name.removeprefix("backbone."): t for name, t in official.items() if name.startswith("backbone.")}
    return encoder | {"head.weight": torch.zeros(1000, 64), "head.bias": torch.zeros(1000)}


def saved(tmp_path, state_dict, **around):
    path = tmp_path / "iter_160000.pth"
    torch.save({"state_dict": state_dict, **around} if around else state_dict, path)
    return path


def test_sizes_come_from_the_shapes(tmp_path, official):
    config = convert_original_checkpoint(saved(tmp_path, official), "cffm").config
    encoder = config.encoder_config
    assert (encoder.hidden_sizes, encoder.depths, encoder.sr_ratios) == ([8, 16, 40, 64], [1, 2, 1, 1], [8, 4, 2, 1])
    assert (encoder.mlp_ratios, encoder.patch_sizes) == ([4, 4, 4, 4], [7, 3, 3, 3])
    assert (config.num_labels, config.decoder_hidden_size, config.num_mining_layers) == (13, 32, 2)
    assert (config.window_size, config.num_attention_heads, config.frame_offsets) == (7, 8, [9, 6, 3])
    assert (config.reference_pooling, config.reference_receptive_fields) == ([7, 4, 2], [49, 20, 6])
    assert (config.target_pooling, config.target_receptive_field) == (7, 35)


@pytest.mark.parametrize(("offsets", "kept"), [([3], [2]), ([6, 3], [1, 2])])
def test_other_numbers_of_references(tmp_path, official, offsets, kept):
    changed = {}
    for name, tensor in official.items():
        stem, _, rest = name.partition("_clips.")
        if not rest:
            changed[name] = tensor
        elif int(rest[0]) in kept:
            changed[f"{stem}_clips.{kept.index(int(rest[0]))}{rest[1:]}"] = tensor
    config = convert_original_checkpoint(saved(tmp_path, changed), "cffm").config
    assert config.frame_offsets == offsets
    assert config.reference_pooling == [[7, 4, 2][n] for n in kept]


def test_what_surrounds_the_weights_is_tolerated(tmp_path, official):
    plain = convert_original_checkpoint(saved(tmp_path, official), "cffm")
    wrapped = {f"module.{name}": tensor for name, tensor in official.items()}
    listed = json.loads((FIXTURES / "state_dict_cffm_b1.json").read_text())
    unused = [name for name in listed if "conv_seg" in name or "index" in name or "valid_ind" in name]
    assert len(unused) > 8
    wrapped |= {f"module.{name}": torch.zeros(3) for name in unused}
    path = saved(tmp_path, wrapped, meta={"CLASSES": ("wall",), "epoch": 3}, optimizer={"state": {0: {"step": 1}}})
    again = convert_original_checkpoint(path, "cffm")
    for (name, ours), (_, theirs) in zip(plain.state_dict().items(), again.state_dict().items()):
        assert_close(ours, theirs, atol=0, rtol=0, msg=name)


def test_every_name_of_the_released_checkpoints_has_a_place():
    """The lists are of real size; the model is built without memory."""
    for backbone, depth in (("b0", 1), ("b1", 2)):
        shapes = json.loads((FIXTURES / f"state_dict_cffm_{backbone}.json").read_text())
        tensors = {name: torch.empty(entry, device="meta") for name, entry in shapes.items()}
        with torch.device("meta"):
            config = CFFMForVideoSemanticSegmentation.config_class.from_backbone(backbone, num_labels=124)
            expected = CFFMForVideoSemanticSegmentation(config).state_dict()
        assert config.num_mining_layers == depth
        ours = rename_checkpoint(tensors)
        expected = {name: t.shape for name, t in expected.items() if not name.endswith("num_batches_tracked")}
        assert {name: tensor.shape for name, tensor in ours.items()} == expected


def test_overrides_for_what_the_file_cannot_tell(tmp_path, official):
    path = saved(tmp_path, official)
    model = convert_original_checkpoint(
        path, "cffm", frame_offsets=[5, 3, 1], encoder_config={"num_attention_heads": [1, 1, 1, 1]}
    )
    assert model.config.frame_offsets == [5, 3, 1]
    assert model.encoder.stages[3].blocks[0].attention.head_dim == 64
    assert model.config.encoder_config.depths == [1, 2, 1, 1]


def test_missing_and_unexpected_tensors_are_named(tmp_path, official):
    damaged = {name: tensor for name, tensor in official.items() if name != "backbone.norm2.bias"}
    damaged["decode_head.linear_pred3.weight"] = torch.zeros(3)
    damaged["teacher.weight"] = torch.zeros(3)
    with pytest.raises(InvalidDataError) as error:
        convert_original_checkpoint(saved(tmp_path, damaged), "cffm")
    assert "missing: encoder.stages.1.layer_norm.bias" in str(error.value)
    assert "unexpected: decode_head.linear_pred3.weight, teacher.weight" in str(error.value)
    assert "iter_160000.pth" in str(error.value)


def test_another_shape_is_named(tmp_path, official):
    path = saved(tmp_path, official | {"decode_head.linear_pred2.weight": torch.zeros(13, 9, 1, 1)})
    with pytest.raises(InvalidDataError, match=r"classifier.weight \[13, 9, 1, 1\] \(expected \[13, 64, 1, 1\]\)"):
        convert_original_checkpoint(path, "cffm")


def test_another_architecture(tmp_path, imagenet):
    with pytest.raises(InvalidDataError, match=r"no tensor named.*relative_position_bias_table"):
        convert_original_checkpoint(saved(tmp_path, imagenet), "cffm")


def test_imagenet_encoder(tmp_path, official, imagenet):
    encoder = convert_original_checkpoint(saved(tmp_path, imagenet), "segformer")
    assert isinstance(encoder, SegformerModel)
    inside = convert_original_checkpoint(saved(tmp_path, official), "cffm").encoder
    pixels = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():  # in float64, because the two sum in another order
        assert_close(encoder.double()(pixels)[0], inside.double()(pixels)[0], atol=1e-9, rtol=0)
    inside.load_state_dict(encoder.state_dict())  # how training starts from it


def test_imagenet_encoder_with_names_of_another_library(tmp_path, imagenet):
    """Files converted for mmsegmentation have other names; the authors' loader took them in silence."""
    renamed = {name.replace("block", "layers."): tensor for name, tensor in imagenet.items()}
    with pytest.raises(InvalidDataError, match="no tensor named"):
        convert_original_checkpoint(saved(tmp_path, renamed), "segformer")
    partly = {name.replace("norm4", "layers.norm"): tensor for name, tensor in imagenet.items()}
    with pytest.raises(InvalidDataError, match=r"missing: stages.3.layer_norm.bias.*unexpected: layers.norm.bias"):
        convert_original_checkpoint(saved(tmp_path, partly), "segformer")


def test_real_encoder_names(tmp_path):
    """Every encoder tensor of MiT-B1 under its official name and with its real shape."""
    shapes = json.loads((FIXTURES / "state_dict_cffm_b1.json").read_text())
    encoder = {
        name.removeprefix("backbone."): official_tensor(name, shape, seed=1)
        for name, shape in shapes.items()
        if name.startswith("backbone.")
    }
    model = convert_original_checkpoint(saved(tmp_path, encoder), "segformer")
    assert sum(parameter.numel() for parameter in model.parameters()) == 13_151_424
    key_value = encoder["block3.1.attn.kv.weight"]
    attention = model.stages[2].blocks[1].attention
    assert_close(torch.cat([attention.k_proj.weight, attention.v_proj.weight]), key_value, atol=0, rtol=0)


@pytest.mark.parametrize(("architecture", "processor"), [("cffm", "CFFMImageProcessor"), ("segformer", "Segformer")])
def test_on_the_command_line(tmp_path, official, imagenet, architecture, processor, capsys):
    path = saved(tmp_path, official if architecture == "cffm" else imagenet)
    words = ["convert", str(path), architecture, str(tmp_path / "out")]
    assert main(words) == 0, capsys.readouterr().err
    assert type(AutoImageProcessor.from_pretrained(tmp_path / "out")).__name__.startswith(processor)
    assert AutoModel.from_pretrained(tmp_path / "out").config.model_type == architecture
