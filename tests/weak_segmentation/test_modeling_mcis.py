"""The classifier that compares images: equations, losses, domains, options, and what it refuses."""

import copy

import pytest
import torch
from tiny_mcis import random_labels, random_pixels, tiny_config, tiny_model
from torch.testing import assert_close
from transformers import pipeline

from dense_hf import MCISConfig, MCISForImageClassification, MCISImageProcessor
from dense_hf.weak_segmentation.backbone_mcis import VGG16, rename_vgg
from dense_hf.weak_segmentation.co_attention_mcis import CoAttention

EXACT = {"atol": 1e-5, "rtol": 1e-5}
PARTS = ("backbone", "neck", "classifier", "co_attention", "common_classifier", "gate")
# the parts of the model that a term of the loss is made with, besides backbone and neck
USED_BY = {
    "loss_basic": {"classifier"},
    "loss_co_attention": {"co_attention", "common_classifier"},
    "loss_contrastive": {"co_attention", "common_classifier", "gate"},
    "loss_paired_contrastive": {"co_attention", "common_classifier", "gate"},
    "loss_view_0_basic": {"classifier"},
    "loss_view_0_co_attention": {"co_attention", "common_classifier"},
}


def features(size=(3, 4), batch_size=2, channels=16, seed=0):
    return torch.randn(batch_size, channels, *size, generator=torch.Generator().manual_seed(seed))


def batch(**more):
    """Pairs with labels that differ on both sides."""
    labels, paired = random_labels(seed=1), random_labels(seed=2)
    labels[:, 1:3], paired[:, 1:3] = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    return {
        "pixel_values": random_pixels(seed=1),
        "paired_pixel_values": random_pixels(seed=2, size=(48, 80)),
        "labels": labels,
        "paired_labels": paired,
    } | more


def test_equations_written_out():
    """Eq. 3.2 to 3.8, position by position, in double precision."""
    model = tiny_model().double().requires_grad_(False)
    own, other = features((3, 4)).double(), features((2, 5), seed=1).double()
    common, paired_common = model.co_attention(own, other)
    w_p = model.co_attention.affinities[0].weight.T
    for b in range(2):
        f_m, f_n = own[b].flatten(1), other[b].flatten(1)
        p = torch.tensor([[f_m[:, i] @ w_p @ f_n[:, j] for j in range(10)] for i in range(12)], dtype=torch.float64)
        for i in range(12):
            weights = p[i].exp() / p[i].exp().sum()
            assert_close(common[b].flatten(1)[:, i], sum(w * f_n[:, j] for j, w in enumerate(weights)))
        for j in range(10):
            weights = p[:, j].exp() / p[:, j].exp().sum()
            assert_close(paired_common[b].flatten(1)[:, j], sum(w * f_m[:, i] for i, w in enumerate(weights)))
        gate = torch.sigmoid(torch.einsum("c,chw->hw", model.gate.weight[0, :, 0, 0], common[b]))
        assert_close(model.contrastive_features(own, common)[b], own[b] * (1 - gate))


# domains


def test_three_affinity_matrices_for_two_domains():
    model = tiny_model(num_domains=2)
    names = [name for name, _ in model.named_parameters() if "affinities" in name]
    assert len(names) == 3
    inputs = {"pixel_values": random_pixels(1), "paired_pixel_values": random_pixels(1, seed=3)}
    before = {}
    for own in (0, 1):
        for other in (0, 1):
            domains = {"domains": torch.tensor([own]), "paired_domains": torch.tensor([other])}
            before[own, other] = model(**inputs, **domains).co_attention_logits
    assert_close(model(**inputs).co_attention_logits, before[0, 0])
    with torch.no_grad():
        model.co_attention.affinities[1].weight.zero_()
    for (own, other), logits in before.items():
        domains = {"domains": torch.tensor([own]), "paired_domains": torch.tensor([other])}
        changed = not torch.allclose(model(**inputs, **domains).co_attention_logits, logits)
        assert changed == (own != other), "the middle matrix is that of different domains"


