"""Numbers and label maps of an evaluation against a plain loop over clips, and predictions that a run goes on from."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_video_runs import CFFM, SEGFORMER
from torch.nn import functional as F
from transformers import set_seed

from dense_hf.data import generate_miniature_videos, read_mask, read_video_folder
from dense_hf.data.labels import distinct_colors
from dense_hf.errors import InvalidDataError
from dense_hf.inference.result_folders import describe_maker
from dense_hf.inference.video_label_maps import VideoPredictions, evaluate_videos, frames_to_segment, is_counted
from dense_hf.methods import method_of
from dense_hf.video_segmentation.image_processing_clip import ClipImageProcessor
from dense_hf.video_segmentation.video_session import reference_frames

NUMBERS = ("mean_iou", "weighted_iou", "pixel_accuracy", "vc8", "vc16")
PROCESSOR = ClipImageProcessor(size={"longest_edge": 40, "shortest_edge": 40})  # 48 x 36 -> 40 x 30 -> 64 x 32


@pytest.fixture(scope="module")
def mixed_set(tmp_path_factory):
    """Three synthetic videos of 19, 12 and 17 frames."""
    folder = tmp_path_factory.mktemp("mixed") / "set"
    generate_miniature_videos(folder, 0, 3, 0, num_frames=19, frame_size=(48, 36), disable_progress=True)
    for name, length in (("0001", 12), ("0002", 17)):
        for kind in ("origin", "mask"):
            files = sorted((folder / "data" / f"synthetic_validation_{name}" / kind).iterdir())
            for file in files[length:]:
                file.unlink()
    return folder


@pytest.fixture(scope="module")
def models():
    """Classes that change from place to place and from frame to frame, so that numbers are not trivial."""
    made = {}
    for name, fields in (("cffm", CFFM), ("segformer", SEGFORMER)):
        set_seed(2)
        config = method_of(name).make_config("b0", {**fields, "num_labels": 5})
        made[name] = method_of(name).model_class(config).eval()
        with torch.no_grad():
            for parameter in made[name].parameters():
                if parameter.ndim > 1:
                    parameter.mul_(3)
    return made


def label_map(model, frames, index):
    """Of one frame, by a forward pass of the whole clip and enlarging in two steps as released."""
    places = None if model.config.model_type == "segformer" else reference_frames(index, (9, 6, 3))
    clip = [frames[place] for place in (*(places or ()), index)]
    pixels = PROCESSOR(clip, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        logits = model(pixels[:, 0] if model.config.model_type == "segformer" else pixels).logits
    logits = F.interpolate(logits, size=pixels.shape[-2:], mode="bilinear")
    return F.interpolate(logits, size=(36, 48), mode="bilinear")[0].argmax(dim=0).numpy()


def brute_force(model, folder, protocol):
    """Plain loops over pixels' labels, from the files."""
    lengths = {8: [], 16: []}
    annotated, predicted, correct = np.zeros(5), np.zeros(5), np.zeros(5)
    for video in sorted((folder / "data").iterdir()):
        frames = [Image.open(path).convert("RGB") for path in sorted((video / "origin").iterdir())]
        numbers = np.stack([np.asarray(Image.open(path)) for path in sorted((video / "mask").iterdir())])
        truth = np.where((numbers == 0) | (numbers == 255), 255, numbers - 1)
        if protocol == "released" and len(frames) <= 16:
            continue
        maps = np.stack([label_map(model, frames, index) for index in range(len(frames))])
        for label in range(5):
            inside = (maps == label) & (truth != 255)
            annotated[label] += (truth == label).sum()
            predicted[label] += inside.sum()
            correct[label] += (inside & (truth == label)).sum()
        for length, scores in lengths.items():
            last = len(frames) - length + (protocol == "thesis")
            own = []
            for start in range(last):
                window = slice(start, start + length)
                steady = (truth[window] == truth[start]).all(axis=0)
                if protocol == "thesis":
                    steady &= truth[start] != 255
                constant = (maps[window] == maps[start]).all(axis=0)
                own.append((steady & constant).sum() / steady.sum())
            if own:
                scores += [np.mean(own)] if protocol == "thesis" else own
    counted = annotated > 0 if protocol == "released" else annotated + predicted > 0
    iou = correct / np.maximum(annotated + predicted - correct, 1)
    return {
        "mean_iou": iou[counted].mean(),
        "weighted_iou": (annotated * iou).sum() / annotated.sum(),
        "pixel_accuracy": correct.sum() / annotated.sum(),
        "vc8": np.mean(lengths[8]),
        "vc16": np.mean(lengths[16]),
    }


