"""DeepLabv3+ of segmentation_models_pytorch is one more row: trained, judged, and in the program."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_video_runs import SHORT

from dense_hf import DeepLabV3PlusForVideoSemanticSegmentation
from dense_hf.cli import main
from dense_hf.inference.checkpoints import load_video_model
from dense_hf.training.comparison.video_recipes import RECIPES, VideoBudget, sections_of
from dense_hf.training.video.options import parse_video_run
from dense_hf.training.video.run import train_video_model

CONFIGS = Path(__file__).parents[3] / "scripts" / "configs" / "deeplabv3plus"


def words_of(video_set, output):
    words = ["--config", str(CONFIGS / "smoke.yaml"), "--data_dir", str(video_set), "--output_dir", str(output)]
    return [*words, *SHORT]


@pytest.mark.smoke
def test_a_training_gives_a_model_that_everything_takes(video_set, tmp_path, run_here):
    run = parse_video_run("deeplabv3plus_video", arguments=words_of(video_set, tmp_path / "run"))
    results = train_video_model(run)
    card = (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    assert "not the network of Tables 4.1 and 5.6" in card
    assert type(load_video_model(str(tmp_path / "run"))[0]) is DeepLabV3PlusForVideoSemanticSegmentation
    evaluation = ["--model", tmp_path / "run", "--data_dir", video_set, "--quiet", "true"]
    run_here("evaluate_video.py", *evaluation, "--output", tmp_path / "numbers.json")
    numbers = json.loads((tmp_path / "numbers.json").read_text(encoding="utf-8"))
    assert numbers["mean_iou"] == results["validation"]["mean_iou"]
    frames = sorted((video_set / "data").glob("*/origin"))[0]
    labels = ["--labels-dir", str(tmp_path / "labels"), "--max-frames", "2"]
    assert main(["segment", str(frames), "--model", str(tmp_path / "run"), *labels]) == 0
    maps = sorted((tmp_path / "labels").rglob("mask/*.png"))
    assert [np.asarray(Image.open(path)).shape for path in maps] == [(36, 48)] * 2


def test_the_recipe_of_a_comparison_is_the_file():
    """But for what a comparison does with its clips."""
    words = ["--config", str(CONFIGS / "efficientnet.yaml"), "--output_dir", "unused"]
    run = parse_video_run("deeplabv3plus_video", arguments=words)
    sections = sections_of(RECIPES["deeplabv3plus"], VideoBudget(), num_places=1)
    assert run.sections["model"] == sections["model"]
    assert run.sections["data"].items() <= sections["data"].items()
    assert run.training.head_lr_factor == 10
    steps = {"max_steps", "save_steps", "logging_steps", "learning_rate", "per_device_train_batch_size"}
    assert {name: run.sections["training"][name] for name in steps} == {
        name: sections["training"][name] for name in steps
    }


def test_a_script_without_the_library_ends_with_one_line(video_set, tmp_path, run_here, monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    words = words_of(video_set, tmp_path / "run")
    with pytest.raises(SystemExit, match=r"pip install 'dense_hf\[segmentation-models\]'"):
        run_here("train_video_baseline.py", "--method", "deeplabv3plus_video", *words)
