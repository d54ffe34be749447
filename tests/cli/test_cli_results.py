"""What the commands leave alone, name and go on with: users' files, what is no picture, results of a stopped run."""

import csv
import errno
import io
import json
import os
import signal
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
from PIL import Image
from programs import Program
from tiny_mcis import picture, tiny_model

from dense_hf.cli import main
from dense_hf.data import VideoReader, VideoWriter
from dense_hf.data.miniature_videos import draw_video
from dense_hf.weak_segmentation import MCISImageProcessor


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mcis")
    tiny_model(id2label=dict(enumerate(("cat", "dog", "car", "tree", "cow")))).save_pretrained(folder)
    MCISImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def photos(tmp_path, noise):
    folder = tmp_path / "wk" / "images"
    folder.mkdir(parents=True)
    for number in range(3):
        noise(70, 60, number).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def frames(tmp_path):
    folder = tmp_path / "vs" / "data" / "V" / "origin"
    folder.mkdir(parents=True)
    for number, frame in enumerate(draw_video(np.random.default_rng(0), (96, 64), 4, noise=5)[0]):
        Image.fromarray(frame).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def count(counter_checkpoint):
    return lambda *words: main(["count", *map(str, words), "--model", counter_checkpoint])


@pytest.fixture
def segment(segmenter_checkpoint):
    return lambda *words: main(["segment", *map(str, words), "--model", segmenter_checkpoint])


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_count_replaces_no_file_of_the_user(count, photos, capsys):
    points = photos / "points.csv"
    points.write_text("mine")
    before = tree(photos)
    assert count(photos, "--output", photos) == 2
    error = capsys.readouterr().err
    assert str(points) in error
    assert "--overwrite" in error
    assert tree(photos) == before
    assert count(photos, "--output", photos, "--overwrite") == 0
    assert points.read_text() != "mine"


def test_localize_replaces_no_mask_of_the_user(photos, classifier, capsys):
    masks = photos.parent / "masks"
    masks.mkdir()
    (masks / "1.png").write_text("mine")
    before = tree(photos.parent)
    words = ["localize", str(photos), "--model", classifier, "--output", str(photos.parent)]
    assert main(words) == 2
    assert str(masks / "1.png") in capsys.readouterr().err
    assert tree(photos.parent) == before


def test_segment_replaces_no_file_of_the_user(segment, frames, tmp_path, capsys):
    masks = frames.parent / "mask"
    masks.mkdir()
    (masks / "2.png").write_text("mine")
    (tmp_path / "o.mp4").write_text("mine")
    (tmp_path / "t.csv").write_text("mine")
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "cat.jpg").write_text("mine")
    before = tree(tmp_path)
    for option, path in (
        ("--labels-dir", tmp_path / "vs"),
        ("--output", tmp_path / "o.mp4"),
        ("--output", tmp_path / "o"),
        ("--table", tmp_path / "t.csv"),
    ):
        assert segment(frames, option, path) == 2, option
        assert "in the way" in capsys.readouterr().err
        assert tree(tmp_path) == before
    assert segment(frames, "--table", tmp_path / "t.csv", "--overwrite") == 0
    assert segment(frames, "--table", tmp_path / "t.csv") == 0, "now it is of an earlier run"


def test_labels_of_two_models_are_not_mixed(segment, frames, small_segmenter, segmenter_checkpoint, tmp_path, capsys):
    from dense_hf import CFFMImageProcessor

    labels = tmp_path / "labels"
    assert segment(frames, "--labels-dir", labels, "--max-frames", 1) == 0
    before = tree(labels)
    other = tmp_path / "other"
    small_segmenter(id2label=dict(enumerate(("wall", "floor", "disc", "square", "triangle")))).save_pretrained(other)
    CFFMImageProcessor.from_pretrained(segmenter_checkpoint).save_pretrained(other)
    (frames.parent.parent / "W").mkdir()
    frames.rename(frames.parent.parent / "W" / "origin")
    words = ["segment", str(frames.parent.parent / "W"), "--model", str(other), "--labels-dir", str(labels)]
    (frames.parent.parent / "W" / "origin").rename(frames.parent.parent / "W" / "x")
    for path in (frames.parent.parent / "W" / "x").iterdir():
        path.rename(frames.parent.parent / "W" / path.name)
    assert main([*words, "--overwrite"]) == 2
    assert "label_num_dic_final.json: expected the classes of this model" in capsys.readouterr().err
    assert tree(labels) == before


def test_the_output_may_be_the_input(count, photos):
    for _ in range(2):
        assert count(photos, "-r", "--output", photos) == 0
        assert len(json.loads((photos / "counts.json").read_text())["images"]) == 3
        assert len(list((photos / "overlays").iterdir())) == 6
    picture(9).save(photos / "overlays" / "mine.png")
    assert count(photos, "-r", "--output", photos) == 0
    assert len(json.loads((photos / "counts.json").read_text())["images"]) == 4, "a picture of the user is no overlay"


