"""AffinityNet: pairs, labels and the random walk against loops over single cells, and what it learns on a toy."""

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file, save_file
from tiny_affinity import TINY_RESNET38, randomise_norms, tiny_affinity_config, tiny_affinity_net
from tiny_mcis import random_pixels
from torch.testing import assert_close
from transformers import AutoConfig, AutoImageProcessor, AutoModel
from without_the_package import run_without_the_package

from dense_hf import AffinityNetConfig, AffinityNetImageProcessor, AffinityNetModel, ResNet38Config
from dense_hf.weak_segmentation.affinity_labels import AFFINITY_CRF, CertainLabels, labels_of_cells
from dense_hf.weak_segmentation.affinity_pairs import affinity_loss, pair_affinities, pair_labels, pair_offsets
from dense_hf.weak_segmentation.random_walk import RandomWalk, transitions

RESNET10T = {"model_type": "timm_backbone", "backbone": "resnet10t", "features_only": True, "out_indices": [2, 3, 4]}


def random_affinities(offsets, size, seed=0):
    return np.random.default_rng(seed).random((len(offsets), *size), dtype=np.float32)


def blob(height, width, row, column, reach):
    """A map that fades from a place."""
    rows, columns = np.mgrid[:height, :width]
    distance = np.hypot(rows - row, columns - column)
    return (255 * np.clip(1 - distance / reach, 0, 1)).astype(np.uint8)


def cells_of(size):
    return [(y, x) for y in range(size[0]) for x in range(size[1])]


# pairs


@pytest.mark.parametrize("radius", [2, 3, 5])
def test_each_pair_of_cells_within_reach_occurs_once(radius):
    offsets = pair_offsets(radius)
    assert len(offsets) == len(set(offsets)) == {2: 4, 3: 12, 5: 34}[radius]
    cells = cells_of((7, 8))
    for first in cells:
        found = {(first[0] + y, first[1] + x) for y, x in offsets} & set(cells)
        near = {
            other
            for other in cells
            if other > first and (other[0] - first[0]) ** 2 + (other[1] - first[1]) ** 2 < radius**2
        }
        assert found == near


def test_affinities_and_labels_and_loss_equal_those_of_single_pairs():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 6, 5, 7, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 1, 3, 255])[torch.randint(4, (2, 5, 7), generator=generator)]
    offsets = pair_offsets(3)
    affinities = pair_affinities(features, offsets)
    found = pair_labels(labels, offsets)
    terms = {"background": [], "classes": [], "different": []}
    for image in range(2):
        for y, x in cells_of((5, 7)):
            for index, (down, right) in enumerate(offsets):
                inside = y + down < 5 and 0 <= x + right < 7
                kinds = [False, False, False]
                if inside:
                    difference = features[image, :, y, x] - features[image, :, y + down, x + right]
                    affinity = torch.exp(-difference.abs().sum() / 6)
                    assert_close(affinities[image, index, y, x], affinity.float())
                    own, other = int(labels[image, y, x]), int(labels[image, y + down, x + right])
                    if 255 not in (own, other):
                        kinds = [own == other == 0, own == other > 0, own != other]
                        probability = affinity if own == other else 1 - affinity
                        name = list(terms)[kinds.index(True)]
                        terms[name].append(-torch.log(probability + 1e-5))
                assert [bool(kind[image, index, y, x]) for kind in found] == kinds
    loss, parts = affinity_loss(affinities, labels, offsets)
    assert min(map(len, terms.values())) > 10
    for name, share in (("background", 0.25), ("classes", 0.25), ("different", 0.5)):
        assert_close(parts[f"loss_{name}"], share * torch.stack(terms[name]).mean().float())
    assert_close(loss, sum(parts.values()))


def test_unknown_cells_teach_nothing():
    affinities = torch.rand(1, 4, 4, 4, requires_grad=True)
    loss, _ = affinity_loss(affinities, torch.full((1, 4, 4), 255), pair_offsets(2))
    loss.backward()
    assert loss == 0
    assert (affinities.grad == 0).all()
    with pytest.raises(ValueError, match=r"labels must be of the cells, \[1, 4, 4\]. Received: \[1, 4, 5\]"):
        affinity_loss(affinities, torch.zeros(1, 4, 5), pair_offsets(2))


# labels


def test_certain_labels_by_hand():
    """Scores of class 2 are 1, 0.5, 0.2 and 0: (1 - 0.5)^4 = 0.06 is below 0.5, (1 - 0.2)^32 = 0.0008 below 0.2."""
    attention = {2: np.array([[255, 128, 51, 0]], np.uint8), 0: np.array([[0, 0, 0, 0]], np.uint8)}
    image = np.zeros((1, 4, 3), np.uint8)
    assert CertainLabels(crf=False)(attention, image).tolist() == [[3, 3, 255, 0]]  # (1 - 0.2)^4 = 0.41 is above 0.2
    assert CertainLabels(low_power=32, crf=False)(attention, image).tolist() == [[3, 3, 3, 0]]
    assert CertainLabels(low_power=4, high_power=4, crf=False)(attention, image).tolist() == [[3, 3, 0, 0]]
    assert CertainLabels()({}, image).tolist() == [[0, 0, 0, 0]]


