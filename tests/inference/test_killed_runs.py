"""`kill -9` and a full disk at random moments: what goes on gives, byte for byte, the files of an undisturbed run.

20 kills and 10 full disks for each command: DENSE_HF_KILLS=20.
"""

import json
import os
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from programs import run
from tiny_affinity import tiny_affinity_net
from tiny_deeplab import tiny_segmenter
from tiny_mcis import picture, tiny_model

from dense_hf import AffinityNetImageProcessor
from dense_hf.data import VideoWriter, generate_miniature_set
from dense_hf.data.miniature_videos import draw_video
from dense_hf.weak_segmentation import DeepLabLargeFOVImageProcessor, MCISImageProcessor

KILLS = int(os.environ.get("DENSE_HF_KILLS", "2"))
REPOSITORY = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture
def killed(tmp_path, script_environment):
    """`killed(program, *words)`: what `killed_runs.py` prints."""

    def run_killed(program, *words, seed=0):
        helper = REPOSITORY / "tests" / "helpers" / "killed_runs.py"
        program = program if program == "dense-hf" else REPOSITORY / "scripts" / program
        command = [sys.executable, helper, tmp_path / "runs", seed, KILLS, (KILLS + 1) // 2, program, *words]
        done = run(command, env=script_environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout.splitlines()[-1])
        assert (found["left"], found["codes"], found["different"]) == (0, [0], []), done.stderr
        return found["files"]

    return run_killed


@pytest.fixture
def crops(tmp_path):
    folder = tmp_path / "crops"
    folder.mkdir()
    for number in range(6):
        picture(number).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def classifier(tmp_path, weak_set):
    names = (weak_set / "classes.txt").read_text().split()
    tiny_model(num_labels=len(names), id2label=dict(enumerate(names))).save_pretrained(tmp_path / "mcis")
    MCISImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path / "mcis")
    return tmp_path / "mcis"


def test_count(killed, counter_checkpoint, noise, tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(6):
        noise(100 + 10 * number, 90, number).save(tmp_path / "photos" / f"={number}.png")
    assert killed("dense-hf", "count", tmp_path / "photos", "--model", counter_checkpoint, "--output", "OUT") == 15


def test_localize(killed, classifier, crops):
    words = ("--model", classifier, "--threshold", 0.5, "--num-references", 1, "--output", "OUT")
    assert killed("dense-hf", "localize", crops, *words) > 14


def test_localize_of_a_tar(killed, classifier, crops, tmp_path):
    with tarfile.open(tmp_path / "crops.tar", "w") as archive:
        archive.add(crops, "crops")
    words = ("--model", classifier, "--threshold", 0.5, "--num-references", 1, "--output", "OUT")
    assert killed("dense-hf", "localize", tmp_path / "crops.tar", *words) > 14


@pytest.mark.parametrize("labels", [True, False])
def test_segment(killed, segmenter_checkpoint, tmp_path, labels):
    with VideoWriter(tmp_path / "street.mp4", 25, (96, 64)) as writer:
        for frame in draw_video(np.random.default_rng(0), (96, 64), 14, noise=5)[0]:
            writer.write(frame)
    words = ["--output", "OUT/o.mp4", "--table", "OUT/t.csv", *(["--labels-dir", "OUT/labels"] if labels else [])]
    files = killed("dense-hf", "segment", tmp_path / "street.mp4", "--model", segmenter_checkpoint, *words)
    assert files == (17 if labels else 2)


def test_maps_and_pseudo_labels(killed, classifier, weak_set, tmp_path):
    words = ("--data_dir", weak_set, "--split", "train", "--quiet", "--output", "OUT/maps")
    killed("make_maps.py", "--model", classifier, "--num_references", 1, *words)
    (tmp_path / "runs").rename(tmp_path / "made")
    words = ("--data_dir", weak_set, "--split", "train", "--quiet", "--output", "OUT/labels")
    assert killed("make_pseudo_labels.py", "--maps", tmp_path / "made" / "whole" / "maps", *words) == 11


def test_refined_maps(killed, classifier, weak_set, tmp_path, run_here):
    tiny_affinity_net().save_pretrained(tmp_path / "affinity")
    AffinityNetImageProcessor().save_pretrained(tmp_path / "affinity")
    words = ("--data_dir", weak_set, "--split", "val", "--quiet")
    maps = tmp_path / "maps"
    run_here("make_maps.py", "--model", classifier, "--num_references", 1, *words, "--output", maps)
    words = ("--model", tmp_path / "affinity", "--maps", maps, *words, "--num_steps", 2)
    assert killed("refine_maps.py", *words, "--output", "OUT/refined") > 6


def test_prototypes(killed, small_segmenter, segmenter_checkpoint, video_set):
    words = ("--model", segmenter_checkpoint, "--data_dir", video_set, "--quiet", "--num_prototypes", 3)
    assert killed("make_prototypes.py", *words, "--output", "OUT/prototypes") == 7


def test_evaluate_counting(killed, counter_checkpoint, tmp_path):
    generate_miniature_set(tmp_path / "fish", 1, 5, 2, seed=0, image_size=(96, 64))
    words = ("--data_dir", tmp_path / "fish", "--output", "OUT/n.json", "--quiet")
    assert killed("evaluate_counting.py", "--model", counter_checkpoint, *words) == 1


def test_evaluate_segmentation(killed, weak_set, tmp_path):
    names = ["background", *(weak_set / "classes.txt").read_text().split()]
    tiny_segmenter(num_labels=len(names), id2label=dict(enumerate(names))).save_pretrained(tmp_path / "deeplab")
    DeepLabLargeFOVImageProcessor().save_pretrained(tmp_path / "deeplab")
    words = ("--window", 49, "--stride", 32, "--no_crf", "--scales", 1, "--output", "OUT/n.json", "--quiet")
    assert killed("evaluate_segmentation.py", "--model", tmp_path / "deeplab", "--data_dir", weak_set, *words) == 1


def test_evaluate_video(killed, video_set, small_segmenter, segmenter_checkpoint, tmp_path):
    from dense_hf import CFFMImageProcessor
    from dense_hf.data import read_video_folder

    names = read_video_folder(video_set).rule.names
    small_segmenter(id2label=dict(enumerate(names))).save_pretrained(tmp_path / "cffm")
    CFFMImageProcessor.from_pretrained(segmenter_checkpoint).save_pretrained(tmp_path / "cffm")
    words = ("--data_dir", video_set, "--output", "OUT/n.json", "--quiet")
    assert killed("evaluate_video.py", "--model", tmp_path / "cffm", *words) == 1
