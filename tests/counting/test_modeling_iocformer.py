"""Behaviour of the model that no released number covers."""

import copy

import pytest
import timm
import torch
from huggingface_hub.errors import StrictDataclassError
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_iocformer import random_labels, tiny_config, tiny_model
from torch.nn import functional as F
from torch.testing import assert_close
from transformers import AutoConfig, ResNetConfig

from dense_hf.counting.configuration_iocformer import DENSITY_FUSIONS, IOCFormerConfig
from dense_hf.counting.modeling_iocformer import IOCFormerForObjectCounting, UpsampledConv2d


@given(height=st.integers(1, 9), width=st.integers(1, 9), channels=st.integers(1, 4), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_convolution_at_low_resolution_equals_upsampling_first(height, width, channels, seed):
    torch.manual_seed(seed)
    conv = UpsampledConv2d(channels, 3).double()
    x = torch.randn(2, channels, height, width, dtype=torch.float64, requires_grad=True)
    upsampled = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
    expected = F.conv2d(upsampled, conv.weight, conv.bias, padding=1)
    assert_close(conv(x), expected, atol=1e-6, rtol=1e-6)  # the interpolation matrix is float32
    probe = torch.randn_like(expected)
    ours = torch.autograd.grad((conv(x) * probe).sum(), [x, conv.weight, conv.bias])
    plain = torch.autograd.grad((expected * probe).sum(), [x, conv.weight, conv.bias])
    for a, b in zip(ours, plain):
        assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_thesis_fusion_is_equation_2_2_and_2_3():
    """Written out for L = 4: three layers, positions in the stream once, density features merged before each layer."""
    model = tiny_model(density_fusion="thesis", encoder_layers=4)
    encoder = model.encoder
    tokens, positions, density = torch.randn(2, 6, 16), torch.randn(1, 6, 16), torch.randn(2, 16, 2, 3)

    def trans(index, x):
        layer = encoder.layers[index]
        x = layer.self_attn_layer_norm(x + layer.self_attn(x)[0])
        return layer.final_layer_norm(x + layer.mlp(x))

    def rs(x):
        return x.flatten(2).transpose(1, 2)

    d1 = density
    f2 = trans(0, tokens + rs(d1) + positions)
    d2 = encoder.density_blocks[0](d1)
    f3 = trans(1, f2 + rs(d2))
    d3 = encoder.density_blocks[1](d2)
    f4 = trans(2, f3 + rs(d3))
    out = encoder(tokens, spatial_position_embeddings=positions, density_features=density).last_hidden_state
    assert len(encoder.layers) == 3
    assert_close(out, f4)


@pytest.mark.parametrize("fusion", DENSITY_FUSIONS)
def test_every_parameter_is_trained(fusion):
    """No branch, block or layer that the loss does not reach (distributed training would stop on one)."""
    model = tiny_model(density_fusion=fusion, num_frozen_backbone_stages=0).train()
    torch.manual_seed(1)
    torch.nn.init.normal_(model.point_head.layers[-1].weight, std=0.1)  # starts at zero, which blocks what is before
    torch.nn.init.ones_(model.density_branch.density_head.bias)  # so that its ReLU is open
    model(torch.randn(2, 3, 32, 32), labels=random_labels()).loss.backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None]
    assert silent == []


@pytest.mark.parametrize(
    ("term", "head"),
    [("loss_ce", "class_head"), ("loss_point", "point_head"), ("loss_density", "density_branch.density_head")],
)
def test_each_loss_term_moves_its_own_head_and_no_other(term, head):
    model = tiny_model()
    torch.nn.init.ones_(model.density_branch.density_head.bias)
    outputs = model(torch.randn(2, 3, 32, 32), labels=random_labels())
    outputs.loss_dict[term].backward()
    for name in ("class_head", "point_head", "density_branch.density_head"):
        moved = any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.get_submodule(name).parameters())
        assert moved == (name == head), name


def test_weights_of_the_loss_terms():
    model = tiny_model(class_loss_coefficient=3, point_loss_coefficient=7, density_loss_coefficient=0.25)
    outputs = model(torch.randn(2, 3, 32, 32), labels=random_labels())
    terms = {name: value.item() for name, value in outputs.loss_dict.items()}
    expected = 3 * (terms["loss_ce"] + terms["loss_ce_0"]) + 7 * (terms["loss_point"] + terms["loss_point_0"])
    assert outputs.loss.item() == pytest.approx(expected + 0.25 * terms["loss_density"], rel=1e-5)


