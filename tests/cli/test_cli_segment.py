"""`dense-hf segment`: overlays, labels and tables of videos and folders, with a small model of random weights."""

import csv
import json
import os
import signal
import subprocess
import sys
import tarfile
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image
from programs import Program
from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor, pipeline

from dense_hf.cli import main
from dense_hf.cli.frame_sources import video_name
from dense_hf.data import VideoReader, VideoWriter, read_mask
from dense_hf.data.labels import read_class_file
from dense_hf.data.miniature_videos import draw_video
from dense_hf.visualization import label_palette

NAMES = ["wall", "ground", "disc", "square", "triangle"]
FPS = Fraction(30000, 1001)
NUM_FRAMES = 12


@pytest.fixture(scope="module")
def frames():
    return draw_video(np.random.default_rng(0), (96, 64), NUM_FRAMES, noise=5)[0]


@pytest.fixture(scope="module")
def video(frames, tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "street.mp4"
    with VideoWriter(path, FPS, (96, 64)) as writer:
        for frame in frames:
            writer.write(frame)
    return path


@pytest.fixture(scope="module")
def folder(frames, tmp_path_factory):
    """As in VSPW; the numbers have different lengths."""
    folder = tmp_path_factory.mktemp("videos") / "1001" / "origin"
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames, start=1):
        Image.fromarray(frame).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def expected(video, segmenter_checkpoint):
    segmenter = pipeline("video-semantic-segmentation", model=segmenter_checkpoint, device="cpu")
    return [result["segmentation"] for result in segmenter(str(video))]


@pytest.fixture
def segment(segmenter_checkpoint):
    """`segment(source, *options)`: the exit code."""
    return lambda *arguments: main(["segment", *map(str, arguments), "--model", segmenter_checkpoint])


def read_table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_video(path):
    with VideoReader(path) as reader:
        return reader.fps, reader.size, list(reader)


@pytest.mark.smoke
def test_a_video_becomes_a_video_labels_and_a_table(segment, video, expected, tmp_path, capsys):
    output, table, labels = tmp_path / "new" / "o.mp4", tmp_path / "t.csv", tmp_path / "labels"
    assert segment(video, "--output", output, "--table", table, "--labels-dir", labels) == 0
    assert f"{NUM_FRAMES} frames in " in capsys.readouterr().out
    fps, size, overlays = read_video(output)
    assert (fps, size, len(overlays)) == (FPS, (96, 64), NUM_FRAMES)
    rows = read_table(table)
    assert list(rows[0]) == ["frame", "name", "seconds", *NAMES, "error"]
    rule = read_class_file(labels / "label_num_dic_final.json")
    assert list(rule.names) == NAMES
    for number, (row, labels_of_frame) in enumerate(zip(rows, expected, strict=True)):
        assert (row["frame"], row["name"], row["error"]) == (str(number), f"{number:08}", "")
        assert float(row["seconds"]) == pytest.approx(number / FPS, abs=1e-3)
        shares = [(labels_of_frame == label).mean() for label in range(5)]
        np.testing.assert_allclose([float(row[name]) for name in NAMES], shares, atol=1e-5)
        mask = read_mask(labels / "data" / "street" / "mask" / f"{number:08}.png", (96, 64), rule)
        np.testing.assert_array_equal(mask, labels_of_frame)
    assert len(list((labels / "data" / "street" / "mask").iterdir())) == NUM_FRAMES


def test_frames_keep_their_times_and_their_shape(segment, segmenter_checkpoint, frames, tmp_path):
    """A video of 6.2 seconds whose frames come irregularly, with pixels that are wider than high."""
    times = [Fraction(ms, 1000) for ms in (0, 40, 80, 500, 520, 900, 1300, 2000, 2040, 2080, 4000, 6200)]
    ratio, tick = Fraction(4, 3), Fraction(1, 1000)
    with VideoWriter(tmp_path / "v.mp4", 25, (96, 64), time_base=tick, sample_aspect_ratio=ratio) as writer:
        for frame, time in zip(frames, times, strict=True):
            writer.write(frame, time)
    assert segment(tmp_path / "v.mp4", "--output", tmp_path / "o.mp4", "--table", tmp_path / "t.csv") == 0
    assert [float(row["seconds"]) for row in read_table(tmp_path / "t.csv")] == [float(time) for time in times]
    with VideoReader(tmp_path / "o.mp4") as overlay:
        assert [overlay.seconds for _ in overlay] == times
        assert overlay.sample_aspect_ratio == ratio
    segmenter = pipeline("video-semantic-segmentation", model=segmenter_checkpoint, device="cpu")
    assert [result["seconds"] for result in segmenter(tmp_path / "v.mp4")] == [float(time) for time in times]
    # from a later frame on: the table says when it is in the video, the overlay begins with it
    arguments = ["--start", 3, "--max-frames", 2, "--output", tmp_path / "p.mp4", "--table", tmp_path / "u.csv"]
    assert segment(tmp_path / "v.mp4", *arguments) == 0
    assert [row["seconds"] for row in read_table(tmp_path / "u.csv")] == ["0.500", "0.520"]
    with VideoReader(tmp_path / "p.mp4") as overlay:
        assert [overlay.seconds for _ in overlay] == [0, Fraction(20, 1000)]


