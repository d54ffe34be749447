"""What CFFM++ promises besides the released numbers."""

import copy

import pytest
import torch
from tiny_cffm import tiny_model
from tiny_cffm_plus import random_prototypes, tiny_plus
from tiny_video import plain_mean, random_clip, random_labels
from torch.nn import functional as F
from torch.testing import assert_close

from dense_hf.video_segmentation.configuration_cffm import CFFMPlusConfig
from dense_hf.video_segmentation.modeling_cffm_plus import CFFMPlusForVideoSemanticSegmentation
from dense_hf.video_segmentation.prototype_branch_cffm_plus import PrototypeAttention

pytestmark = pytest.mark.no_cover

CLOSE = {"atol": 1e-4, "rtol": 0}
LEARNS = ("prototype_attention.", "prototype_classifier.")


def test_without_prototypes_it_is_cffm():
    cffm, model, clip = tiny_model(), tiny_plus(), random_clip()
    labels = random_labels(clip)
    with torch.no_grad():
        expected, received = cffm(clip, labels=labels), model(clip, labels=labels)
        assert_close(received.logits, expected.logits, atol=0, rtol=0)
        assert_close(received.loss, expected.loss, atol=0, rtol=0)
        assert (model(clip, prototypes=random_prototypes()).logits - expected.logits).abs().max() > 0.1


def test_prototypes_have_no_order_and_any_number():
    model, clip, prototypes = tiny_plus(), random_clip(), random_prototypes(count=9)
    with torch.no_grad():
        logits = model(clip, prototypes=prototypes).logits
        assert_close(model(clip, prototypes=prototypes.flip(1)).logits, logits, **CLOSE)
        assert (model(clip, prototypes=prototypes[:, :1]).logits - logits).abs().max() > 0.01


def test_clips_of_a_batch_do_not_mix():
    model, clip, prototypes = tiny_plus(), random_clip(size=(61, 90)), random_prototypes()
    with torch.no_grad():
        together = model(clip, prototypes=prototypes).logits
        alone = [model(clip[n][None], prototypes=prototypes[n][None]).logits[0] for n in (0, 1)]
    assert together.shape == (2, 5, 16, 23)
    assert_close(together, torch.stack(alone), **CLOSE)


def test_attention_by_hand():
    torch.manual_seed(0)
    config = tiny_plus().config
    layer = PrototypeAttention(config)
    pixels, prototypes = torch.randn(1, 5, 32), torch.randn(1, 3, 32)
    query = layer.query(layer.layernorm_before(pixels))[0]
    key, value = layer.key_value(layer.layernorm_before(prototypes))[0].chunk(2, dim=1)
    mixed = torch.empty(5, 32)
    for head in range(4):
        part = slice(8 * head, 8 * head + 8)
        for n in range(5):
            weights = torch.stack([query[n, part] @ key[p, part] / 8**0.5 for p in range(3)]).softmax(0)
            mixed[n, part] = sum(weights[p] * value[p, part] for p in range(3))
    expected = pixels + layer.output(mixed)
    expected = expected + layer.mlp_out(F.gelu(layer.mlp_in(layer.layernorm_after(expected))))
    for attention in ("sdpa", "eager"):
        config._attn_implementation = attention
        assert_close(layer(pixels, layer.prototype_tokens(prototypes)), expected, atol=1e-5, rtol=0)


# -- training ---------------------------------------------------------------------------------------------------------


def test_only_the_branch_moves(tmp_path):
    """Also after loading, which makes new parameters, and with buffers: batch norm keeps its statistics."""
    tiny_plus().save_pretrained(tmp_path)
    clip, prototypes = random_clip(), random_prototypes()
    labels = random_labels(clip)
    for model in (tiny_plus(), CFFMPlusForVideoSemanticSegmentation.from_pretrained(tmp_path)):
        before = copy.deepcopy(model.state_dict())
        trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        assert trained
        assert all(name.startswith(LEARNS) for name in trained)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            model.train()(clip, labels=labels, prototypes=prototypes).loss.backward()
            optimizer.step()
        for name, tensor in model.state_dict().items():
            assert (not torch.equal(tensor, before[name])) == name.startswith(LEARNS), name


def test_what_somebody_thawed_still_does_not_learn():
    model, clip = tiny_plus().train(), random_clip()
    model.requires_grad_(True)
    model(clip, labels=random_labels(clip), prototypes=random_prototypes()).loss.backward()
    assert all((p.grad is not None) == name.startswith(LEARNS) for name, p in model.named_parameters())


