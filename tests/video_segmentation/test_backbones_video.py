"""Any backbone with four maps in the place of the Mix Transformer, of transformers and of timm."""

import json

import pytest
import tiny_cffm
import tiny_cffm_plus
import torch
from huggingface_hub.errors import StrictDataclassError
from tiny_video import random_clip, random_labels
from torch.testing import assert_close
from transformers import AutoModel, ResNetConfig
from transformers.models.conditional_detr.modeling_conditional_detr import ConditionalDetrFrozenBatchNorm2d

from dense_hf import CFFMConfig, CFFMForVideoSemanticSegmentation, CFFMPlusForVideoSemanticSegmentation, MRCFAConfig
from dense_hf.methods import method_of
from dense_hf.training.backbone_weights import load_encoder_weights
from dense_hf.training.video.options import parse_video_run

STAGES = ["stage1", "stage2", "stage3", "stage4"]
RESNET = {
    "model_type": "resnet",
    "embedding_size": 8,
    "hidden_sizes": [8, 8, 16, 16],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
    "out_features": STAGES,
}
LITE = {"model_type": "timm_backbone", "backbone": "tf_efficientnet_lite0", "features_only": True}
TIMM = LITE | {"backbone": "test_efficientnet", "out_indices": [1, 2, 3, 4]}


def with_backbone(tiny_model, backbone, **fields):
    """The tiny model on another backbone, whose weights are not enlarged as those of its own encoder are."""
    model = tiny_model(encoder_config=None, backbone_config=backbone, **fields)
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            if parameter.ndim > 1:
                parameter.div_(10)
    return model


BACKBONES = pytest.mark.parametrize("backbone", [RESNET, TIMM], ids=["transformers", "timm"])


@BACKBONES
def test_a_video_from_its_first_frame(tiny_model, backbone):
    """Sides of the frames are odd, so that backbones which round differently would not agree on the maps."""
    model = with_backbone(tiny_model, backbone, frame_offsets=(2, 1))
    video, session = random_clip(num_frames=5, size=(61, 90)), model.new_session()
    for index in range(5):
        streamed = model.segment_frame(video[:, index], session)
        with torch.no_grad():
            clip = video[:, index - 2 : index + 1] if index >= 2 else video[:, index : index + 1]
            assert_close(streamed, model(clip).logits, atol=1e-4, rtol=0)
    assert streamed.shape == (2, 5, 16, 23)
    with torch.no_grad():
        other = model(torch.cat([random_clip(1, (61, 90), seed=1), video[:, 3:]], dim=1)).logits
    assert not torch.allclose(streamed, other, atol=1e-3)  # references matter


@BACKBONES
def test_what_is_saved_comes_back(tiny_model, backbone, tmp_path):
    model = with_backbone(tiny_model, backbone)
    model.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path).eval()
    clip = random_clip(size=(32, 64))
    with torch.no_grad():
        assert_close(again(clip).logits, model(clip).logits)  # tensors may lie otherwise in memory
    assert (again.config.encoder_config, again.config.backbone_config.model_type) == (None, backbone["model_type"])
    assert json.loads((tmp_path / "config.json").read_text())["encoder_config"] is None


@pytest.mark.parametrize("frozen", [True, False])
@BACKBONES
def test_batch_norms_of_the_backbone_are_frozen_unless_told_otherwise(tiny_model, backbone, frozen):
    model = with_backbone(tiny_model, backbone, freeze_backbone_batch_norm=frozen).train()
    before = {name: value.clone() for name, value in model.encoder.state_dict().items() if "running_mean" in name}
    clip = random_clip(size=(32, 64))
    model(clip, labels=random_labels(clip)).loss.backward()
    after = model.encoder.state_dict()
    assert before
    assert all(torch.equal(after[name], value) == frozen for name, value in before.items())
    assert all(parameter.grad is not None for parameter in model.encoder.parameters())
    if backbone is RESNET:
        kinds = {type(module) for module in model.encoder.modules()}
        assert (ConditionalDetrFrozenBatchNorm2d in kinds) == frozen


