"""Every YAML file makes a model and training arguments; mistakes are named before anything starts."""

from pathlib import Path

import pytest
import torch
import yaml

from dense_hf.counting.modeling_iocformer import IOCFormerForObjectCounting
from dense_hf.errors import InvalidDataError
from dense_hf.training.counting.options import parse_counting_run

pytestmark = pytest.mark.no_cover

FOLDER = Path(__file__).parents[3] / "scripts" / "configs" / "iocformer"
# measured on the released code where it has the row (IOCFormer, CLTR); the others are those minus or plus their parts:
# DETE has 3,935,744 parameters and 6 encoder layers, each layer 1,315,072 and its convolutions 655,872
ROWS = {
    "table_2.5_density_branch": (28_468_929, "18.25", "39.77", "0.29"),
    "table_2.5_regression": (43_497_671, "17.47", "37.06", "0.29"),
    "table_2.5_without_dete": (52_496_968 - 3_935_744 - 49_536, "16.94", "35.92", "0.26"),
    "table_2.5_iocformer": (52_496_968, "15.91", "34.08", "0.26"),
    "table_2.6_l2": (52_496_968 - 4 * (1_315_072 + 655_872), "16.75", "35.87", "0.28"),
    "table_2.6_l4": (52_496_968 - 2 * (1_315_072 + 655_872), "16.59", "35.23", "0.26"),
    "table_2.6_l6": (52_496_968, "15.91", "34.08", "0.26"),
    "table_2.6_l8": (52_496_968 + 2 * (1_315_072 + 655_872), "15.72", "33.63", "0.24"),
}


def parse(path, *more):
    return parse_counting_run("iocformer", arguments=["--config", str(path), "--output_dir", "unused", *more])


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_the_tables(name):
    path = FOLDER / f"{name}.yaml"
    run = parse(path)
    parameters, *published = ROWS[name]
    with torch.device("meta"):
        model = IOCFormerForObjectCounting(run.config)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    comment = path.read_text(encoding="utf-8").partition("\nmodel:")[0]
    assert comment.startswith(f"# Table {name[6:9]}")
    assert all(number in comment for number in published)
    arguments = run.training
    is_cltr = name == "table_2.5_regression"
    assert arguments.learning_rate == (1e-4 if is_cltr else 1e-5)
    assert (arguments.weight_decay, arguments.lr_milestones, arguments.lr_decay) == (5e-4, [1200.0], 0.1)
    assert (arguments.num_train_epochs, arguments.per_device_train_batch_size, arguments.seed) == (1500, 8, 1)
    assert (arguments.eval_start_epoch, arguments.eval_every_epochs, arguments.max_grad_norm) == (1200, 20, 0)
    assert (arguments.metric_for_best_model, arguments.greater_is_better) == ("mae", False)
    assert arguments.load_best_model_at_end


def test_every_file_has_a_comment_and_is_a_run():
    names = {path.stem for path in FOLDER.glob("*.yaml")}
    assert names == {*ROWS, "thesis_fusion", "tree_crowns", "small_data", "nuclei", "smoke"}
    for name in names:
        assert (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").startswith("# ")
        parse(FOLDER / f"{name}.yaml")


def test_the_output_stride_tells_cltr_from_iocformer():
    strides = {}
    for name in ("table_2.5_regression", "table_2.5_iocformer"):
        config = parse(FOLDER / f"{name}.yaml").config
        with torch.device("meta"):
            backbone = IOCFormerForObjectCounting(config).backbone
            strides[name] = 256 // backbone(torch.zeros(1, 3, 256, 256)).feature_maps[-1].shape[-1]
    assert strides == {"table_2.5_regression": 32, "table_2.5_iocformer": 16}


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"models": {}}, ["models", "model, training", "did you mean model?"]),
        ({"model": {"encoder_layer": 2}}, ["encoder_layer ", "encoder_layers", "did you mean encoder_layers?"]),
        ({"training": {"learning_rat": 1}}, ["learning_rat ", "weight_decay", "did you mean learning_rate?"]),
        ({"data": {"data_directory": "x"}}, ["data_directory", "data_dir", "horizontal_flip"]),
        ({"model": {"density_fusion": "both"}}, ["density_fusion", "'both'", "released"]),
        ({"model": {"num_queries": "many"}}, ["num_queries", "many"]),
        ({"model": [1]}, ["mapping", "[1]"]),
        ({"training": {"learning_rate": -1}}, ["learning_rate must be positive, received -1"]),
        ({"training": {"optim": "sgd"}}, ["optim is fixed by the recipe"]),
        ({"training": {"eval_every_epochs": 0}}, ["eval_every_epochs must be at least 1"]),
        ({"data": {"horizontal_flip": 2}}, ["horizontal_flip must be a probability"]),
        ({"data": {"image_std": [0.5, 0.5]}}, ["image_std must be three numbers"]),
        ({"data": {"threshold": 3, "samples_per_image": 0}}, ["samples_per_image", "threshold must be in [0, 1]"]),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path, sections, words):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(sections), encoding="utf-8")
    with pytest.raises(ValueError) as error:  # noqa: PT011  the words are checked below
        parse(path)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_a_value_of_the_wrong_type_is_named_as_the_command_line_names_it(tmp_path, capsys):
    path = tmp_path / "run.yaml"
    path.write_text("training: {num_train_epochs: often}", encoding="utf-8")
    with pytest.raises(SystemExit):
        parse(path)
    assert "invalid float value: 'often'" in capsys.readouterr().err


def test_not_yaml_is_named(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("model: {", encoding="utf-8")
    with pytest.raises(InvalidDataError, match=r"run\.yaml"):
        parse(path)


def test_the_command_line_wins_over_the_file():
    run = parse(FOLDER / "smoke.yaml", "--learning_rate", "0.5", "--vertical_flip", "0.25", "--push_to_hub")
    assert (run.training.learning_rate, run.augmentation.vertical_flip, run.training.push_to_hub) == (0.5, 0.25, True)
    assert run.training.logging_steps == 16
