"""Every YAML file of chapters 4 and 5 makes a model and a training; mistakes are named before anything starts."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import yaml
from tiny_video_runs import CFFM, ENCODER
from transformers import SegformerForImageClassification, SegformerModel, set_seed

from dense_hf.errors import InvalidDataError
from dense_hf.inference.checkpoints import load_video_model
from dense_hf.methods import VIDEO, method_of, methods
from dense_hf.reports.video import backbone_name, count_parameters
from dense_hf.training.backbone_weights import load_encoder_weights
from dense_hf.training.video.options import parse_video_run

CONFIGS = Path(__file__).parents[3] / "scripts" / "configs"
# those of CFFM++ name a trained CFFM, see test_train_cffm_plus.py
FILES = sorted(path for name in methods(VIDEO) if name != "cffm_plus" for path in (CONFIGS / name).glob("*.yaml"))
has_mrcfa = find_spec("dense_hf.video_segmentation.configuration_mrcfa") is not None
PARAMETERS = {  # measured on the released code, K = 124 (19 for Table 4.2), without its unused classifier
    "cffm/table_4.1_b0": 4_656_531,
    "cffm/table_4.1_b1": 15_466_542,
    "cffm/table_4.1_b2": 26_511_406,
    "cffm/table_4.1_b5": 85_451_940,
    "segformer/table_4.1_b0": 3_746_012,
    "segformer/table_4.1_b1": 13_709_116,
    "segformer/table_4.1_b2": 24_753_980,
    "segformer/table_4.1_b5": 82_000_700,
    "mrcfa/table_5.6_b0": 5_186_388,
    "mrcfa/table_5.6_b1": 16_226_055,
    "mrcfa/table_5.6_b2": 27_270_740,
    "mrcfa/table_5.6_b5": 84_517_460,
}


def parse(path, *more, method=None):
    return parse_video_run(
        method or path.parent.name, arguments=["--config", str(path), "--output_dir", "unused", *more]
    )


def skip_if_absent(path):
    if path.parent.name == "mrcfa" and not has_mrcfa:
        pytest.skip("MRCFA is not there yet")


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_file_is_a_run_with_the_released_recipe(path):
    skip_if_absent(path)
    comment = path.read_text(encoding="utf-8").partition("\nmodel:")[0].replace("\n#", "")
    run = parse(path)
    run.config.num_labels = 19 if run.data.layout == "cityscapes" else 124
    with torch.device("meta"):
        model = run.method.model_class(run.config)
    if path.stem in ("smoke", "street", "street_per_frame"):
        assert comment.startswith("# No row of a table")
        assert count_parameters(model) < (1e6 if path.stem == "smoke" else 3.5e6)
        return
    number = re.match(r"(table|section)_([\d.]+)", path.stem)
    assert number
    assert comment.lower().startswith((f"# {number[1]} {number[2]}", f"# {number[1]}s"))
    assert number[2] in comment
    training = run.training
    assert (training.learning_rate, training.head_lr_factor, training.weight_decay) == (6e-5, 10, 0.01)
    assert (training.adam_beta1, training.adam_beta2, training.max_grad_norm) == (0.9, 0.999, 0)
    assert (training.max_steps, training.warmup_steps, training.per_device_train_batch_size) == (160_000, 1500, 8)
    assert (training.save_steps, training.eval_strategy) == (4000, "no")
    if published := re.search(r"([\d.]+) M parameters", comment):
        # SegFormer's published numbers are up to 0.12 above what its code gives; so are those of Video Swin upon it
        tolerance = 0.12 if path.parent.name == "segformer" or "vswin" in path.stem else 0.051
        assert count_parameters(model) / 1e6 == pytest.approx(float(published[1]), abs=tolerance)
    if backbone := re.search(r"MiT-B\d", comment):
        assert backbone_name(run.config) == backbone[0]


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_of_the_main_rows(name):
    path = CONFIGS / f"{name}.yaml"
    skip_if_absent(path)
    config = parse(path).config
    config.num_labels = 124
    with torch.device("meta"):
        model = method_of(path.parent.name).model_class(config)
    assert count_parameters(model) == PARAMETERS[name]


def test_rows_differ_in_what_they_are_about():
    config = {path.stem: parse(path).config for path in FILES if path.parent.name == "cffm"}
    assert [config[f"table_4.3_b1_n{n}"].num_mining_layers for n in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert list(config["table_4.4_k9"].frame_offsets) == [9]
    assert config["table_4.4_k9"].reference_pooling == [2]
    assert list(config["table_4.4_k3_2_1"].frame_offsets) == [3, 2, 1]
    assert not config["table_4.5_static"].motional_contexts
    assert not config["section_4.4.3_cffa"].cross_frame_mining
    assert config["table_4.2_b0"].auxiliary_loss_frames == "target"
    assert parse(CONFIGS / "cffm" / "table_4.2_b0.yaml").augmentation.crop_size == [512, 1024]


def test_fields_of_the_encoder_change_one_by_one(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("model: {backbone: b2, encoder_config: {drop_path_rate: 0.0}}", encoding="utf-8")
    encoder = parse(path, method="cffm").config.encoder_config
    assert (encoder.depths, encoder.drop_path_rate) == ([3, 4, 6, 3], 0)


def test_the_command_line_wins_over_the_file():
    run = parse(CONFIGS / "cffm" / "table_4.1_b0.yaml", "--backbone", "b2", "--max_steps", "2000")
    assert backbone_name(run.config) == "MiT-B2"
    assert run.training.max_steps == 2000


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"model": {"num_mining_layer": 2}}, ["num_mining_layer ", "did you mean num_mining_layers?"]),
        ({"model": {"backbone": "b3"}}, ["backbone must be one of", "b5", "'b3'"]),
        ({"model": {"frame_offsets": [3, 6]}}, ["frame_offsets must be positive and fall"]),
        ({"model": {"num_labels": 5}}, ["num_labels"]),
        (
            {"model": {"backbone": "b1", "model_name_or_path": "runs/x"}},
            ["backbone would be ignored"],
        ),
        ({"training": {"warmup_steps": 1500, "max_steps": 100}}, ["warmup_steps must be", "max_steps=100", "1500"]),
        ({"training": {"optim": "sgd"}}, ["optim is fixed by the recipe"]),
        ({"training": {"head_lr_factor": 0}}, ["head_lr_factor must be positive"]),
        ({"training": {"lr_milestones": [3]}}, ["lr_milestones"]),
        ({"data": {"layout": "coco", "protocol": "mine"}}, ["layout must be one of vspw, city", "protocol must be"]),
        ({"data": {"test_scale": [480], "size_divisor": 0}}, ["test_scale must be two", "size_divisor must be"]),
        ({"data": {"frame_cache_size": -1}}, ["frame_cache_size must be at least 0"]),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path, sections, words):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(sections), encoding="utf-8")
    with pytest.raises(ValueError) as error:  # noqa: PT011  the words are checked below
        parse(path, method="cffm")
    assert all(word in str(error.value) for word in words), str(error.value)


def test_help_is_a_manual(capsys):
    with pytest.raises(SystemExit):
        parse_video_run("cffm", manual="First line.\n    and 100% of an example", arguments=["--help"])
    text = capsys.readouterr().out
    assert "First line.\n    and 100% of an example" in text
    assert re.search(r"Of the encoder\. \(default:\s+6e-05\)", text)


# where weights come from


def tiny_cffm():
    set_seed(0)
    return method_of("cffm").model_class(method_of("cffm").make_config("b0", CFFM))


@pytest.mark.parametrize("method", ["cffm", "segformer"])
def test_encoder_weights_of_a_folder_of_transformers(tmp_path, method):
    set_seed(5)
    fields = CFFM if method == "cffm" else ENCODER
    source = SegformerForImageClassification(method_of("segformer").make_config("b0", ENCODER))
    source.save_pretrained(tmp_path)
    model = method_of(method).model_class(method_of(method).make_config("b0", fields))
    load_encoder_weights(model, method_of(method), str(tmp_path))
    loaded = getattr(model, method_of(method).encoder).state_dict()
    expected = source.segformer.state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[key], expected[key]) for key in expected)


def test_encoder_weights_of_another_kind_or_size_are_refused(tmp_path):
    with pytest.raises(InvalidDataError, match=r"mit_b1\.pth.*no such file"):
        load_encoder_weights(tiny_cffm(), method_of("cffm"), str(tmp_path / "mit_b1.pth"))
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "resnet.pth")
    with pytest.raises(InvalidDataError, match=r"resnet\.pth: expected a checkpoint of segformer.*patch_embed1"):
        load_encoder_weights(tiny_cffm(), method_of("cffm"), str(tmp_path / "resnet.pth"))
    wide = method_of("segformer").make_config("b0", ENCODER | {"hidden_sizes": [8, 8, 16, 32]})
    SegformerModel(wide).save_pretrained(tmp_path / "wide")
    with pytest.raises(InvalidDataError, match=r"hidden_sizes \[8, 8, 16, 16\]. Received: \[8, 8, 16, 32\]"):
        load_encoder_weights(tiny_cffm(), method_of("cffm"), str(tmp_path / "wide"))
    tiny_cffm().save_pretrained(tmp_path / "cffm")
    with pytest.raises(InvalidDataError, match="a Mix Transformer"):
        load_encoder_weights(tiny_cffm(), method_of("cffm"), str(tmp_path / "cffm"))


def test_only_known_models_are_evaluated(counter_checkpoint):
    with pytest.raises(
        ValueError, match=r"expected one of cffm, cffm_plus, mrcfa, segformer, .*netwarp\. Received: iocformer"
    ):
        load_video_model(counter_checkpoint)