def test_density_branch_alone_and_regression_alone():
    pixels = torch.randn(2, 3, 32, 32)
    density = tiny_model(regression_branch=False)(pixels, labels=random_labels())
    assert density.logits is None
    assert density.pred_points is None
    assert set(density.loss_dict) == {"loss_density"}
    regression = tiny_model(density_branch=False)(pixels, labels=random_labels())
    assert regression.density_map is None
    assert set(regression.loss_dict) == {"loss_ce", "loss_point", "loss_ce_0", "loss_point_0"}


def test_empty_tiles_train():
    outputs = tiny_model().train()(torch.randn(2, 3, 32, 32), labels=torch.full((2, 1, 3), -100.0))
    outputs.loss.backward()
    assert outputs.loss_dict["loss_point"].item() == 0
    assert torch.isfinite(outputs.loss)


def test_a_tile_does_not_depend_on_its_neighbours_in_the_batch():
    model, pixels = tiny_model(), torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        together, alone = model(pixels), model(pixels[1:2])
    assert_close(together.pred_points[1:2], alone.pred_points, atol=1e-5, rtol=0)
    assert_close(together.density_map[1:2], alone.density_map, atol=1e-5, rtol=0)


def test_a_mask_of_ones_changes_nothing():
    model, pixels = tiny_model(), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        plain, masked = model(pixels), model(pixels, pixel_mask=torch.ones(2, 32, 32))
    assert_close(plain.logits, masked.logits, atol=1e-5, rtol=0)


def test_masked_tokens_are_not_attended_to():
    """Where padding is masked, its content may change without moving any output of the transformer."""
    model = tiny_model(density_branch=False)
    tokens, mask = torch.randn(1, 8, 16), torch.tensor([[1, 1, 1, 1, 1, 0, 0, 0]])
    changed = torch.where(mask[..., None].bool(), tokens, torch.randn(1, 8, 16))
    positions = torch.randn(1, 8, 16)

    def decode(x):
        memory = model.encoder(x, attention_mask=mask, spatial_position_embeddings=positions).last_hidden_state
        queries = model.query_position_embeddings.weight[None]
        return model.decoder(
            queries, memory, encoder_attention_mask=mask, spatial_position_embeddings=positions
        ).last_hidden_state

    with torch.no_grad():
        assert_close(decode(tokens), decode(changed), atol=1e-6, rtol=0)


def test_gradient_checkpointing_gives_the_same_gradients():
    plain = tiny_model(dropout=0, attention_dropout=0, activation_dropout=0).train()
    saving = copy.deepcopy(plain)
    saving.gradient_checkpointing_enable()
    pixels, labels = torch.randn(2, 3, 32, 32), random_labels()
    for model in (plain, saving):
        model(pixels, labels=labels).loss.backward()
    for (name, a), b in zip(plain.named_parameters(), saving.parameters()):
        if a.grad is not None:
            assert_close(a.grad, b.grad, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_implementations_agree(attention):
    model, pixels = tiny_model(), torch.randn(2, 3, 32, 32)
    other = IOCFormerForObjectCounting._from_config(model.config, attn_implementation=attention)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert_close(other.eval()(pixels).logits, model(pixels).logits, atol=1e-5, rtol=0)


def test_a_density_branch_that_starts_as_a_constant_and_learns():
    model = tiny_model().train()
    model.density_branch.start_at(0.25)
    outputs = model(torch.randn(2, 3, 32, 32), labels=random_labels())
    assert_close(outputs.density_map, torch.full_like(outputs.density_map, 0.25))
    outputs.loss.backward()
    assert model.density_branch.density_head.weight.grad.abs().sum() > 0


def test_initial_weights():
    """As released: scores at 1 %, points at their references, xavier in the transformer, N(0, 1) queries."""
    torch.manual_seed(0)
    model = IOCFormerForObjectCounting(tiny_config(d_model=64, num_queries=500)).eval()
    with torch.no_grad():
        model.class_head.weight.zero_()
        outputs = model(torch.randn(1, 3, 32, 32))
    assert_close(outputs.logits.sigmoid(), torch.full_like(outputs.logits, 0.01))
    assert_close(outputs.pred_points[..., :2], outputs.reference_points, atol=1e-4, rtol=0)
    assert model.query_position_embeddings.weight.std().item() == pytest.approx(1, abs=0.02)
    xavier = (6 / (64 + 32)) ** 0.5
    for layer in (model.encoder.layers[0], model.decoder.layers[1]):
        assert layer.mlp.fc1.weight.abs().max().item() == pytest.approx(xavier, rel=0.01)
        assert layer.self_attn.o_proj.bias.abs().max().item() == 0
    assert model.encoder.layers[0].self_attn.q_proj.bias.abs().max().item() == 0
    assert model.decoder.layers[0].self_attn.q_content_proj.bias.abs().max().item() > 0
    input_bound = model.input_projection.weight[0].numel() ** -0.5
    assert model.input_projection.weight.abs().max().item() == pytest.approx(input_bound, rel=0.01)


TWO_STAGES = {"depths": [1, 1], "hidden_sizes": [8, 16], "out_features": ["stage2"]}
OTHER_BACKBONES = {
    "resnet": {"model_type": "resnet", "embedding_size": 8, **TWO_STAGES},
    "convnext": {"model_type": "convnext", "num_stages": 2, **TWO_STAGES},
    "timm": {"model_type": "timm_backbone", "backbone": "tf_efficientnet_lite0", "out_indices": [2]},
}


@pytest.mark.parametrize("backbone_config", OTHER_BACKBONES.values(), ids=OTHER_BACKBONES)
def test_other_backbones(backbone_config):
    config = tiny_config(backbone_config=backbone_config, num_frozen_backbone_stages=1)
    model = IOCFormerForObjectCounting(config)
    trained = [p.requires_grad for p in model.backbone.parameters()]
    assert not trained[0]
    assert trained[-1]
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in model.backbone.modules())
    assert model(torch.randn(2, 3, 64, 64)).logits.shape == (2, 12, 2)


