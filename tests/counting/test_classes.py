"""Counters with several classes: heads, losses, counts, names, and pictures as they become training samples.

One class is the released code, whose numbers the other tests of this folder have.
"""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_counters import tiny_counter
from tiny_density_counter import tiny_density_model
from tiny_iocformer import random_labels, tiny_config
from tiny_iocformer import tiny_model as tiny_iocformer

from dense_hf import CounterImageProcessor, IOCFormerConfig, IOCFormerImageProcessor, MCNNConfig
from dense_hf.cli import main
from dense_hf.counting.loss_iocformer import match_points
from dense_hf.counting.tile_merging import merge_tiles
from dense_hf.counting.tiling import TileLayout
from dense_hf.data import generate_miniature_set
from dense_hf.data.counting_examples import CountingExample
from dense_hf.data.formats import read_annotations
from dense_hf.data.point_source import PointSource
from dense_hf.errors import InvalidDataError
from dense_hf.inference.checkpoints import load_counter
from dense_hf.inference.class_names import label_rows, name_labels, order_labels
from dense_hf.inference.counts import choose_threshold, evaluate_counting
from dense_hf.pipelines import ObjectCountingPipeline
from dense_hf.training.continuing import load_with_labels
from dense_hf.training.counting.augmentation import CountingAugmentation
from dense_hf.training.counting.crops import CropRule, CropTrainingSet
from dense_hf.training.counting.dataset import CountingTrainingSet, collate_crops

NAMES = ("fish", "shell", "star")


def iocformer(names=NAMES, **fields):
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: k for k, name in enumerate(names)}}
    return tiny_iocformer(**labels, **fields)


def p2pnet(names=NAMES):
    return tiny_counter("p2pnet", id2label=dict(enumerate(names)))


def density(names=NAMES, method="bl"):
    return tiny_density_model(method, id2label=dict(enumerate(names)))


MODELS = {"iocformer": iocformer, "p2pnet": p2pnet, "density": density}


def batch(seed=0, size=32):
    torch.manual_seed(seed)
    classes = torch.tensor([[0, 2, 1], [2, -100, -100]])
    return {"pixel_values": torch.rand(2, 3, size, size), "labels": random_labels((3, 1)), "class_labels": classes}


@pytest.mark.parametrize("name", MODELS)
def test_heads_grow_with_the_classes(name):
    model = MODELS[name]()
    output = model(**batch())
    if name != "density":
        assert output.logits.shape[-1] == 4
    if name != "p2pnet":
        assert output.density_map.shape[1] == 3
    assert output.loss.isfinite()
    output.loss.backward()
    assert all(value.grad is not None for key, value in model.named_parameters() if "class_head" in key)


@pytest.mark.parametrize("name", MODELS)
def test_no_class_is_better_than_another(name):
    """Other numbers for the classes, and the rows of the heads with them: the same loss."""
    model, inputs = MODELS[name]().eval(), batch()
    with torch.no_grad():
        before = model(**inputs)
        order = torch.tensor([2, 0, 1])  # the new class k was order[k]
        order_labels(model, [NAMES[k] for k in order], "here")
        renamed = inputs["class_labels"].clone()
        for new, old in enumerate(order.tolist()):
            renamed[inputs["class_labels"] == old] = new
        after = model(**inputs | {"class_labels": renamed})
    assert torch.allclose(before.loss, after.loss, rtol=1e-5)
    if before.logits is not None:
        assert torch.equal(before.logits[..., 1 + order], after.logits[..., 1:])
        assert torch.equal(before.logits[..., 0], after.logits[..., 0])
    if before.density_map is not None:
        assert torch.equal(before.density_map[:, order], after.density_map)


