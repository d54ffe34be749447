"""CamVid from its public layout and from that of VSPW, on miniatures of both."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from camvid import find_frames, read_numbers
from PIL import Image

from dense_hf import InvalidDataError
from dense_hf.data import read_mask, read_video_folder, read_weak_split

SCRIPT = Path(__file__).parents[2] / "dataset_scripts" / "camvid.py"
SIZE = (16, 12)
# SegNet's parts cut sequences apart: every third frame goes to another one
NAMES = {
    "0001TP": [f"{number:06d}" for number in range(6690, 6990, 30)],
    "0006R0": [f"f{number:05d}" for number in range(930, 1080, 30)],
    "0016E5": [*(f"{number:05d}" for number in range(7350, 7560, 30)), "07959", "07961", "08159", "08190"],
    "Seq05VD": [f"f{number:05d}" for number in range(0, 90, 30)],
}
CLASSES = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"]


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)


def numbers(seed):
    return np.random.default_rng(seed).integers(0, 12, (SIZE[1], SIZE[0]), dtype=np.uint8)


def members():
    return [(sequence, name) for sequence, names in NAMES.items() for name in names]


@pytest.fixture
def public(tmp_path):
    folder = tmp_path / "CamVid"
    for seed, (sequence, name) in enumerate(members()):
        part = ("train", "val", "test")[seed % 3]
        for kind, pixels in ((part, picture(seed)), (f"{part}annot", numbers(seed))):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / kind / f"{sequence}_{name}.png")
    (folder / "train.txt").write_text("/SegNet/CamVid/train/0001TP_006690.png\n")  # paths of somebody's machine
    return folder


@pytest.fixture
def as_vspw(tmp_path):
    folder = tmp_path / "camvid"
    for seed, (sequence, name) in enumerate(members()):
        video, mask = folder / "data" / sequence, numbers(seed)
        for kind in ("origin", "mask"):
            (video / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(seed)).save(video / "origin" / f"{name}.jpg", quality=95, subsampling=0)
        mask[mask == 11] = 255
        Image.fromarray(mask).save(video / "mask" / f"{name}.png")
    return folder


def make(*arguments):
    return subprocess.run([sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.parametrize("layout", ["public", "as_vspw"])
def test_both_layouts_give_the_same_set(layout, request, tmp_path):
    output = tmp_path / "set"
    done = make(request.getfixturevalue(layout), output)
    assert done.returncode == 0, done.stderr
    videos = read_video_folder(output)
    assert list(videos.rule.names) == CLASSES
    found = {split: {v.video_id: [f.frame_id for f in v.frames] for v in of} for split, of in videos.splits.items()}
    early = NAMES["0016E5"][:5]  # 07350 to 07470
    assert found == {
        "train": {"0001TP_train": NAMES["0001TP"][:8], "0006R0_train": NAMES["0006R0"][:4], "0016E5_train": early[:4]},
        "validation": {
            "0001TP_validation": NAMES["0001TP"][8:],
            "0006R0_validation": NAMES["0006R0"][4:],
            "0016E5_validation": early[4:],
        },
        "test": {"Seq05VD": NAMES["Seq05VD"], "0016E5_dense": ["07959", "07961", "08159"]},
    }
    split = json.loads((output / "split.json").read_text())
    assert {name: videos for name, videos in split.items() if name != "rule"} == found
    for seed, (sequence, name) in enumerate(members()):
        for folder in (output / "data").glob(f"{sequence}_*"):
            path = folder / "mask" / f"{name}.png"
            if path.is_file():
                expected = numbers(seed)
                expected[expected == 11] = 255
                assert (read_mask(path, SIZE, videos.rule) == expected).all()
                pixels = np.asarray(Image.open(folder / "origin" / f"{name}.jpg")).astype(int)
                assert np.abs(pixels - picture(seed)).mean() < 12
    card = (output / "README.md").read_text()
    assert "| test | 0016E5_dense | 3 | 07959 to 08159 |" in card
    assert "research only" in card


def test_what_is_wrong_is_named(public, tmp_path):
    mask = public / "trainannot" / "0001TP_006690.png"
    Image.fromarray(np.full((SIZE[1], SIZE[0]), 12, dtype=np.uint8)).save(mask)
    done = make(public, tmp_path / "set")
    assert done.returncode == 1
    assert f"{mask}" in done.stderr
    assert "numbers 0 to 11 and 255" in done.stderr
    mask.unlink()
    done = make(public, tmp_path / "set")
    assert done.returncode == 1
    assert "0001TP_006690.png" in done.stderr
    assert not (tmp_path / "set").exists()  # whole or not at all
    done = make(tmp_path / "nothing", tmp_path / "set")
    assert (done.returncode, "no frame of CamVid" in done.stderr) == (1, True)


def test_masks_are_measured_and_both_layouts_at_once_are_refused(public, as_vspw, tmp_path):
    (public / "train" / "._0001TP_006690.png").write_bytes(b"of a file system")
    mask = public / "trainannot" / "0001TP_006690.png"
    right = mask.read_bytes()
    for wrong, message in (
        (Image.new("L", (SIZE[0] + 1, SIZE[1])), "the 16 x 12 pixels of its frame"),
        (Image.new("RGB", SIZE), "8-bit numbers"),
    ):
        wrong.save(mask, "PNG")
        with pytest.raises(InvalidDataError, match=message):
            read_numbers(mask, SIZE)
    Image.new("L", SIZE).save(mask, "BMP")
    with pytest.raises(InvalidDataError, match="a mask as a PNG file"):
        read_numbers(mask, SIZE)
    mask.write_bytes(right)
    assert len(find_frames(public)) == len(members())
    (as_vspw / "data").rename(public / "data")
    with pytest.raises(InvalidDataError, match="one of the two layouts"):
        find_frames(public)


def test_a_set_without_the_dense_clip_is_refused(as_vspw, tmp_path):
    for path in (as_vspw / "data" / "0016E5" / "origin").glob("0[78]*.jpg"):
        if path.stem > "07500":
            path.unlink()
    done = make(as_vspw, tmp_path / "set")
    assert done.returncode == 1
    assert "0016E5_dense" in done.stderr


def test_crops_have_the_labels_that_their_masks_have(tmp_path, monkeypatch):
    """Frames of 480 x 360 whose crops have one class each, but for a strip that is too thin to be a label."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    camvid, crops = import_module("camvid"), import_module("camvid_crops")
    blocks = np.arange(12).reshape(3, 4).repeat(120, axis=0).repeat(120, axis=1).astype(np.uint8)  # 11: no class
    blocks[::120] = 4  # 0.8 % of a crop
    videos = {"0001TP": range(0, 13), "0006R0": range(5), "0016E5": [*range(5), 7959], "Seq05VD": range(2)}
    for sequence, frames in videos.items():
        for kind in ("train", "trainannot"):
            (tmp_path / "public" / kind).mkdir(parents=True, exist_ok=True)
        for number in frames:
            name = f"{sequence}_{number:05}.png"
            Image.fromarray(np.stack([blocks * 20] * 3, axis=-1)).save(tmp_path / "public" / "train" / name)
            Image.fromarray(blocks).save(tmp_path / "public" / "trainannot" / name)
    assert camvid.main([str(tmp_path / "public"), str(tmp_path / "set")]) == 0
    assert crops.main([str(tmp_path / "set"), str(tmp_path / "crops")]) == 0
    folder = read_weak_split(tmp_path / "crops", "train", with_masks=True)
    assert folder.class_names == tuple(CLASSES)
    assert len(folder) == 11 + 4 + 4
    assert [len(read_weak_split(tmp_path / "crops", split, with_masks=True)) for split in ("val", "test")] == [4, 2]
    for image in folder.images:
        place = int(image.name.rpartition("_")[2])
        assert image.labels == ((place,) if place < 11 else ()), image.name
        pixels, mask = np.asarray(Image.open(image.path)), np.asarray(Image.open(image.mask_path))
        assert pixels.shape == (120, 120, 3)
        assert set(np.unique(mask[1:]).tolist()) == {place + 1 if place < 11 else 255}
        assert set(mask[0].tolist()) == {5}
    of_first = [image.name for image in folder.images if image.name.startswith("0001TP")]
    assert [int(name.rpartition("_")[2]) for name in of_first] == [(5 * number) % 12 for number in range(11)]
