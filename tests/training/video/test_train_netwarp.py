"""NetWarp along a flow that has no weights: trained, judged with TC of the same flow, and in the program."""

import json
import math
import sys
from pathlib import Path

import pytest
from tiny_video_runs import SHORT

from dense_hf.cli import main
from dense_hf.inference.checkpoints import load_video_model
from dense_hf.training.video.options import parse_video_run
from dense_hf.training.video.run import train_video_model
from dense_hf.video_segmentation.optical_flow import DisFlow

SMOKE = Path(__file__).parents[3] / "scripts" / "configs" / "dilated" / "smoke.yaml"


def words_of(video_set, folder):
    config = folder / "netwarp.yaml"
    config.write_text(SMOKE.read_text(encoding="utf-8").replace("hidden_size: 32", "hidden_size: 32\n  flow: dis"))
    return ["--config", str(config), "--data_dir", str(video_set), "--output_dir", str(folder / "run"), *SHORT]


@pytest.mark.smoke
def test_a_training_gives_a_model_that_everything_takes(video_set, tmp_path, run_here, capsys):
    run, words = tmp_path / "run", words_of(video_set, tmp_path)
    results = train_video_model(parse_video_run("netwarp", arguments=words))
    assert isinstance(load_video_model(str(run))[0].flow, DisFlow)
    capsys.readouterr()
    numbers = tmp_path / "numbers.json"
    options = ["--model", run, "--data_dir", video_set, "--quiet", "true", "--output", numbers]
    run_here("evaluate_video.py", *options, "--flow", "dis")
    told = json.loads(numbers.read_text(encoding="utf-8"))
    assert told["mean_iou"] == results["validation"]["mean_iou"]
    assert told["flow"] == "dis"
    assert 0 < told["tc"] <= 1
    assert not math.isclose(told["tc"], told["mean_iou"])
    text = capsys.readouterr().out
    assert f"TC: {100 * told['tc']:.1f}, flow dis." in text
    frames = sorted((video_set / "data").glob("*/origin"))[0]
    labels = ["--labels-dir", str(tmp_path / "labels"), "--max-frames", "3"]
    assert main(["segment", str(frames), "--model", str(run), *labels]) == 0
    assert len(sorted((tmp_path / "labels").rglob("mask/*.png"))) == 3


def test_programs_without_the_library_end_with_one_line(video_set, tmp_path, run_here, monkeypatch, capsys):
    train_video_model(parse_video_run("netwarp", arguments=words_of(video_set, tmp_path)))
    monkeypatch.setitem(sys.modules, "cv2", None)
    frames, model = sorted((video_set / "data").glob("*/origin"))[0], str(tmp_path / "run")
    capsys.readouterr()
    assert main(["segment", str(frames), "--model", model, "--labels-dir", str(tmp_path / "labels")]) == 2
    told = capsys.readouterr().err
    assert "pip install 'dense_hf[flow]'" in told
    assert "Traceback" not in told
    again = tmp_path / "again"
    again.mkdir()
    with pytest.raises(SystemExit, match=r"pip install 'dense_hf\[flow\]'"):
        run_here("train_video_baseline.py", "--method", "netwarp", *words_of(video_set, again))
