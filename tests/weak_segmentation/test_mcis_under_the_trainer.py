"""MCIS under the Trainer of transformers as it is, and what belongs to a checkpoint of it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tiny_mcis import picture, random_labels, random_pixels, tiny_config, tiny_model
from transformers import Trainer, TrainingArguments, pipeline

from dense_hf import MCISConfig, MCISForImageClassification, MCISImageProcessor
from dense_hf.data.weak_folder import WeakFolder, WeakImage
from dense_hf.inference.localization_maps import background_score_of, make_maps
from dense_hf.weak_segmentation import LocalizationSettings, make_pseudo_label

ROOT = Path(__file__).parents[2]


def batches(with_pairs: bool) -> list[dict[str, torch.Tensor]]:
    examples = []
    for number in range(4):
        example = {"pixel_values": random_pixels(1, seed=number)[0], "labels": random_labels(1, seed=number)[0]}
        if with_pairs:
            example["paired_pixel_values"] = random_pixels(1, seed=number + 9)[0]
            example["paired_labels"] = random_labels(1, seed=number + 9)[0]
        examples.append(example)
    return examples


@pytest.mark.parametrize("with_pairs", [False, True])
def test_the_plain_trainer_evaluates_a_loss(tmp_path, with_pairs):
    model, examples = tiny_model(), batches(with_pairs)
    options = TrainingArguments(
        str(tmp_path), report_to=[], use_cpu=True, remove_unused_columns=False, per_device_eval_batch_size=2
    )
    metrics = Trainer(model, options, eval_dataset=examples).evaluate()
    losses = []
    with torch.no_grad():
        for first in (0, 2):
            batch = {
                key: torch.stack([example[key] for example in examples[first : first + 2]]) for key in examples[0]
            }
            losses.append(model(**batch).loss.item())
    assert metrics["eval_loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_partners_may_still_be_given_by_position():
    model, labels = tiny_model(), random_labels()
    by_position = model(random_pixels(), random_pixels(seed=1), labels, labels)
    by_name = model(random_pixels(), paired_pixel_values=random_pixels(seed=1), labels=labels, paired_labels=labels)
    assert by_position.loss == by_name.loss


def test_the_score_of_the_background_belongs_to_the_checkpoint(tmp_path):
    tiny_model(background_score=0.45, single_round_background_score=0.3).save_pretrained(tmp_path)
    MCISImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path)
    assert MCISConfig.from_pretrained(tmp_path).background_score == 0.45
    segmenter = pipeline("weakly-supervised-segmentation", model=str(tmp_path), device="cpu")
    images, labels = [picture(0), picture(1)], [[0], [0, 2]]
    alone = {"num_references": 0}
    cases = (({}, 0.45), ({"background_score": 0.7}, 0.7), (alone, 0.3), (alone | {"background_score": 0.7}, 0.7))
    for chosen, score in cases:
        for result, ids in zip(segmenter(images, labels, **chosen), labels):
            names = [
                MCISForImageClassification.from_pretrained(tmp_path).config.id2label[class_id] for class_id in ids
            ]
            maps = {class_id: result["maps"][name] for class_id, name in zip(ids, names)}
            np.testing.assert_array_equal(
                result["segmentation"], make_pseudo_label(maps, None, 5, background_score=score)
            )
    for score in (-0.1, 1.1):
        for name in ("background_score", "single_round_background_score"):
            with pytest.raises(ValueError, match=rf"\b{name} must be"):
                tiny_config(**{name: score})


def test_maps_of_a_data_set_tell_the_score_of_their_classifier(tmp_path):
    picture(0).save(tmp_path / "a.png")
    model = tiny_model(background_score=0.45, single_round_background_score=0.0)
    images = WeakFolder(tuple(model.config.id2label.values()), (WeakImage("a", tmp_path / "a.png", (1,)),))
    processor = MCISImageProcessor(size={"height": 64, "width": 64})
    for number, score in ((3, 0.45), (0, 0.0)):
        folder, settings = tmp_path / f"maps_{number}", LocalizationSettings(num_references=number)
        make_maps(model, processor, images, folder, settings, "tiny", progress=False)
        assert background_score_of(folder) == score
    assert background_score_of(tmp_path) == 0.2  # not of make_maps.py


def test_the_bundled_model_has_its_own():
    """For both kinds of maps; training crops chose them, see scripts/configs/mcis/crops.yaml."""
    recipe = yaml.safe_load((ROOT / "scripts/configs/mcis/crops.yaml").read_text())["classifier"]["model"]
    config = json.loads((ROOT / "checkpoints/mcis-crops/config.json").read_text())
    names = ("background_score", "single_round_background_score", "affinity", "affinity_scale", "feature_scale")
    names += ("shared_class_head",)
    assert {name: config[name] for name in names} == {name: recipe[name] for name in names}
    assert MCISConfig().background_score == 0.2


def test_a_mask_that_decides_nothing_says_so(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    MCISImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path)
    segmenter = pipeline("weakly-supervised-segmentation", model=str(tmp_path), device="cpu")
    result = segmenter(picture(0), [0], background_score=1.0)
    assert (result["segmentation"] == 255).all()
    assert "min_object_share" in result["remark"]
    assert "remark" not in segmenter(picture(0), [0], background_score=0.0)
    assert "remark" not in segmenter(picture(0), [])