def test_damaged_frames_at_the_start_do_not_shorten_the_overlay(segment, frames, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for number, frame in enumerate(frames[:5]):
        Image.fromarray(frame).save(source / f"{number}.png")
    for name in ("0.png", "1.png"):
        (source / name).write_bytes((source / name).read_bytes()[:300])
    assert segment(source, "--output", tmp_path / "o.mp4") == 1
    with VideoReader(tmp_path / "o.mp4") as overlay:
        shown = [(overlay.seconds, frame.astype(int)) for frame in overlay]
    assert [second for second, _ in shown] == [Fraction(number, 25) for number in range(5)]
    for _, early in shown[:2]:  # the first whole one
        assert np.abs(early - shown[2][1]).mean() < np.abs(early - shown[3][1]).mean()


def test_a_video_in_a_tar(segment, video, tmp_path, capsys):
    """Its results are those of the video, also of a run that goes on; a tar that has changed is another source."""
    tar, table = tmp_path / "day-0.tar", tmp_path / "t.csv"
    with tarfile.open(tar, "w") as archive:
        archive.add(video, "north/street.mp4")
    assert segment(video, "--table", tmp_path / "alone.csv", "--labels-dir", tmp_path / "alone") == 0
    inside = [tar / "north" / "street.mp4", "--table", table, "--labels-dir", tmp_path / "labels"]
    assert segment(*inside, "--max-frames", 5) == 0
    assert segment(*inside, "--resume") == 0
    assert table.read_bytes() == (tmp_path / "alone.csv").read_bytes()
    masks = {path.name: path.read_bytes() for path in (tmp_path / "labels" / "data" / "street" / "mask").iterdir()}
    for path in (tmp_path / "alone" / "data" / "street" / "mask").iterdir():
        assert masks.pop(path.name) == path.read_bytes()
    assert masks == {}
    with tarfile.open(tar, "a") as archive:
        archive.add(video, "south/street.mp4")
    assert segment(*inside, "--resume") == 2
    assert segment(tar, "--table", tmp_path / "u.csv") == 2
    assert "a video in it is FILE.tar/MEMBER" in capsys.readouterr().err
    assert segment(inside[0], "--keep-audio", "--output", tmp_path / "o.mp4") == 2


def test_the_overlay_has_the_colours_of_the_classes(segment, video, expected, tmp_path):
    assert segment(video, "--output", tmp_path / "o.mp4", "--opacity", "1") == 0
    palette = label_palette(5).astype(int)
    overlays = read_video(tmp_path / "o.mp4")[2]
    # right of the legend; chroma is stored for 2 x 2 pixels, so borders between classes blur
    nearest = [np.abs(o[:, 50:, None] - palette).sum(-1).argmin(-1) for o in overlays]
    assert np.mean([(a == b[:, 50:]).mean() for a, b in zip(nearest, expected)]) > 0.9
    assert segment(video, "--output", tmp_path / "p.mp4", "--opacity", "0") == 0
    for one, other in zip(read_video(tmp_path / "p.mp4")[2], read_video(video)[2], strict=True):
        assert np.abs(one[:, 50:].astype(int) - other[:, 50:]).mean() < 8


def test_a_palette_of_the_config_is_used(video, small_segmenter, segmenter_checkpoint, tmp_path, capsys):
    from dense_hf import CFFMImageProcessor

    palette = [[250, 0, 0]] * 5
    small_segmenter(palette=palette).save_pretrained(tmp_path / "model")
    CFFMImageProcessor.from_pretrained(segmenter_checkpoint).save_pretrained(tmp_path / "model")
    arguments = ["segment", str(video), "--model", str(tmp_path / "model"), "--output", str(tmp_path / "o")]
    assert main([*arguments, "--opacity", "1", "--max-frames", "1"]) == 0
    picture = np.asarray(Image.open(tmp_path / "o" / "00000000.jpg")).astype(int)
    assert np.abs(picture[:, 60:] - (250, 0, 0)).max() < 15
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps({**config, "palette": [[250, 0]]}))
    assert main(arguments) == 2
    assert "palette" in capsys.readouterr().err


