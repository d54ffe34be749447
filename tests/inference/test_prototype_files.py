"""Prototypes of videos in files: made once, never half, and not those of another model."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_cffm import tiny_model
from torch.testing import assert_close

from dense_hf import CFFMImageProcessor, CFFMPlusForVideoSemanticSegmentation, InvalidDataError
from dense_hf.data import generate_miniature_videos, read_video_folder
from dense_hf.inference.locks import shared_folder
from dense_hf.inference.prototype_files import PrototypeFolder, PrototypeMaker, make_prototypes
from dense_hf.video_segmentation.prototypes import kmeans

SIZE = {"longest_edge": 64, "shortest_edge": 48}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "videos"
    generate_miniature_videos(folder, 2, 1, 0, num_frames=12, frame_size=(64, 48), disable_progress=True)
    return folder


@pytest.fixture
def members(data):
    return [video for videos in read_video_folder(data).splits.values() for video in videos]


@pytest.fixture(scope="module")
def maker():
    return PrototypeMaker(tiny_model(), CFFMImageProcessor(size=SIZE), num_prototypes=5, num_frames=4, seed=3)


def test_a_file_for_each_video(maker, members, tmp_path):
    folder = make_prototypes(maker, members, tmp_path / "new" / "folder", progress=False)
    files = sorted((tmp_path / "new" / "folder").iterdir())
    assert [file.name for file in files] == sorted(f"{video.video_id}.safetensors" for video in members)
    # the middles of four stretches of three frames
    frames = [Image.open(members[0].frames[number].image_path) for number in (1, 4, 7, 10)]
    pixels = maker.processor(frames, return_tensors="pt")["pixel_values"][0]
    with torch.no_grad():
        features = maker.model.extract(pixels)[1].halved
    expected = kmeans(features.permute(0, 2, 3, 1).flatten(0, 2), 5, seed=3)
    assert_close(load_file(folder.path(members[0])), {"prototypes": expected}, atol=1e-5, rtol=0)
    assert_close(folder(members[0]), {"prototypes": expected}, atol=1e-5, rtol=0)


def test_finished_ones_are_not_made_again(maker, members, tmp_path, monkeypatch):
    folder = make_prototypes(maker, members, tmp_path, progress=False)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    folder.path(members[1]).unlink()
    made, original = [], PrototypeMaker.__call__
    monkeypatch.setattr(PrototypeMaker, "__call__", lambda self, video: made.append(video) or original(self, video))
    make_prototypes(maker, members, tmp_path, progress=False)
    assert made == [members[1]]
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_stop_leaves_whole_files_only(maker, data, tmp_path):
    broken = tmp_path / "data"
    Path(broken, "data").mkdir(parents=True)
    for name in ("train.txt", "val.txt", "label_num_dic_final.json"):
        (broken / name).write_bytes((data / name).read_bytes())
    for video in (data / "data").iterdir():
        (broken / "data" / video.name / "origin").mkdir(parents=True)
        for frame in (video / "origin").iterdir():
            (broken / "data" / video.name / "origin" / frame.name).write_bytes(frame.read_bytes())
    members = read_video_folder(broken, sparse=True).splits["train"]
    members[1].frames[4].image_path.write_bytes(b"no picture")
    with pytest.raises(InvalidDataError, match=r"00000004\.jpg"):
        make_prototypes(maker, members, tmp_path / "prototypes", progress=False)
    assert [path.name for path in (tmp_path / "prototypes").iterdir()] == [f"{members[0].video_id}.safetensors"]


def test_half_written_files_of_runs_that_live_stay(maker, members, tmp_path):
    left = tmp_path / ".a.safetensors.12345678.partial"
    left.write_bytes(b"half")
    with shared_folder(tmp_path, "nothing"):
        make_prototypes(maker, members[:1], tmp_path, progress=False)
        assert left.exists()
    make_prototypes(maker, members[:1], tmp_path, progress=False)
    assert not left.exists()


def test_fewer_frames_than_are_used(maker, members):
    """Frame 0 alone, as released."""
    short = replace(members[0], frames=members[0].frames[:3])
    first = replace(members[0], frames=members[0].frames[:1])
    assert_close(maker(short), maker(first), atol=0, rtol=0)
    with pytest.raises(ValueError, match="Received: 0, 4"):
        maker(replace(members[0], frames=()))


def test_those_of_another_model_are_refused(maker, members, tmp_path):
    folder = make_prototypes(maker, members[:1], tmp_path, progress=False)
    for other in (
        replace(maker, seed=4),
        replace(maker, num_prototypes=6),
        replace(maker, model=tiny_model(seed=1)),
        replace(maker, processor=CFFMImageProcessor(size={"longest_edge": 96, "shortest_edge": 48})),
    ):
        with pytest.raises(InvalidDataError, match="choose another folder"):
            make_prototypes(other, members, tmp_path, progress=False)
    assert len(list(tmp_path.iterdir())) == 1
    assert PrototypeFolder(tmp_path, maker.describe())(members[0]).keys() == folder(members[0]).keys()


def test_a_cffm_and_what_is_trained_on_it_share_prototypes(maker, tmp_path):
    """Whatever the branch has learned, and after processor and model were saved and loaded."""
    model = CFFMPlusForVideoSemanticSegmentation.from_cffm(maker.model, num_prototypes=5, num_prototype_frames=4)
    torch.nn.init.normal_(model.prototype_classifier.weight)
    model.save_pretrained(tmp_path)
    maker.processor.save_pretrained(tmp_path)
    loaded = CFFMPlusForVideoSemanticSegmentation.from_pretrained(tmp_path)
    processor = CFFMImageProcessor.from_pretrained(tmp_path)
    assert PrototypeMaker.of(loaded, processor, seed=3).describe() == maker.describe()
    assert PrototypeMaker.of(maker.model, processor).num_prototypes == 100


@pytest.mark.parametrize(
    "content", [None, b"garbage", {"other": torch.ones(2, 3)}, {"prototypes": torch.full((2, 3), torch.nan)}]
)
def test_files_that_cannot_be_used(maker, members, tmp_path, content):
    folder = PrototypeFolder(tmp_path, maker.describe())
    path = folder.path(members[0])
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        save_file(content, path, {"made_by": maker.describe()})
    with pytest.raises(InvalidDataError, match=path.name):
        folder(members[0])