def test_certain_labels_with_the_crf_are_those_of_its_two_answers():
    rows, columns = np.mgrid[:24, :30]
    image = np.zeros((24, 30, 3), np.uint8)
    image[(rows - 12) ** 2 + (columns - 12) ** 2 < 64] = 200
    image[:8, 22:] = 100
    image += np.random.default_rng(0).integers(0, 20, image.shape, dtype=np.uint8)
    attention = {1: blob(24, 30, 12, 12, 12), 4: blob(24, 30, 3, 27, 8)}
    scores = np.stack([attention[1] / attention[1].max(), attention[4] / attention[4].max()]).astype(np.float32)
    answers = []
    for power in (4, 32):
        every = np.concatenate([(1 - scores.max(axis=0, keepdims=True)) ** power, scores])
        answers.append(np.array([0, 2, 5])[AFFINITY_CRF(image, every).argmax(axis=0)])
    labels = CertainLabels()(attention, image)
    for place in np.ndindex(labels.shape):
        low, high = answers[0][place], answers[1][place]
        assert labels[place] == (low if low > 0 else 0 if high == 0 else 255)
    assert {0, 2, 5, 255} == set(np.unique(labels))


def test_labels_of_cells_are_those_of_more_than_half_of_the_pixels():
    labels = np.random.default_rng(0).choice(np.array([0, 3, 255], np.uint8), (13, 18), p=[0.45, 0.45, 0.1])
    labels[:4, :4] = [[0] * 4, [0] * 4, [3] * 4, [3] * 4]  # one half each
    cells = labels_of_cells(labels, 4)
    assert cells.shape == (4, 5)
    for row, column in cells_of(cells.shape):
        pixels = [
            int(labels[y, x]) if y < 13 and x < 18 else 255
            for y in range(4 * row, 4 * row + 4)
            for x in range(4 * column, 4 * column + 4)
        ]
        winners = [number for number in (0, 3) if pixels.count(number) > 8]
        assert cells[row, column] == (winners[0] if winners else 255)
    assert cells[0, 0] == 255
    assert len(np.unique(cells)) == 3


@pytest.mark.parametrize("powers", [(0, 32), (33, 32)])
def test_bad_powers(powers):
    with pytest.raises(ValueError, match="low_power"):
        CertainLabels(*powers)


# random walk


def full_matrix(affinities, offsets, power):
    """A^power, symmetric, with 1 on the diagonal, as the released code fills it."""
    size = affinities.shape[1:]
    cells = cells_of(size)
    matrix = np.eye(len(cells))
    for first, (y, x) in enumerate(cells):
        for index, (down, right) in enumerate(offsets):
            if (y + down, x + right) in cells:
                second = cells.index((y + down, x + right))
                matrix[first, second] = matrix[second, first] = float(affinities[index, y, x]) ** power
    return matrix


def test_the_walk_is_the_released_one():
    """There, columns have the sum 1 and the matrix is squared 8 times; scores stand to the left of it."""
    offsets, size = pair_offsets(3), (4, 5)
    affinities = 0.6 * random_affinities(offsets, size)  # so that 256 steps are not enough to forget
    matrix = full_matrix(affinities, offsets, 8)
    matrix /= matrix.sum(axis=0, keepdims=True)
    for _ in range(8):
        matrix = matrix @ matrix
    scores = np.random.default_rng(1).random((3, *size), dtype=np.float32)
    walk = RandomWalk()
    found = walk.walk(scores, transitions(affinities, offsets, walk.power))
    np.testing.assert_allclose(found.reshape(3, -1), scores.reshape(3, -1) @ matrix, rtol=1e-5)
    assert np.ptp(found[0]) > 0.1


def test_maps_are_averaged_over_cells_and_enlarged():
    """With no step left, a map comes back as the mean of its cells, bilinear between them, its peak 255."""
    attention = {3: blob(21, 30, 10, 12, 9), 7: np.zeros((21, 30), np.uint8)}
    offsets = pair_offsets(2)
    found = RandomWalk(num_steps=0)(attention, random_affinities(offsets, (3, 4)), offsets, stride=8)
    assert set(found) == {3, 7}
    assert (found[7] == 0).all()
    assert found[3].shape == (21, 30)
    assert found[3].dtype == np.uint8
    assert found[3].max() == 255
    padded = np.pad(attention[3] / attention[3].max(), ((0, 3), (0, 2)))
    cells = padded.reshape(3, 8, 4, 8).mean(axis=(1, 3))
    rows = np.stack([np.interp((np.arange(24) + 0.5) / 8 - 0.5, range(3), column) for column in cells.T], axis=1)
    pixels = np.stack([np.interp((np.arange(32) + 0.5) / 8 - 0.5, range(4), row) for row in rows])[:21, :30]
    np.testing.assert_allclose(found[3], 255 * pixels / pixels.max(), atol=0.51)


