"""`dense-hf compare` with ways from image labels to masks, on a miniature set: rows, baselines, resuming, mistakes."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from training_fixtures import REPOSITORY

from dense_hf import MCISConfig
from dense_hf.cli import main
from dense_hf.data import generate_miniature_weak, read_weak_split
from dense_hf.data.weak_source import mask_rule, read_weak_mask
from dense_hf.inference.checkpoints import load_mcis
from dense_hf.inference.localization_maps import make_maps
from dense_hf.inference.pseudo_label_files import LabelMaker, make_labels
from dense_hf.options import PARTS, parse_part, read_yaml
from dense_hf.reports.comparison import class_cells, comparison_table
from dense_hf.training.calendar_trainer import CalendarTrainer
from dense_hf.training.classifier.options import parse_mcis_run
from dense_hf.training.comparison.weak_names import BASES, DEFAULT_METHODS, NAMES
from dense_hf.training.comparison.weak_recipes import RECIPES, SCORES, WeakBudget, sections_of, windows_of
from dense_hf.training.segmenter.options import parse_segmenter_run
from dense_hf.weak_segmentation import LocalizationSettings, PseudoLabelSettings

METHODS = ("mcis", "mcis_multi")
TIMES = ("training_seconds", "seconds_per_picture")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Four to learn from, three to choose by, three to judge by."""
    folder = tmp_path_factory.mktemp("images") / "set"
    generate_miniature_weak(folder, 4, 3, 3, image_size=(48, 40), disable_progress=True)
    return folder


def words_of(images, output, *more):
    budget = ("--steps", "2", "--batch_size", "2", "--image_size", "48", "--seeds", "1")
    backbone = ("--backbone", "test_resnet", "--backbone_weights", "none")
    return ["compare", str(images), "--output", str(output), *budget, *backbone, "--methods", *(more or METHODS)]


@pytest.fixture(scope="module")
def done(tmp_path_factory, images):
    """A comparison that came to its end, with a segmenter behind every row."""
    output = tmp_path_factory.mktemp("compare") / "out"
    assert main([*words_of(images, output), "--segmenter_steps", "2"]) == 0
    return output


def results_of(output):
    return json.loads((output / "results.json").read_text(encoding="utf-8"))


def untimed(value):
    """Without what depends on the clock."""
    if isinstance(value, dict):
        return {key: untimed(one) for key, one in value.items() if key not in TIMES}
    return value


def test_it_writes_a_table_curves_and_pictures(done, images):
    results = results_of(done)
    assert list(results["rows"]) == [*METHODS, "all_background", "whole_picture"]
    text = (done / "README.md").read_text(encoding="utf-8")
    for part in ("mIoU of the segmenter", "The whole picture is its (first) class", "one to take", "attended.svg"):
        assert part in text
    labels = sum(len(image.labels) for image in read_weak_split(images, "train").images)
    assert f"4 images with {labels} labels for train" in text
    head, rows = class_cells(results)
    assert head == ["", "background", "disc", "square", "triangle"]
    assert rows[2][2:] == ["0.0", "0.0", "0.0"]  # background everywhere
    assert "counts.svg" not in text
    assert len(results["pictures"]) == 3
    page = (done / "index.html").read_text(encoding="utf-8")
    assert page.count("<table>") == 2
    for name in ("curves.svg", "attended.svg", "picture_1.jpg", "picture_3.jpg"):
        assert (done / name).stat().st_size > 500
        assert name in page
    trained = {name: row["seeds"].get("1", {}).get("training", {}) for name, row in results["rows"].items()}
    assert trained["mcis"]["attended_positions"] == trained["mcis"]["attended"][-1][1] > 1
    assert "training_seconds" not in trained["mcis_multi"]  # it has none of its own
    assert trained["mcis"]["parameters"] == trained["mcis_multi"]["parameters"]


@pytest.mark.parametrize("name", METHODS)
def test_numbers_are_those_of_the_scripts_for_single_steps(done, images, tmp_path, name):
    known = results_of(done)["rows"][name]["seeds"]["1"]
    model, processor = load_mcis(done / "mcis" / "seed_1" / "model")
    test, settings = read_weak_split(images, "test"), LocalizationSettings(**RECIPES[name].localization)
    make_maps(model, processor, test, tmp_path / "maps", settings, "model", progress=False)
    rules = PseudoLabelSettings(min_object_share=0.0, background_score=known["training"]["background_score"])
    masks = images / "test" / "masks"
    maker = LabelMaker(test.class_names, tmp_path / "maps", tmp_path / "labels", rules, masks=masks)
    again = make_labels(maker, test, progress=False)["quality"]
    for key in ("mean_iou", "per_class_iou"):
        assert known["test"][key] == again[key]
    assert known["training"]["parameters"] == sum(one.numel() for one in model.parameters())


