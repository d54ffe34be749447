"""Reading checkpoints of the authors' code: what is tolerated, and what is refused by name."""

import json
import pickle

import pytest
import torch
from released_iocformer import FIXTURES, official_tensor

from dense_hf import InvalidDataError, convert_original_checkpoint

pytestmark = pytest.mark.no_cover

NARROW = {"256": 16, "2048": 32, "128": 8, "768": 48, "700": 20}


def small_official(listing: str, layers: int = 2) -> dict[str, torch.Tensor]:
    """A released checkpoint with the real ResNet-50 names, narrowed everywhere but in the backbone."""
    shapes = json.loads((FIXTURES / f"{listing}_state_dict.json").read_text())["state_dict"]
    kept = {}
    for name, (shape, _) in shapes.items():
        parts = name.split(".")
        if parts[0] == "transformer" and "layers" in parts[2] and parts[3].isdigit() and int(parts[3]) >= layers:
            continue
        if parts[0] == "transformer" or not name.startswith("backbone"):
            backbone_input = name in ("input_proj.weight", "dm_decoder.reg_layer.0.weight")
            shape = [
                size if backbone_input and axis == 1 else NARROW.get(str(size), size)
                for axis, size in enumerate(shape)
            ]
        kept[name] = official_tensor(name, shape, seed=5)
    return kept


@pytest.fixture(scope="module")
def official():
    return small_official("ioc")


def saved(tmp_path, state_dict, **around):
    path = tmp_path / "model_best.pth"
    torch.save({"state_dict": state_dict, **around} if around else state_dict, path)
    return path


def test_sizes_come_from_the_shapes(tmp_path, official):
    path = saved(tmp_path, official)
    config = convert_original_checkpoint(path, "iocformer").config
    sizes = (config.d_model, config.num_queries, config.encoder_layers, config.decoder_layers, config.encoder_ffn_dim)
    assert sizes == (16, 20, 2, 2, 32)
    assert (config.density_fusion, config.density_hidden_size) == ("released", 8)
    assert (config.backbone_config.backbone, config.backbone_config.output_stride) == ("resnet50", 16)
    cltr = convert_original_checkpoint(saved(tmp_path, small_official("cltr")), "cltr").config
    assert (cltr.density_branch, cltr.backbone_config.output_stride) == (False, 32)


def test_what_surrounds_the_weights_is_tolerated(tmp_path, official):
    plain = convert_original_checkpoint(saved(tmp_path, official), "iocformer")
    wrapped = {f"module.{name.replace('point_embed', 'bbox_embed')}": tensor for name, tensor in official.items()}
    wrapped["module.backbone.0.body.bn1.num_batches_tracked"] = torch.tensor(7)
    path = saved(tmp_path, wrapped, epoch=3, arch="", best_prec1=15.9, optimizer={"state": {0: {"step": 1}}})
    again = convert_original_checkpoint(path, "iocformer")
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(plain(pixels).logits, again(pixels).logits, atol=0, rtol=0)


def test_overrides_for_what_the_file_cannot_tell(tmp_path, official):
    path = saved(tmp_path, official)
    model = convert_original_checkpoint(path, "iocformer", encoder_attention_heads=4, decoder_attention_heads=2)
    assert model.encoder.layers[0].self_attn.head_dim == 4


def test_missing_and_unexpected_tensors_are_named(tmp_path, official):
    damaged = {name: tensor for name, tensor in official.items() if name != "class_embed.bias"}
    damaged["transformer.rgbd_attention.weight"] = torch.zeros(3)
    with pytest.raises(InvalidDataError) as error:
        convert_original_checkpoint(saved(tmp_path, damaged), "iocformer")
    assert "missing: class_head.bias" in str(error.value)
    assert "unexpected: transformer.rgbd_attention.weight" in str(error.value)
    assert "model_best.pth" in str(error.value)


def test_another_shape_is_named(tmp_path, official):
    with pytest.raises(InvalidDataError, match=r"class_head.weight \[2, 9\] \(expected \[2, 16\]\)"):
        convert_original_checkpoint(saved(tmp_path, official | {"class_embed.weight": torch.zeros(2, 9)}), "iocformer")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(tmp_path, official, value):
    broken = official | {"input_proj.bias": torch.full((16,), value)}
    with pytest.raises(InvalidDataError, match=r"finite weights.*input_proj.bias"):
        convert_original_checkpoint(saved(tmp_path, broken), "iocformer")


def test_the_other_architecture_is_pointed_to(tmp_path, official):
    with pytest.raises(InvalidDataError, match="it is 'iocformer'"):
        convert_original_checkpoint(saved(tmp_path, official), "cltr")
    with pytest.raises(ValueError, match="architecture must be one of"):
        convert_original_checkpoint(saved(tmp_path, official), "resnet")


class RunsCode:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_file_that_carries_code_is_refused_and_the_code_not_run(tmp_path):
    marker = tmp_path / "code_ran"
    path = saved(tmp_path, {"state_dict": {"a": torch.zeros(1)}}, extra=RunsCode(marker))
    with pytest.raises(InvalidDataError, match="only tensors"):
        convert_original_checkpoint(path, "iocformer")
    (tmp_path / "old.pth").write_bytes(pickle.dumps(RunsCode(marker)))
    with pytest.raises(InvalidDataError):
        convert_original_checkpoint(tmp_path / "old.pth", "iocformer")
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04broken"])
def test_other_files(tmp_path, content):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(InvalidDataError, match=r"x\.pth"):
        convert_original_checkpoint(path, "iocformer")
    with pytest.raises(InvalidDataError, match="no such file"):
        convert_original_checkpoint(tmp_path / "absent.pth", "iocformer")


@pytest.mark.parametrize("content", [{}, [1, 2], {"a": 3}, {"state_dict": {"a": "b"}}])
def test_dictionaries_without_tensors(tmp_path, content):
    path = tmp_path / "x.pth"
    torch.save(content, path)
    with pytest.raises(InvalidDataError, match=r"named tensors|no tensor named|density branch"):
        convert_original_checkpoint(path, "iocformer")
