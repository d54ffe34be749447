"""The scripts as a person runs them: real processes, one and two, killed and gone on with, given bad data."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from PIL import Image
from programs import Program, run_processes
from safetensors.torch import load_file
from tiny_video_runs import sections
from transformers import pipeline

from dense_hf import CFFMForVideoSemanticSegmentation
from dense_hf.data import generate_miniature_videos

REPOSITORY = Path(__file__).parents[3]
METHODS = ["cffm", "segformer"] + ["mrcfa"] * (find_spec("dense_hf.video_segmentation.modeling_mrcfa") is not None)


@pytest.fixture
def config_file(tmp_path, video_set):
    """A YAML file of a tiny run."""

    def write(method="cffm", data_dir=video_set, **training):
        path = tmp_path / f"{method}.yaml"
        path.write_text(yaml.safe_dump(sections(method, data_dir, **training)), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="module")
def miniature_videos(tmp_path_factory):
    """As the manual makes them, but fewer."""
    folder = tmp_path_factory.mktemp("miniature") / "videos"
    generate_miniature_videos(folder, 2, 1, 1, num_frames=18, disable_progress=True)
    return folder


def program(script, *arguments):
    return [sys.executable, REPOSITORY / "scripts" / script, *arguments]


def results_of(folder):
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_the_smoke_configurations_train_and_are_evaluated(
    method, miniature_videos, tmp_path, run_here, capsys, monkeypatch
):
    config = REPOSITORY / "scripts" / "configs" / method / "smoke.yaml"
    options = ("--config", config, "--data_dir", miniature_videos, "--output_dir", tmp_path / "run")
    short = ("--max_steps", 4, "--warmup_steps", 1, "--save_steps", 4, "--disable_tqdm", "true")
    run_here(f"train_{method}.py", *options, *short)
    results = results_of(tmp_path / "run")
    assert results["steps"] == results["best_step"] == 4
    assert 0 < results["validation"]["mean_iou"] < 1

    card = ModelCard.load(tmp_path / "run" / "README.md")
    assert "**synthetic miniature videos (drawn by a program)**" in card.content
    assert f"| validation | 1 | {100 * results['validation']['mean_iou']:.1f} |" in card.content
    capsys.readouterr()

    written = tmp_path / "numbers.json"
    evaluation = ("--model", tmp_path / "run", "--data_dir", miniature_videos, "--quiet", "true")
    run_here("evaluate_video.py", *evaluation, "--output", written, "--save_predictions", tmp_path / "maps")
    numbers = json.loads(written.read_text(encoding="utf-8"))
    assert {key: numbers[key] for key in results["validation"]} == results["validation"]
    text = capsys.readouterr().out
    assert f"| {100 * numbers['mean_iou']:.1f} | {100 * numbers['weighted_iou']:.1f} |" in text
    assert "| wall | " in text
    assert "FPS: one process on cpu" in text
    assert len([*(tmp_path / "maps").glob("data/*/mask/*.png")]) == 18


@pytest.mark.slow
def test_a_frozen_backbone_learns_from_damaged_clips_and_answers_questions(
    config_file, video_set, tmp_path, run_here, capsys
):
    """The backbone stays as it was, and numbers of other questions are not those of the plain evaluation."""
    backbone = {
        "model_type": "resnet",
        "embedding_size": 8,
        "hidden_sizes": [8, 8, 16, 16],
        "depths": [1, 1, 1, 1],
        "layer_type": "basic",
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    }
    file = tmp_path / "frozen.yaml"
    sections = yaml.safe_load(config_file(max_steps=3).read_text(encoding="utf-8"))
    sections["model"] = {
        **{key: value for key, value in sections["model"].items() if key != "encoder_config"},
        "backbone_config": backbone,
        "freeze_backbone": True,
    }
    sections["data"] |= {"damage": 0.5, "near_clips": 0.5}
    file.write_text(yaml.safe_dump(sections), encoding="utf-8")
    run = tmp_path / "run"
    run_here("train_cffm.py", "--config", file, "--output_dir", run)
    first, last = (load_file(run / f"checkpoint-{step}" / "model.safetensors") for step in (1, 3))
    changed = {name for name, value in last.items() if not torch.equal(first[name], value)}
    assert changed
    assert not any(name.startswith("encoder.") for name in changed)

    options = ["--model", run, "--data_dir", video_set, "--quiet", "true", "--output"]
    run_here("evaluate_video.py", *options, tmp_path / "plain.json")
    plain = json.loads((tmp_path / "plain.json").read_text(encoding="utf-8"))
    capsys.readouterr()
    asked = ["--damage", "black", "--damage_every", 4, "--references", "own", "--average_frames", 2]
    asked += ["--frame_offsets", 5, 4, 1, "--videos", "synthetic_validation_0001"]
    run_here("evaluate_video.py", *options, tmp_path / "asked.json", *asked)
    numbers = json.loads((tmp_path / "asked.json").read_text(encoding="utf-8"))
    assert "damage black, damage_every 4, average_frames 2, references own" in capsys.readouterr().out
    assert (numbers["damage"], numbers["frame_offsets"], numbers["num_videos"]) == ("black", [5, 4, 1], 1)
    assert numbers["damaged_mean_iou"] != numbers["mean_iou"]
    assert "damage" not in plain
    for words, message in (
        (("--videos", "nobody"), "--videos must be videos of the split: synthetic_validation_0000"),
        (("--frame_offsets", 3), "--frame_offsets must be 3 numbers that fall from oldest to newest"),
    ):
        assert message in message_of(run_here, "evaluate_video.py", *options[:-1], *words)


@pytest.mark.slow
def test_the_baseline_needs_transformers_alone(config_file, tmp_path, run_here, video_set):
    run_here("train_segformer.py", "--config", config_file("segformer", max_steps=3), "--output_dir", tmp_path / "run")
    segment = pipeline("image-segmentation", model=str(tmp_path / "run"))
    frame = next((video_set / "data" / "synthetic_train_0000" / "origin").iterdir())
    assert {part["label"] for part in segment(str(frame))} <= {"wall", "ground", "disc", "square", "triangle"}


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(
    config_file, video_set, tmp_path, script_environment, run_here, same_weights
):
    """Three videos, two for a process and one for the other; what two resume ends with the same bits."""
    run, again = tmp_path / "run", tmp_path / "again"
    config = config_file(per_device_train_batch_size=1, max_steps=4)
    command = program("train_cffm.py", "--config", config, "--output_dir")
    run_processes(2, [*command, run], env=script_environment)
    of_two = results_of(run)["validation"]
    assert of_two["num_videos"] == 3
    options = ("--model", run, "--data_dir", video_set, "--quiet", "true")
    run_here("evaluate_video.py", *options, "--output", tmp_path / "numbers.json")
    of_one = json.loads((tmp_path / "numbers.json").read_text(encoding="utf-8"))
    assert {key: of_one[key] for key in of_two} == of_two

    resume = ("--resume_from_checkpoint", run / "checkpoint-2")
    run_processes(2, [*command, again, *resume], env=script_environment)
    assert same_weights(run / "checkpoint-4", again / "checkpoint-4")
    assert results_of(run) == results_of(again)


@pytest.mark.slow
def test_killed_run_goes_on_to_the_same_bits(config_file, tmp_path, script_environment, run_here, same_weights):
    """SIGKILL in the middle; the last checkpoint is cut off as by a crash."""
    config = config_file(max_steps=9)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command = program("train_cffm.py", "--config", config, "--output_dir", killed)
    with Program(command, env=script_environment) as process:
        deadline = time.monotonic() + 300
        while not (killed / "checkpoint-2").exists() and process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (killed / "checkpoint-9").exists()
    last = max(killed.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    (last / "model.safetensors").write_bytes(b"cut off")

    run_here("train_cffm.py", "--config", config, "--output_dir", killed, "--resume_from_checkpoint", "auto")
    run_here("train_cffm.py", "--config", config, "--output_dir", whole)
    assert same_weights(whole / "checkpoint-9", killed / "checkpoint-9")
    assert results_of(whole) == results_of(killed)


@pytest.mark.slow
def test_best_weights_at_the_end(config_file, tmp_path, run_here):
    """By a metric that is always the same the first evaluation, after two of four steps, stays the best."""
    options = {"max_steps": 4, "eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True}
    config = config_file(**options, metric_for_best_model="num_videos")
    run_here("train_cffm.py", "--config", config, "--output_dir", tmp_path / "run")
    assert results_of(tmp_path / "run")["best_step"] == 2
    models = [
        CFFMForVideoSemanticSegmentation.from_pretrained(tmp_path / "run" / folder).state_dict()
        for folder in (".", "checkpoint-2", "checkpoint-4")
    ]
    assert all((models[0][key] == models[1][key]).all() for key in models[0])
    assert any((models[0][key] != models[2][key]).any() for key in models[0])


@pytest.mark.slow
def test_a_trained_model_goes_on_with_other_classes(config_file, video_set, tmp_path, run_here):
    run_here("train_cffm.py", "--config", config_file(max_steps=3), "--output_dir", tmp_path / "first")
    folder = shutil.copytree(video_set, tmp_path / "set")
    names = {name: number for number, name in enumerate(("wall", "floor", "a", "b", "c", "d"), start=1)}
    (folder / "label_num_dic_final.json").write_text(json.dumps(names), encoding="utf-8")
    config = config_file(data_dir=folder, max_steps=3)
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    content["model"] = {"model_name_or_path": str(tmp_path / "first")}
    config.write_text(yaml.safe_dump(content), encoding="utf-8")
    run_here("train_cffm.py", "--config", config, "--output_dir", tmp_path / "second")
    model = CFFMForVideoSemanticSegmentation.from_pretrained(tmp_path / "second")
    assert model.config.id2label[5] == "d"
    assert model.classifier.out_channels == 6
    assert model.config.decoder_hidden_size == 16


# what is wrong is said in one line, before the first step


def message_of(run_here, script, *arguments):
    with pytest.raises(SystemExit) as error:
        run_here(script, *arguments)
    return str(error.value.code)


@pytest.mark.parametrize("script", ["train_cffm.py", "train_segformer.py"])
def test_bad_masks_are_named_before_the_first_step(script, config_file, video_set, tmp_path, run_here):
    folder = shutil.copytree(video_set, tmp_path / "set")
    masks = folder / "data" / "synthetic_validation_0001" / "mask"
    Image.fromarray(np.full((36, 48), 77, dtype=np.uint8)).save(masks / "00000004.png")
    Image.new("L", (20, 20)).save(masks / "00000006.png")
    config = config_file(script[6:-3], data_dir=folder)
    message = message_of(run_here, script, "--config", config, "--output_dir", tmp_path / "run")
    assert message.startswith(f"{script}: ")
    assert "00000004.png: expected class numbers 0-5, 255. Received: 77 at x=0, y=0" in message
    assert "00000006.png: expected the size of its frame, 48 x 36. Received: 20 x 20" in message
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").glob("checkpoint-*"))
    (masks / "00000004.png").unlink()
    message = message_of(run_here, script, "--config", config, "--output_dir", tmp_path / "run")
    assert "1 missing or empty: missing: " in message
    assert "synthetic_validation_0001/mask/00000004.png" in message


@pytest.mark.parametrize(
    ("script", "arguments", "words"),
    [
        ("train_cffm.py", [], "data_dir must name a folder"),
        ("train_cffm.py", ["--data_dir", "nowhere"], "nowhere: expected a folder"),
        ("train_cffm.py", ["--config", "nowhere.yaml"], "nowhere.yaml: expected an existing file"),
        ("train_segformer.py", ["--max_steps", "10"], "warmup_steps must be at least 0 and less than max_steps=10"),
        ("evaluate_video.py", ["--model", "nowhere/at/all", "--data_dir", "{}"], "nowhere/at/all"),
        ("evaluate_video.py", ["--model", "x"], "data_dir must name a folder"),
        ("evaluate_video.py", ["--model", "x", "--data_dir", "{}", "--protocol", "y"], "protocol must be one of"),
    ],
)
def test_mistakes_are_one_line(script, arguments, words, video_set, tmp_path, run_here):
    arguments = [word.format(video_set) for word in arguments]
    if script.startswith("train"):
        arguments += ["--output_dir", str(tmp_path)]
    message = message_of(run_here, script, *arguments)
    assert message.startswith(f"{script}: ")
    assert words in message


def test_videos_that_are_all_too_short_are_named_before_the_first_step(config_file, video_set, tmp_path, run_here):
    folder = shutil.copytree(video_set, tmp_path / "set")
    for path in folder.glob("data/synthetic_validation_*/*/*"):
        if int(path.stem) > 15:
            path.unlink()
    message = message_of(
        run_here, "train_cffm.py", "--config", config_file(data_dir=folder), "--output_dir", tmp_path / "run"
    )
    assert "protocol=released looks at videos of more than 16 frames only" in message