def test_old_overlays_go_with_their_tables(count, photos, tmp_path):
    assert count(photos, "--output", tmp_path / "out") == 0
    assert count(photos / "1.png", "--output", tmp_path / "out", "--no-overlays") == 0
    assert sorted(tree(tmp_path / "out")) == ["counts.csv", "counts.json", "counts.jsonl", "points.csv"]


def test_what_is_left_out_is_counted_by_kind(count, segment, photos, frames, tmp_path, capsys):
    for folder in (photos, frames):
        for name in ("a.NEF", "b.NEF", "c.NEF", "d.gif", "e.gif", "._0.png"):
            (folder / name).write_bytes(b"")
    (photos / "night").symlink_to(tmp_path, target_is_directory=True)
    assert count(photos, "--output", tmp_path / "out") == 0
    error = capsys.readouterr().err
    assert "6 files left out: 3 .NEF, 2 .gif, 1 ._ of macOS" in error
    assert "not searched: 1 links to folders" in error
    assert segment(frames, "--table", tmp_path / "t.csv") == 0
    assert "6 files left out: 3 .NEF, 2 .gif, 1 ._ of macOS" in capsys.readouterr().err


def test_links_to_nothing_are_errors(count, segment, photos, frames, classifier, tmp_path, capsys):
    for folder in (photos, frames):
        (folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert count(photos, "--output", tmp_path / "out") == 1
    assert "1 could not be counted: " in capsys.readouterr().err
    errors = json.loads((tmp_path / "out" / "counts.json").read_text())["errors"]
    assert errors == [{"file": str(photos / "gone.png"), "error": "a link to nothing"}]
    assert main(["localize", str(photos), "--model", classifier, "--output", str(tmp_path / "o")]) == 1
    assert segment(frames, "--table", tmp_path / "t.csv") == 2
    assert "1 frames are links to nothing" in capsys.readouterr().err


def test_nothing_that_can_be_read(count, photos, classifier, tmp_path):
    for path in photos.iterdir():
        path.write_bytes(b"no picture")
    assert count(photos, "--output", tmp_path / "out") == 2
    assert main(["localize", str(photos), "--model", classifier, "--output", str(tmp_path / "o")]) == 2


def test_other_settings_are_not_gone_on_with(count, photos, tmp_path, capsys):
    assert count(photos, "--output", tmp_path / "out", "--threshold", 0.2) == 0
    before = tree(tmp_path / "out")
    assert count(photos, "--output", tmp_path / "out", "--resume") == 2
    assert "threshold 0.2, not 0.35" in capsys.readouterr().err
    assert tree(tmp_path / "out") == before


def test_images_may_come_and_go_before_going_on(count, photos, noise, tmp_path, monkeypatch):
    """Only what is new is counted; rows and overlays of an image that has gone go too."""
    assert count(photos, "--output", tmp_path / "out") == 0
    (photos / "1.png").unlink()
    noise(40, 40, 7).save(photos / "0b.png")
    noise(80, 60, 8).save(photos / "2.png")
    from dense_hf.counting import image_processing_iocformer

    counted, original = [], image_processing_iocformer.count_image

    def spy(model, processor, image, *rest, **options):
        counted.append(image.size)
        return original(model, processor, image, *rest, **options)

    monkeypatch.setattr(image_processing_iocformer, "count_image", spy)
    assert count(photos, "--output", tmp_path / "out", "--resume") == 0
    assert counted == [(40, 40), (80, 60)]
    monkeypatch.undo()
    assert count(photos, "--output", tmp_path / "anew") == 0
    resumed, anew = tree(tmp_path / "out"), tree(tmp_path / "anew")
    assert {name: content for name, content in resumed.items() if name != "counts.jsonl"} == {
        name: content for name, content in anew.items() if name != "counts.jsonl"
    }


@pytest.mark.parametrize("name", ["=cmd.png", "-x.png", "@sum.png", "+1.png"])
def test_names_are_no_formulas(count, photos, tmp_path, monkeypatch, name):
    monkeypatch.chdir(photos)
    (photos / "0.png").rename(photos / name)
    assert count(f"./{name}", "--output", tmp_path / "out", "--no-overlays") == 0
    for table in ("counts.csv", "points.csv"):
        with open(tmp_path / "out" / table, newline="") as file:
            assert {row["file"] for row in csv.DictReader(file)} == {f"'{name}"}


def test_a_name_that_steers_the_terminal(count, photos, tmp_path, capsys):
    (photos / "0.png").rename(photos / "\x1b[2J\x9b.png")
    (photos / "1.png").rename(photos / "\x1b]0;x\x07.png")
    (photos / "\x1b]0;x\x07.png").write_bytes(b"no picture")
    assert count(photos, "--output", tmp_path / "out") == 1
    printed = "".join(capsys.readouterr())
    assert not any(letter in printed for letter in "\x1b\x07\x9b")
    assert "\ufffd[2J\ufffd.png" in printed


def test_a_full_disk_is_one_sentence(count, photos, tmp_path, monkeypatch, capsys):
    import dense_hf.inference.appending

    def full(descriptor, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert count(photos, "--output", tmp_path / "out") == 0
    with open(tmp_path / "out" / "counts.jsonl", "rb") as file:
        begun = b"".join(file.readlines()[:3])
    (tmp_path / "out" / "counts.jsonl").write_bytes(begun)
    for number, kind in product((1, 2), ("points", "density")):
        (tmp_path / "out" / "overlays" / f"{number}.png_{kind}.png").unlink()
    capsys.readouterr()
    with monkeypatch.context() as disk:
        disk.setattr(dense_hf.inference.appending.os, "write", full)
        assert count(photos, "--output", tmp_path / "out", "--resume") == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dense-hf: ")]
    assert error == ["dense-hf: cannot write the results: [Errno 28] No space left on device"]
    assert (tmp_path / "out" / "counts.jsonl").read_bytes() == begun
    assert not [path for path in tmp_path.rglob("*") if "partial" in path.name]
    assert count(photos, "--output", tmp_path / "out", "--resume") == 0


def start(environment, *words, program=Program, **settings):
    command = [sys.executable, "-m", "dense_hf.cli", *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return program(command, env=environment, **pipes, **settings)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_both_signals_leave_whole_tables(
    script_environment, counter_checkpoint, photos, noise, tmp_path, number, code
):
    for image in range(3, 40):
        noise(150, 130, image).save(photos / f"{image}.png")
    words = ("count", photos, "--model", counter_checkpoint, "--output", tmp_path / "out")
    process = start(script_environment, *words)
    lines = [process.stdout.readline() for _ in range(2)]
    process.send_signal(number)
    rest, error = process.communicate(timeout=300)
    assert process.returncode == code, error
    assert b"Traceback" not in error
    document = json.loads((tmp_path / "out" / "counts.json").read_text())
    with open(tmp_path / "out" / "counts.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(lines + rest.splitlines()) <= len(document["images"]) + 1
    assert 2 <= len(rows) == len(document["images"]) < 40
    assert not [path for path in tmp_path.rglob("*") if "partial" in path.name]


@pytest.mark.slow
def test_terminate_leaves_a_video_that_plays(script_environment, segmenter_checkpoint, tmp_path):
    frames = draw_video(np.random.default_rng(0), (96, 64), 12, noise=5)[0]
    with VideoWriter(tmp_path / "long.mp4", 25, (96, 64)) as writer:
        for number in range(1500):
            writer.write(frames[number % 12])
    os.mkfifo(tmp_path / "t.csv")  # reading it waits for each line, and holds the program back
    words = ("segment", "long.mp4", "--model", segmenter_checkpoint, "--output", "o.mp4", "--table", "t.csv")
    process = start(script_environment, *words, cwd=tmp_path)
    with open(tmp_path / "t.csv", newline="", encoding="utf-8") as file:
        lines = [file.readline() for _ in range(10)]
        process.send_signal(signal.SIGTERM)
        lines += file.readlines()
    error = process.communicate(timeout=300)[1]
    assert process.returncode == 143, error
    with VideoReader(tmp_path / "o.mp4") as reader:
        assert len(list(reader)) == len(lines) - 1 < 1500


@pytest.mark.slow
def test_a_console_of_ascii_and_a_reader_that_goes_away(script_environment, counter_checkpoint, photos, tmp_path):
    (photos / "0.png").rename(photos / "0 鳥.png")
    environment = {**script_environment, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    words = ("count", photos, "--model", counter_checkpoint, "--output", tmp_path / "out")
    process = start(environment, *words, program=subprocess.Popen)  # its interpreter reads them
    assert b"/0 ?.png: " in process.stdout.readline()
    process.stdout.close()
    error = io.TextIOWrapper(process.stderr).read()
    assert process.wait() == 0, error
    assert "Broken pipe" not in error
    assert len(json.loads((tmp_path / "out" / "counts.json").read_text())["images"]) == 3


def test_the_shell_is_not_needed_for_the_help(capsys):
    for command in ("count", "localize", "segment"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        text = capsys.readouterr().out
        assert "--resume" in text
        assert "--overwrite" in text
        assert "143 SIGTERM" in text