def evaluate(model, folder, protocol="released", **options):
    videos = read_video_folder(folder)
    members = videos.splits["validation"]
    return evaluate_videos(model, PROCESSOR, videos, members, protocol, progress=False, **options)


@pytest.mark.parametrize("protocol", ["released", "thesis"])
@pytest.mark.parametrize("name", ["cffm", "segformer"])
def test_numbers_are_those_of_a_plain_loop_over_clips(models, mixed_set, name, protocol):
    results = evaluate(models[name], mixed_set, protocol)
    expected = brute_force(models[name], mixed_set, protocol)
    assert {key: results[key] for key in NUMBERS} == pytest.approx(expected, rel=1e-9)
    assert (results["num_videos"], results["num_skipped_videos"]) == (3, protocol == "released")
    assert 0.02 < results["mean_iou"] < 0.9  # not trivial
    assert max(results["vc8"], results["vc16"]) < 0.999
    assert len(results["per_class_iou"]) == len(results["per_class_accuracy"]) == 5


def test_references_matter(models, mixed_set, monkeypatch):
    """The CFFM above is not one that looks at its own frame only."""
    whole = evaluate(models["cffm"], mixed_set)
    monkeypatch.setattr(type(models["cffm"]), "uses_references", False)
    assert evaluate(models["cffm"], mixed_set)["mean_iou"] != pytest.approx(whole["mean_iou"], rel=1e-6)


def test_speed_is_measured_over_frames_with_all_references(models, mixed_set):
    assert evaluate(models["cffm"], mixed_set, measure_speed=True)["frames_per_second"] > 0
    assert "frames_per_second" not in evaluate(models["cffm"], mixed_set)


def test_training_mode_is_restored(models, mixed_set):
    model = models["segformer"].train()
    try:
        first = evaluate(model, mixed_set)
        assert model.training
    finally:
        model.eval()
    assert first == evaluate(model, mixed_set)


def test_another_number_of_classes_is_refused(models, mixed_set, tmp_path):
    folder = shutil.copytree(mixed_set, tmp_path / "set")
    names = {f"class {number}": number for number in range(1, 8)}
    (folder / "label_num_dic_final.json").write_text(json.dumps(names), encoding="utf-8")
    with pytest.raises(ValueError, match=r"has 7 classes, the model must have as many\. Received: 5"):
        evaluate(models["cffm"], folder)


def test_videos_of_which_none_counts(models, mixed_set):
    videos = read_video_folder(mixed_set)
    short = videos.splits["validation"][1:2]
    with pytest.raises(ValueError, match=r"more than 16 frames only.*Received: 1 videos, the longest of 12 frames"):
        evaluate_videos(models["cffm"], PROCESSOR, videos, short, progress=False)


def test_videos_with_few_masks(models, mixed_set, tmp_path):
    """Frames are segmented from the references of the first mask to the last mask, and judged where there is one."""
    folder = shutil.copytree(mixed_set, tmp_path / "set")
    kept = {"0000": (13, 15), "0001": (4,), "0002": ()}
    for name, numbers in kept.items():
        for path in (folder / "data" / f"synthetic_validation_{name}" / "mask").iterdir():
            if int(path.stem) not in numbers:
                path.unlink()
    videos = read_video_folder(folder, sparse=True)
    members = videos.splits["validation"]
    ranges = [frames_to_segment(video, (9, 6, 3), everything=False) for video in members]
    assert ranges == [range(4, 16), range(0, 5), range(0)]
    assert len(frames_to_segment(members[2], (9, 6, 3), everything=True)) == 17
    assert all(is_counted(video, "released") for video in members)

    results = evaluate_videos(models["cffm"], PROCESSOR, videos, members, progress=False)
    correct = total = 0
    for video in members:
        frames = [Image.open(frame.image_path).convert("RGB") for frame in video.frames]
        for index in video.labelled:
            truth = read_mask(video.frames[index].mask_path, (48, 36), videos.rule)
            correct += ((label_map(models["cffm"], frames, index) == truth) & (truth != 255)).sum()
            total += (truth != 255).sum()
    assert results["pixel_accuracy"] == pytest.approx(correct / total, rel=1e-12)
    assert "vc8" not in results