@pytest.mark.parametrize(
    ("backbone", "received"),
    [
        (RESNET | {"out_features": STAGES[1:]}, "1/8, 1/16, 1/32"),
        (RESNET | {"out_features": STAGES[:3]}, "1/4, 1/8, 1/16$"),
        (RESNET | {"out_features": ["stem", *STAGES]}, "1/4, 1/4, 1/8"),
        (LITE | {"out_indices": [0, 1, 2, 3]}, "1/2, 1/4, 1/8, 1/16"),
        (LITE | {"out_indices": [1, 2, 3, 4], "output_stride": 16}, "1/4, 1/8, 1/16, 1/16"),
    ],
)
def test_a_backbone_without_the_four_maps_says_so(backbone, received):
    with pytest.raises(ValueError, match=f"1/4, 1/8, 1/16 and 1/32 of the frame.*Received: {received}"):
        CFFMForVideoSemanticSegmentation(CFFMConfig(backbone_config=backbone))


def test_one_encoder_or_the_other():
    assert CFFMConfig().encoder_config.model_type == "segformer"
    assert CFFMConfig(backbone_config=ResNetConfig()).encoder_config is None
    for make in (
        lambda: CFFMConfig(backbone_config=RESNET, encoder_config={}),
        lambda: MRCFAConfig.from_backbone("b0", backbone_config=RESNET),
        lambda: method_of("cffm").make_config("b0", {"backbone_config": RESNET}),
    ):
        with pytest.raises((StrictDataclassError, ValueError), match="exclude each other"):
            make()


def test_a_branch_on_top_of_it():
    """CFFM++ is made of the trained CFFM, whatever its backbone."""
    cffm = with_backbone(tiny_cffm.tiny_model, RESNET)
    model = CFFMPlusForVideoSemanticSegmentation.from_cffm(cffm, num_prototypes=4)
    clip = random_clip()
    with torch.no_grad():
        assert_close(model(clip).logits, cffm(clip).logits)
        prototypes = model.find_prototypes(clip[0])[None].expand(2, -1, -1)
        assert not torch.allclose(model(clip, prototypes=prototypes).logits, cffm(clip).logits)
    assert "PrototypeAttention" in model._no_split_modules
    assert "FrameStage" not in model._no_split_modules  # FSDP fails where there is none
    assert "FrameStage" in tiny_cffm_plus.tiny_plus()._no_split_modules


def test_weights_of_the_whole_network_are_loaded(tmp_path):
    """A file of ImageNet weights has a classifier, which has no place here."""
    timm = pytest.importorskip("timm")
    whole = timm.create_model("test_efficientnet")
    with torch.no_grad():
        for value in whole.state_dict().values():
            value.copy_(torch.randn(value.shape))
    torch.save(whole.state_dict(), tmp_path / "network.pth")
    config = CFFMConfig(backbone_config=TIMM, decoder_hidden_size=16, num_mining_layers=0)
    model = CFFMForVideoSemanticSegmentation(config)
    loaded = load_encoder_weights(model, method_of(config), str(tmp_path / "network.pth"))
    assert any(name.startswith("classifier") for name in loaded.left_out)
    assert torch.equal(model.encoder._backbone.conv_stem.weight, whole.conv_stem.weight)


@pytest.mark.parametrize("method", ["cffm", "mrcfa"])
def test_a_file_names_the_backbone(method, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(json.dumps({"model": {"backbone_config": TIMM, "freeze_backbone": True}}), encoding="utf-8")
    run = parse_video_run(method, arguments=["--config", str(file), "--output_dir", str(tmp_path)])
    assert run.config.backbone_config.backbone == TIMM["backbone"]
    assert run.config.encoder_config is None  # not the thesis' default
    assert run.model.freeze_backbone
    assert method_of(method).title_of(run.config) == method_of(method).title


@pytest.mark.parametrize(
    ("fields", "title"),
    [
        ({}, "CFFM"),
        ({"motional_contexts": False}, "Static-context CFFM"),
        ({"num_mining_layers": 0}, "Per-frame baseline of CFFM"),
    ],
)
def test_rows_of_a_comparison_have_names(fields, title):
    assert method_of("cffm").title_of(CFFMConfig(**fields)) == title