@pytest.mark.parametrize("method", ["bl", "dmcount", "csrnet"])
def test_the_loss_of_density_maps_is_that_of_each_class_alone(method):
    model, inputs = density(method=method), batch()
    total = model(**inputs)
    alone = []
    for number in range(3):
        single = tiny_density_model(method)
        state = model.state_dict()
        rows = {key: state[key][number : number + 1] for key in ("head.output.weight", "head.output.bias")}
        single.load_state_dict(state | rows)
        labels = inputs["labels"].clone()
        labels[inputs["class_labels"] != number] = -100
        alone.append(single(pixel_values=inputs["pixel_values"], labels=labels).loss)
    assert torch.allclose(total.loss, torch.stack(alone).sum(), rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_class_labels_that_cannot_be(name):
    model, inputs = MODELS[name](), batch()
    with pytest.raises(ValueError, match=r"A model of 3 classes needs class_labels of shape \[2, 3\]. Received: none"):
        model(pixel_values=inputs["pixel_values"], labels=inputs["labels"])
    with pytest.raises(ValueError, match=r"class_labels must be from 0 to 2\. Received: 0 to 3"):
        model(**inputs | {"class_labels": torch.tensor([[0, 3, 1], [2, 0, 0]])})


def test_matching_asks_for_the_class_of_the_point():
    """Two queries at one place, each sure of another class: each point gets the query of its class."""
    config = tiny_config(num_labels=2)
    logits = torch.tensor([[-5.0, -5.0, 5.0], [-5.0, 5.0, -5.0], [-5.0, -5.0, -5.0]])
    points, targets = torch.full((3, 3), 0.5), torch.full((2, 3), 0.5)
    queries, matched = match_points(logits, points, targets, config, torch.tensor([0, 1]))
    assert dict(zip(queries.tolist(), matched.tolist())) == {1: 0, 0: 1}


def test_a_configuration_keeps_its_classes():
    assert IOCFormerConfig().num_labels == 1
    assert IOCFormerConfig.from_dict({"model_type": "iocformer"}).num_labels == 1  # of before there were classes
    for fields in ({"num_labels": 2}, {"num_labels": 5}, {"id2label": {0: "a", 1: "b"}}):
        config = IOCFormerConfig(**fields)
        again = IOCFormerConfig.from_dict(json.loads(config.to_json_string()))
        assert again.id2label == config.id2label
        assert again.num_labels == len(config.id2label)
    with pytest.raises(ValueError, match=r"mcnn counts one class, num_labels must be 1\. Received: 2"):
        MCNNConfig(num_labels=2)


def merged(scores, threshold=0.5):
    """One tile whose queries have these scores [Q, 1 + K]."""
    logits = torch.logit(torch.tensor(scores))[None]
    points = torch.linspace(0.1, 0.9, len(scores))[:, None].expand(-1, 2)[None]
    return merge_tiles(TileLayout(32, 32, 32), logits, points, None, threshold)


SCORES = [[0.99, 0.2, 0.1, 0.3], [0.01, 0.6, 0.7, 0.1], [0.2, 0.9, 0.8, 0.1], [0.1, 0.1, 0.1, 0.55]]


def test_a_query_counts_once_as_its_best_class():
    result = merged(SCORES)
    assert result["count"] == 3  # "no object" never counts, two classes of one query are one object
    assert result["classes"].tolist() == [0, 1, 2]
    assert result["class_counts"] == [1, 1, 1]
    assert result["scores"].tolist() == pytest.approx([0.9, 0.7, 0.55], abs=1e-5)
    assert result["points"][:, 0].tolist() == pytest.approx(
        [32 * x for x in (0.1 + 1.6 / 3, 0.1 + 0.8 / 3, 0.9)], 1e-5
    )


def test_each_class_may_have_a_threshold():
    assert merged(SCORES, [0.95, 0.5, 0.5])["class_counts"] == [0, 1, 1]
    assert merged(SCORES, [0.5, 0.75, 0.6])["class_counts"] == [1, 0, 0]
    with pytest.raises(ValueError, match="one for each of 3 classes"):
        merged(SCORES, [0.5, 0.5])
    with pytest.raises(ValueError, match="threshold must be at least 0 and at most 1"):
        IOCFormerImageProcessor(threshold=[0.5, 1.5])


@pytest.mark.parametrize("name", MODELS)
def test_counts_of_classes_add_up(name, noise):
    model = MODELS[name]()
    processor = IOCFormerImageProcessor(tile_size=32) if name == "iocformer" else CounterImageProcessor(threshold=0.3)
    result = processor.count_objects(model, noise(70, 50), return_density_map=None)
    assert len(result["class_counts"]) == 3
    if name == "density":
        assert result["exact_count"] == pytest.approx(sum(result["class_density_counts"]))
    else:
        assert sum(result["class_counts"]) == result["count"] == len(result["classes"])
    if "density_map" in result:
        assert float(result["density_map"].sum()) == pytest.approx(sum(result["class_density_counts"]), rel=1e-4)


@pytest.mark.parametrize("name", ["iocformer", "p2pnet"])
def test_rows_go_with_their_names(name, tmp_path, caplog):
    """From fish, shell, star to star, crab: what was learned of star stays, also of what is no object."""
    model = MODELS[name]()
    model.save_pretrained(tmp_path)
    config = type(model.config).from_pretrained(tmp_path)
    name_labels(config, ["star", "crab"])
    found = load_with_labels(type(model), str(tmp_path), config, ["star", "crab"], NAMES)
    old, new = model.state_dict(), found.state_dict()
    there, here = label_rows(type(model), model.config), label_rows(type(model), found.config)
    heads = {key for key in new if old[key].shape != new[key].shape}
    assert heads == here.keys() == there.keys()
    for key in heads:
        axis, rows = here[key]
        assert axis == 0
        assert torch.equal(new[key][rows[:, 0]], old[key][there[key][1][:, 2]])
        if "class_head" in key:
            assert torch.equal(new[key][rows[:, 0] - 1], old[key][there[key][1][:, 0] - 1])
    assert "Kept: star. Starting anew: crab." in caplog.text


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds") / "set"
    generate_miniature_set(folder, 3, 1, 2, image_size=(70, 64), max_objects=8, num_classes=3, disable_progress=True)
    return folder


def test_classes_are_read_by_their_names(scenes):
    found = PointSource(scenes).read(progress=False, class_names=NAMES)
    assert {split: len(items) for split, items in found.items()} == {"train": 3, "validation": 1, "test": 2}
    (record,) = [one for one in read_annotations(scenes) if one.image.endswith("train_00000.jpg")]
    example = next(one for one in found["train"] if one.path.name.endswith("train_00000.jpg"))
    assert [NAMES[number] for number in example.classes] == list(record.classes)
    assert example.counts(3) == [record.classes.count(name) for name in NAMES]
    with pytest.raises(InvalidDataError, match="objects of the classes fish, shell"):
        PointSource(scenes).read(progress=False, class_names=NAMES[:2])
    assert PointSource(scenes).read(progress=False)["train"][0].classes is None


@pytest.fixture(scope="module")
def colored(tmp_path_factory):
    """A picture whose objects have the color of their class: red, green, blue on black."""
    random = np.random.default_rng(0)
    places = np.stack(np.meshgrid(np.arange(6, 90, 12), np.arange(6, 78, 12)), axis=-1).reshape(-1, 2)
    classes = random.integers(3, size=len(places))
    pixels = np.zeros((84, 96, 3), np.uint8)
    for (x, y), kind in zip(places, classes):
        pixels[y - 3 : y + 4, x - 3 : x + 4, kind] = 255
    path = tmp_path_factory.mktemp("colored") / "a.png"
    Image.fromarray(pixels).save(path)
    return CountingExample(path, (96, 84), places.astype(np.float32), classes.astype(np.int64))


AUGMENTATION = CountingAugmentation(vertical_flip=0.5, rotation=0.7, scale=0.5, grayscale=0.0)


@pytest.mark.parametrize("kind", ["tiles", "crops"])
def test_classes_stay_with_their_points(kind, colored):
    if kind == "tiles":
        processor = IOCFormerImageProcessor(tile_size=48, do_normalize=False)
        samples = CountingTrainingSet([colored], processor, 700, AUGMENTATION, seed=0)
    else:
        processor = CounterImageProcessor(do_normalize=False)
        samples = CropTrainingSet([colored], processor, CropRule(size=48), AUGMENTATION, seed=0)
    seen = 0
    for epoch in range(12):
        sample = samples[epoch, 0]
        assert len(sample["class_labels"]) == len(sample["labels"])
        places = (sample["labels"][:, :2] * 48).long().clamp(0, 47)
        for (x, y), number in zip(places.tolist(), sample["class_labels"].tolist()):
            if 1 <= x < 47 and 1 <= y < 47:
                assert int(sample["pixel_values"][:, y, x].argmax()) == number
                seen += 1
    assert seen > 50
    collated = collate_crops([samples[0, 0], samples[1, 0]])
    assert collated["class_labels"].shape == collated["labels"].shape[:2]
    assert ((collated["class_labels"] == -100) == (collated["labels"] == -100).all(dim=-1)).all()


def test_evaluation_is_of_each_class(scenes):
    model, processor = iocformer(), IOCFormerImageProcessor(tile_size=32, threshold=0.0)
    examples = PointSource(scenes).read(progress=False, class_names=NAMES)["train"]
    results = evaluate_counting(model, processor, examples, progress=False, distances=(6, 1000))
    found = [processor.count_objects(model, str(example.path)) for example in examples]
    for number, name in enumerate(NAMES):
        errors = [
            abs(one["class_counts"][number] - example.counts(3)[number]) for one, example in zip(found, examples)
        ]
        assert results[f"mae/{name}"] == pytest.approx(np.mean(errors))
    # however far they may be, a point is matched with one of its class only
    pairs = [(one["class_counts"], example.counts(3)) for one, example in zip(found, examples)]
    matched = sum(min(both) for counts in pairs for both in zip(*counts))
    assert results["recall@1000"] == pytest.approx(matched / sum(sum(annotated) for _, annotated in pairs))
    assert results["recall@6"] <= results["recall@1000"]
    thresholds = choose_threshold(model, processor, examples, progress=False)
    assert len(thresholds) == 3
    with pytest.raises(ValueError, match="3 classes need points that have some"):
        evaluate_counting(model, processor, PointSource(scenes).read(progress=False)["train"], progress=False)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    iocformer().save_pretrained(folder)
    IOCFormerImageProcessor(tile_size=32, threshold=[0.01, 0.01, 0.01]).save_pretrained(folder)
    return str(folder)


def test_pipeline_gives_names(checkpoint, noise):
    model, processor = load_counter(checkpoint)
    result = ObjectCountingPipeline(model=model, image_processor=processor)(noise(70, 50))
    assert list(result["class_counts"]) == list(NAMES)
    assert sum(result["class_counts"].values()) == result["count"] > 0
    labels = [point["label"] for point in result["points"]]
    assert {name: labels.count(name) for name in NAMES} == result["class_counts"]


def test_tables_have_a_column_for_each_class_and_can_be_fed_back(checkpoint, noise, tmp_path, capsys):
    noise(70, 50).save(tmp_path / "a.png")
    arguments = ["count", str(tmp_path / "a.png"), "--no-overlays", "--model", checkpoint]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 0
    with open(tmp_path / "out/counts.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    counts = [int(row[f"count_{name}"]) for name in NAMES]
    assert sum(counts) == int(row["count"]) > 0
    assert f"fish {counts[0]}; shell {counts[1]}" in capsys.readouterr().out
    (record,) = read_annotations(tmp_path / "out/points.csv")
    assert [record.classes.count(name) for name in NAMES] == counts
    document = json.loads((tmp_path / "out/counts.json").read_text())["images"][0]
    assert document["class_counts"] == dict(zip(NAMES, counts))
    assert document["points"][0].keys() == {"x", "y", "score", "label"}
    assert main([*arguments, "--threshold", "0.5,0.6", "--output", str(tmp_path / "out2")]) == 2
    assert "one score, or one of each of 3" in capsys.readouterr().err
    assert main([*arguments, "--threshold", "1,1,1", "--output", str(tmp_path / "out3")]) == 0