def test_maps_walk_within_what_belongs_together():
    """Left and right half have nothing to do with each other: what was seen in a corner spreads over its half."""
    features = torch.zeros(1, 1, 6, 8)
    features[..., 4:] = 9
    offsets = pair_offsets(3)
    affinities = pair_affinities(features, offsets)[0].numpy()
    found = RandomWalk()({0: blob(48, 64, 4, 4, 12)}, affinities, offsets, stride=8)[0]
    assert found[:, :28].min() > 240
    assert found[:, 36:].max() < 5


def test_a_constant_background_does_not_walk():
    """So it is the same whether it is compared before or after (docs/challenge_setting.md)."""
    offsets, size = pair_offsets(5), (5, 6)
    steps = transitions(random_affinities(offsets, size), offsets, 8)
    np.testing.assert_allclose(RandomWalk().walk(np.full((1, *size), 0.2, np.float32), steps), 0.2, rtol=1e-6)


def test_background_that_walks_takes_the_places_where_it_is_highest():
    offsets = pair_offsets(3)
    affinities = random_affinities(offsets, (5, 6))
    attention = {1: blob(40, 48, 8, 8, 20), 2: blob(40, 48, 33, 40, 15)}
    alone = RandomWalk(num_steps=1)(attention, affinities, offsets, 8)
    against = RandomWalk(num_steps=1, background_power=2)(attention, affinities, offsets, 8)
    scores = np.stack([attention[1] / attention[1].max(), attention[2] / attention[2].max()])
    every = np.concatenate([(1 - scores.max(axis=0, keepdims=True)) ** 2, scores]).astype(np.float32)
    cells = every.reshape(3, 5, 8, 6, 8).mean(axis=(2, 4))
    walked = torch.from_numpy(RandomWalk(num_steps=1).walk(cells, transitions(affinities, offsets, 8)))
    large = torch.nn.functional.interpolate(walked[None], scale_factor=8, mode="bilinear")[0].numpy()
    background = large[0] >= large[1:].max(axis=0)
    assert 0.1 < background.mean() < 0.9
    for index, class_id in enumerate((1, 2), start=1):
        assert (against[class_id][background] == 0).all()
        kept = large[index] * ~background
        np.testing.assert_allclose(against[class_id], 255 * kept / kept.max(), atol=0.51)
        np.testing.assert_allclose(alone[class_id], 255 * large[index] / large[index].max(), atol=0.51)


def test_bad_walks():
    with pytest.raises(ValueError, match=r"power .*; num_steps .*; background_power"):
        RandomWalk(0, -1, 0)
    offsets = pair_offsets(2)
    with pytest.raises(ValueError, match=r"affinities must be of \[3, 4\] cells. Received: \[3, 3\]"):
        RandomWalk()({0: blob(21, 30, 3, 3, 9)}, random_affinities(offsets, (3, 3)), offsets, 8)


# network


@pytest.mark.parametrize(
    "backbone", [{}, {"backbone_config": None, "vgg_hidden_sizes": [4, 4, 6, 8]}, {"backbone_config": RESNET10T}]
)
def test_backbones_give_features_on_the_grid(backbone):
    model = tiny_affinity_net(**backbone)
    pixels = random_pixels(size=(60, 76))
    with torch.no_grad():
        outputs = model(pixels, output_hidden_states=True)
    assert outputs.last_hidden_state.shape == (2, 12, 8, 10)
    assert outputs.affinities.shape == (2, len(pair_offsets(3)), 8, 10)
    assert_close(outputs.affinities, pair_affinities(outputs.last_hidden_state, pair_offsets(3)))
    *maps, features = outputs.hidden_states
    assert features is outputs.last_hidden_state
    levels = []
    for projection, one in zip(model.projections, maps[-3:]):
        level = torch.nn.functional.elu(torch.einsum("oi,bihw->bohw", projection.weight[:, :, 0, 0], one))
        levels.append(torch.nn.functional.interpolate(level, size=(8, 10), mode="bilinear"))
    mixed = torch.einsum("oi,bihw->bohw", model.mixer.weight[:, :, 0, 0], torch.cat(levels, dim=1))
    assert_close(features, torch.nn.functional.elu(mixed), atol=1e-5, rtol=1e-4)