def test_the_loss_is_that_of_the_branch():
    clip, prototypes = random_clip(), random_prototypes()
    labels = random_labels(clip)
    model = tiny_plus(
        classifier_dropout_prob=0.0,
        encoder_config=tiny_plus().config.encoder_config.to_dict() | {"drop_path_rate": 0.0},
    )
    with torch.no_grad():
        plain, both = model(clip).logits, model(clip, labels=labels, prototypes=prototypes)
    branch = (both.logits - plain) / 0.5
    assert_close(both.loss, plain_mean(branch[:, None], labels[:, -1:]))
    training = model.train()(clip, labels=labels, prototypes=prototypes)
    assert_close(training.loss, both.loss)
    assert_close(training.logits, branch, **CLOSE)


def test_training_encodes_the_target_only():
    model, clip, seen = tiny_plus().train(), random_clip(), []
    model.encoder.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    model(clip, labels=random_labels(clip), prototypes=random_prototypes())
    assert seen == [2]
    outputs = model(clip, prototypes=random_prototypes(), output_auxiliary_logits=True)
    assert outputs.auxiliary_logits.shape == (2, 4, 5, 16, 24)


def test_training_needs_prototypes():
    model, clip = tiny_plus().train(), random_clip()
    with pytest.raises(ValueError, match=r"needs prototypes\. Received: none"):
        model(clip, labels=random_labels(clip))


def test_it_learns():
    """The branch alone gets a clip right that it is shown again and again."""
    torch.manual_seed(0)
    model, clip, prototypes = tiny_plus().train(), random_clip(size=(32, 32)), random_prototypes()
    labels = torch.zeros(2, 4, 32, 32, dtype=torch.long)
    labels[..., 16:] = 3
    labels[:, :-1] = 255  # other frames have no say
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.02)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        losses.append(model(clip, labels=labels, prototypes=prototypes).loss)
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing(use_reentrant):
    gradients, clip = [], random_clip()
    for checkpointing in (False, True):
        model = tiny_plus(classifier_dropout_prob=0.0).train()
        model.encoder.eval()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
            assert model.prototype_attention.gradient_checkpointing
        model(clip, labels=random_labels(clip), prototypes=random_prototypes()).loss.backward()
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    for plain, recomputed in zip(*gradients):
        assert_close(plain, recomputed, atol=1e-5, rtol=1e-4)


def test_bfloat16():
    model, clip, prototypes = tiny_plus(), random_clip(), random_prototypes()
    with torch.no_grad():
        exact = model(clip, prototypes=prototypes).logits
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast = model(clip, prototypes=prototypes).logits
        half = model.bfloat16()(clip.bfloat16(), prototypes=prototypes).logits  # prototypes from a file are fp32
    for logits in (cast, half):
        assert_close(logits.float(), exact, atol=0.05 * exact.abs().max().item(), rtol=0)


def test_export():
    model, clip, prototypes = tiny_plus(), random_clip(), random_prototypes()
    program = torch.export.export(model, (clip,), {"prototypes": prototypes})
    other = torch.randn_like(prototypes)
    with torch.no_grad():
        received = program.module()(clip, prototypes=other)["logits"]
        assert_close(received, model(clip, prototypes=other).logits, **CLOSE)


# -- making, saving, refusing -----------------------------------------------------------------------------------------


def test_from_cffm_keeps_weights_and_config():
    cffm = tiny_model(frame_offsets=(6, 2)).bfloat16()
    model = CFFMPlusForVideoSemanticSegmentation.from_cffm(cffm, prototype_weight=0.25)
    assert model.dtype == torch.bfloat16
    assert not model.training
    assert list(model.config.frame_offsets) == [6, 2]
    assert (model.config.model_type, model.config.prototype_weight) == ("cffm_plus", 0.25)
    for name, tensor in cffm.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    assert cffm.classifier.weight.requires_grad
    assert cffm.classifier.weight.data_ptr() != model.classifier.weight.data_ptr()


def test_saved_and_loaded(tmp_path):
    model, clip, prototypes = tiny_plus(), random_clip(), random_prototypes()
    model.save_pretrained(tmp_path)
    loaded, info = CFFMPlusForVideoSemanticSegmentation.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    with torch.no_grad():
        expected = model(clip, prototypes=prototypes).logits
        assert_close(loaded(clip, prototypes=prototypes).logits, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(2, 6), (1, 6, 32), (2, 6, 31), (2, 0, 32)])
def test_prototypes_of_another_shape(shape):
    with pytest.raises(ValueError, match=rf"with 2 and 32 for .*Received: \[{', '.join(map(str, shape))}\]"):
        tiny_plus()(random_clip(), prototypes=torch.zeros(shape))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_prototypes": 0}, "num_prototypes must be at least 1"),
        ({"num_mining_layers": 0}, "received 0 and True"),
        ({"motional_contexts": False}, "received 2 and False"),
        ({"num_attention_heads": 3}, "multiple of num_attention_heads"),
    ],
)
def test_configs_that_cannot_work(fields, message):
    with pytest.raises(Exception, match=message):
        CFFMPlusConfig(**fields)
