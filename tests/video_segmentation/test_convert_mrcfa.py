"""Reading checkpoints of the authors' code: what is tolerated, and what is refused by name."""

import pytest
import torch
from released_mrcfa import meta_of, official_state_dict
from torch.testing import assert_close
from transformers import AutoImageProcessor, AutoModel

from dense_hf import InvalidDataError, MRCFAConfig, MRCFAForVideoSemanticSegmentation, convert_original_checkpoint
from dense_hf.cli import main
from dense_hf.convert_mrcfa import infer_config, rename_checkpoint

HPN = "decode_head.hypercorre_module.hpn.encoder_layer"


@pytest.fixture(scope="module")
def official():
    return official_state_dict("mrcfa_tiny")


def saved(tmp_path, state_dict, **around):
    path = tmp_path / "iter_160000.pth"
    torch.save({"state_dict": state_dict, **around} if around else state_dict, path)
    return path


def test_sizes_come_from_the_shapes(tmp_path, official):
    config = convert_original_checkpoint(saved(tmp_path, official), "mrcfa").config
    assert (config.encoder_config.hidden_sizes, config.encoder_config.depths) == ([8, 16, 20, 32], [1, 2, 1, 1])
    assert (config.num_labels, config.decoder_hidden_size, config.frame_offsets) == (13, 32, [9, 6, 3])
    assert (config.affinity_depth, config.affinity_width, config.affinity_kernel_sizes) == (2, 2, [3, 3, 5])
    assert (config.reference_stride, config.use_sar, config.use_maa) == (32, True, True)
    assert (config.affinity_convolution, config.num_scales, config.mining) == ("2d", 3, "affinity")


@pytest.mark.parametrize("backbone", ["b0", "b1"])
def test_every_name_of_the_released_checkpoints_has_a_place(backbone):
    """The lists are of real size; the model is built without memory."""
    listed = meta_of(f"state_dict_official_{backbone}_vspw")
    tensors = {name: torch.empty(shape, device="meta") for name, (shape, _) in listed.items()}
    inferred = infer_config(tensors)
    with torch.device("meta"):
        config = MRCFAConfig.from_backbone(backbone, num_labels=124)
        expected = MRCFAForVideoSemanticSegmentation(config).state_dict()
    for name in ("token_selection_ratio", "affinity_depth", "affinity_width", "reference_stride", "num_labels"):
        assert inferred[name] == getattr(config, name), name
    assert list(inferred["affinity_kernel_sizes"]) == list(config.affinity_kernel_sizes)
    expected = {name: t.shape for name, t in expected.items() if not name.endswith("num_batches_tracked")}
    assert {name: tensor.shape for name, tensor in rename_checkpoint(tensors).items()} == expected


def test_what_surrounds_the_weights_is_tolerated(tmp_path, official):
    plain = convert_original_checkpoint(saved(tmp_path, official), "mrcfa")
    wrapped = {f"module.{name}": tensor for name, tensor in official.items()}
    wrapped |= {
        "module.decode_head.conv_seg.weight": torch.zeros(13, 128, 1, 1),
        "module.decode_head.conv_seg.bias": torch.zeros(13),
        "module.decode_head.linear_fuse.bn.num_batches_tracked": torch.tensor(7),
    }
    path = saved(tmp_path, wrapped, meta={"CLASSES": ("wall",), "epoch": 3}, optimizer={"state": {0: {"step": 1}}})
    again = convert_original_checkpoint(path, "mrcfa")
    for (name, ours), (_, theirs) in zip(plain.state_dict().items(), again.state_dict().items()):
        assert_close(ours, theirs, atol=0, rtol=0, msg=name)


def test_other_numbers_of_references(tmp_path, official):
    changed = {name: t for name, t in official.items() if "deco3" not in name}
    changed = {name.replace("deco4", "deco3"): tensor for name, tensor in changed.items()}
    model = convert_original_checkpoint(saved(tmp_path, changed), "mrcfa")
    assert model.config.frame_offsets == [6, 3]
    assert len(model.auxiliary_classifiers) == 2
    assert_close(model.classifier.bias, official["decode_head.deco4.smalldecoder.1.bias"])


def test_the_finer_grid(tmp_path, official):
    halves = {"sr3": 1, "sr2": 2, "sr1_feat": 2}
    changed = dict(official)
    for name, side in halves.items():
        changed[f"decode_head.{name}.weight"] = official[f"decode_head.{name}.weight"][..., :side, :side].clone()
    assert convert_original_checkpoint(saved(tmp_path, changed), "mrcfa").config.reference_stride == 16


@pytest.mark.parametrize(
    ("left_out", "overrides", "fields"),
    [
        ([f"{HPN}4to3", f"{HPN}3to2"], {}, {"use_maa": False}),
        ([f"{HPN}4.", f"{HPN}3.", f"{HPN}2."], {}, {"use_sar": False, "affinity_width": 1}),
        ([], {"num_scales": 1}, {"num_scales": 1}),
        ([], {"num_scales": 2}, {"num_scales": 2}),
    ],
)
def test_ablations(tmp_path, official, left_out, overrides, fields):
    """They have one channel between blocks, and weights for all scales, whatever they use."""
    kept = {n: t for n, t in official.items() if not n.startswith(tuple(left_out))}
    one = {n: t[:1, :1] if t.ndim == 4 else t[:1] for n, t in kept.items() if n.startswith(HPN)}
    model = convert_original_checkpoint(saved(tmp_path, kept | one), "mrcfa", **overrides)
    for name, value in fields.items():
        assert getattr(model.config, name) == value
    assert model.config.affinity_width == 1
    with torch.no_grad():
        assert torch.isfinite(model(torch.randn(1, 4, 3, 64, 64)).logits).all()


def test_overrides_for_what_the_file_cannot_tell(tmp_path, official):
    overrides = {"token_selection_ratio": 0.3, "importance_topk": 10, "frame_offsets": [5, 3, 1]}
    config = convert_original_checkpoint(saved(tmp_path, official), "mrcfa", **overrides).config
    assert {name: getattr(config, name) for name in overrides} == overrides


def test_missing_and_unexpected_tensors_are_named(tmp_path, official):
    damaged = {name: tensor for name, tensor in official.items() if name != f"{HPN}3.0.conv2.bias"}
    damaged["decode_head.hypercorre_module.q4.weight"] = torch.zeros(3)
    damaged["teacher.weight"] = torch.zeros(3)
    with pytest.raises(InvalidDataError) as error:
        convert_original_checkpoint(saved(tmp_path, damaged), "mrcfa")
    assert "missing: mining.decoder.refinements.1.layers.0.convolution.bias" in str(error.value)
    assert "unexpected: decode_head.hypercorre_module.q4.weight, teacher.weight" in str(error.value)


def test_another_architecture(tmp_path, official):
    encoder = {name: tensor for name, tensor in official.items() if name.startswith("backbone.")}
    with pytest.raises(InvalidDataError, match="no tensor named"):
        convert_original_checkpoint(saved(tmp_path, encoder), "mrcfa")


def test_on_the_command_line(tmp_path, official, capsys):
    words = ["convert", str(saved(tmp_path, official)), "mrcfa", str(tmp_path / "out")]
    assert main([*words, "--set", "token_selection_ratio=0.7"]) == 0, capsys.readouterr().err
    assert type(AutoImageProcessor.from_pretrained(tmp_path / "out")).__name__ == "MRCFAImageProcessor"
    assert AutoModel.from_pretrained(tmp_path / "out").config.token_selection_ratio == 0.7