def test_a_part_of_a_video(segment, video, expected, tmp_path, segmenter_checkpoint):
    assert segment(video, "--start", 4, "--max-frames", 3, "--table", tmp_path / "t.csv") == 0
    rows = read_table(tmp_path / "t.csv")
    assert [row["frame"] for row in rows] == ["4", "5", "6"]
    segmenter = pipeline("video-semantic-segmentation", model=segmenter_checkpoint, device="cpu")
    for row, result in zip(rows, segmenter(read_video(video)[2][4:7]), strict=True):  # frame 4 is its first
        shares = [result["class_statistics"].get(name, 0) for name in NAMES]
        np.testing.assert_allclose([float(row[name]) for name in NAMES], shares, atol=1e-5)


@pytest.mark.parametrize("source", ["video", "folder"])
def test_a_start_behind_the_end(segment, request, source, tmp_path, capsys):
    for start in (NUM_FRAMES, NUM_FRAMES + 1):
        assert segment(request.getfixturevalue(source), "--start", start, "--output", tmp_path / "o.mp4") == 2
        assert f"{NUM_FRAMES} frames" in capsys.readouterr().err
    assert not (tmp_path / "o.mp4").exists()


def test_a_folder_becomes_a_video_or_a_folder(segment, folder, tmp_path):
    assert segment(folder, "--output", tmp_path / "o.mkv", "--fps", "15", "--labels-dir", tmp_path / "labels") == 0
    fps, size, overlays = read_video(tmp_path / "o.mkv")
    assert (fps, size, len(overlays)) == (15, (96, 64), NUM_FRAMES)
    names = {str(number) for number in range(1, NUM_FRAMES + 1)}
    assert {path.stem for path in (tmp_path / "labels" / "data" / "1001" / "mask").iterdir()} == names
    assert segment(folder, "--output", tmp_path / "o", "--table", tmp_path / "t.csv") == 0
    assert {path.name for path in (tmp_path / "o").iterdir()} == {f"{name}.jpg" for name in names}
    assert [row["name"] for row in read_table(tmp_path / "t.csv")] == sorted(names, key=int)
    for name in names:
        assert Image.open(tmp_path / "o" / f"{name}.jpg").size == (96, 64)


def test_frames_that_are_damaged_or_of_another_size(segment, frames, tmp_path, caplog):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame if number < 8 else frame[:50, :70]).save(folder / f"{number:03}.png")
    (folder / "005.png").write_bytes((folder / "005.png").read_bytes()[:500])
    arguments = ["--output", tmp_path / "o.mp4", "--table", tmp_path / "t.csv", "--labels-dir", tmp_path / "labels"]
    assert segment(folder, *arguments) == 1
    _, size, overlays = read_video(tmp_path / "o.mp4")
    assert size == (96, 64)
    assert len(overlays) == NUM_FRAMES  # the time of the others has not moved
    assert np.abs(overlays[5].astype(int) - overlays[4]).mean() < np.abs(overlays[6].astype(int) - overlays[4]).mean()
    rows = read_table(tmp_path / "t.csv")
    assert [row["frame"] for row in rows if row["error"]] == ["5"]
    assert "005.png" in rows[5]["error"]
    assert rows[5]["wall"] == ""
    masks = {path.stem: Image.open(path).size for path in (tmp_path / "labels" / "data" / "frames" / "mask").iterdir()}
    assert masks == {f"{n:03}": (96, 64) if n < 8 else (70, 50) for n in range(NUM_FRAMES) if n != 5}
    assert any("frame 8 is 70 x 50" in message for message in caplog.messages)


