"""`make demo` on video and its training, on a synthetic street of 96 x 64 pixels and models of random weights."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from tiny_video_runs import sections

from dense_hf import CFFMConfig, CFFMForVideoSemanticSegmentation, InvalidDataError
from dense_hf.data import VideoReader, read_video_folder
from dense_hf.inference.checkpoints import load_video_model
from dense_hf.inference.video_label_maps import evaluate_videos
from dense_hf.inference.video_variants import VideoVariant
from dense_hf.training.video.options import parse_video_run
from dense_hf.video_segmentation.image_processing_clip import CFFMImageProcessor

ROOT = Path(__file__).parents[2]
METHODS = {"per_frame": "cffm", "cffm": "cffm", "mrcfa": "mrcfa"}  # the training script of each
FRAMES = 40


@pytest.fixture
def street(script, tmp_path):
    """What dataset_scripts/street_video.py makes, smaller: somebody walks over grass beside a road."""
    module = script("street_video")
    frames, labels = [], []
    for number in range(FRAMES):
        frame, numbers = np.full((64, 96, 3), 90, np.uint8), np.full((64, 96), 1, np.uint8)
        frame[30:], numbers[30:] = (60, 140, 40), 2
        frame[20:44, 2 * number : 2 * number + 10], numbers[20:44, 2 * number : 2 * number + 10] = 15, 6
        frames.append(frame)
        labels.append(numbers)
    splits = {"train": range(20), "test": range(20, FRAMES)}
    module.write_part(tmp_path / "data" / "street", splits, frames, labels)
    return tmp_path / "data"


def save_model(folder, seed=0):
    """A CFFM that has not learned anything."""
    torch.manual_seed(seed)
    tiny = sections("cffm", "")["model"]
    CFFMForVideoSemanticSegmentation(CFFMConfig(**tiny, num_labels=6)).save_pretrained(folder)
    CFFMImageProcessor(size={"longest_edge": 96, "shortest_edge": 64}).save_pretrained(folder)
    return folder


def test_the_demo_segments_judges_and_draws(script, street, tmp_path, capsys):
    model_path, output = save_model(tmp_path / "model"), tmp_path / "out"
    options = ["--model", str(model_path), "--output", str(output), "--first", "0", "--frames", "20"]
    assert script("demo_video").main([str(street), *options]) == 0
    results = json.loads((output / "results_video.json").read_text())
    assert results["frames"] == ["00000020", "00000039"]
    assert results["labels"] == "pseudo"
    videos = read_video_folder(street / "street")
    model, processor = load_video_model(str(model_path))
    for protocol in ("released", "thesis"):
        expected = evaluate_videos(model, processor, videos, videos.splits["test"], protocol, progress=False)
        assert results[protocol] == {key: expected[key] for key in ("mean_iou", "vc8", "vc16")}
    with VideoReader(output / "street_overlay.mp4") as video:
        assert (video.fps, video.size, len(list(video))) == (10, (192, 128), 20)
    still = Image.open(output / "street_overlay.png")
    assert still.width > 2 * 192, "beside its pseudo labels"
    assert still.height > 128
    printed = capsys.readouterr().out
    assert "pseudo labels" in printed
    assert f"{100 * results['thesis']['vc16']:8.1f}" in printed


def test_another_street_is_said_to_be_another(script, street, tmp_path, capsys):
    (street / "street").rename(street / "other_street")
    shutil.rmtree(street / "other_street" / "data" / "frames_020_039" / "mask")
    options = ["--model", str(save_model(tmp_path / "model")), "--output", str(tmp_path / "out"), "--first", "0"]
    assert script("demo_video").main([str(street), *options, "--frames", "17"]) == 0
    printed = capsys.readouterr().out
    assert "NOT the street" in printed
    results = json.loads((tmp_path / "out" / "results_video.json").read_text())
    assert results["labels"] is None
    assert not {"released", "thesis", "per_class_iou"} & set(results)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--frames", "16"], "more than 16 frames"),
        (["--first", "10"], "more than 16 frames and lie in the 20 frames"),
        (["--frames", "17", "--model", "no/such/folder"], "no/such/folder"),
    ],
)
def test_what_cannot_be_segmented(script, street, tmp_path, capsys, options, message):
    given = ["--model", str(save_model(tmp_path / "model")), "--output", str(tmp_path / "out"), "--first", "0"]
    assert script("demo_video").main([str(street), *given, *options]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "results_video.json").exists()


def test_no_street_at_all(script, tmp_path, capsys):
    assert script("demo_video").main([str(tmp_path)]) == 1
    assert "street_video.py" in capsys.readouterr().err


def test_the_three_runs_differ_in_the_method_alone(script):
    """Same backbone, clips, steps, batches and rates; that the comparison is fair hangs on it."""
    known = script("train_demo_video").METHODS
    files = {method: ROOT / "scripts" / "configs" / folder / file for method, (folder, file) in known.items()}
    assert {method: path.parent.name for method, path in files.items()} == METHODS
    content = {method: yaml.safe_load(path.read_text(encoding="utf-8")) for method, path in files.items()}
    for section in ("data", "training"):
        assert content["cffm"][section] == content["mrcfa"][section] == content["per_frame"][section]
    of_the_method = {"num_mining_layers", "token_selection_ratio"}
    models = [
        {key: value for key, value in file["model"].items() if key not in of_the_method} for file in content.values()
    ]
    assert models[0] == models[1] == models[2]
    assert content["per_frame"]["model"]["num_mining_layers"] == 0
    for method, path in files.items():
        parse_video_run(METHODS[method], arguments=["--config", str(path), "--output_dir", "unused"])


def numbers(mean_iou, vc8, person):
    """As `evaluate` returns them."""
    row = {"mean_iou": mean_iou, "vc8": vc8, "vc16": vc8 - 0.01}
    shares = {"road": 0.9, "person": person}
    lost = {"mean_iou": mean_iou - 0.2, "vc8": vc8 - 0.3, "vc16": vc8 - 0.4}
    return {"released": row, "thesis": row, "lost": lost, "per_class_iou": shares, "parameters": 1_234_567}


def test_the_table_of_three_seeds(script):
    per_run = {
        "per_frame": {1: numbers(0.50, 0.90, 0.2), 2: numbers(0.60, 0.92, 0.3), 3: numbers(0.70, 0.94, 0.4)},
        "cffm": {1: numbers(0.52, 0.95, 0.3), 2: numbers(0.61, 0.93, 0.3), 3: numbers(0.69, 0.96, 0.3)},
    }
    results = script("train_demo_video").summarize(per_run, numbers(0.4, 1.0, 0.0))
    cffm = results["methods"]["cffm"]
    assert cffm["released"]["mean_iou"]["mean"] == pytest.approx((0.52 + 0.61 + 0.69) / 3)
    assert cffm["released"]["mean_iou"]["standard_deviation"] == pytest.approx(np.std([0.52, 0.61, 0.69], ddof=1))
    assert cffm["thesis_minus_per_frame"]["vc8"]["lowest"] == pytest.approx(0.01)
    table = script("tables").street_table(results)
    assert "| Per frame | 1.23 M | 60.0 (50.0 to 70.0) | 92.0 (90.0 to 94.0) |" in table
    assert "| 40.0 (30.0 to 50.0) | 62.0 (60.0 to 64.0) |\n" in table, "frames lost"
    assert "| CFFM | +0.67 (-1.00 to +2.00) | +2.67 (+1.00 to +5.00) |" in table
    assert "| most frequent label of each pixel, no model | - | 40.0 | 100.0 | 99.0 |" in table
    assert "| Per frame | 90.0 (90.0 to 90.0) | 30.0 (20.0 to 40.0) |" in table


def test_one_seed_and_a_class_that_never_comes(script):
    per_run = {"per_frame": {1: numbers(0.5, 0.9, 0.2)}, "cffm": {1: numbers(0.52, 0.95, 0.3)}}
    results = script("train_demo_video").summarize(per_run, numbers(0.4, 1.0, None))
    table = script("tables").street_table(results)
    assert "| CFFM | 1.23 M | 52.0 (52.0 to 52.0) | 95.0 (95.0 to 95.0) |" in table
    assert "| most frequent label | 90.0 | - |" in table


@pytest.fixture
def demo_training(script, monkeypatch):
    """The script, whose training is replaced by models of random weights, all of them small CFFMs."""
    module = script("train_demo_video")
    trained = []

    def train(street, output, method, seed):
        folder = output / f"{method}_seed_{seed}"
        if (folder / "results.json").exists():
            return None
        trained.append((method, seed))
        save_model(folder, seed)
        (folder / "results.json").write_text("{}")
        return 1.0

    monkeypatch.setattr(module, "train", train)
    return module, trained


def test_nine_runs_are_judged_and_one_is_bundled(demo_training, street, tmp_path, capsys):
    module, trained = demo_training
    output = tmp_path / "runs"
    assert module.main([str(street), "--output", str(output), "--jobs", "1"]) == 0
    assert trained == [(method, seed) for seed in (1, 2, 3) for method in METHODS]
    results = json.loads((output / "results.json").read_text())
    constant = results["most_frequent_label"]
    assert constant["released"]["vc8"] == constant["thesis"]["vc16"] == constant["lost"]["vc8"] == 1
    assert constant["per_class_iou"]["road"] > 0.5
    # seeds are the same models for all methods here
    assert results["methods"]["mrcfa"]["released_minus_per_frame"]["vc8"]["highest"] == 0
    videos = read_video_folder(street / "street")
    model, processor = load_video_model(str(output / "cffm_seed_2"))
    model.half().float()
    for row, part, variant in (
        ("cffm", "released", VideoVariant()),
        ("cffm", "lost", VideoVariant(damage="black", damage_every=4)),
        ("per_frame_mean3", "lost", VideoVariant(damage="black", damage_every=4, average_frames=3)),
    ):
        expected = evaluate_videos(
            model, processor, videos, videos.splits["test"], "released", progress=False, variant=variant
        )
        found = results["methods"][row]["seeds"][1][part]
        assert found == {key: expected[key] for key in ("mean_iou", "vc8", "vc16")}, (row, part)

    bundled = output / "cffm-street"
    assert sorted(path.name for path in bundled.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "results.json",
    ]
    assert json.loads((bundled / "results.json").read_text()) == results
    assert {"started", "torch"} <= set(results["made"])
    assert "auto_map" not in (bundled / "config.json").read_text() + (bundled / "preprocessor_config.json").read_text()
    stored, learned = (load_file(folder / "model.safetensors") for folder in (bundled, output / "cffm_seed_1"))
    assert {one.dtype for one in stored.values()} == {torch.float16, torch.int64}
    torch.testing.assert_close(stored, {name: one.to(stored[name].dtype) for name, one in learned.items()})
    model, processor = load_video_model(str(bundled))
    assert {one.dtype for one in model.parameters()} == {torch.float32}
    assert len(model.config.palette) == 6
    found = evaluate_videos(model, processor, videos, videos.splits["test"], "released", progress=False)
    first = results["methods"]["cffm"]["seeds"][0]["released"]
    assert first == {key: found[key] for key in ("mean_iou", "vc8", "vc16")}, "what is bundled was judged"
    card = (bundled / "README.md").read_text()
    printed = capsys.readouterr().out
    table = printed[printed.index("Frames 600") : printed.index("\n\nresults.json")]
    assert "| CFFM |" in table
    assert table in card
    assert "pseudo labels" in card

    assert module.main([str(street), "--output", str(output)]) == 0
    assert len(trained) == 9


@pytest.mark.slow
def test_a_run_is_a_real_training_and_is_not_done_twice(script, street, tmp_path, monkeypatch):
    module, scripts = script("train_demo_video"), tmp_path / "scripts"
    (scripts / "configs" / "cffm").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "train_cffm.py", scripts)
    short = sections("cffm", "unused", max_steps=2, warmup_steps=1)
    (scripts / "configs" / "cffm" / "street.yaml").write_text(yaml.safe_dump(short))
    monkeypatch.setattr(module.runs, "SCRIPTS", scripts)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    assert module.train(street / "street", tmp_path, "cffm", 2) > 0
    results = json.loads((tmp_path / "cffm_seed_2" / "results.json").read_text())
    assert (results["steps"], results["seed"]) == (2, 2)
    assert module.train(street / "street", tmp_path, "cffm", 2) is None


def test_a_run_that_fails_names_its_log(script, tmp_path, monkeypatch):
    module = script("train_demo_video")
    (tmp_path / "train_cffm.py").write_text("import sys\nsys.exit('out of memory')\n")
    monkeypatch.setattr(module.runs, "SCRIPTS", tmp_path)
    with pytest.raises(InvalidDataError, match=r"cffm_seed_1\.log"):
        module.train(tmp_path, tmp_path, "cffm", 1)
    assert "out of memory" in (tmp_path / "logs" / "cffm_seed_1.log").read_text()
