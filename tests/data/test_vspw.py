"""Folders in the layout of VSPW: columns, order, the rule for labels, and every kind of incomplete or bad file."""

import json
import logging
import os
import shutil

import datasets
import numpy as np
import pytest
from PIL import Image

from dense_hf import InvalidDataError
from dense_hf.data import (
    VSPW,
    VideoSet,
    check_videos,
    compare_videos_with_release,
    generate_miniature_videos,
    numbering_gaps,
    open_image,
    read_video_folder,
)
from dense_hf.data.class_names import VSPW_NAMES
from dense_hf.data.labels import class_rule
from dense_hf.data.miniature_videos import MINIATURE_CLASSES
from dense_hf.data.video_statistics import RELEASED_FRAMES, RELEASED_VIDEOS
from dense_hf.data.videos import Frame, Video

FIRST, BROKEN = "synthetic_train_0000", "synthetic_train_0001"


@pytest.fixture(scope="module")
def miniature(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos") / "set"
    generate_miniature_videos(folder, 3, 1, 1, num_frames=5, frame_size=(40, 32), disable_progress=True)
    return folder


@pytest.fixture
def folder(tmp_path, miniature):
    return shutil.copytree(miniature, tmp_path / "set")


def build(folder, cache, num_proc=None, **options):
    builder = VSPW(data_dir=folder, cache_dir=str(cache), **options)
    builder.download_and_prepare(num_proc=num_proc)
    return builder.as_dataset()


def rows(dataset):
    return [
        {**row, "image": np.array(row["image"]).tolist(), "mask": row["mask"] and np.array(row["mask"]).tolist()}
        for row in dataset
    ]


def test_columns_order_and_labels(folder, tmp_path):
    data = build(folder, tmp_path / "cache")
    assert {split: len(part) for split, part in data.items()} == {"train": 15, "validation": 5, "test": 5}
    train = data["train"]
    assert train["video_id"][:] == [f"synthetic_train_{i:04d}" for i in range(3) for _ in range(5)]
    assert train["frame_id"][:] == [f"{i:08d}" for i in range(5)] * 3
    assert train["frame_index"][:] == list(range(5)) * 3
    assert train.features["classes"] == datasets.List(datasets.ClassLabel(names=list(MINIATURE_CLASSES)))
    for row in train:
        source = folder / "data" / row["video_id"]
        assert np.array_equal(row["image"], open_image(source / "origin" / f"{row['frame_id']}.jpg"))
        numbers = np.asarray(Image.open(source / "mask" / f"{row['frame_id']}.png")).astype(int)
        expected = np.where((numbers == 0) | (numbers == 255), 255, numbers - 1)
        assert np.array_equal(row["mask"], expected)
        assert row["classes"] == sorted(set(expected.ravel().tolist()) - {255})


def test_two_processes_and_streaming_give_the_same_rows(folder, tmp_path):
    alone = build(folder, tmp_path / "cache")
    together = build(folder, tmp_path / "cache2", num_proc=2)
    for split in ("train", "test"):
        stream = VSPW(data_dir=folder, cache_dir=str(tmp_path / "cache3")).as_streaming_dataset(split)
        assert rows(alone[split]) == rows(together[split]) == rows(stream)


def test_edited_masks_are_read_again(folder, tmp_path):
    build(folder, tmp_path / "cache")
    mask = folder / "data" / FIRST / "mask" / "00000000.png"
    Image.fromarray(np.full((32, 40), 3, np.uint8)).save(mask)
    assert build(folder, tmp_path / "cache")["train"][0]["classes"] == [2]
    names = json.loads((folder / "label_num_dic_final.json").read_text())
    (folder / "label_num_dic_final.json").write_text(json.dumps({**names, "star": 6}))
    assert build(folder, tmp_path / "cache")["train"].features["classes"].feature.names[-1] == "star"


def test_class_names_of_the_folder_of_a_file_or_of_vspw(folder, tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps({name: i for i, name in enumerate("uvwxyz")}))
    assert read_video_folder(folder, tmp_path / "mine.json").rule.names == tuple("vwxyz")
    assert read_video_folder(folder, tmp_path / "mine.json", ignore_zero=False).rule.names == tuple("uvwxyz")
    (folder / "label_num_dic_final.json").unlink()
    assert read_video_folder(folder).rule.names == VSPW_NAMES


def test_videos_may_lie_beside_the_lists_and_masks_of_the_test_be_missing(folder, tmp_path):
    before = rows(build(folder, tmp_path / "cache")["train"])
    for video in (folder / "data").iterdir():
        video.rename(folder / video.name)
    (folder / "data").rmdir()
    shutil.rmtree(folder / "synthetic_test_0000" / "mask")
    after = build(folder, tmp_path / "cache2")
    assert rows(after["train"]) == before
    assert after["test"]["mask"][:] == [None] * 5
    assert after["test"]["classes"][:] == [[]] * 5


def damage(folder, kind):
    """Spoil a file of the second training video; returns what a message must say."""
    origin, mask = folder / "data" / BROKEN / "origin", folder / "data" / BROKEN / "mask"
    if kind == "no frame":
        (origin / "00000002.jpg").unlink()
        return f"missing: .*{BROKEN}/origin/00000002.jpg"
    if kind == "no mask":
        (mask / "00000002.png").unlink()
        return f"missing: .*{BROKEN}/mask/00000002.png"
    if kind == "empty frame":
        (origin / "00000002.jpg").write_bytes(b"")
        return f"empty: .*{BROKEN}/origin/00000002.jpg"
    if kind == "empty mask":
        (mask / "00000002.png").write_bytes(b"")
        return f"empty: .*{BROKEN}/mask/00000002.png"
    if kind == "no video":
        shutil.rmtree(folder / "data" / BROKEN)
        return f"missing: frames in .*{BROKEN}/origin"
    if kind == "cut frame":
        content = (origin / "00000002.jpg").read_bytes()
        (origin / "00000002.jpg").write_bytes(content[:-300])
        return r"origin/00000002\.jpg: expected a complete"
    if kind == "other size":
        Image.new("RGB", (44, 32)).save(origin / "00000002.jpg")
        return r"00000002\.jpg: expected the size of its video, 40 x 32\. Received: 44 x 32"
    if kind == "mask size":
        Image.new("L", (40, 31), 1).save(mask / "00000002.png")
        return r"mask/00000002\.png: expected the size of its frame, 40 x 32\. Received: 40 x 31"
    if kind == "mask in colors":
        Image.new("RGB", (40, 32)).save(mask / "00000002.png")
        return r"mask/00000002\.png: expected a mask with one class number.*RGB"
    Image.new("L", (40, 32), 77).save(mask / "00000002.png")
    return r"mask/00000002\.png: expected class numbers 0-5, 255\. Received: 77"


INCOMPLETE = ["no frame", "no mask", "empty frame", "empty mask", "no video"]
BAD = ["cut frame", "other size", "mask size", "mask in colors", "unknown label"]


@pytest.mark.parametrize("kind", [*INCOMPLETE, *BAD])
def test_a_bad_file_is_named_and_nothing_is_left(folder, tmp_path, kind):
    expected = damage(folder, kind)
    with pytest.raises(InvalidDataError, match=expected):
        build(folder, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.arrow"))
    with pytest.raises(InvalidDataError, match=expected):
        list(VSPW(data_dir=folder, cache_dir=str(tmp_path / "cache")).as_streaming_dataset("train"))


@pytest.mark.parametrize("kind", ["cut frame", "unknown label"])
def test_workers_name_the_file_too(folder, tmp_path, kind):
    with pytest.raises(InvalidDataError, match=damage(folder, kind)):
        build(folder, tmp_path / "cache", num_proc=2)


def test_incomplete_frames_are_left_out_counted_and_named(folder, tmp_path, caplog):
    for kind in ("no frame", "no mask", "empty mask"):  # the first hides the others: same frame
        damage(folder, kind)
    (folder / "data" / FIRST / "origin" / "00000000.jpg").write_bytes(b"")
    logger = logging.getLogger("transformers")  # does not propagate, so caplog would not hear it
    logger.addHandler(caplog.handler)
    try:
        data = build(folder, tmp_path / "cache", skip_incomplete=True)
    finally:
        logger.removeHandler(caplog.handler)
    assert data["train"]["frame_id"][:9] == [f"{i:08d}" for i in (1, 2, 3, 4, 0, 1, 3, 4, 0)]
    assert data["train"]["frame_index"][:9] == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    (message,) = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert "3 files are missing or empty" in message
    assert f"{FIRST}/origin/00000000.jpg" in message


@pytest.mark.parametrize("kind", [*INCOMPLETE, *BAD])
def test_checking_reads_everything_and_raises_nothing(folder, kind):
    expected = damage(folder, kind)
    videos = read_video_folder(folder)
    summaries = list(check_videos(videos, decode_frames=True, num_threads=2))
    problems = videos.problems + [problem for summary in summaries for problem in summary.problems]
    assert len(problems) == 1
    with pytest.raises(InvalidDataError, match=expected):
        raise InvalidDataError(folder, "nothing", problems[0])
    assert [summary.video_id for summary in summaries][:2] == [FIRST, BROKEN]
    assert sum(summary.num_frames for summary in summaries) == (20 if kind == "no video" else 24)
    assert sum(summary.pixels.sum() for summary in summaries) == 40 * 32 * sum(s.num_labelled for s in summaries)


def test_without_decoding_a_cut_frame_looks_good(folder):
    damage(folder, "cut frame")
    assert not any(summary.problems for summary in check_videos(read_video_folder(folder), ["train"]))


def test_frames_without_a_mask_are_allowed_when_said(folder, tmp_path):
    for number in (0, 1, 3, 4):
        (folder / "data" / FIRST / "mask" / f"{number:08d}.png").unlink()
    assert len(read_video_folder(folder).problems) == 4
    videos = read_video_folder(folder, sparse=True)
    assert videos.problems == []
    assert videos.splits["train"][0].labelled == [2]
    masks = build(folder, tmp_path / "cache", sparse=True)["train"]["mask"][:5]
    assert [mask is not None for mask in masks] == [False, False, True, False, False]


@pytest.mark.parametrize("name", ["../set", "/etc", "a/b", "a\\b", "C:x", "..", "http://x", "a\0b"])
def test_ids_are_names_never_paths(folder, name):
    (folder / "train.txt").write_text(f"{FIRST}\n{name}\n")
    with pytest.raises(InvalidDataError, match=r"train\.txt.*line 2"):
        VSPW(data_dir=folder)


def test_a_list_needs_no_final_newline(folder):
    (folder / "train.txt").write_text(FIRST)  # the released reader would cut the last letter
    assert [video.video_id for video in read_video_folder(folder).splits["train"]] == [FIRST]


def test_lists_are_there_and_share_no_video(folder, tmp_path):
    with pytest.raises(InvalidDataError, match=r"at least one of train\.txt"):
        read_video_folder(tmp_path)
    with pytest.raises(InvalidDataError, match="no folder"):
        read_video_folder(tmp_path / "nowhere")
    (folder / "val.txt").write_text(FIRST)
    with pytest.raises(InvalidDataError, match=r"val\.txt: expected no video of train\.txt"):
        read_video_folder(folder)


def test_the_order_of_frames_is_clear(folder):
    origin = folder / "data" / FIRST / "origin"
    for old, new in (("00000000", "frame9"), ("00000001", "frame10")):
        (origin / f"{old}.jpg").rename(origin / f"{new}.jpg")
    with pytest.raises(InvalidDataError, match=r"padded with zeros.*frame10 before frame9"):
        read_video_folder(folder)
    (origin / "frame9.jpg").rename(origin / "frame10.png")
    with pytest.raises(InvalidDataError, match=r"one image for each frame.*frame10\.jpg and frame10\.png"):
        read_video_folder(folder)


def test_hidden_and_foreign_files_do_not_count(folder):
    for name in ("._00000000.jpg", ".DS_Store", "notes.txt"):
        (folder / "data" / FIRST / "origin" / name).write_bytes(b"x")
    (folder / "data" / FIRST / "mask" / "Thumbs.db").touch()
    assert read_video_folder(folder).problems == []


def test_a_fifo_is_not_waited_for(folder, tmp_path):
    frame = folder / "data" / FIRST / "origin" / "00000003.jpg"
    frame.unlink()
    os.mkfifo(frame)
    with pytest.raises(InvalidDataError, match=r"00000003\.jpg: expected a regular file"):
        build(folder, tmp_path / "cache")


@pytest.mark.parametrize(
    ("numbers", "gaps"),
    [
        ([*range(1, 12), 14, 15], ["v: 2 frames between 00000011 and 00000014"]),
        ([*range(0, 60, 2), 64, 66], ["v: 2 frames between 00000058 and 00000064"]),
        ([1, 2, 4, 5, 7, 8, 9, 20], []),  # no step of its own
        ([1], []),
        ([], []),
    ],
)
def test_gaps_in_the_numbers_of_frames(numbers, gaps):
    assert numbering_gaps(Video("v", tuple(Frame(f"{n:08d}", None, None) for n in numbers))) == gaps


def test_names_that_are_no_numbers_have_no_gaps():
    assert numbering_gaps(Video("v", tuple(Frame(f"frame{n}", None, None) for n in (1, 2, 9)))) == []


def release(frames_less=0, videos_less=0):
    videos = VideoSet("x", class_rule(dict(enumerate(VSPW_NAMES, 1)), True))
    for split, number in RELEASED_VIDEOS.items():
        lengths = [1] * (number - 1) + [RELEASED_FRAMES[split] - number + 1]
        if split == "train":
            lengths = lengths[videos_less:]
            lengths[-1] -= frames_less
        videos.splits[split] = [Video(str(i), (Frame("0", None, None),) * n) for i, n in enumerate(lengths)]
    return videos


def test_the_numbers_of_the_release_are_compared():
    assert sum(RELEASED_FRAMES.values()) == 251_633
    assert compare_videos_with_release(release()) == []
    assert compare_videos_with_release(release(frames_less=1221)) == [
        "train.txt has 197,023 frames instead of 198,244"
    ]
    few = release(videos_less=6)
    few.rule = class_rule({1: "a"}, True)
    assert compare_videos_with_release(few) == [
        "train.txt has 2,800 videos instead of 2,806",
        "1 classes instead of 124",
    ]
