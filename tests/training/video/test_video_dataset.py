"""A training clip is a function of (seed, epoch, index); bad data is named before the first step."""

import logging
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from dense_hf.data import generate_miniature_videos, read_video_folder
from dense_hf.errors import InvalidDataError
from dense_hf.inference.checks import require_readable_videos
from dense_hf.training.epoch_sampler import EpochSampler
from dense_hf.training.video.augmentation import ClipAugmentation
from dense_hf.training.video.dataset import VideoTrainingSet

SIZE = (48, 36)
SMALL = ClipAugmentation(scale=[48, 36], crop_size=[32, 32])
STILL = ClipAugmentation(
    scale=[48, 36], scale_factors=[1, 1], crop_size=[40, 52], max_class_share=1, horizontal_flip=0, colour=0
)


@pytest.fixture(scope="module")
def tiny_videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos") / "set"
    generate_miniature_videos(folder, 3, 1, 0, num_frames=12, frame_size=SIZE, disable_progress=True)
    return folder


@pytest.fixture
def folder(tmp_path, tiny_videos):
    return shutil.copytree(tiny_videos, tmp_path / "set")


def training_set(folder, augmentation=SMALL, seed=1, samples_per_video=2, sparse=False, frame_offsets=(9, 6, 3)):
    videos = read_video_folder(folder, sparse=sparse)
    return VideoTrainingSet(videos, "train", frame_offsets, augmentation, seed, samples_per_video)


def same(first, second):
    return all(torch.equal(first[key], second[key]) for key in ("pixel_values", "labels"))


def test_a_sample_depends_on_seed_epoch_and_index_only(tiny_videos):
    keys = [(epoch, index) for epoch in (0, 3) for index in range(8)]  # 6 samples: the last ones go past the end
    first, second = training_set(tiny_videos), training_set(tiny_videos)
    assert len(first) == 6
    in_order = {key: first[key] for key in keys}
    torch.rand(5), np.random.rand(5)
    backwards = {key: second[key] for key in reversed(keys)}
    assert all(same(in_order[key], backwards[key]) for key in keys)
    assert not same(in_order[0, 1], in_order[3, 1])
    assert not same(in_order[0, 0], training_set(tiny_videos, seed=2)[0, 0])


def test_fixed_clips_are_those_of_the_first_epoch(tiny_videos):
    fixed, free = training_set(tiny_videos), training_set(tiny_videos)
    fixed.fixed = True
    assert all(same(fixed[7, index], free[0, index]) for index in range(4))
    assert not same(free[7, 0], free[0, 0])


def test_near_clips_and_damages_are_a_function_of_the_same(tiny_videos):
    near = ClipAugmentation(scale=[48, 36], crop_size=[32, 32], near_clips=1.0, damage=0.5)
    first, second = training_set(tiny_videos, near), training_set(tiny_videos, near)
    keys = [(epoch, index) for epoch in (0, 3) for index in range(6)]
    in_order = {key: first[key] for key in keys}
    assert all(same(in_order[key], second[key]) for key in reversed(keys))
    assert not same(in_order[0, 1], in_order[3, 1])


def test_a_near_clip_is_made_of_its_target(tiny_videos):
    """Without damage and color, the frames of half of the clips differ by a small motion only."""
    plain = {"scale": [48, 36], "scale_factors": [1.5, 1.5], "crop_size": [32, 32], "colour": 0, "max_class_share": 1}
    always = training_set(tiny_videos, ClipAugmentation(near_clips=1.0, **plain))
    never = training_set(tiny_videos, ClipAugmentation(**plain))

    def apart(data, index):
        pixels = data[0, index]["pixel_values"]
        return float((pixels[0] - pixels[-1]).abs().mean())

    assert sum(apart(always, index) for index in range(6)) < 0.7 * sum(apart(never, index) for index in range(6))


def test_indices_past_the_end_are_random_videos(tiny_videos, monkeypatch):
    data, seen = training_set(tiny_videos), []
    load = data._load

    def noting(clip):
        seen.append(int(clip[0].image_path.parent.parent.name[-1]))
        return load(clip)

    monkeypatch.setattr(data, "_load", noting)
    for index in range(36):
        data[0, index]
    assert seen[:6] == [0, 1, 2, 0, 1, 2]
    assert set(seen[6:]) == {0, 1, 2}
    assert seen[6:] != [index % 3 for index in range(6, 36)]


def test_worker_processes_give_the_same_samples(tiny_videos):
    data, sampler = training_set(tiny_videos), EpochSampler(6, 1, 4)
    sampler.start_epoch(2)
    batches = list(DataLoader(data, batch_size=2, sampler=sampler, num_workers=2))
    assert len(batches) == 4
    keys = iter(sampler)
    for batch in batches:
        assert batch["pixel_values"].shape == (2, 4, 3, 32, 32)
        assert batch["labels"].shape == (2, 4, 32, 32)
        for sample in range(2):
            assert same({key: value[sample] for key, value in batch.items()}, data[next(keys)])