def test_the_score_is_the_best_one_on_validation(done, images, tmp_path):
    model, processor = load_mcis(done / "mcis" / "seed_1" / "model")
    val = read_weak_split(images, "val")
    make_maps(
        model, processor, val, tmp_path / "maps", LocalizationSettings(num_references=0), "model", progress=False
    )
    found = {}
    for score in SCORES:
        rules = PseudoLabelSettings(min_object_share=0.0, background_score=score)
        labels = tmp_path / f"labels_{score}"
        maker = LabelMaker(val.class_names, tmp_path / "maps", labels, rules, masks=images / "val" / "masks")
        found[score] = make_labels(maker, val, progress=False)["quality"]["mean_iou"]
    known = results_of(done)["rows"]["mcis"]["seeds"]["1"]["training"]
    assert known["validation"]["mean_iou"] == max(found.values())
    assert found[known["background_score"]] == max(found.values())


def test_the_model_has_the_score_of_each_kind_of_maps(done):
    rows = results_of(done)["rows"]
    chosen = {name: rows[name]["seeds"]["1"]["training"]["background_score"] for name in METHODS}
    config = MCISConfig.from_pretrained(done / "mcis" / "seed_1" / "model")
    assert (config.single_round_background_score, config.background_score) == (chosen["mcis"], chosen["mcis_multi"])


def test_rows_without_a_model_are_what_they_say(done, images):
    test, told = read_weak_split(images, "test", with_masks=True), results_of(done)["rows"]
    rule = mask_rule(test.class_names)
    masks = [read_weak_mask(image, rule) for image in test.images]
    counted = np.concatenate([mask[mask != 255] for mask in masks])
    background = told["all_background"]["seeds"]["1"]["test"]["per_class_iou"]
    assert background["background"] == pytest.approx((counted == 0).mean())
    for label, name in enumerate(test.class_names, start=1):
        given = [(image.labels[:1] == (label - 1,), mask) for image, mask in zip(test.images, masks)]
        hits = sum(int((mask == label).sum()) for first, mask in given if first)
        either = sum(int(((mask != 255) if first else (mask == label)).sum()) for first, mask in given)
        assert told["whole_picture"]["seeds"]["1"]["test"]["per_class_iou"][name] == pytest.approx(hits / either)


@pytest.mark.slow
def test_a_killed_comparison_goes_on_to_the_same_table(done, images, tmp_path, monkeypatch):
    """Killed in the classifier of the first row, and in the segmenter of the second one."""
    saved, saves = CalendarTrainer._save_checkpoint, []

    def stop(self, *arguments, **options):
        saved(self, *arguments, **options)
        saves.append(self.state.global_step)
        if len(saves) in (1, 5):
            raise KeyboardInterrupt

    words = [*words_of(images, tmp_path / "out"), "--segmenter_steps", "2"]
    monkeypatch.setattr(CalendarTrainer, "_save_checkpoint", stop)
    assert main(words) == 130
    assert main(words) == 130
    assert not (tmp_path / "out" / "mcis_multi" / "seed_1" / "training.json").exists()
    assert main(words) == 0
    assert saves == [1, 2, 1, 2, 1, 2]
    there, here = results_of(tmp_path / "out"), results_of(done)
    assert untimed(there["rows"]) == untimed(here["rows"])
    kept = [key for key in here["columns"] if key not in TIMES]
    assert comparison_table(there, kept) == comparison_table(here, kept)


def test_recipes_are_files_for_all_steps(done):
    path = str(done / "mcis_multi" / "seed_1" / "recipe.yaml")
    assert set(read_yaml(path)) <= set(PARTS)
    classifier = parse_mcis_run(arguments=["--config", path, "--output_dir", "x"])
    assert (classifier.training.max_steps, classifier.config.use_co_attention) == (2, True)
    words = ["--config", path, "--data_dir", "x", "--pseudo_labels", "y", "--output_dir", "z"]
    assert parse_segmenter_run(arguments=words).training.max_steps == 2
    (maps,) = parse_part("localization", (LocalizationSettings,), "", ["--config", path])
    (rules,) = parse_part("pseudo_labels", (PseudoLabelSettings,), "", ["--config", path])
    assert (maps.num_references, rules.min_object_share) == (3, 0.0)
    assert (
        rules.background_score == results_of(done)["rows"]["mcis_multi"]["seeds"]["1"]["training"]["background_score"]
    )


def without_masks(folder):
    (folder / "val" / "masks" / "synthetic_val_00001.png").unlink()


def without_a_pixel(folder):
    for path in (folder / "test" / "masks").iterdir():
        Image.new("L", (48, 40), 255).save(path)


