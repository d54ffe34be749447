"""Localisation maps of a group: references, views, caching, and that a model is left as it was."""

import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_mcis import picture, tiny_model
from torch.nn import functional as F
from torch.testing import assert_close

from dense_hf.weak_segmentation import (
    ImageGroup,
    LocalizationSettings,
    Localizer,
    MCISImageProcessor,
    aggregate_maps,
    resize_map,
)

LABELS = {"a": [0, 2], "b": [0], "c": [2, 4], "d": [0, 4], "e": []}
PROCESSOR = MCISImageProcessor(size={"height": 64, "width": 64})


def group(labels=None, **more) -> ImageGroup:
    labels = LABELS if labels is None else labels
    return ImageGroup(labels, lambda name: picture(sum(map(ord, name))), **more)


def pixels(name: str, side: int = 64) -> torch.Tensor:
    image = picture(sum(map(ord, name)))
    return PROCESSOR(image, size={"height": side, "width": side}, return_tensors="pt")["pixel_values"]


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def all_maps(model, some_group=None, **arguments) -> dict[str, dict[int, torch.Tensor]]:
    some_group = some_group or group()
    with Localizer(model, PROCESSOR, some_group, **arguments) as localizer:
        return {name: localizer.maps(name) for name in some_group.labels}


def same(ours, expected) -> bool:
    return all(
        ours[name].keys() == maps.keys() and all(torch.equal(ours[name][k], maps[k]) for k in maps)
        for name, maps in expected.items()
    )


# what maps are


@pytest.mark.parametrize("gate", ["none", "similarity"])
def test_maps_by_the_forward_of_the_model(gate):
    """Every term is what the whole model says about pairs of images."""
    model = tiny_model(co_attention_gate=gate)
    references = {0: ["b", "d", "b"], 2: ["a", "c"]}
    with Localizer(model, PROCESSOR, group()) as localizer:
        maps = localizer.maps("a", references=references)
    own = pixels("a")
    with torch.no_grad():
        flipped = model(own, own.flip(-1))
        others = [model(own, pixels("a", side)).paired_co_attention_maps for side in (48, 128)]
        terms = [
            flipped.co_attention_maps,
            flipped.paired_co_attention_maps.flip(-1),
            *(F.interpolate(one, size=(8, 8), mode="bicubic") for one in others),
        ]
        assert sorted(maps) == [0, 2]
        for class_id, names in references.items():
            compared = torch.stack([model(own, pixels(name)).co_attention_maps for name in names]).mean(dim=0)
            expected = torch.stack([term[0, class_id] for term in [*terms, compared]])
            assert_close(maps[class_id], expected, atol=1e-5, rtol=1e-5)


def test_single_round_maps(model):
    """No reference: S_n of the image alone (Table 3.5, first row)."""
    maps = all_maps(model, settings=LocalizationSettings(num_references=0))
    with torch.no_grad():
        alone = model(pixels("a")).activation_maps[0]
    assert_close(maps["a"][2], alone[2, None], atol=1e-6, rtol=1e-6)
    assert maps["a"].keys() == {0, 2}


@pytest.mark.parametrize("num_references", range(1, 6))
def test_numbers_of_references(model, num_references):
    """Table 3.5; in the thesis' mode there is one map, the mean over the references."""
    options = LocalizationSettings(num_references=num_references, use_views=False, seed=3)
    maps = all_maps(model, settings=options)
    for name, classes in maps.items():
        for class_id, ours in classes.items():
            names = group().references(name, class_id, num_references, True, True, seed=3)
            assert len(names) == num_references
            assert all(class_id in LABELS[other] for other in names)
            with torch.no_grad():
                compared = [model(pixels(name), pixels(other)).co_attention_maps[0, class_id] for other in names]
            assert_close(ours, torch.stack(compared).mean(dim=0)[None], atol=1e-5, rtol=1e-5)


