"""Cityscapes sequences: which frames make a video, which have labels, and both kinds of masks."""

import numpy as np
import pytest
from PIL import Image

from dense_hf import InvalidDataError
from dense_hf.data import CityscapesVideo, read_cityscapes_folder
from dense_hf.data.class_names import CITYSCAPES_LABEL_IDS, CITYSCAPES_NAMES

SIZE = (34, 4)


def add_frame(folder, split, city, sequence, number, size=SIZE):
    directory = folder / "leftImg8bit_sequence" / split / city
    directory.mkdir(parents=True, exist_ok=True)
    name = f"{city}_{sequence:06d}_{number:06d}"
    Image.new("RGB", size, (number % 256, 0, 0)).save(directory / f"{name}_leftImg8bit.png")
    return name


def add_mask(folder, split, name, numbers, kind):
    directory = folder / "gtFine" / split / name.split("_")[0]
    directory.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(numbers, dtype=np.uint8)).save(directory / f"{name}_gtFine_{kind}.png")


@pytest.fixture
def folder(tmp_path):
    """Two snippets of one sequence, one of another city; train ids and label ids for each annotated frame."""
    root = tmp_path / "cityscapes"
    label_ids = np.tile(np.arange(34), (4, 1))
    train_ids = np.full_like(label_ids, 255)
    for label, number in enumerate(CITYSCAPES_LABEL_IDS):
        train_ids[:, number] = label
    snippets = [
        ("aachen", 0, range(12)),
        ("aachen", 0, range(20, 26)),
        ("aachen", 1, range(3)),
        ("bonn", 0, range(12)),
    ]
    for city, sequence, numbers in snippets:
        names = [add_frame(root, "train", city, sequence, number) for number in numbers]
        for kind, content in (("labelTrainIds", train_ids), ("labelIds", label_ids)):
            add_mask(root, "train", names[-2], content, kind)
    for number in range(2):
        add_frame(root, "test", "berlin", 0, number)
    return root


def test_numbers_that_follow_each_other_make_a_video(folder):
    videos = read_cityscapes_folder(folder)
    assert videos.problems == []
    assert [(video.video_id, len(video.frames), video.labelled) for video in videos.splits["train"]] == [
        ("aachen_000000_000000", 12, [10]),
        ("aachen_000000_000020", 6, [4]),
        ("aachen_000001_000000", 3, [1]),
        ("bonn_000000_000000", 12, [10]),
    ]
    assert [video.labelled for video in videos.splits["test"]] == [[]]


@pytest.mark.parametrize("label_ids", [False, True])
def test_rows_and_labels(folder, tmp_path, label_ids):
    builder = CityscapesVideo(folder, label_ids=label_ids, cache_dir=str(tmp_path / "cache"))
    builder.download_and_prepare()
    train = builder.as_dataset("train")
    assert len(train) == 33
    assert train.features["classes"].feature.names == list(CITYSCAPES_NAMES)
    rows = [row for row in train if row["mask"] is not None]
    assert [row["frame_id"] for row in rows] == [
        "aachen_000000_000010", "aachen_000000_000024", "aachen_000001_000001", "bonn_000000_000010",
    ]  # fmt: skip
    expected = np.full(34, 255)
    expected[list(CITYSCAPES_LABEL_IDS)] = range(19)
    assert all((np.asarray(row["mask"]) == expected).all() and row["classes"] == list(range(19)) for row in rows)
    stream = CityscapesVideo(folder, cache_dir=str(tmp_path / "cache")).as_streaming_dataset("train")
    assert [row["frame_index"] for row in stream] == train["frame_index"][:]


def test_what_is_missing_or_empty_is_named(folder, tmp_path):
    frames = folder / "leftImg8bit_sequence/train"
    (frames / "aachen/aachen_000001_000001_leftImg8bit.png").unlink()
    (frames / "bonn/bonn_000000_000011_leftImg8bit.png").write_bytes(b"")
    (folder / "gtFine/train/aachen/aachen_000000_000010_gtFine_labelTrainIds.png").unlink()
    problems = "\n".join(read_cityscapes_folder(folder).problems)
    assert "aachen/aachen_000001_000001_leftImg8bit.png" in problems
    assert "empty: " in problems
    assert "any frame from aachen_000000_000000 to aachen_000000_000011" in problems
    with pytest.raises(InvalidDataError, match="missing or empty"):
        CityscapesVideo(folder, cache_dir=str(tmp_path)).download_and_prepare()


def test_other_names_and_other_folders_are_refused(folder, tmp_path):
    with pytest.raises(InvalidDataError, match="leftImg8bit_sequence/train"):
        read_cityscapes_folder(tmp_path / "nothing")
    Image.new("RGB", SIZE).save(folder / "leftImg8bit_sequence/train/bonn/frame_7.png")
    with pytest.raises(InvalidDataError, match=r"CITY_000000_000000_leftImg8bit\.png.*frame_7"):
        read_cityscapes_folder(folder)


def test_a_train_id_that_does_not_exist_is_named(folder, tmp_path):
    add_mask(folder, "train", "bonn_000000_000010", np.full((4, 34), 19), "labelTrainIds")
    with pytest.raises(InvalidDataError, match=r"bonn_000000_000010.*class numbers 0-18, 255\. Received: 19"):
        CityscapesVideo(folder, cache_dir=str(tmp_path)).download_and_prepare()
