"""Going on from a trained model: what was learned of a class stays with its name, pixels stay as they were."""

import copy

import pytest
import torch
import yaml
from tiny_cffm import tiny_model as tiny_cffm
from tiny_deeplab import tiny_segmenter
from tiny_mcis import tiny_model as tiny_mcis
from tiny_mrcfa import tiny_model as tiny_mrcfa

from dense_hf.counting.configuration_iocformer import IOCFormerConfig
from dense_hf.counting.image_processing_iocformer import IOCFormerImageProcessor
from dense_hf.counting.modeling_iocformer import IOCFormerForObjectCounting
from dense_hf.errors import InvalidDataError
from dense_hf.inference.class_names import label_names, label_rows, name_labels, order_labels
from dense_hf.training.continuing import load_with_labels
from dense_hf.training.counting.options import parse_counting_run
from dense_hf.training.run import build_processor

MODELS = {"cffm": tiny_cffm, "mrcfa": tiny_mrcfa, "mcis": tiny_mcis, "deeplab": tiny_segmenter}
NAMES = ("wall", "road", "car", "tree", "sky")


@pytest.fixture(params=MODELS)
def trained(request, tmp_path):
    """A model whose numbers all differ, and the folder that it is saved in."""
    model = MODELS[request.param]()
    config = copy.deepcopy(model.config)
    name_labels(config, NAMES)
    torch.manual_seed(0)
    model = type(model)(config)
    with torch.no_grad():
        for value in model.parameters():
            value.normal_()
    model.save_pretrained(tmp_path / "trained")
    return model, str(tmp_path / "trained")


def go_on(trained, names):
    model, folder = trained
    config = copy.deepcopy(model.config)
    name_labels(config, names)
    return load_with_labels(type(model), folder, config, names, NAMES)


def test_all_that_grows_with_the_number_of_labels_is_found(trained):
    model, _ = trained
    axes = {name: axis for name, (axis, _) in label_rows(type(model), model.config).items()}
    state = model.state_dict()
    assert axes
    assert {state[name].shape[axis] for name, axis in axes.items()} == {len(NAMES)}
    others = [name for name in state if name not in axes]
    assert not [name for name in others if "classifier" in name and state[name].shape[:1] == (len(NAMES),)]


@pytest.mark.parametrize("names", [NAMES[::-1], ("sky", "sea", "car"), ("a", "b", "c", "d", "e"), (*NAMES, "sea")])
def test_rows_move_with_their_names(trained, names, caplog):
    model, _ = trained
    found = go_on(trained, names)
    assert label_names(found.config) == tuple(names)
    old, new = model.state_dict(), found.state_dict()
    axes = {name: axis for name, (axis, _) in label_rows(type(model), model.config).items()}
    for name, tensor in new.items():
        if name not in axes:
            assert torch.equal(tensor, old[name]), name
            continue
        for row, label in enumerate(names):
            if label in NAMES:
                kept = old[name].select(axes[name], NAMES.index(label))
                assert torch.equal(tensor.select(axes[name], row), kept), (name, label)
    said = " ".join(record.getMessage() for record in caplog.records)
    assert "has other classes than the data" in said
    assert f"Kept: {', '.join(name for name in names if name in NAMES) or 'none'}." in said


def test_the_same_names_change_nothing(trained, caplog):
    model, _ = trained
    found = go_on(trained, NAMES)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in found.state_dict().items())
    assert not caplog.records


def test_another_order_is_put_right(trained, caplog):
    """Same frames, classes in reverse order in the JSON: mIoU once went from 65.9 to 0.8 without a word."""
    model, folder = trained
    axes = {name: axis for name, (axis, _) in label_rows(type(model), model.config).items()}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    order_labels(model, NAMES[::-1], folder)
    assert label_names(model.config) == NAMES[::-1]
    for name, value in model.state_dict().items():
        expected = before[name].flip(axes[name]) if name in axes else before[name]
        assert torch.equal(value, expected), name
    assert "another order" in caplog.text
    order_labels(model, NAMES, folder)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_other_classes_are_refused(trained):
    model, folder = trained
    with pytest.raises(InvalidDataError, match="without sea; and also sky"):
        order_labels(model, ("wall", "road", "car", "tree", "sea"), folder)
    with pytest.raises(InvalidDataError, match="5: without none; and also sky"):
        order_labels(model, NAMES[:-1], folder)