def test_contrastive_maps(model):
    """One more term, against images without the class; none where every image has it."""
    maps = all_maps(model, settings=LocalizationSettings(use_contrastive=True, num_references=2))
    plain = all_maps(model, settings=LocalizationSettings(num_references=2))
    others = group().contrasts("a", 0, 2, True, seed=0)
    assert set(others) <= {"c", "e"}
    with torch.no_grad():
        expected = [model(pixels("a"), pixels(other)).contrastive_maps[0, 0] for other in others]
    assert torch.equal(maps["a"][0][:-1], plain["a"][0])
    assert_close(maps["a"][0][-1], torch.stack(expected).mean(dim=0), atol=1e-5, rtol=1e-5)
    everywhere = group({"a": [0], "b": [0]})
    maps = all_maps(model, everywhere, settings=LocalizationSettings(use_contrastive=True))
    assert maps["a"][0].shape == (5, 8, 8)


def test_views_follow_the_config(model):
    assert all_maps(model)["a"][0].shape == (5, 8, 8)
    assert all_maps(tiny_model(flip_view=False))["a"][0].shape == (3, 8, 8)
    assert all_maps(tiny_model(scale_views=[0.5]))["a"][0].shape == (4, 8, 8)
    assert all_maps(tiny_model(flip_view=False, scale_views=[]))["a"][0].shape == (1, 8, 8)


def test_attention_has_the_size_of_the_image(model):
    with Localizer(model, PROCESSOR, group()) as localizer:
        attention = localizer.attention("a")
        maps = localizer.maps("a")
        assert localizer.attention("e") == {}, "an image without a label has no maps, and is no error"
    assert sorted(attention) == [0, 2]
    for class_id, array in attention.items():
        assert array.shape == (50, 70)
        assert array.dtype == np.uint8
        assert np.array_equal(array, resize_map(aggregate_maps(maps[class_id]), (50, 70)))


def test_domains_of_images():
    """Each image and each of its references bring their own domain."""
    two, domains = tiny_model(num_domains=2), {"b": 1, "c": 1}
    found = {}
    with Localizer(two, PROCESSOR, group(domains=domains), LocalizationSettings(use_views=False)) as localizer:
        for name, other in (("a", "d"), ("a", "b"), ("b", "a"), ("b", "b")):
            pair = pixels(name), pixels(other)
            ids = [torch.tensor([domains.get(one, 0)]) for one in (name, other)]
            with torch.no_grad():
                expected = two(*pair, domains=ids[0], paired_domains=ids[1]).co_attention_maps[0, 0, None]
                found[name, other] = torch.allclose(two(*pair).co_attention_maps[0, 0, None], expected, atol=1e-4)
            assert_close(localizer.maps(name, references={0: [other], 2: [other]})[0], expected, atol=1e-5, rtol=1e-5)
    assert found == {("a", "d"): True, ("a", "b"): False, ("b", "a"): False, ("b", "b"): False}, "it matters"


# the cache


@pytest.mark.parametrize("bound", ["nothing", "one", "all"])
@pytest.mark.parametrize("on_disk", [False, True])
def test_cached_equals_computed_anew(model, tmp_path, bound, on_disk):
    one_image = 16 * 8 * 8 * 4
    arguments = {"cache_bytes": {"nothing": 0, "one": one_image, "all": 100 * one_image}[bound]}
    if on_disk:
        arguments["cache_folder"] = tmp_path / "scratch"
    expected = {}
    for name in LABELS:  # a localizer of its own for each image remembers nothing
        with Localizer(model, PROCESSOR, group(), cache_bytes=0) as localizer:
            expected[name] = localizer.maps(name)
    assert same(all_maps(model, **arguments), expected)
    if on_disk:
        assert list((tmp_path / "scratch").iterdir()) == [], "temporary files are removed"


def test_features_of_every_image_and_view_are_computed_once(model, tmp_path):
    def count(**arguments):
        sides = []
        handle = model.backbone.register_forward_pre_hook(lambda module, inputs: sides.append(inputs[0].shape[-1]))
        all_maps(model, **arguments)
        handle.remove()
        return {side: sides.count(side) for side in set(sides)}

    labelled = 4  # e has no label, so nothing needs its views
    assert count() == {64: 5 + labelled, 48: labelled, 128: labelled}, "images and mirror images, and two views"
    assert count(cache_bytes=0, cache_folder=tmp_path) == count()
    assert count(cache_bytes=0)[64] > 5 + labelled


# references


