"""The scripts of CFFM++ as a user runs them, on synthetic videos."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import yaml
from programs import run_processes
from safetensors.torch import load_file
from tiny_cffm import tiny_model
from transformers import AutoModel

from dense_hf import CFFMConfig, CFFMForVideoSemanticSegmentation, CFFMImageProcessor
from dense_hf.data import generate_miniature_videos
from dense_hf.training.video.cffm_plus import CFFMPlusTrainingArguments, train_cffm_plus
from dense_hf.training.video.options import parse_video_run

SCRIPTS = Path(__file__).parents[3] / "scripts"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "videos"
    generate_miniature_videos(folder, 2, 1, 0, num_frames=18, frame_size=(48, 36), disable_progress=True)
    return folder


@pytest.fixture(scope="module")
def cffm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cffm")
    tiny_model().save_pretrained(folder)
    CFFMImageProcessor(size={"longest_edge": 48, "shortest_edge": 36}).save_pretrained(folder)
    return folder


def write_config(folder: Path, cffm: Path, data: Path, **training) -> Path:
    sections = {
        "model": {"model_name_or_path": str(cffm), "num_prototypes": 7},
        "data": {
            "data_dir": str(data),
            "scale": [48, 36],
            "crop_size": [32, 32],
            "test_scale": [48, 36],
            "samples_per_video": 4,
        },
        "training": {
            "prototypes": str(folder / "prototypes"),
            "per_device_train_batch_size": 2,
            "max_steps": 4,
            "warmup_steps": 1,
            "save_steps": 2,
            "disable_tqdm": True,
            **training,
        },
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(sections))
    return folder / "tiny.yaml"


def run_script(name: str, monkeypatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
    runpy.run_path(str(SCRIPTS / name), run_name="__main__")


@pytest.mark.slow
@pytest.mark.smoke
def test_from_a_cffm_to_its_numbers(cffm, data, tmp_path, monkeypatch, capsys, script_environment):
    """Two processes make the prototypes, training reads them, and a stopped run ends as one that was not."""
    config = write_config(tmp_path, cffm, data)
    words = [
        "--model",
        cffm,
        "--data_dir",
        data,
        "--output",
        tmp_path / "prototypes",
        "--num_prototypes",
        7,
        "--quiet",
    ]
    run_processes(2, [sys.executable, SCRIPTS / "make_prototypes.py", *words], env=script_environment)
    files = {path.name: path.read_bytes() for path in (tmp_path / "prototypes").iterdir()}
    assert len(files) == 3

    run_script("train_cffm_plus.py", monkeypatch, "--config", config, "--output_dir", tmp_path / "run")
    assert {path.name: path.read_bytes() for path in (tmp_path / "prototypes").iterdir()} == files
    before, after = (load_file(folder / "model.safetensors") for folder in (cffm, tmp_path / "run"))
    branch = {name for name in after if name.startswith("prototype_")}
    assert after.keys() - branch == before.keys()
    assert all(after[name].equal(tensor) for name, tensor in before.items())
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["steps"] == 4
    assert 0 <= results["validation"]["mean_iou"] <= 1
    assert "find_prototypes" in (tmp_path / "run" / "README.md").read_text()
    assert AutoModel.from_pretrained(tmp_path / "run").config.num_prototypes == 7

    second = tmp_path / "stopped"
    (tmp_path / "run" / "checkpoint-4").rename(tmp_path / "last")
    (tmp_path / "run").rename(second)
    run_script(
        "train_cffm_plus.py",
        monkeypatch,
        "--config",
        config,
        "--output_dir",
        second,
        "--resume_from_checkpoint",
        "auto",
    )
    resumed = load_file(second / "model.safetensors")
    assert all(resumed[name].equal(tensor) for name, tensor in after.items())

    capsys.readouterr()
    words = ["--model", second, "--data_dir", data, "--quiet", "--output", tmp_path / "numbers.json"]
    run_script("evaluate_video.py", monkeypatch, *words)
    assert "| CFFM++ |" in capsys.readouterr().out
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert numbers["mean_iou"] == pytest.approx(results["validation"]["mean_iou"], abs=1e-6)
    run_script("evaluate_video.py", monkeypatch, *words, "--prototypes", tmp_path / "prototypes")
    assert json.loads((tmp_path / "numbers.json").read_text())["mean_iou"] == numbers["mean_iou"]
    with pytest.raises(SystemExit, match="is for CFFM"):
        run_script("evaluate_video.py", monkeypatch, "--model", cffm, *words[2:], "--prototypes", tmp_path)


def test_defaults_are_the_released_recipe():
    defaults = CFFMPlusTrainingArguments(output_dir="unused")
    assert (defaults.max_steps, defaults.warmup_steps, defaults.learning_rate) == (40_000, 1500, 2e-4)
    assert (defaults.head_lr_factor, defaults.weight_decay, defaults.per_device_train_batch_size) == (1.0, 0.01, 8)


def test_the_smoke_file_is_a_run():
    text = (SCRIPTS / "configs" / "cffm_plus" / "smoke.yaml").read_text()
    assert text.startswith("# ")
    parsed = yaml.safe_load(text)
    arguments = CFFMPlusTrainingArguments(output_dir="unused", **parsed["training"])
    assert arguments.prototypes == "runs/smoke_prototypes"


def test_what_is_missing_is_named(cffm, data, tmp_path):
    config = write_config(tmp_path, cffm, data)
    base = ["--config", str(config), "--output_dir", str(tmp_path / "run")]
    run = parse_video_run("cffm_plus", arguments=base)
    run.training.prototypes = None
    with pytest.raises(ValueError, match=r"a folder for the others. Received: .*, None"):
        train_cffm_plus(run)
    run = parse_video_run("cffm_plus", arguments=base)
    run.model.model_name_or_path = None
    with pytest.raises(ValueError, match=r"on top of a CFFM.* Received: None"):
        train_cffm_plus(run)


def test_classes_must_be_those_of_the_cffm(data, tmp_path):
    other = tiny_model().config.to_dict() | {"num_labels": 3}
    CFFMForVideoSemanticSegmentation(CFFMConfig.from_dict(other)).save_pretrained(tmp_path / "cffm")
    config = write_config(tmp_path, tmp_path / "cffm", data)
    run = parse_video_run("cffm_plus", arguments=["--config", str(config), "--output_dir", str(tmp_path / "run")])
    with pytest.raises(ValueError, match=r"must have the 5 classes of .* Received: 3"):
        train_cffm_plus(run)
    assert not (tmp_path / "prototypes").exists()