@pytest.mark.parametrize("num_domains", [2, 3])
def test_each_pair_of_domains_has_its_own_matrix(num_domains):
    co_attention = CoAttention(tiny_config(num_domains=num_domains))
    own, other = features(batch_size=1), features(batch_size=1, seed=1)
    found = set()
    for low in range(num_domains):
        for high in range(low, num_domains):
            p = co_attention.affinity(own, other, torch.tensor([low]), torch.tensor([high]))
            expected = [
                index
                for index, affinity in enumerate(co_attention.affinities)
                if torch.allclose(p[0], own[0].flatten(1).T @ affinity.weight.T @ other[0].flatten(1), atol=1e-5)
            ]
            assert len(expected) == 1
            found.update(expected)
    assert found == set(range(len(co_attention.affinities)))


def test_the_cross_domain_matrix_works_in_both_orders():
    co_attention = CoAttention(tiny_config(num_domains=2))
    own, other = features((3, 4)), features((2, 5), seed=1)
    zero, one = torch.zeros(2, dtype=torch.long), torch.ones(2, dtype=torch.long)
    there = co_attention(own, other, zero, one)
    back = co_attention(other, own, one, zero)
    assert_close(there[0], back[1], **EXACT)
    assert_close(there[1], back[0], **EXACT)
    p = co_attention.affinity(own, other, zero, one)
    assert_close(p, co_attention.affinity(other, own, one, zero).transpose(1, 2), **EXACT)


def test_a_batch_may_mix_domains():
    co_attention = CoAttention(tiny_config(num_domains=2))
    own, other = features(batch_size=4), features(batch_size=4, seed=1)
    domains, paired = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    mixed = co_attention(own, other, domains, paired)
    for index in range(4):
        one = slice(index, index + 1)
        alone = co_attention(own[one], other[one], domains[one], paired[one])
        for ours, expected in zip(mixed, alone):
            assert_close(ours[one], expected, **EXACT)


def test_an_image_and_its_view_are_of_one_domain():
    model = tiny_model(num_domains=2)
    own, view, labels = random_pixels(), random_pixels(seed=5), random_labels()
    ids = torch.tensor([1, 1])
    terms = model(own, labels=labels, view_pixel_values=[view], domains=ids).loss_dict
    pair = model(own, view, labels, labels, domains=ids, paired_domains=ids).loss_dict
    assert terms["loss_view_0_co_attention"].item() == pytest.approx(pair["loss_co_attention"].item(), rel=1e-6)
    crossed = model(own, view, labels, labels, domains=ids).loss_dict
    assert terms["loss_view_0_co_attention"].item() != pytest.approx(crossed["loss_co_attention"].item(), rel=1e-6)


@pytest.mark.parametrize(
    ("domains", "num_domains"), [([0, 1], 1), ([0, 2], 2), ([-1, 0], 2), ([0], 2), ([0.0, 1.0], 2)]
)
def test_domains_that_do_not_exist(domains, num_domains):
    with pytest.raises(ValueError, match="domains must be 2 whole numbers below num_domains"):
        tiny_model(num_domains=num_domains)(random_pixels(), domains=torch.tensor(domains))


# losses


@pytest.mark.parametrize("term", USED_BY)
def test_every_term_of_the_loss_moves_its_own_head(term):
    model = tiny_model()
    outputs = model(**batch(view_pixel_values=[random_pixels(seed=5)]))
    assert set(outputs.loss_dict) == set(USED_BY)
    outputs.loss_dict[term].backward()
    for part in PARTS:
        gradients = [parameter.grad for parameter in getattr(model, part).parameters()]
        moved = any(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)
        assert moved == (part in USED_BY[term] | {"backbone", "neck"}), part


