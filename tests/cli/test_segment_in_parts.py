"""`dense-hf segment --shard`: parts of a video, each after the frames before it, give the labels of a run of all."""

import csv
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dense_hf.cli import main
from dense_hf.data import VideoWriter
from dense_hf.data.miniature_videos import draw_video
from dense_hf.pipelines import VideoSemanticSegmentationPipeline

NUM_FRAMES = 17


@pytest.fixture(scope="module")
def frames():
    return draw_video(np.random.default_rng(3), (96, 64), NUM_FRAMES, noise=5)[0]


@pytest.fixture(scope="module")
def video(frames, tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "day.mp4"
    with VideoWriter(path, 5, (96, 64)) as writer:
        for frame in frames:
            writer.write(frame)
    return path


@pytest.fixture(scope="module")
def folder(frames, tmp_path_factory):
    """Frame 7 is damaged, so what a part looks back at begins earlier."""
    folder = tmp_path_factory.mktemp("videos") / "day"
    folder.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"f{number}.png")
    (folder / "f7.png").write_bytes(b"none")
    return folder


@pytest.fixture(scope="module")
def tar(folder):
    """The same frames, in their order."""
    with tarfile.open(folder.parent / "day.tar", "w") as archive:
        for number in range(NUM_FRAMES):
            archive.add(folder / f"f{number}.png", f"day/f{number}.png")
    return folder.parent / "day.tar"


@pytest.fixture(scope="module")
def parquet(folder):
    """The same frames; their names are the numbers of their rows."""
    cells = [(folder / f"f{number}.png").read_bytes() for number in range(NUM_FRAMES)]
    pq.write_table(pa.table({"frame": cells}), folder.parent / "day.parquet", row_group_size=5)
    return folder.parent / "day.parquet"


@pytest.fixture
def segment(segmenter_checkpoint):
    return lambda *words: main(["segment", *map(str, words), "--model", segmenter_checkpoint])


def labels_of(folder):
    return {path.name: path.read_bytes() for path in (folder / "data" / "day" / "mask").iterdir()}


def test_frames_of_a_tar_and_of_rows_are_those_of_a_folder(segment, folder, tar, parquet, tmp_path):
    found = []
    for number, source in enumerate((folder, tar, parquet)):
        output = tmp_path / str(number)
        words = ("--labels-dir", output, "--table", output.with_suffix(".csv"), "--max-frames", 9, "--fps", 5)
        assert segment(source, *words) == 1  # one is damaged
        rows = list(csv.reader(output.with_suffix(".csv").open(newline="")))
        labels = {name.removeprefix("f"): content for name, content in labels_of(output).items()}
        found.append((labels, [(row[0], row[2:-1]) for row in rows]))
    assert found[0] == found[1] == found[2]
    assert len(found[0][0]) == 8
    assert segment(tar, "--output", tmp_path / "a.mp4", "--keep-audio") == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "code", "options"), [("video", 0, ["--every", 2]), ("folder", 1, ["--start", 1]), ("tar", 1, [])]
)
def test_parts_give_the_labels_of_all(source, code, options, segment, request, tmp_path, monkeypatch, capsys):
    """In any order, one of them twice; then table and overlay without the model, and nothing else has changed."""
    source = request.getfixturevalue(source)
    whole = ("--table", tmp_path / "whole.csv", "--output", tmp_path / "whole.mp4")
    assert segment(source, *options, "--labels-dir", tmp_path / "whole", *whole) == code
    for shard in ("3/3", "1/3", "2/3", "2/3"):
        segment(source, *options, "--labels-dir", tmp_path / "parts", "--shard", shard, "--resume")
    assert "all frames were segmented before" in capsys.readouterr().out
    assert labels_of(tmp_path / "parts") == labels_of(tmp_path / "whole")

    def nothing(self, frames, number=0, **options):
        assert not list(frames)
        return iter(())

    monkeypatch.setattr(VideoSemanticSegmentationPipeline, "segment", nothing)
    parts = ("--table", tmp_path / "parts.csv", "--output", tmp_path / "parts.mp4")
    assert segment(source, *options, "--labels-dir", tmp_path / "parts", "--resume", *parts) == code
    for name in ("csv", "mp4"):
        assert (tmp_path / f"parts.{name}").read_bytes() == (tmp_path / f"whole.{name}").read_bytes()
    assert labels_of(tmp_path / "parts") == labels_of(tmp_path / "whole")


def test_a_part_that_is_missing_is_segmented_then(segment, video, tmp_path):
    assert segment(video, "--labels-dir", tmp_path / "whole") == 0
    assert segment(video, "--labels-dir", tmp_path / "parts", "--shard", "1/2") == 0
    assert segment(video, "--labels-dir", tmp_path / "parts", "--resume") == 0
    assert labels_of(tmp_path / "parts") == labels_of(tmp_path / "whole")


def test_parts_touch_only_their_own(segment, video, tmp_path, capsys):
    """A file that no run has written stops the part that would replace it, and no other."""
    mask = tmp_path / "labels" / "data" / "day" / "mask"
    mask.mkdir(parents=True)
    (mask / "00000001.png").write_bytes(b"mine")
    assert segment(video, "--labels-dir", tmp_path / "labels", "--shard", "2/2") == 0
    assert segment(video, "--labels-dir", tmp_path / "labels", "--shard", "1/2") == 2
    assert "00000001.png" in capsys.readouterr().err
    assert (mask / "00000001.png").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--table", "t.csv", "--shard", "1/2"], "--shard is for --labels-dir alone"),
        (["--labels-dir", "labels", "--shard", "3/2"], "--shard: the shards of N"),
        (["--labels-dir", "labels", "--shard", "1/40"], "part 1/40 of 17 frames is empty"),
    ],
)
def test_what_cannot_be(words, message, segment, video, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert segment(video, *words) == 2
    assert message in capsys.readouterr().err


def test_parts_of_another_run(segment, video, tmp_path, capsys):
    assert segment(video, "--labels-dir", tmp_path / "labels", "--shard", "1/2", "--every", 2) == 0
    assert segment(video, "--labels-dir", tmp_path / "labels", "--resume") == 2
    assert "a part of a run with the same settings. Received: other every" in capsys.readouterr().err
