"""The table of what MCIS's maps are made of."""

import json

import pytest
from tiny_mcis import tiny_model

from dense_hf import MCISImageProcessor
from dense_hf.data import generate_miniature_weak

pytestmark = pytest.mark.no_cover


@pytest.fixture
def program(script):
    return script("parts_of_maps")


@pytest.fixture
def data(tmp_path):
    generate_miniature_weak(tmp_path / "data", 2, 3, 0, image_size=(44, 36), disable_progress=True)
    return tmp_path / "data"


@pytest.fixture
def model(data, tmp_path):
    tiny_model(num_labels=len((data / "classes.txt").read_text().split())).save_pretrained(tmp_path / "model")
    MCISImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_table_of_two_models(program, data, model, tmp_path):
    output = tmp_path / "parts.json"
    assert program.main([str(data), f"one={model}", f"two={model}", "--output", str(output)]) == 0
    results = json.loads(output.read_text())
    assert results["pictures"] == 3
    assert results["rows"]["one"] == results["rows"]["two"]
    assert all(0 <= part["mean_iou"] <= 1 and part["unevenness"] >= 0 for part in results["rows"]["one"].values())
    assert "| one | " in program.section(results)


def test_parts_are_those_of_the_released_maps(program, data, model):
    images = program.read_weak_split(data, "val", with_masks=True)
    loaded, processor = program.load_mcis(model)
    group = program.image_group(images)
    settings = program.LocalizationSettings(num_references=0), program.LocalizationSettings()
    parts = program.parts_of(*(program.Localizer(loaded, processor, group, one) for one in settings))
    name = images.images[0].name
    alone, second, own, others, views, everything, own_by_first, all_by_first = (part(name) for part in parts.values())
    swapped, _ = program.load_mcis(model)
    swapped.common_classifier = swapped.classifier
    of_swapped = program.parts_of(*(program.Localizer(swapped, processor, group, one) for one in settings))
    for class_id, maps in everything.items():
        assert (alone[class_id].shape[0], own[class_id].shape[0]) == (1, 1)
        assert maps[-1:].equal(others[class_id])
        assert maps[:-1].equal(views[class_id])
        for found, part in (
            (own_by_first, "with itself"),
            (all_by_first, "all, as released"),
            (alone, "alone, second layer"),
        ):
            assert found[class_id].equal(of_swapped[part](name)[class_id])
        assert not second[class_id].equal(alone[class_id])
        assert not own[class_id].equal(others[class_id]) or len(group.members(class_id)) == 1
