"""`pipeline("weakly-supervised-segmentation")` with a small model of random weights: way in and out, no accuracy."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_mcis import picture, tiny_model
from transformers import pipeline

import dense_hf
from dense_hf.pipelines import WeaklySupervisedSegmentationPipeline
from dense_hf.weak_segmentation import (
    DenseCRF,
    ImageGroup,
    LocalizationSettings,
    Localizer,
    MCISImageProcessor,
    make_pseudo_label,
)

CLASSES = ("cat", "dog", "car", "tree", "cow")
LABELS = [["cat", "car"], ["cat"], ["cow", "cat"], []]
IDS = [[0, 2], [0], [0, 4], []]


@pytest.fixture(scope="module")
def model():
    return tiny_model(id2label=dict(enumerate(CLASSES)))


@pytest.fixture(scope="module")
def processor():
    return MCISImageProcessor(size={"height": 64, "width": 64})


@pytest.fixture(scope="module")
def segmenter(model, processor):
    return pipeline("weakly-supervised-segmentation", model=model, image_processor=processor, device="cpu")


@pytest.fixture(scope="module")
def images():
    return [picture(0), picture(1), picture(2, width=40, height=60), picture(3)]


def expected(model, processor, images, ids, saliency=None, rules=None, refine=False, **settings):
    """By the plain functions."""
    names = [f"{number:06d}" for number in range(len(images))]
    group = ImageGroup(dict(zip(names, ids)), lambda name: images[int(name)])
    with Localizer(model, processor, group, LocalizationSettings(**settings)) as localizer:
        for number, name in enumerate(names):
            maps = localizer.attention(name)
            salient = None if saliency is None else saliency[number]
            if not maps and salient is None:
                yield maps, np.zeros((images[number].height, images[number].width), np.uint8)
                continue
            pixels = np.asarray(images[number])
            crf = (lambda scores, pixels=pixels: DenseCRF()(pixels, scores)) if refine else None
            yield maps, make_pseudo_label(maps, salient, 5, **(rules or {}), refine=crf)


def assert_same(results, wanted):
    wanted = list(wanted)
    assert len(results) == len(wanted)
    for result, (maps, label) in zip(results, wanted):
        assert list(result["maps"]) == [CLASSES[class_id] for class_id in maps]
        for class_id, attention in maps.items():
            assert np.array_equal(result["maps"][CLASSES[class_id]], attention)
        assert np.array_equal(result["segmentation"], label)
        assert result["segmentation"].dtype == np.uint8


def test_a_group_with_labels(segmenter, model, processor, images):
    assert isinstance(segmenter, WeaklySupervisedSegmentationPipeline)
    results = segmenter(images, labels=LABELS)
    assert_same(results, expected(model, processor, images, IDS))
    assert [result["labels"] for result in results] == [["cat", "car"], ["cat"], ["cat", "cow"], []]
    assert [result["segmentation"].shape for result in results] == [(50, 70), (50, 70), (60, 40), (50, 70)]
    for result in results:
        segmentation, shares = result["segmentation"], result["class_statistics"]
        named = {0: "background"} | {number + 1: name for number, name in enumerate(CLASSES)}
        counted = {named[n]: (segmentation == n).mean() for n in np.unique(segmentation).tolist() if n != 255}
        assert shares == pytest.approx(counted)
        assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert results[3]["class_statistics"] == {"background": 1.0}


def test_every_way_to_give_a_group(segmenter, images, tmp_path):
    results = segmenter(images, labels=LABELS)
    images[0].save(tmp_path / "a.png")
    tensor = torch.from_numpy(np.array(images[1])).permute(2, 0, 1)
    mixed = [tmp_path / "a.png", tensor, np.asarray(images[2]), images[3]]
    dictionaries = [{"image": image, "labels": ids} for image, ids in zip(mixed, IDS)]
    for others in (segmenter(mixed, labels=IDS), segmenter(dictionaries)):
        for one, other in zip(results, others, strict=True):
            assert one["labels"] == other["labels"]
            assert np.array_equal(one["segmentation"], other["segmentation"])
    alone = segmenter(str(tmp_path / "a.png"), labels=["cat"])
    assert alone["labels"] == ["cat"]
    again = segmenter([images[0]], labels=["cat"])[0]
    assert np.array_equal(alone["segmentation"], again["segmentation"])


def test_pictures_of_other_kinds(segmenter, tmp_path):
    sideways = Image.Exif()
    sideways[0x0112] = 6
    picture(1).save(tmp_path / "turned.png", exif=sideways)
    upright = picture(1).transpose(Image.Transpose.ROTATE_270)
    one = segmenter(tmp_path / "turned.png", labels=[0])
    assert one["segmentation"].shape == (70, 50)
    assert np.array_equal(one["maps"]["cat"], segmenter(upright, labels=[0])["maps"]["cat"])
    gray, palette = picture(2).convert("L"), picture(3).quantize(8)
    results = segmenter([gray, palette, gray.convert("RGB"), palette.convert("RGB")], [[0], [1], [0], [1]])
    assert [result["labels"] for result in results] == [["cat"], ["dog"], ["cat"], ["dog"]]
    with pytest.raises(ValueError, match="mode F"):
        segmenter(Image.new("F", (9, 9)), labels=[0])
    with pytest.raises(TypeError, match="an image, an array or a path"):
        segmenter([3.5], labels=[[0]])
    for wrong in (b"PNG", np.zeros((9, 9, 3)), tmp_path, "street.mp4"):
        with pytest.raises(TypeError, match="an image, an array or a path"):
            segmenter([gray, wrong], labels=[[0], [0]])
    with pytest.raises(ValueError, match=r"mistyped\.png: there is no such file"):
        segmenter("mistyped.png", labels=[0])
    with pytest.raises(ValueError, match=r"mistyped\.png cannot be read as saliency"):
        segmenter(gray, labels=[0], saliency="mistyped.png")
    gray.save(tmp_path / "stack.tif", save_all=True, append_images=[Image.new("L", (20, 10))])
    with pytest.raises(ValueError, match="stack of 2"):
        segmenter(tmp_path / "stack.tif", labels=[0])
    assert segmenter(tmp_path / "stack.tif", labels=[0], page=1)["segmentation"].shape == (10, 20)
    Image.fromarray(np.asarray(gray).astype(np.uint16) * 16).save(tmp_path / "deep.png")
    assert np.array_equal(
        segmenter(tmp_path / "deep.png", labels=[0], white=4080)["maps"]["cat"],
        segmenter(gray, labels=[0])["maps"]["cat"],
    )


@pytest.mark.parametrize(
    "settings",
    [{"num_references": 1, "seed": 4}, {"use_views": False}, {"num_references": 0}],
)
def test_settings_of_maps(segmenter, model, processor, images, settings):
    assert_same(segmenter(images, labels=IDS, **settings), expected(model, processor, images, IDS, **settings))
    constructed = WeaklySupervisedSegmentationPipeline(
        model=model, image_processor=processor, device="cpu", **settings
    )
    assert_same(constructed(images, labels=IDS), expected(model, processor, images, IDS, **settings))


@pytest.mark.parametrize("crf", [False, True])
@pytest.mark.parametrize("rules", [{"background_score": 0.5}, {"background_power": 2.0}])
def test_settings_of_masks(segmenter, model, processor, images, rules, crf):
    results = segmenter(images, labels=IDS, num_references=0, crf=crf, **rules)
    assert_same(results, expected(model, processor, images, IDS, rules=rules, refine=crf, num_references=0))


def test_saliency(segmenter, model, processor, images, tmp_path):
    generator = np.random.default_rng(0)
    arrays = [generator.integers(0, 2, (one.height, one.width), dtype=np.uint8) * 255 for one in images]
    Image.fromarray(arrays[0]).save(tmp_path / "s.png")
    given = [tmp_path / "s.png", Image.fromarray(arrays[1]), *arrays[2:]]
    wanted = list(expected(model, processor, images, IDS, arrays, num_references=0))
    assert_same(segmenter(images, IDS, given, num_references=0), wanted)
    both = [{"image": i, "labels": k, "saliency": s} for i, k, s in zip(images, IDS, given)]
    assert_same(segmenter(both, num_references=0), wanted)
    with pytest.raises(ValueError, match="without saliency"):
        segmenter(images, IDS, given, crf=True)
    with pytest.raises(ValueError, match=r"size of its image, \[50, 70\]. Received: \[9, 9\] for image 0"):
        segmenter(images[0], [], np.zeros((9, 9), np.uint8))
    with pytest.raises(ValueError, match=r"uint8 \[H, W\] for each image"):
        segmenter(images[0], [0], np.zeros((50, 70)))
    with pytest.raises(ValueError, match="a gray image of 8 bits"):
        segmenter(images[0], [0], images[0])


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.6, 1.0])
def test_classes_that_the_classifier_finds(segmenter, model, processor, images, threshold):
    with torch.no_grad():
        logits = torch.cat([model(processor(image, return_tensors="pt")["pixel_values"]).logits for image in images])
    found = [torch.where(row.sigmoid() >= threshold)[0].tolist() for row in logits]
    results = segmenter(images, num_references=0, threshold=threshold)
    assert [result["labels"] for result in results] == [[CLASSES[k] for k in ids] for ids in found]
    if threshold == 0.5:
        assert len({tuple(ids) for ids in found}) > 1
        given = [None, ["dog"], None, None]
        results = segmenter(images, given, num_references=0)
        assert [result["labels"] for result in results] == [
            [CLASSES[k] for k in ids] for ids in (found[0], [1], *found[2:])
        ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": [["bird"], [], [], []]}, r"The classes are cat, dog.* Received: \['bird'\]"),
        ({"labels": [[5], [], [], []]}, r"Received: \[5\]"),
        ({"labels": [["cat"]]}, "an entry for each of 4 images"),
        ({"labels": "cat"}, "an entry for each of 4 images"),
        ({"labels": IDS, "num_references": -1}, "num_references and seed must be at least 0"),
        ({"labels": IDS, "background_score": 7}, "background_score must be in"),
        ({"threshold": 2}, "threshold must be in"),
    ],
)
def test_what_cannot_be(segmenter, images, arguments, message):
    with pytest.raises(ValueError, match=message):
        segmenter(images, **arguments)


def test_dictionaries_that_cannot_be(segmenter, images):
    one = {"image": images[0], "labels": [0]}
    with pytest.raises(ValueError, match="their own labels"):
        segmenter([one], labels=[[0]])
    with pytest.raises(ValueError, match="their own labels"):
        segmenter([one, images[1]])
    with pytest.raises(ValueError, match=r"Received: \['label'\]"):
        segmenter([{"image": images[0], "label": [0]}])
    with pytest.raises(ValueError, match='must have an "image"'):
        segmenter([{"labels": [0]}])


def test_unknown_settings_and_no_image(segmenter, images):
    with pytest.raises(TypeError, match="references"):
        segmenter(images, labels=IDS, references=3)
    assert segmenter([]) == []


def test_broken_weights_find_nothing(processor, images):
    broken = tiny_model(id2label=dict(enumerate(CLASSES)))
    broken.classifier.bias.data[1] = float("nan")
    segmenter = WeaklySupervisedSegmentationPipeline(model=broken, image_processor=processor, device="cpu")
    with pytest.raises(ValueError, match="logits must be finite"):
        segmenter(images)


def test_it_is_a_public_name():
    assert dense_hf.WeaklySupervisedSegmentationPipeline is WeaklySupervisedSegmentationPipeline