@given(
    num_references=st.integers(0, 5),
    with_replacement=st.booleans(),
    allow_self=st.booleans(),
    seed=st.integers(0, 2**31),
    order=st.permutations(list(LABELS)),
)
@settings(max_examples=50, deadline=None)
def test_references(num_references, with_replacement, allow_self, seed, order):
    ours, shuffled = group(), group({name: LABELS[name] for name in order})
    for name, classes in LABELS.items():
        for class_id in classes:
            arguments = (name, class_id, num_references, with_replacement, allow_self, seed)
            drawn = ours.references(*arguments)
            assert drawn == shuffled.references(*arguments), "they do not depend on the order of the list"
            assert all(class_id in LABELS[other] for other in drawn)
            candidates = [other for other in LABELS if class_id in LABELS[other] and (allow_self or other != name)]
            expected = num_references if with_replacement else min(num_references, len(candidates))
            assert len(drawn) == expected
            assert with_replacement or len(set(drawn)) == len(drawn)
            assert allow_self or name not in drawn


def test_references_differ_between_images_classes_and_seeds():
    many = group({f"image{index}": [0, 1] for index in range(50)})
    drawn = [
        tuple(many.references(name, class_id, 3, True, True, seed))
        for name in ("image1", "image2")
        for class_id in (0, 1)
        for seed in (0, 1)
    ]
    assert len(set(drawn)) == 8


def test_a_class_with_a_single_image_is_its_own_reference(caplog):
    logger = logging.getLogger("dense_hf.weak_segmentation.image_group")
    logger.addHandler(caplog.handler)
    alone = group({"a": [0, 3], "b": [0]})
    logger.removeHandler(caplog.handler)
    assert "its own and only reference: {3: 'a'}" in caplog.text
    assert alone.references("a", 3, 3, True, allow_self=False, seed=0) == ["a"] * 3


# the model is left as it was


@pytest.mark.parametrize("training", [True, False])
def test_nothing_is_left_behind(training):
    model = tiny_model().train(training)

    def hooks():
        return [
            len(hooks) for module in model.modules() for kind, hooks in vars(module).items() if kind.endswith("_hooks")
        ]

    before, weights = hooks(), {name: tensor.clone() for name, tensor in model.state_dict().items()}
    all_maps(model, settings=LocalizationSettings(use_contrastive=True))
    broken = ImageGroup({"a": [0]}, lambda name: 1 / 0)
    with Localizer(model, PROCESSOR, broken) as localizer, pytest.raises(ZeroDivisionError):
        localizer.attention("a")
    assert hooks() == before
    assert model.training == training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def test_evaluation_mode_inside_and_no_gradients():
    model = tiny_model().train()
    seen = []
    handle = model.backbone.register_forward_hook(
        lambda module, inputs, output: seen.append((module.training, output.feature_maps[-1].requires_grad))
    )
    maps = all_maps(model)
    handle.remove()
    assert set(seen) == {(False, False)}
    assert not maps["a"][0].requires_grad


# what does not fit


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: LocalizationSettings(num_references=-1), "num_references and seed must be at least 0"),
        (lambda m: LocalizationSettings(num_references=0, use_contrastive=True), "compares with other images"),
        (lambda m: Localizer(m, PROCESSOR, group({"a": [5]})), "a: class ids must be from 0 to 4"),
        (lambda m: Localizer(m, PROCESSOR, group(domains={"a": 1})), "a: domain must be from 0 to 0"),
        (lambda m: Localizer(m, PROCESSOR, group()).attention("z"), "no image of this name. Received: 'z'"),
        (
            lambda m: Localizer(m, PROCESSOR, group()).maps("a", references={0: ["b"]}),
            "references of a must name images for class 2",
        ),
        (lambda m: Localizer(m, PROCESSOR, group()).maps("b", references={0: ["z"]}), "no image of this name"),
        (lambda m: Localizer(m, PROCESSOR, group(), cache_bytes=-1), "max_bytes must be at least 0"),
        (
            lambda m: Localizer(
                tiny_model(use_co_attention=False, use_contrastive_co_attention=False), PROCESSOR, group()
            ),
            "single-round maps only",
        ),
        (
            lambda m: Localizer(
                tiny_model(use_contrastive_co_attention=False),
                PROCESSOR,
                group(),
                LocalizationSettings(use_contrastive=True),
            ),
            "no contrastive co-attention",
        ),
    ],
)
def test_what_does_not_fit(model, make, message):
    with pytest.raises(ValueError, match=message):
        make(model)