def test_values_are_those_of_inference_and_padding_is_zero_after_them(tiny_videos):
    data = training_set(tiny_videos, STILL)
    sample = data[0, 1]
    video = data.videos.splits["train"][1]
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    found = []
    for pixel_values, labels in zip(sample["pixel_values"], sample["labels"]):
        assert (pixel_values[:, 36:] == 0).all()
        assert (pixel_values[:, :, 48:] == 0).all()
        assert (labels[36:] == 255).all()
        assert (labels[:, 48:] == 255).all()
        for number, frame in enumerate(video.frames):
            whole = (np.asarray(Image.open(frame.image_path)) / 255 - mean) / std
            if np.abs(whole - pixel_values[:, :36, :48].permute(1, 2, 0).numpy()).max() < 1e-5:
                found.append(number)
                numbers = np.asarray(Image.open(frame.mask_path)).astype(int)
                assert np.array_equal(labels[:36, :48], np.where(numbers % 255 == 0, 255, numbers - 1))
    assert [found[-1] - number for number in found] in ([9, 6, 3, 0], [-9, -6, -3, 0])


def test_few_labels_make_a_sample_for_each(folder):
    for video, kept in (("0000", [2, 10]), ("0001", [0]), ("0002", [])):
        for number in set(range(12)).difference(kept):
            (folder / "data" / f"synthetic_train_{video}" / "mask" / f"{number:08d}.png").unlink()
    data = training_set(folder, STILL, sparse=True)
    assert [(video.video_id[-4:], target) for video, target in data.places] == [
        ("0000", 2),
        ("0000", 10),
        ("0001", 0),
    ]
    for index in range(3):
        labels = data[0, index]["labels"]
        assert (labels[:-1] == 255).all()
        assert (labels[-1] < 5).any()


def test_short_videos_are_left_out_with_a_warning_and_only_short_ones_are_an_error(folder, caplog):
    for number in range(9, 12):
        for kind in ("origin/{:08d}.jpg", "mask/{:08d}.png"):
            (folder / "data" / "synthetic_train_0001" / kind.format(number)).unlink()
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    try:
        data = training_set(folder)
    finally:
        logger.removeHandler(caplog.handler)
    assert {video.video_id for video, _ in data.places} == {"synthetic_train_0000", "synthetic_train_0002"}
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("1 of 3 train videos")
    assert "synthetic_train_0001" in message
    with pytest.raises(ValueError, match=r"13 frames in a row.*longest of 12"):
        training_set(folder, frame_offsets=(12,))


@pytest.mark.parametrize("options", [{"samples_per_video": 0}, {"frame_offsets": ()}, {"frame_offsets": (3, 0)}])
def test_impossible_options_are_errors(tiny_videos, options):
    with pytest.raises(ValueError, match="Received"):
        training_set(tiny_videos, **options)


def test_bad_labels_are_named_before_the_first_step(folder):
    videos = read_video_folder(folder)
    require_readable_videos(videos, ["train", "validation"], progress=False)
    for number in (4, 7):
        mask = folder / "data" / "synthetic_train_0002" / "mask" / f"{number:08d}.png"
        Image.new("L", SIZE, 99).save(mask)
    with pytest.raises(InvalidDataError, match=r"2 that do not: .*00000004\.png: expected class numbers 0-5, 255.*99"):
        require_readable_videos(videos, ["train"], progress=False)
    require_readable_videos(videos, ["validation"], progress=False)
    with pytest.raises(InvalidDataError, match="videos of the split test"):
        require_readable_videos(videos, ["test"], progress=False)


def test_missing_files_are_errors_unless_they_may_be_left_out(folder):
    (folder / "data" / "synthetic_train_0000" / "origin" / "00000003.jpg").write_bytes(b"")
    videos = read_video_folder(folder)
    with pytest.raises(InvalidDataError, match=r"1 missing or empty: empty: .*00000003\.jpg"):
        require_readable_videos(videos, ["train"], progress=False)
    require_readable_videos(videos, ["train"], skip_incomplete=True, progress=False)


def test_a_frame_that_breaks_later_is_named(folder):
    data = training_set(folder)
    for frame in data.videos.splits["train"][0].frames:
        frame.image_path.write_bytes(frame.image_path.read_bytes()[:-200])
    with pytest.raises(InvalidDataError, match=r"synthetic_train_0000.*\.jpg: expected a complete"):
        data[0, 0]


def test_frames_that_are_kept_change_nothing(tiny_videos, monkeypatch):
    """With room for all of them every frame is decoded once; with little room few are kept."""
    videos = read_video_folder(tiny_videos)
    keys = [(epoch, index) for epoch in range(4) for index in range(6)]
    plain = VideoTrainingSet(videos, "train", (9, 6, 3), SMALL, 1, 2)
    expected = [plain[key] for key in keys]
    assert not plain._cache
    for size in (5, 36):
        data, decoded = VideoTrainingSet(videos, "train", (9, 6, 3), SMALL, 1, 2, frame_cache_size=size), []
        decode = data._decode

        def noting(frame, decode=decode, decoded=decoded):
            decoded.append(frame.image_path)
            return decode(frame)

        monkeypatch.setattr(data, "_decode", noting)
        assert all(same(data[key], sample) for key, sample in zip(keys, expected))
        assert len(data._cache) == min(size, len(set(decoded)))
    assert len(decoded) == len(set(decoded))


def test_extra_inputs_are_those_of_the_video(tiny_videos):
    videos = read_video_folder(tiny_videos)
    data = VideoTrainingSet(
        videos,
        "train",
        (9, 6, 3),
        SMALL,
        1,
        extra_inputs=lambda video: {"prototypes": torch.tensor(int(video.video_id[-1]))},
    )
    assert [int(data[0, index]["prototypes"]) for index in range(6)] == [0, 1, 2, 0, 1, 2]