def test_parameters_at_full_size():
    with torch.device("meta"):
        model = AffinityNetModel(AffinityNetConfig())
    own = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("backbone."))
    assert own == 512 * 64 + 1024 * 128 + 4096 * 256 + 448 * 448
    assert sum(p.numel() for p in model.backbone.parameters()) == 105_023_168  # norms are no parameters
    assert model.config.hidden_size == 448


def test_it_is_saved_and_found_by_auto_classes(tmp_path):
    model = tiny_affinity_net()
    randomise_norms(model.backbone)
    model.save_pretrained(tmp_path)
    AffinityNetImageProcessor(image_mean=[0.5, 0.5, 0.5]).save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path).eval()
    assert isinstance(loaded, AffinityNetModel)
    assert isinstance(AutoConfig.from_pretrained(tmp_path).backbone_config, ResNet38Config)
    with torch.no_grad():
        assert_close(model(random_pixels()).affinities, loaded(random_pixels()).affinities, atol=0, rtol=0)
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    assert isinstance(processor, AffinityNetImageProcessor)
    gray = processor(np.full((13, 18, 3), 255, np.uint8), return_tensors="pt")["pixel_values"]
    assert gray.shape == (1, 3, 13, 18)
    assert_close(gray[0, 0], torch.full((13, 18), 0.5 / 0.229))
    assert {"resnet38.py", "configuration_resnet38.py", "affinity_pairs.py"} <= {p.name for p in tmp_path.iterdir()}


WITHOUT_THE_PACKAGE = """
import sys, torch
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModel
folder, inputs, outputs = sys.argv[1:]
model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)
with torch.no_grad():
    found = model(**processor(load_file(inputs)["image"], return_tensors="pt")).affinities
save_file({"affinities": found}, outputs)
"""


@pytest.mark.slow
def test_a_checkpoint_brings_its_code(tmp_path):
    """Same numbers in an interpreter that has transformers but not dense_hf; ResNet-38 is a part of that code."""
    model, processor = tiny_affinity_net(), AffinityNetImageProcessor()
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    image = torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    save_file({"image": image}, tmp_path / "image.safetensors")
    run_without_the_package(WITHOUT_THE_PACKAGE, tmp_path, "model", "image.safetensors", "out.safetensors")
    with torch.no_grad():
        ours = model(**processor(image, return_tensors="pt")).affinities
    theirs = load_file(tmp_path / "out.safetensors")["affinities"]
    torch.testing.assert_close(theirs, ours, atol=1e-6, rtol=0)


def test_vgg_stays_vgg_when_it_is_saved(tmp_path):
    tiny_affinity_config(backbone_config=None).save_pretrained(tmp_path)
    assert AffinityNetConfig.from_pretrained(tmp_path).backbone_config is None
    assert isinstance(AffinityNetConfig().backbone_config, ResNet38Config)


@pytest.mark.parametrize(
    ("fields", "error", "problem"),
    [
        ({"radius": 1}, ValueError, "radius must be at least 2"),
        ({"feature_stride": 0}, ValueError, "feature_stride must be at least 1"),
        ({"projection_sizes": [1, 2]}, StrictDataclassError, "projection_sizes"),
        ({"backbone_config": {**TINY_RESNET38, "width": 0}}, ValueError, "width must be at least 1"),
        ({"backbone_config": {**RESNET10T, "out_indices": [4]}}, ValueError, "3 feature maps"),
    ],
)
def test_bad_fields(fields, error, problem):
    with pytest.raises(error, match=problem):
        tiny_affinity_net(**fields)


def test_it_learns_to_tell_two_colours_apart():
    """A square of one colour on another, at random places; labels know only some of the cells."""
    model = tiny_affinity_net(backbone_config=None, vgg_hidden_sizes=[4, 6, 8, 8]).train()
    rng = np.random.default_rng(0)

    def batch(size=4):
        pixels, labels = torch.full((size, 3, 48, 48), -1.0), torch.zeros(size, 6, 6, dtype=torch.long)
        for image in range(size):
            y, x = rng.integers(0, 4, 2)
            pixels[image, :2, 8 * y : 8 * y + 24, 8 * x : 8 * x + 24] = 1
            labels[image, y : y + 3, x : x + 3] = 1
        return pixels + 0.1 * torch.from_numpy(rng.standard_normal(pixels.shape, np.float32)), labels

    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(40):
        pixels, labels = batch()
        labels[torch.from_numpy(rng.random(labels.shape) < 0.3)] = 255
        optimizer.zero_grad()
        model(pixels, labels=labels).loss.backward()
        optimizer.step()
    pixels, labels = batch(8)
    with torch.no_grad():
        affinities = model.eval()(pixels).affinities
    background, same, different = pair_labels(labels, model.offsets)
    assert affinities[different].mean() < 0.2
    assert affinities[same].mean() > 0.7
    assert affinities[background].mean() > 0.7