def without_test(folder):
    shutil.rmtree(folder / "test")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (without_masks, r"val/masks.*a mask NAME.png.*1 missing: synthetic_val_00001"),
        (without_a_pixel, r"test/masks.*only 255"),
        (without_test, r"test/labels.csv.*a split with masks"),
    ],
)
def test_what_the_data_lack_is_named(images, tmp_path, capsys, damage, words):
    shutil.copytree(images, tmp_path / "set")
    damage(tmp_path / "set")
    assert main(words_of(tmp_path / "set", tmp_path / "out")) == 2
    assert re.search(words, capsys.readouterr().err, re.DOTALL)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("mcis", "cffm"), "one task"),
        (("mcis", "p2pnet"), "one task"),
        (("mcis_multi",), "mcis_multi builds on mcis"),
        (("mcis", "mcis"), "different"),
        (("mcis", "--crop_size", "64"), "for counters.*--crop_size"),
        (("mcis", "--clips", "3"), "for video.*--clips"),
        (("p2pnet", "--image_size", "64"), "for image labels.*--image_size"),
        (("mcis", "--segmenter_steps", "-1"), "segmenter_steps=-1"),
        (("mcis", "--batch_size", "0"), "batch_size=0"),
        (("mcis", "--backbone", "no_such_net"), "timm"),
    ],
)
def test_mistakes_are_named(images, tmp_path, capsys, more, words):
    assert main(words_of(images, tmp_path / "out", *more)) == 2
    assert re.search(words, capsys.readouterr().err)


def test_a_folder_with_tables_of_labels_is_known_by_them(images, tmp_path, monkeypatch):
    made = []

    def remember(task, *_):
        made.append(task)
        raise ValueError("far enough")

    monkeypatch.setattr("dense_hf.training.comparison.runner.compare", remember)
    assert main(["compare", str(images), "--output", str(tmp_path)]) == 2
    (task,) = made
    assert (task.name, task.methods) == ("weak", DEFAULT_METHODS)


def test_help_lists_every_way(capsys):
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    text = capsys.readouterr().out
    assert "methods that learn from image labels" in text
    assert all(f"  {name} " in text for name in NAMES)


def test_rows_that_build_on_another_have_its_classifier():
    assert {*DEFAULT_METHODS, *BASES, *BASES.values()} <= set(NAMES) == set(RECIPES)
    for name, base in BASES.items():
        assert (RECIPES[name].model, RECIPES[name].scaled) == (RECIPES[base].model, RECIPES[base].scaled)
        assert RECIPES[name].localization != RECIPES[base].localization
    assert RECIPES["mcis_cosine_gate"].model == RECIPES["mcis_cosine"].model | RECIPES["mcis_gate"].model


def test_the_recipe_is_that_of_the_crops():
    file = read_yaml(REPOSITORY / "scripts" / "configs" / "mcis" / "crops.yaml")
    ours = sections_of(RECIPES["mcis_one_head_multi"], WeakBudget(segmenter_steps=200), 270, (128, 128), 0.4)
    for part in ("localization", "pseudo_labels", "evaluation"):
        assert ours[part] == file[part]
    of_the_set = {"dataset_name", "image_cache_size", "eval_window", "eval_stride"}
    of_the_set |= {"background_score", "single_round_background_score"}
    of_the_budget = {"num_train_epochs", "save_steps", "logging_steps"}
    for part in ("classifier", "segmenter"):
        for section, known in file[part].items():
            expected = {key: value for key, value in known.items() if key not in of_the_set | of_the_budget}
            assert {key: ours[part][section].get(key) for key in expected} == expected


def test_features_are_scaled_where_their_size_is_known():
    def scale_of(name, **budget):
        return sections_of(RECIPES[name], WeakBudget(**budget), 100)["classifier"]["model"].get("feature_scale")

    assert (scale_of("mcis"), scale_of("mcis_cosine"), scale_of("basic_scaled")) == (None, 0.2, 0.2)
    assert scale_of("mcis_cosine", backbone_weights="x.pth") == 1.0


@pytest.mark.parametrize(("steps", "first_epoch"), [(39, 0), (40, 1), (400, 1)])
def test_contrastive_terms_come_with_the_second_epoch_if_there_is_one(steps, first_epoch):
    model = sections_of(RECIPES["mcis"], WeakBudget(steps=steps), 100)["classifier"]["model"]
    assert model["contrastive_start_epoch"] == first_epoch


@pytest.mark.parametrize(
    ("size", "window", "stride"), [((128, 128), 129, 86), ((120, 90), 121, 80), ((500, 375), 321, 214)]
)
def test_windows_hold_small_images(size, window, stride):
    assert windows_of(size) == {"window": window, "stride": stride}
