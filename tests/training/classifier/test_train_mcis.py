"""The script as a person runs it: files, cards, one and two processes, killed and gone on with, given bad data."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from programs import Program, run_processes
from safetensors.torch import load_file
from tiny_weak_runs import make_weak_trainer, sections

from dense_hf import MCISConfig, MCISForImageClassification
from dense_hf.data import generate_miniature_weak
from dense_hf.errors import InvalidDataError
from dense_hf.training.classifier.options import parse_mcis_run
from dense_hf.weak_segmentation.image_processing_mcis import MCISImageProcessor

REPOSITORY = Path(__file__).parents[3]
CONFIGS = REPOSITORY / "scripts" / "configs" / "mcis"
SCRIPT = "train_mcis.py"


@pytest.fixture
def config_file(tmp_path, weak_set):
    """A YAML file of a tiny run."""

    def write(data_dir=weak_set, model=None, **training):
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(sections(data_dir, model, **training)), encoding="utf-8")
        return path

    return write


def command(*arguments):
    return [sys.executable, REPOSITORY / "scripts" / SCRIPT, *arguments]


def results_of(folder):
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def log_of(folder):
    last = max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    return [entry for entry in json.loads((last / "trainer_state.json").read_text())["log_history"] if "loss" in entry]


# files


def test_the_smoke_configuration_gives_all_files(run_here, tmp_path):
    generate_miniature_weak(tmp_path / "set", 8, 3, 0, disable_progress=True)
    options = ("--data_dir", tmp_path / "set", "--num_train_epochs", 2, "--seed", 7, "--license", "apache-2.0")
    config = CONFIGS / "smoke.yaml"
    run_here(SCRIPT, "--config", config, *options, "--output_dir", tmp_path / "out", "--disable_tqdm", "true")
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "README.md", "results.json"} <= files
    model = MCISForImageClassification.from_pretrained(tmp_path / "out")
    assert model.config.id2label == {0: "disc", 1: "square", 2: "triangle"}
    assert dict(MCISImageProcessor.from_pretrained(tmp_path / "out").size) == {"height": 64, "width": 64}
    results = results_of(tmp_path / "out")
    assert (results["epochs"], results["best_epoch"], results["seed"]) == (2, 2, 7)
    assert results["val"]["num_images"] == 3
    card = ModelCard.load(tmp_path / "out" / "README.md")
    (result,) = card.data.eval_results
    assert (card.data.license, card.data.pipeline_tag) == ("apache-2.0", "image-classification")
    assert (result.metric_value, result.dataset_split) == (results["val"]["mean_average_precision"], "val")
    for words in ("synthetic", "image-level labels", "12 points behind", "disc, square, triangle", "--seed 7"):
        assert words in card.text
    assert f"{100 * result.metric_value:.1f} | {results['val']['loss']:.4f}" in card.text


def test_a_trained_model_goes_on_with_other_classes(run_here, config_file, tmp_path, weak_set, caplog):
    trained = MCISForImageClassification(MCISConfig(vgg_hidden_sizes=[4, 6, 8, 8], hidden_size=8, num_labels=5))
    trained.save_pretrained(tmp_path / "trained")
    MCISImageProcessor(size={"height": 40, "width": 40}, image_mean=[0.1, 0.2, 0.3]).save_pretrained(
        tmp_path / "trained"
    )
    path = tmp_path / "on.yaml"
    part = sections(weak_set, num_train_epochs=1, save_strategy="no")
    part["classifier"]["model"] = {"model_name_or_path": str(tmp_path / "trained")}
    path.write_text(yaml.safe_dump(part), encoding="utf-8")
    run_here(SCRIPT, "--config", path, "--output_dir", tmp_path / "out", "--learning_rate", 1e-9, "--weight_decay", 0)
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("trained", "out")]
    assert weights[1]["classifier.weight"].shape == (3, 8, 1, 1)
    assert torch.allclose(weights[0]["neck.0.weight"], weights[1]["neck.0.weight"], atol=1e-5)
    said = " ".join(record.getMessage() for record in caplog.records)
    assert "Kept: none. Starting anew: disc, square, triangle" in said
    assert "size is" in said
    processor = MCISImageProcessor.from_pretrained(tmp_path / "out")
    assert (processor.size["height"], list(processor.image_mean)) == (32, [0.1, 0.2, 0.3])  # given; the model's


def test_sources_of_two_domains_train_three_matrices(run_here, config_file, tmp_path, weak_set):
    other = tmp_path / "other"
    shutil.copytree(weak_set / "train", other)
    shutil.copy(weak_set / "classes.txt", other)
    for path in (other / "images").iterdir():
        path.rename(path.with_name(f"web_{path.name}"))
    table = (other / "labels.csv").read_text().replace("synthetic_train", "web_synthetic_train")
    (other / "labels.csv").write_text(table)
    part = sections(weak_set, {"num_domains": 2}, num_train_epochs=1)
    part["classifier"]["data"]["extra_sources"] = [{"data_dir": str(other), "domain": 1}]
    path = tmp_path / "domains.yaml"
    path.write_text(yaml.safe_dump(part), encoding="utf-8")
    run_here(SCRIPT, "--config", path, "--output_dir", tmp_path / "out")
    assert len(log_of(tmp_path / "out")) == 6  # 18 images in batches of 3
    first, last = (load_file(tmp_path / "out" / f"checkpoint-{n}" / "model.safetensors") for n in (1, 6))
    for number in range(3):
        name = f"co_attention.affinities.{number}.weight"
        assert not torch.equal(first[name], last[name])


# configurations


def test_the_text_of_the_thesis_is_a_file():
    run = parse_mcis_run(arguments=["--config", str(CONFIGS / "thesis_text.yaml"), "--output_dir", "unused"])
    config, training = run.config, run.training
    assert (config.shared_class_head, config.loss_reduction, config.contrastive_start_epoch) == (True, "sum", 0)
    assert (config.skip_empty_contrastive, config.flip_view, config.scale_views) == (False, False, [])
    assert (training.learning_rate, training.weight_decay, training.momentum) == (1e-3, 2e-4, 0.9)
    assert (training.lr_milestones, training.lr_decay, training.per_device_train_batch_size) == ([5, 10], 0.1, 5)
    names = ("backbone.stages.0.0.weight", "neck.0.bias", "classifier.bias")
    rates = [training.parameter_options(name, name.startswith("backbone."))["lr"] for name in names]
    assert rates == pytest.approx([1e-3, 2e-2, 2e-2])  # the text is silent: as released
    for path in CONFIGS.glob("*.yaml"):
        assert path.read_text(encoding="utf-8").startswith("# ")


def test_the_text_of_the_thesis_trains(weak_set, tmp_path):
    """Four terms, of the first step on, for every pair."""
    run = parse_mcis_run(arguments=["--config", str(CONFIGS / "thesis_text.yaml"), "--output_dir", "unused"])
    trainer = make_weak_trainer(
        weak_set, tmp_path, model=run.sections["model"], augmentation=run.augmentation, save_strategy="no", max_steps=2
    )
    trainer.train()
    for entry in (entry for entry in trainer.state.log_history if "loss" in entry):
        terms = {name for name in entry if name.startswith("loss_")}
        assert terms == {"loss_basic", "loss_co_attention", "loss_contrastive", "loss_paired_contrastive"}


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"models": {}}, ["models", "did you mean model?"]),
        ({"model": {"hidden": 2}}, ["hidden ", "hidden_size"]),
        ({"model": {"loss_reduction": "max"}}, ["loss_reduction", "'max'"]),
        ({"data": {"hue": 0.7}}, ["hue must be in [0, 0.5]"]),
        ({"data": {"image_size": 8, "image_std": [1, 0, 1]}}, ["image_size must be at least 16", "image_std"]),
        ({"data": {"extra_sources": [{"folder": "x"}]}}, ["keys among data_dir", "folder"]),
        ({"training": {"learning_rate": -1}}, ["learning_rate must be positive"]),
        ({"model": {"backbone_weights": "a.pth", "model_name_or_path": "b"}}, ["backbone_weights would be ignored"]),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path, part, words):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"classifier": part}), encoding="utf-8")
    with pytest.raises(ValueError) as error:  # noqa: PT011  the words are checked below
        parse_mcis_run(arguments=["--config", str(path), "--output_dir", "unused"])
    assert all(word in str(error.value) for word in words), str(error.value)


def test_parts_of_other_scripts_do_not_matter(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("segmenter: {training: {max_steps: 3}}\nclassifier: {data: {image_size: 48}}", encoding="utf-8")
    assert parse_mcis_run(arguments=["--config", str(path), "--output_dir", "unused"]).data.image_size == 48
    path.write_text("clasifiers: {}", encoding="utf-8")
    with pytest.raises(InvalidDataError, match="did you mean classifier"):
        parse_mcis_run(arguments=["--config", str(path), "--output_dir", "unused"])


# bad data: one line, before the first step


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "data_dir must name a folder"),
        (["--data_dir", "nowhere"], "nowhere: expected a folder"),
        (["--data_dir", "SET", "--eval_split", "train"], "eval_split must be another split"),
        (["--data_dir", "SET", "--eval_split", "test", "--eval_strategy", "epoch"], "expected a split test"),
        (["--data_dir", "BROKEN"], r"synthetic_train_00004\.jpg: expected a complete JPEG"),
        (["--data_dir", "SET", "--backbone_weights", "nothing.pth"], r"nothing\.pth: expected a checkpoint"),
        (["--data_dir", "SET", "--extra_sources", '{"list": "l.txt", "images_dir": "i"}'], r"l\.txt: expected"),
        (["--data_dir", "SET", "--learning_rate", "1e9", "--save_strategy", "no"], "lower learning_rate"),
    ],
)
def test_a_run_that_cannot_be_ends_with_a_sentence(run_here, tmp_path, weak_set, options, words):
    broken = tmp_path / "BROKEN"
    shutil.copytree(weak_set, broken)
    path = broken / "train" / "images" / "synthetic_train_00004.jpg"
    path.write_bytes(b"\xff\xd8\xff")
    config = tmp_path / "tiny.yaml"
    part = sections("unset")
    del part["classifier"]["data"]["data_dir"]
    config.write_text(yaml.safe_dump(part), encoding="utf-8")
    options = [{"SET": weak_set, "BROKEN": broken}.get(option, option) for option in options]
    with pytest.raises(SystemExit, match=words) as stop:
        run_here(SCRIPT, "--config", config, "--output_dir", tmp_path / "out", *options)
    assert str(stop.value).startswith("train_mcis.py: ")
    assert not (tmp_path / "out" / "model.safetensors").exists()


# processes


@pytest.fixture(scope="module")
def runs(tmp_path_factory, weak_set, script_environment, run_here):
    """The same training with one process of batch 4 and two of batch 2; 9 images fill neither."""
    folders = {processes: tmp_path_factory.mktemp(f"processes{processes}") for processes in (1, 2)}
    config = tmp_path_factory.mktemp("config") / "tiny.yaml"
    config.write_text(yaml.safe_dump(sections(weak_set)), encoding="utf-8")
    options = ("--config", config, "--output_dir", folders[2], "--per_device_train_batch_size", 2)
    run_processes(2, command(*options), env=script_environment)
    run_here(SCRIPT, *options[:2], "--output_dir", folders[1], "--per_device_train_batch_size", 4)
    return folders, config


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(runs, weak_set, tmp_path):
    """Also where only one of them has a label that the other image lacks, and before anything trains the gate."""
    folders, _ = runs
    trained = make_weak_trainer(weak_set, tmp_path, per_device_train_batch_size=4)
    sampler, halves = trained.epoch_sampler, []
    for epoch in range(3):
        sampler.start_epoch(epoch)
        samples = [trained.train_dataset[key] for key in sampler]
        alone = [bool((pair["labels"] > pair["paired_labels"]).any()) for pair in samples]
        halves += [(any(alone[start : start + 2]), any(alone[start + 2 : start + 4])) for start in (0, 4, 8)]
    assert any(first != second for first, second in halves[3:]), "the case does not occur"
    logs = {processes: log_of(folder) for processes, folder in folders.items()}
    for one, two in zip(logs[1], logs[2], strict=True):
        assert one.keys() == two.keys()
        assert {name: two[name] for name in one if "loss" in name} == pytest.approx(
            {name: one[name] for name in one if "loss" in name}, rel=1e-4
        )
    for step in (1, 9):
        weights = [load_file(folder / f"checkpoint-{step}" / "model.safetensors") for folder in folders.values()]
        assert max((weights[0][name] - weights[1][name]).abs().max() for name in weights[0]) < 1e-5


@pytest.mark.slow
def test_metrics_do_not_depend_on_the_number_of_processes(runs, weak_set, tmp_path):
    """The weights of the run of two, 5 images in batches of 2, judged again by one process."""
    folders, _ = runs
    trainer = make_weak_trainer(weak_set, tmp_path, per_device_eval_batch_size=8)
    trainer.model.load_state_dict(load_file(folders[2] / "model.safetensors"))
    again = trainer.evaluate(metric_key_prefix="val")
    for name, value in results_of(folders[2])["val"].items():
        if name != "epoch":
            assert again[f"val_{name}"] == value


@pytest.mark.slow
def test_killed_process_resumes_to_the_same_bits(
    config_file, tmp_path, script_environment, run_here, same_weights, caplog
):
    """SIGKILL in the middle of a real run, a checkpoint cut off as by a crash, `--resume_from_checkpoint auto`."""
    config = config_file(num_train_epochs=12)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with Program(command("--config", config, "--output_dir", killed), env=script_environment) as process:
        deadline = time.monotonic() + 300
        while not (killed / "checkpoint-4").exists() and process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (killed / "checkpoint-36").exists()
    last = max(killed.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    (last / "trainer_state.json").unlink(missing_ok=True)  # whatever the kill left, this one is not complete
    resume = ("--resume_from_checkpoint", "auto", "--dataloader_num_workers", 2)
    run_here(SCRIPT, "--config", config, "--output_dir", killed, *resume)
    assert any(str(last) in record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    run_here(SCRIPT, "--config", config, "--output_dir", whole)
    assert same_weights(whole / "checkpoint-36", killed / "checkpoint-36")
    assert results_of(whole) == results_of(killed)