def cross_entropy(logits, labels):
    """Mean of -l log s - (1 - l) log (1 - s), written out."""
    scores = logits.double().sigmoid()
    return -(labels * scores.log() + (1 - labels) * (1 - scores).log()).mean()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_losses_written_out(reduction):
    inputs = batch(view_pixel_values=[random_pixels(seed=5), random_pixels(seed=6, size=(32, 32))])
    model = tiny_model(loss_reduction=reduction)
    outputs = model(**inputs)
    l_m, l_n = inputs["labels"], inputs["paired_labels"]
    share = 0.5 if reduction == "mean" else 1
    expected = {
        "loss_basic": share * (cross_entropy(outputs.logits, l_m) + cross_entropy(outputs.paired_logits, l_n)),
        "loss_co_attention": share
        * (
            cross_entropy(outputs.co_attention_logits, l_m * l_n)
            + cross_entropy(outputs.paired_co_attention_logits, l_m * l_n)
        ),
        "loss_contrastive": cross_entropy(outputs.contrastive_logits, l_m * (1 - l_n)),
        "loss_paired_contrastive": cross_entropy(outputs.paired_contrastive_logits, l_n * (1 - l_m)),
    }
    for index, view in enumerate(inputs["view_pixel_values"]):
        pair = model(inputs["pixel_values"], view, l_m, l_m).loss_dict
        expected[f"loss_view_{index}_basic"] = pair["loss_basic"]
        expected[f"loss_view_{index}_co_attention"] = pair["loss_co_attention"]
    assert list(outputs.loss_dict) == list(expected)
    for name, value in expected.items():
        assert outputs.loss_dict[name].item() == pytest.approx(value.item(), rel=1e-5), name
    assert outputs.loss.item() == pytest.approx(sum(value.item() for value in expected.values()), rel=1e-5)


def test_features_of_an_image_are_computed_once():
    model, sizes = tiny_model(), []
    handle = model.backbone.register_forward_pre_hook(lambda module, inputs: sizes.append(inputs[0].shape[-1]))
    model(**batch(view_pixel_values=[random_pixels(), random_pixels(size=(48, 48)), random_pixels(size=(128, 128))]))
    handle.remove()
    assert sizes == [64, 80, 64, 48, 128]


def test_contrastive_terms_start_with_their_epoch():
    names = {"loss_contrastive", "loss_paired_contrastive"}
    model = tiny_model()
    for epoch, present in ((0, False), (1, False), (2, True), (7, True), (None, True)):
        assert (names <= set(model(**batch(), epoch=epoch).loss_dict)) == present
        assert bool(names & set(model(**batch(), epoch=epoch).loss_dict)) == present
    assert names <= set(tiny_model(contrastive_start_epoch=0)(**batch(), epoch=0).loss_dict)