def test_stages_behind_the_output_are_dropped_and_change_nothing():
    config = tiny_config(backbone_config=OTHER_BACKBONES["timm"], num_frozen_backbone_stages=0)
    torch.manual_seed(0)
    model = IOCFormerForObjectCounting(config).train()
    model(torch.randn(2, 3, 64, 64), labels=random_labels()).loss.backward()
    assert [name for name, p in model.backbone.named_parameters() if p.grad is None] == []
    whole = timm.create_model("tf_efficientnet_lite0", features_only=True, out_indices=[2]).eval()
    missing = whole.load_state_dict(model.backbone._backbone.state_dict(), strict=False).missing_keys
    assert missing
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert_close(model.eval().backbone(pixels).feature_maps[-1], whole(pixels)[-1], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "stages"), [("resnet", 3), ("convnext", 3), ("timm", 3)])
def test_a_whole_backbone_can_be_frozen(name, stages):
    """The stem and two stages, of which those of timm behind the output do not count."""
    config = tiny_config(backbone_config=OTHER_BACKBONES[name], num_frozen_backbone_stages=stages)
    assert not any(value.requires_grad for value in IOCFormerForObjectCounting(config).backbone.parameters())
    with pytest.raises(ValueError, match=f"at most {stages} for this backbone"):
        IOCFormerForObjectCounting(
            tiny_config(backbone_config=OTHER_BACKBONES[name], num_frozen_backbone_stages=stages + 1)
        )


def test_too_many_frozen_stages():
    with pytest.raises(ValueError, match="at most 5"):
        IOCFormerForObjectCounting(tiny_config(num_frozen_backbone_stages=9))


def test_a_config_lists_all_its_problems():
    with pytest.raises(StrictDataclassError, match=r"density_fusion.*d_model.*encoder_attention_heads"):
        IOCFormerConfig(density_fusion="sum", d_model=30)
    with pytest.raises(ValueError, match="encoder_layers must be at least 1 and at most 256"):
        IOCFormerConfig(encoder_layers=0)
    with pytest.raises(StrictDataclassError, match="num_queries"):
        IOCFormerConfig(num_queries="7")


def test_config_round_trip(tmp_path):
    config = tiny_config(density_fusion="thesis")
    config.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).to_diff_dict() == config.to_diff_dict()


@pytest.mark.parametrize(
    ("labels", "message"),
    [(torch.zeros(2, 5, 2), "shape"), (torch.full((2, 1, 3), 17.0), "divided by the tile size")],
)
def test_labels_of_another_kind_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        tiny_model()(torch.randn(2, 3, 32, 32), labels=labels)


def test_weights_that_are_not_finite_are_named_in_training():
    model = tiny_model()
    model.class_head.weight.data[0] = float("nan")
    model.class_head.weight.data[1] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        model(torch.randn(2, 3, 32, 32), labels=random_labels())


def test_a_model_with_frozen_norms_can_be_copied():
    resnet = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], out_indices=[4])
    model = tiny_model(backbone_config=resnet)
    assert all(tensor.is_leaf for tensor in [*model.parameters(), *model.buffers()])
    pixels = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert_close(copy.deepcopy(model)(pixels).density_map, model(pixels).density_map)
