"""UperNet of transformers is one more row: trained, judged, and in the program, on frames of clips."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_video_runs import SHORT
from transformers import UperNetForSemanticSegmentation

from dense_hf.cli import main
from dense_hf.inference.checkpoints import load_video_model
from dense_hf.training.video.options import parse_video_run
from dense_hf.training.video.run import train_video_model

CONFIG = Path(__file__).parents[3] / "scripts" / "configs" / "upernet" / "smoke.yaml"


@pytest.mark.smoke
def test_a_training_gives_a_model_that_everything_takes(video_set, tmp_path, run_here):
    words = ["--config", str(CONFIG), "--data_dir", str(video_set), "--output_dir", str(tmp_path / "run")]
    results = train_video_model(parse_video_run("upernet", arguments=[*words, *SHORT]))
    card = (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    assert "not the network of Tables 4.1 and 5.6" in card
    assert type(load_video_model(str(tmp_path / "run"))[0]) is UperNetForSemanticSegmentation
    evaluation = ["--model", tmp_path / "run", "--data_dir", video_set, "--quiet", "true"]
    run_here("evaluate_video.py", *evaluation, "--output", tmp_path / "numbers.json")
    numbers = json.loads((tmp_path / "numbers.json").read_text(encoding="utf-8"))
    assert numbers["mean_iou"] == results["validation"]["mean_iou"]
    frames = sorted((video_set / "data").glob("*/origin"))[0]
    labels = ["--labels-dir", str(tmp_path / "labels"), "--max-frames", "2"]
    assert main(["segment", str(frames), "--model", str(tmp_path / "run"), *labels]) == 0
    maps = sorted((tmp_path / "labels").rglob("mask/*.png"))
    assert [np.asarray(Image.open(path)).shape for path in maps] == [(36, 48)] * 2