def test_segformer(video, tmp_path):
    sizes = {"hidden_sizes": [8, 8, 16, 16], "depths": [1] * 4, "num_attention_heads": [1, 1, 2, 2]}
    SegformerForSemanticSegmentation(SegformerConfig(num_labels=3, **sizes)).save_pretrained(tmp_path)
    SegformerImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path)
    arguments = ["segment", str(video), "--model", str(tmp_path), "--table", str(tmp_path / "t.csv")]
    assert main([*arguments, "--max-frames", "2"]) == 0
    assert list(read_table(tmp_path / "t.csv")[1])[3:-1] == ["LABEL_0", "LABEL_1", "LABEL_2"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--opacity", "5"], "Received: 5"),
        (["--start", "-1"], "Received: -1"),
        (["--max-frames", "0"], "and 0"),
        (["--output", "o.avi"], ".avi"),
        (["--fps", "10"], "--fps is for a folder"),
        (["--model", "no/such/folder"], "no/such/folder"),
        (["--device", "toaster"], "toaster"),
        (["--device", "cuda:9"], "--device: this machine has cpu"),
    ],
)
def test_impossible_settings_end_with_a_message(
    segmenter_checkpoint, video, tmp_path, capsys, monkeypatch, change, message
):
    monkeypatch.chdir(tmp_path)
    arguments = ["segment", str(video), "--model", segmenter_checkpoint, "--output", "o.mp4", *change]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_sources_that_are_none(segment, video, counter_checkpoint, tmp_path, capsys):
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "empty").mkdir()
    for source, message in (("text.mp4", "text.mp4"), ("absent.mp4", "absent.mp4"), ("empty", "no frames")):
        assert segment(tmp_path / source, "--output", tmp_path / "o.mp4") == 2
        assert message in capsys.readouterr().err
    (tmp_path / "empty" / "1.png").write_text("no picture")
    assert segment(tmp_path / "empty", "--output", tmp_path / "o.mp4") == 2
    assert "none of 1 frames" in capsys.readouterr().err
    assert segment("camera:99", "--output", tmp_path / "o.mp4") == 2
    assert "camera:99" in capsys.readouterr().err
    assert segment(video) == 2
    assert "--output" in capsys.readouterr().err
    assert segment(video, "--output", video) == 2
    assert "the video itself" in capsys.readouterr().err
    assert len(read_video(video)[2]) == NUM_FRAMES
    arguments = ["segment", str(video), "--model", counter_checkpoint, "--output", str(tmp_path / "o.mp4")]
    assert main(arguments) == 2
    assert "expected a model that segments" in capsys.readouterr().err
    assert not (tmp_path / "o.mp4").exists()


def test_broken_weights(video, small_segmenter, segmenter_checkpoint, tmp_path, capsys):
    from safetensors.torch import load_file, save_file

    from dense_hf import CFFMImageProcessor

    small_segmenter().save_pretrained(tmp_path / "model")
    CFFMImageProcessor.from_pretrained(segmenter_checkpoint).save_pretrained(tmp_path / "model")
    weights = load_file(tmp_path / "model/model.safetensors")
    arguments = ["segment", str(video), "--model", str(tmp_path / "model"), "--output", str(tmp_path / "o.mp4")]
    save_file({k: v for k, v in weights.items() if k != "classifier.bias"}, tmp_path / "model/model.safetensors")
    assert main(arguments) == 2
    assert "classifier.bias" in capsys.readouterr().err
    weights["decoder.classifier.weight"][1] = 3e38  # finite, unlike what comes of it
    save_file(weights, tmp_path / "model/model.safetensors")
    assert main(arguments) == 2
    assert "logits must be finite" in capsys.readouterr().err
    assert not (tmp_path / "o.mp4").exists()


def test_names_of_videos(tmp_path):
    (tmp_path / "1001" / "origin").mkdir(parents=True)
    assert video_name(str(tmp_path / "street.mp4")) == "street"
    assert video_name(str(tmp_path / "1001")) == video_name(str(tmp_path / "1001" / "origin")) == "1001"
    for source in ("camera:0", "rtsp://host/../a?b=c", "/dev/null"):
        assert "/" not in video_name(source)
        assert video_name(source).strip(".")


def start_program(arguments, folder, environment, **settings):
    program = [sys.executable, "-m", "dense_hf.cli", "segment", *map(str, arguments)]
    return Program(program, cwd=folder, env=environment, text=True, **settings)


@pytest.mark.slow
def test_ctrl_c_leaves_complete_files(segmenter_checkpoint, frames, tmp_path, script_environment):
    """A real process gets a real SIGINT in the middle of a long video, known from the lines of its table."""
    with VideoWriter(tmp_path / "long.mp4", 25, (96, 64)) as writer:
        for number in range(2000):
            writer.write(frames[number % NUM_FRAMES])
    os.mkfifo(tmp_path / "t.csv")  # reading it waits for each line, and holds the program back
    arguments = ["long.mp4", "--model", segmenter_checkpoint, "--output", "o.mp4", "--table", "t.csv"]
    process = start_program(arguments, tmp_path, script_environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with open(tmp_path / "t.csv", newline="", encoding="utf-8") as file:
        lines = [file.readline() for _ in range(40)]
        process.send_signal(signal.SIGINT)
        lines += file.readlines()
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    rows = list(csv.DictReader(lines))
    assert 39 <= len(rows) < 2000
    assert all(sum(float(row[name]) for name in NAMES) == pytest.approx(1, abs=1e-4) for row in rows)
    fps, size, overlays = read_video(tmp_path / "o.mp4")
    assert (fps, size, len(overlays)) == (25, (96, 64), len(rows))
    assert f"{len(rows)} frames in " in out
    assert "interrupted" in err
    assert "Traceback" not in err
