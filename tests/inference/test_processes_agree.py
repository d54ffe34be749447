"""1, 2 and 3 processes find the same integers, and means within 1e-9, also where some have nothing to do."""

import json
import sys
from pathlib import Path

import pytest
from programs import run_processes
from tiny_affinity import randomise_norms, tiny_affinity_net
from tiny_deeplab import tiny_segmenter
from tiny_mcis import tiny_model as tiny_classifier

from dense_hf import AffinityNetImageProcessor, CFFMImageProcessor
from dense_hf.data import generate_miniature_set, generate_miniature_videos, generate_miniature_weak, read_video_folder
from dense_hf.weak_segmentation import DeepLabLargeFOVImageProcessor, MCISImageProcessor

HELPER = Path(__file__).parents[1] / "helpers" / "evaluate_in_processes.py"


@pytest.fixture(scope="module")
def judged(tmp_path_factory, save_counter, small_segmenter):
    """Models of random weights, and 5 items of each kind."""
    folder = tmp_path_factory.mktemp("judged")
    save_counter(folder / "counter")
    generate_miniature_set(folder / "fish", 1, 5, 1, seed=0, image_size=(96, 64))
    generate_miniature_weak(folder / "weak", 5, 5, 0, image_size=(44, 36), disable_progress=True)
    classes = (folder / "weak" / "classes.txt").read_text().split()
    tiny_classifier(num_labels=len(classes), id2label=dict(enumerate(classes))).save_pretrained(folder / "mcis")
    MCISImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder / "mcis")
    affinity = tiny_affinity_net()
    randomise_norms(affinity)
    affinity.save_pretrained(folder / "affinity")
    AffinityNetImageProcessor().save_pretrained(folder / "affinity")
    labels = dict(enumerate(["background", *classes]))
    tiny_segmenter(num_labels=len(labels), id2label=labels).save_pretrained(folder / "deeplab")
    DeepLabLargeFOVImageProcessor().save_pretrained(folder / "deeplab")
    generate_miniature_videos(folder / "videos", 5, 1, 0, num_frames=18, frame_size=(48, 36), disable_progress=True)
    names = read_video_folder(folder / "videos").rule.names
    small_segmenter(id2label=dict(enumerate(names))).save_pretrained(folder / "cffm")
    CFFMImageProcessor(size={"shortest_edge": 32, "longest_edge": 48}).save_pretrained(folder / "cffm")
    return folder


def flat(numbers, path=()):
    """Path -> number."""
    if not isinstance(numbers, (dict, list)):
        return {path: numbers}
    items = numbers.items() if isinstance(numbers, dict) else enumerate(numbers)
    return {key: value for name, one in items for key, value in flat(one, (*path, name)).items()}


@pytest.mark.slow
@pytest.mark.parametrize("size", [5, 1])
def test_evaluations_do_not_depend_on_the_number_of_processes(judged, script_environment, tmp_path, size):
    """5 items fit no number of processes; of one item, all processes but the first have nothing."""
    found = {}
    for processes in (1, 2, 3):
        output = tmp_path / f"{processes}.json"
        run_processes(processes, [sys.executable, HELPER, judged, size, output], env=script_environment)
        found[processes] = flat(json.loads(output.read_text()))
    # what processes other than the first keep is gone when the evaluation is done
    assert {path.name for path in tmp_path.glob(".*")} == {f".{processes}.json.run.jsonl" for processes in (1, 2, 3)}
    one = found[1]
    assert one["counting", "num_images"] == one["segmentation", "num_images"] == one["video", "num_videos"] == size
    assert one["weak", "labels", "num_images"] == size
    assert one["weak", "labels", "quality", "mean_iou"] > 0
    assert {path[1].split("/")[0] for path in one if path[0] == "files"} == {
        *("maps", "refined", "labels", "cells", "prototypes")
    }
    assert {path[0] for path in one} == {"counting", "classifier", "segmentation", "video", "weak", "files"}
    for processes in (2, 3):
        assert found[processes].keys() == one.keys()
        for path, value in one.items():
            expected = pytest.approx(value, rel=0, abs=1e-9) if isinstance(value, float) else value
            assert found[processes][path] == expected, (processes, path)