# predictions


def predictions_of(model, folder, directory, name="runs/model"):
    videos = read_video_folder(folder)
    return VideoPredictions(directory, videos, describe_maker(name, model, PROCESSOR))


def test_predictions_are_masks_of_the_same_data(models, mixed_set, tmp_path):
    """Read back by the reader of the data set they are what was predicted; short videos are written, too."""
    model, videos = models["cffm"], read_video_folder(mixed_set)
    results = evaluate(model, mixed_set, predictions=predictions_of(model, mixed_set, tmp_path))
    plain = evaluate(model, mixed_set)
    assert {key: results[key] for key in NUMBERS} == {key: plain[key] for key in NUMBERS}
    for video in videos.splits["validation"]:
        folder = tmp_path / "data" / video.video_id / "mask"
        assert sorted(path.name for path in folder.iterdir()) == [f"{frame.frame_id}.png" for frame in video.frames]
        frames = [Image.open(frame.image_path).convert("RGB") for frame in video.frames]
        for index in (0, 5, 10):
            path = folder / f"{video.frames[index].frame_id}.png"
            assert (read_mask(path, (48, 36), videos.rule) == label_map(model, frames, index)).all()
            with Image.open(path) as image:
                assert image.mode == "P"
                assert set(np.unique(np.asarray(image))) <= {1, 2, 3, 4, 5}  # as in the masks: 0 is nobody's


def test_a_stopped_evaluation_goes_on(models, mixed_set, tmp_path, monkeypatch):
    """Stopped in the middle of the second video, which leaves nothing; then only what is missing is segmented."""
    model = models["cffm"]
    segment_frame, seen = type(model).segment_frame, []

    def stopping(self, frame, session):
        seen.append(session.num_frames)
        if len(seen) == 25:
            raise KeyboardInterrupt
        return segment_frame(self, frame, session)

    monkeypatch.setattr(type(model), "segment_frame", stopping)
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, mixed_set, predictions=predictions_of(model, mixed_set, tmp_path))
    assert [path.name for path in (tmp_path / "data").iterdir() if any((path / "mask").glob("*.png"))] == [
        "synthetic_validation_0000"
    ]
    results = evaluate(model, mixed_set, predictions=predictions_of(model, mixed_set, tmp_path))
    assert len(seen) == 25 + 12 + 17
    monkeypatch.undo()
    assert results == evaluate(model, mixed_set)


def test_predictions_of_others_are_not_mixed(models, mixed_set, tmp_path):
    predictions_of(models["cffm"], mixed_set, tmp_path / "mine")
    with pytest.raises(InvalidDataError, match=r"predictions\.json: expected predictions of .*another folder"):
        predictions_of(models["segformer"], mixed_set, tmp_path / "mine")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InvalidDataError, match="expected a new or empty folder"):
        predictions_of(models["cffm"], mixed_set, tmp_path)
    (tmp_path / "mine" / "predictions.json").write_text("{")
    with pytest.raises(InvalidDataError, match="expected a JSON object"):
        predictions_of(models["cffm"], mixed_set, tmp_path / "mine")


def test_a_map_that_is_missing_is_named(models, mixed_set, tmp_path):
    predictions = predictions_of(models["segformer"], mixed_set, tmp_path)
    evaluate(models["segformer"], mixed_set, predictions=predictions)
    (tmp_path / "data" / "synthetic_validation_0002" / "mask" / "00000003.png").unlink()
    with pytest.raises(InvalidDataError, match=r"synthetic_validation_0002/mask/00000003\.png"):
        evaluate(models["segformer"], mixed_set, predictions=predictions)


def test_colours_are_those_of_pascal_voc():
    colours = distinct_colors(256)
    assert colours[:5].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]]
    assert len({tuple(colour) for colour in colours.tolist()}) == 256