def test_contrastive_terms_without_an_unshared_label():
    inputs = batch()
    inputs["paired_labels"] = torch.maximum(inputs["labels"], inputs["paired_labels"])  # the image has nothing alone
    terms = tiny_model()(**inputs).loss_dict
    assert "loss_contrastive" not in terms
    assert "loss_paired_contrastive" in terms
    outputs = tiny_model(skip_empty_contrastive=False)(**inputs)
    expected = cross_entropy(outputs.contrastive_logits, torch.zeros(2, 5))
    assert outputs.loss_dict["loss_contrastive"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_images_without_partners():
    outputs = tiny_model()(random_pixels(), labels=random_labels())
    assert list(outputs.loss_dict) == ["loss_basic"]
    assert outputs.loss.item() == pytest.approx(cross_entropy(outputs.logits, random_labels()).item(), rel=1e-5)
    assert outputs.paired_logits is None
    assert outputs.co_attention_maps is None


# options


def test_shared_class_head():
    """The thesis' one layer phi: the maps of co-attentive features are made by the layer of the basic maps."""
    model = tiny_model(shared_class_head=True)
    assert not hasattr(model, "common_classifier")
    outputs = model(random_pixels(), random_pixels(seed=3))
    common, _ = model.co_attention(outputs.last_hidden_state, outputs.paired_last_hidden_state)
    assert_close(outputs.co_attention_maps, model.classifier(common), **EXACT)
    model(**batch()).loss_dict["loss_contrastive"].backward()
    assert model.classifier.weight.grad.abs().max() > 0


def test_rows_of_table_3_4():
    basic = tiny_model(use_co_attention=False, use_contrastive_co_attention=False)
    outputs = basic(**batch(view_pixel_values=[random_pixels(seed=5)]))
    assert list(outputs.loss_dict) == ["loss_basic", "loss_view_0_basic"]
    assert outputs.co_attention_logits is None
    assert {name.split(".")[0] for name, _ in basic.named_parameters()} == {"backbone", "neck", "classifier"}
    common = tiny_model(use_contrastive_co_attention=False)
    assert list(common(**batch()).loss_dict) == ["loss_basic", "loss_co_attention"]
    assert not hasattr(common, "gate")


@pytest.mark.parametrize(
    ("backbone_config", "stride"),
    [
        ({"model_type": "timm_backbone", "backbone": "test_resnet", "out_indices": [4], "output_stride": 8}, 8),
        (
            {
                "model_type": "resnet",
                "depths": [1, 1],
                "hidden_sizes": [8, 12],
                "embedding_size": 8,
                "out_features": ["stage2"],
            },
            8,
        ),
    ],
)
def test_other_backbones(backbone_config, stride, tmp_path):
    model = tiny_model(backbone_config=backbone_config)
    outputs = model(**batch())
    assert outputs.activation_maps.shape == (2, 5, 64 // stride, 64 // stride)
    outputs.loss.backward()
    model.save_pretrained(tmp_path)
    again = MCISForImageClassification.from_pretrained(tmp_path).eval()
    assert_close(again(random_pixels()).logits, model(random_pixels()).logits)


@pytest.mark.parametrize("size", [(64, 64), (50, 71), (8, 9), (33, 120)])
def test_sizes_of_maps(size):
    outputs = tiny_model()(random_pixels(1, size), random_pixels(1))
    height, width = size[0] // 8, size[1] // 8
    for name in ("activation_maps", "co_attention_maps", "contrastive_maps"):
        assert outputs[name].shape == (1, 5, height, width)
        logits = outputs[name.replace("activation_", "").replace("maps", "logits")]
        assert_close(logits, outputs[name].mean(dim=(2, 3)))
    assert outputs.last_hidden_state.shape == (1, 16, height, width)
    assert outputs.paired_co_attention_maps.shape == (1, 5, 8, 8)


def test_output_order_and_hidden_states():
    model = tiny_model()
    outputs = model(**batch(), output_hidden_states=True)
    assert next(iter(outputs)) == "loss"
    assert model(**batch(), return_dict=False)[0] == outputs.loss
    assert [one.shape[1] for one in outputs.hidden_states] == [4, 6, 8, 16, 16, 16]
    assert outputs.hidden_states[-1] is outputs.last_hidden_state
    assert model(random_pixels()).hidden_states is None


def test_vgg_of_torchvision():
    """Its weights fit by name; up to the pool that halves there and not here, both compute the same."""
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    theirs = torchvision.models.vgg16().features.eval()
    ours = VGG16(3, [64, 128, 256, 512])
    ours.load_state_dict({rename_vgg(f"features.{name}"): tensor for name, tensor in theirs.state_dict().items()})
    pixels = random_pixels(1, (40, 50))
    with torch.no_grad():
        maps = ours(pixels).feature_maps
        for stage, last in enumerate((4, 9, 16, 23)):
            assert_close(maps[stage], theirs[:last](pixels))
    assert [tuple(one.shape[2:]) for one in maps] == [(40, 50), (20, 25), (10, 12), (5, 6), (5, 6)]


def test_initial_weights():
    """He's with fan-out for the convolutions with a bias, PyTorch's own for the others (released code)."""
    torch.manual_seed(0)
    model = MCISForImageClassification(tiny_config(vgg_hidden_sizes=[16, 16, 32, 64], hidden_size=64))
    expected = {
        model.backbone.stages[4].get_submodule("28"): (2 / (9 * 64)) ** 0.5,
        model.neck[0]: (2 / (9 * 64)) ** 0.5,
        model.classifier: (2 / 5) ** 0.5,
        model.co_attention.affinities[0]: (3 * 64) ** -0.5,
        model.common_classifier: (3 * 64) ** -0.5,
        model.gate: (3 * 64) ** -0.5,
    }
    for layer, spread in expected.items():
        assert layer.weight.std().item() == pytest.approx(spread, rel=0.2)
        assert layer.bias is None or not layer.bias.any()


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing(reentrant):
    gradients = []
    for checkpointing in (False, True):
        model = tiny_model().train()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": reentrant})
            assert all(stage.gradient_checkpointing for stage in model.backbone.stages)
        inputs = batch()
        model(**inputs).loss.backward()
        assert not inputs["pixel_values"].requires_grad
        gradients.append([parameter.grad for parameter in model.parameters()])
    for plain, recomputed in zip(*gradients):
        assert_close(plain, recomputed, **EXACT)


def test_image_classification_pipeline(tmp_path):
    """Several classes may be likely at once: the scores of one image do not add up to 1."""
    model = tiny_model(id2label=dict(enumerate(["boat", "car", "cat", "cow", "dog"])))
    model.save_pretrained(tmp_path)
    MCISImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path)
    image = torch.zeros(40, 60, 3, dtype=torch.uint8).numpy()
    from PIL import Image

    found = pipeline("image-classification", model=str(tmp_path))(Image.fromarray(image), top_k=5)
    pixels = MCISImageProcessor(size={"height": 64, "width": 64})(image, return_tensors="pt")["pixel_values"]
    scores = model(pixels).logits[0].sigmoid().tolist()
    assert {one["label"]: one["score"] for one in found} == pytest.approx(
        dict(zip(model.config.id2label.values(), scores)), abs=1e-6
    )


# configuration and bad input


@pytest.mark.parametrize("num_labels", [1, 2, 20, 200])
def test_configuration_comes_back(tmp_path, num_labels):
    config = MCISConfig(num_labels=num_labels, scale_views=[0.5], flip_view=False, num_domains=2)
    config.save_pretrained(tmp_path)
    again = MCISConfig.from_pretrained(tmp_path)
    assert again.to_dict() == copy.deepcopy(config).to_dict()
    assert (again.num_labels, again.num_domains, again.backbone_config) == (num_labels, 2, None)
    assert MCISConfig().num_labels == 20


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vgg_hidden_sizes": [64, 128]}, "four positive numbers"),
        ({"loss_reduction": "max"}, "loss_reduction must be one of"),
        ({"num_domains": 0}, "num_domains must be at least 1"),
        ({"use_co_attention": False}, "needs use_co_attention"),
        ({"scale_views": [0.0]}, "positive factors"),
        ({"contrastive_start_epoch": -1}, "contrastive_start_epoch must be at least 0"),
    ],
)
def test_configurations_that_cannot_be(fields, message):
    with pytest.raises(Exception, match=message):
        MCISConfig(**fields)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.zeros(2, 4)}, r"labels must have the shape of the logits, \[2, 5\]. Received: \[2, 4\]"),
        ({"labels": torch.full((2, 5), -100.0)}, "labels must be 0 or 1. Received: -100 to -100"),
        ({"paired_labels": None}, "paired_labels must have the shape"),
        ({"paired_pixel_values": random_pixels(3)}, "There must be 2 partners. Received: 3"),
        ({"view_pixel_values": [random_pixels(1)]}, "There must be 2 partners. Received: 1"),
    ],
)
def test_inputs_that_do_not_fit(change, message):
    with pytest.raises(ValueError, match=message):
        tiny_model()(**(batch() | change))
