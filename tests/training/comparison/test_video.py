"""`dense-hf compare` with video models on a miniature set: rows, baselines, damages, resuming, mistakes."""

import json
import re

import numpy as np
import pytest
from training_fixtures import REPOSITORY

from dense_hf.cli import main
from dense_hf.data import generate_miniature_videos, read_video_folder
from dense_hf.data.frame_damage import DAMAGES
from dense_hf.data.labels import read_mask
from dense_hf.inference.checkpoints import load_video_model
from dense_hf.inference.video_label_maps import evaluate_videos
from dense_hf.inference.video_variants import VideoVariant
from dense_hf.methods import VIDEO, methods
from dense_hf.options import read_yaml
from dense_hf.training.calendar_trainer import CalendarTrainer
from dense_hf.training.comparison.video_conditions import parse_condition
from dense_hf.training.comparison.video_names import BASES, DEFAULT_METHODS, NAMES
from dense_hf.training.comparison.video_recipes import RECIPES, VideoBudget, sections_of
from dense_hf.training.video.options import parse_video_run
from dense_hf.training.video.run import train_video_model

pytestmark = pytest.mark.no_cover

METHODS = ("static", "static_mean3", "cffm", "cffm_plus")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two videos to learn from, one to choose by, one to judge by."""
    folder = tmp_path_factory.mktemp("videos") / "set"
    generate_miniature_videos(folder, 2, 1, 1, num_frames=17, frame_size=(48, 36), disable_progress=True)
    return folder


def words_of(videos, output, *more):
    budget = ("--steps", "2", "--clips", "4", "--frame_size", "48", "36", "--seeds", "1")
    backbone = ("--backbone", "test_efficientnet", "--backbone_weights", "none")
    return ["compare", str(videos), "--output", str(output), *budget, *backbone, "--methods", *(more or METHODS)]


@pytest.fixture(scope="module")
def done(tmp_path_factory, videos):
    """A comparison that was killed at its last checkpoint but one, then went on, then got one more condition."""
    output, saves = tmp_path_factory.mktemp("compare") / "out", []
    saved = CalendarTrainer._save_checkpoint

    def stop(self, *arguments, **options):
        saved(self, *arguments, **options)
        saves.append(self.state.global_step)
        if len(saves) == 3:  # of the second row, in the middle
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CalendarTrainer, "_save_checkpoint", stop)
        assert main(words_of(videos, output)) == 130
    assert main(words_of(videos, output)) == 0
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.safetensors")}
    assert main([*words_of(videos, output), "--conditions", "black:4", "own"]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}  # nothing was trained again
    return output


def results_of(output):
    return json.loads((output / "results.json").read_text(encoding="utf-8"))


def test_it_writes_a_table_curves_and_pictures(done):
    results = results_of(done)
    assert list(results["rows"]) == [*METHODS, "constant"]
    text = (done / "README.md").read_text(encoding="utf-8")
    for part in (
        "CFFM++",
        "Most frequent class",
        "VC8 (released), black:4",
        "mIoU of the damaged frames",
        "one to take",
    ):
        assert part in text
    assert "2 videos with 34 frames for train" in text
    assert "counts.svg" not in text
    assert len(results["pictures"]) == 3
    for name in ("index.html", "curves.svg", "picture_1.jpg", "picture_3.jpg"):
        assert (done / name).stat().st_size > 500


def test_numbers_are_those_of_the_models_that_it_leaves(done, videos):
    read, results = read_video_folder(videos), results_of(done)
    model, processor = load_video_model(str(done / "static" / "seed_1" / "model"))
    black = {"damage": "black", "damage_every": 4}
    for name, split, end, variant in (
        ("static", "validation", "", VideoVariant()),
        ("static", "test", "@black:4", VideoVariant(**black)),
        ("static_mean3", "test", "@black:4", VideoVariant(**black, average_frames=3)),
    ):
        again = evaluate_videos(model, processor, read, read.splits[split], progress=False, variant=variant)
        known = results["rows"][name]["seeds"]["1"]
        told = known["test"] if split == "test" else known["training"]["validation"]
        for key in ("mean_iou", "vc8", *(["damaged_mean_iou"] if end else [])):
            assert told[f"{key}{end}"] == again[key]
        assert known["training"]["parameters"] == sum(one.numel() for one in model.parameters())
    tests = {name: row["seeds"]["1"]["test"] for name, row in results["rows"].items() if name != "constant"}
    assert {name for name, one in tests.items() if "mean_iou@own" in one} == {"static", "static_mean3", "cffm"}
    assert tests["static"]["mean_iou@own"] == tests["static"]["mean_iou"]  # it has no other references


def test_a_killed_training_went_on_to_the_weights_of_its_recipe_alone(done, videos, tmp_path, same_weights):
    words = ["--config", str(done / "cffm" / "seed_1" / "recipe.yaml"), "--data_dir", str(videos), "--seed", "1"]
    run = parse_video_run("cffm", arguments=[*words, "--output_dir", str(tmp_path / "run"), "--report_to", "none"])
    train_video_model(run, judged=())
    assert same_weights(done / "cffm" / "seed_1" / "model" / "checkpoint-2", tmp_path / "run" / "checkpoint-2")


def test_the_constant_is_the_most_frequent_class(done, videos):
    read = read_video_folder(videos)

    def pixels(split):
        frames = [frame for video in read.splits[split] for frame in video.frames]
        return np.concatenate([read_mask(frame.mask_path, (48, 36), read.rule).ravel() for frame in frames])

    counts = np.bincount(pixels("train"), minlength=256)[: read.rule.num_labels]
    test = np.bincount(pixels("test"), minlength=256)[: read.rule.num_labels]
    label = counts.argmax()
    told = results_of(done)["rows"]["constant"]["seeds"]["1"]["test"]
    assert told["mean_iou"] == pytest.approx(test[label] / test.sum() / np.count_nonzero(test))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("cffm", "p2pnet"), "one task|all count or all segment"),
        (("cffm_plus",), "builds on cffm"),
        (("cffm", "cffm"), "different"),
        (("cffm", "--crop_size", "64"), "for counters.*--crop_size"),
        (("p2pnet", "--clips", "3"), "for video.*--clips"),
        (("cffm", "--conditions", "rain"), "rain"),
        (("cffm", "--conditions", "video=none"), "Test videos are synthetic_test_0000"),
        (("cffm", "--conditions", "black", "black"), "different"),
        (("cffm", "--backbone", "no_such_net"), "timm"),
        (("cffm", "--clips", "-1"), "clips=-1"),
        (("cffm", "--protocol", "own"), "protocol"),
    ],
)
def test_mistakes_are_named(videos, tmp_path, capsys, more, words):
    assert main(words_of(videos, tmp_path / "out", *more)) in (1, 2)
    assert re.search(words, capsys.readouterr().err)


def test_a_condition_is_made_of_words():
    found = parse_condition("occlusion:3+own+far=27,18,9+video=a+b".removesuffix("+b"))
    assert found.variant == VideoVariant(damage="occlusion", damage_every=3, references="own")
    assert (found.frame_offsets, found.video) == ((27, 18, 9), "a")
    assert found.average(3).variant.average_frames == 3


def test_help_lists_every_method_and_damage(capsys):
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in NAMES)
    assert ", ".join(DAMAGES) in text
    assert {*DEFAULT_METHODS, *BASES, *BASES.values()} <= set(NAMES)
    assert set(RECIPES) | set(BASES) == set(NAMES)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_makes_a_model_of_the_package(name):
    recipe = RECIPES[name]
    sections = sections_of(recipe, VideoBudget(backbone="test_resnet", backbone_weights="x.pth"), num_places=4)
    row = methods(VIDEO)[recipe.method]
    fields = {key: value for key, value in sections["model"].items() if key in row.config_keys}
    assert row.config_class(**fields, num_labels=3).num_labels == 3
    assert set(sections["model"]) - set(fields) <= {"backbone_weights", "freeze_backbone"}
    assert (sections["data"]["samples_per_video"], sections["data"]["crop_size"]) == (80, [192, 256])
    assert sections["data"]["feature_cache"]


def test_rows_differ_in_the_model_only():
    """CFFM++ starts with a trained CFFM, so its file has no backbone; clips and steps are the same."""
    names = ("per_frame", "static", "cffm", "mrcfa", "mrcfa_together", "mrcfa_ref16", "pspnet", "tcb_ocr", "upernet")
    names = (*names, "cffm_plus")
    found = {name: sections_of(RECIPES[name], VideoBudget(), num_places=3) for name in names}
    first = found["cffm"]
    plus = found["cffm_plus"]["data"]
    assert {name: first["data"][name] for name in plus} == plus
    rates = {"learning_rate", "head_lr_factor"}  # of the optimizer that a method has
    for name, one in found.items():
        assert one["data"] == first["data"] or name == "cffm_plus"
        same = {key: value for key, value in one["training"].items() if key not in rates}
        assert same == {key: value for key, value in first["training"].items() if key not in rates}
    assert (first["data"]["damage"], first["data"]["near_clips"]) == (0.5, 0.5)
    titles = {}
    for name in names[:6]:
        row = methods(VIDEO)[RECIPES[name].method]
        fields = {key: value for key, value in found[name]["model"].items() if key in row.config_keys}
        titles[name] = row.title_of(row.config_class(**fields))
    assert list(titles.values()) == ["Per-frame baseline of CFFM", "Static-context CFFM", "CFFM", *["MRCFA"] * 3]


def test_the_recipe_of_cffm_is_that_of_camvid():
    ours = sections_of(RECIPES["cffm"], VideoBudget(), num_places=3)
    file = read_yaml(REPOSITORY / "scripts" / "configs" / "camvid" / "cffm.yaml")
    assert ours["model"] == file["model"]
    of_the_set = {"samples_per_video", "frame_cache_size"}
    known = {key: value for key, value in ours["data"].items() if key in file["data"].keys() - of_the_set}
    assert known == {key: value for key, value in file["data"].items() if key in known}
    for key in ("per_device_train_batch_size", "learning_rate", "head_lr_factor"):
        assert ours["training"][key] == file["training"][key]