def test_a_model_without_names_fits_as_many(trained):
    model, folder = trained
    name_labels(model.config, [f"LABEL_{number}" for number in range(5)])
    order_labels(model, NAMES, folder)
    with pytest.raises(InvalidDataError, match="a model of the 4 classes"):
        order_labels(model, NAMES[:4], folder)


def test_colors_of_other_classes_go(caplog):
    config = copy.deepcopy(tiny_cffm().config)
    name_labels(config, NAMES)
    config.palette = [[number, 0, 0] for number in range(5)]
    name_labels(config, NAMES)
    assert len(config.palette) == 5
    name_labels(config, ("car", "sky"))
    assert config.palette is None
    assert "colors" in caplog.text


@pytest.fixture
def counter(tiny_model, tmp_path):
    """A trained counter with pixels and an overlap of its own."""
    IOCFormerForObjectCounting(IOCFormerConfig(**tiny_model)).save_pretrained(tmp_path / "counter")
    processor = IOCFormerImageProcessor(
        tile_size=64, tile_overlap=32, image_mean=[0.5, 0.5, 0.5], image_std=[0.5, 0.5, 0.5]
    )
    processor.save_pretrained(tmp_path / "counter")
    return tmp_path / "counter"


def processor_of(tmp_path, counter, data=None, words=()):
    path = tmp_path / "run.yaml"
    sections = {"model": {"model_name_or_path": str(counter)}, "data": {"data_dir": "unused", **(data or {})}}
    path.write_text(yaml.safe_dump(sections))
    run = parse_counting_run("iocformer", arguments=["--config", str(path), "--output_dir", "unused", *words])
    return build_processor(run, tile_size=run.config.tile_size)


def test_pixels_and_overlap_are_the_models(tmp_path, counter, caplog):
    """Once they fell back to the defaults of the script, and 44 points became 28."""
    processor = processor_of(tmp_path, counter)
    assert (list(processor.image_mean), list(processor.image_std)) == ([0.5] * 3, [0.5] * 3)
    assert (processor.tile_overlap, processor.tile_size) == (32, 64)
    assert not caplog.records


def test_what_is_given_wins_and_is_said(tmp_path, counter, caplog):
    processor = processor_of(tmp_path, counter, {"image_mean": [0.1, 0.2, 0.3]}, ["--tile_overlap", "0"])
    assert (list(processor.image_mean), list(processor.image_std)) == ([0.1, 0.2, 0.3], [0.5] * 3)
    assert processor.tile_overlap == 0
    said = [record.getMessage() for record in caplog.records]
    assert any("image_mean is (0.1, 0.2, 0.3), but (0.5, 0.5, 0.5) in" in text for text in said)
    assert any("tile_overlap is 0, but 32 in" in text for text in said)


def test_fields_of_the_configuration_are_said_too(tmp_path, counter, caplog):
    path = tmp_path / "run.yaml"
    path.write_text(
        yaml.safe_dump({"model": {"model_name_or_path": str(counter), "dropout": 0.25, "num_queries": 60}})
    )
    run = parse_counting_run("iocformer", arguments=["--config", str(path), "--output_dir", "unused"])
    assert run.config.dropout == 0.25
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("dropout is 0.25, but 0.1 in")


def test_a_model_without_its_processor_is_refused(tmp_path, counter):
    (counter / "preprocessor_config.json").unlink()
    with pytest.raises(InvalidDataError, match=r"preprocessor_config\.json"):
        processor_of(tmp_path, counter)


@pytest.mark.parametrize("option", [["--backbone_weights", "nowhere"], ["--start_at_mean_density"]])
def test_options_of_a_new_model_are_refused(tmp_path, counter, option):
    with pytest.raises(ValueError, match=f"{option[0][2:]} would be ignored"):
        processor_of(tmp_path, counter, words=option)
