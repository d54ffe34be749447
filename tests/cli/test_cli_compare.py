"""`dense-hf compare` on a miniature set: two methods and the two baselines, two seeds, a few steps."""

import json
import re

import numpy as np
import pytest
import yaml
from training_fixtures import REPOSITORY

from dense_hf.cli import main
from dense_hf.data.counting_examples import read_examples
from dense_hf.inference.checkpoints import load_counter
from dense_hf.inference.counts import evaluate_counting
from dense_hf.methods import COUNTING, methods
from dense_hf.options import read_yaml
from dense_hf.training.calendar_trainer import CalendarTrainer
from dense_hf.training.comparison.counting_baselines import best_constant, fit_ridge, parameters_of, predict
from dense_hf.training.comparison.counting_names import DEFAULT_METHODS, NAMES
from dense_hf.training.comparison.counting_recipes import RECIPES, Budget, sections_of
from dense_hf.training.counting.options import parse_counting_run

pytestmark = pytest.mark.no_cover

METHODS = ("p2pnet", "density_branch", "iocformer_by_density")


def words_of(data, output, *more):
    budget = ("--steps", "3", "--batch_size", "2", "--crop_size", "64")
    backbone = ("--backbone", "test_resnet", "--backbone_weights", "none")
    return ["compare", str(data), "--output", str(output), "--methods", *METHODS, *budget, *backbone, *more]


@pytest.fixture(scope="module")
def done(tmp_path_factory, tiny_set):
    """A comparison that came to its end, and what the program gave back."""
    output = tmp_path_factory.mktemp("compare") / "out"
    return output, main(words_of(tiny_set, output, "--seeds", "1", "2"))


def test_it_writes_a_table_curves_and_pictures(done):
    output, code = done
    assert code == 0
    results = json.loads((output / "results.json").read_text(encoding="utf-8"))
    assert list(results["rows"]) == [*METHODS, "constant", "ridge"]
    assert [len(row["seeds"]) for row in results["rows"].values()] == [2, 2, 2, 1, 1]
    text = (output / "README.md").read_text(encoding="utf-8")
    for part in ("P2PNet", "Best constant", "Ridge regression", "F1 at 6 px", "one to take", "curves.svg"):
        assert part in text
    assert len(results["pictures"]) == 1  # there is one test picture
    for name in ("index.html", "curves.svg", "counts.svg", "picture_1.jpg"):
        assert (output / name).stat().st_size > 500


def test_numbers_are_those_of_the_models_that_it_leaves(done, tiny_set):
    output, _ = done
    test = read_examples(tiny_set, ["test"], progress=False)["test"]
    results = json.loads((output / "results.json").read_text(encoding="utf-8"))
    for name in METHODS:
        model, processor = load_counter(output / name / "seed_2" / "model")
        again = evaluate_counting(model, processor, test, progress=False, distances=[6])
        known = results["rows"][name]["seeds"]["2"]
        assert again["mae"] == known["test"]["mae"]
        assert again.get("f1@6") == known["test"].get("f1@6")
        assert known["training"]["parameters"] == sum(one.numel() for one in model.parameters())
        card = (output / name / "seed_2" / "model" / "README.md").read_text(encoding="utf-8")
        assert f"{again['mae']:.2f}" in card
    assert "counts of the validation images are best" in (output / "p2pnet/seed_2/model/README.md").read_text()
    model, processor = load_counter(output / "p2pnet" / "seed_2" / "model")
    assert processor.threshold == results["rows"]["p2pnet"]["seeds"]["2"]["training"]["threshold"]
    model, processor = load_counter(output / "iocformer_by_density" / "seed_2" / "model")
    assert processor.count_by == "density"
    assert results["rows"]["iocformer_by_density"]["seeds"]["2"]["training"]["threshold"] is None


def test_what_is_done_is_not_done_again(done, tiny_set):
    output, _ = done
    files = sorted(path for path in output.rglob("*") if path.is_file() and path.suffix in (".safetensors", ".json"))
    before = {path: path.stat().st_mtime_ns for path in files if path.name != "results.json"}
    assert main(words_of(tiny_set, output, "--seeds", "1", "2")) == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_killed_training_goes_on_to_the_same_weights(done, tiny_set, tmp_path, same_weights, monkeypatch):
    output, _ = done
    saved = CalendarTrainer._save_checkpoint

    def stop(self, *arguments, **options):
        saved(self, *arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(CalendarTrainer, "_save_checkpoint", stop)
    words = words_of(tiny_set, tmp_path / "out", "--seeds", "1")
    assert main(words) == 130
    monkeypatch.undo()
    assert main(words) == 0
    place = ("p2pnet", "seed_1", "model", "checkpoint-3")
    assert same_weights(output.joinpath(*place), (tmp_path / "out").joinpath(*place))


def test_minutes_become_steps_that_all_seeds_have(tiny_set, tmp_path):
    words = words_of(tiny_set, tmp_path / "out", "--seeds", "1", "2", "--methods", "p2pnet")
    at = words.index("--steps")
    assert main([*words[:at], *words[at + 2 :], "--minutes", "0.0001"]) == 0
    place = tmp_path / "out" / "p2pnet"
    known = json.loads((place / "steps.json").read_text(encoding="utf-8"))
    assert known["steps"] == 12  # as many as were measured, at least
    assert known["seconds_of_a_step"] > 0.0001 * 60 / 12
    for seed in ("seed_1", "seed_2"):
        assert read_yaml(place / seed / "recipe.yaml")["training"]["max_steps"] == 12


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--crop_size", "0"), "crop_size=0"),
        (("--methods", "mcnm"), "mcnn.*Received: mcnm"),
        (("--methods", "mcnn", "mcnn"), "different"),
        (("--methods", "mcnn:absent.yaml"), "absent.yaml"),
        (("--backbone", "no_such_net"), "timm"),
        (("--seeds", "1", "1"), "seeds"),
    ],
)
def test_mistakes_are_named(tiny_set, tmp_path, capsys, more, words):
    assert main(words_of(tiny_set, tmp_path / "out", *more)) == 2
    assert re.search(words, capsys.readouterr().err)


def test_help_lists_every_method(capsys):
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in NAMES)
    assert set(DEFAULT_METHODS) <= set(NAMES)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_a_file_for_train_counter(name, tmp_path):
    sections = sections_of(RECIPES[name], Budget(steps=400), num_images=216)
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(sections), encoding="utf-8")
    run = parse_counting_run(
        RECIPES[name].method, arguments=["--config", str(file), "--data_dir", "x", "--output_dir", "y"]
    )
    assert run.training.max_steps == 400
    assert run.data.samples_per_image == 4
    assert run.data.feature_cache == bool(RECIPES[name].strides)
    assert run.training.lr_milestones[0] * 72 == pytest.approx(280)  # 72 steps are an epoch of 864 crops


def test_every_counter_of_the_package_is_there():
    assert {recipe.method for recipe in RECIPES.values()} >= set(methods(COUNTING))
    assert list(RECIPES) == list(NAMES)


def test_a_frozen_backbone_is_not_counted_as_trained():
    sections = sections_of(RECIPES["p2pnet"], Budget(backbone="test_resnet", backbone_weights="x.pth"), num_images=20)
    fields = {key: value for key, value in sections["model"].items() if key != "backbone_weights"}
    model = methods(COUNTING)["p2pnet"].model_class(methods(COUNTING)["p2pnet"].config_class(**fields))
    backbone = sum(one.numel() for one in model.backbone.parameters())
    known = parameters_of(model)
    assert known["parameters"] - known["trained"] == backbone > 0


def test_the_recipe_of_iocformer_is_that_of_small_data():
    ours = sections_of(RECIPES["iocformer_by_density"], Budget(), num_images=200)
    file = read_yaml(REPOSITORY / "scripts" / "configs" / "iocformer" / "small_data.yaml")
    assert ours["model"] == file["model"]
    same = ("tile_overlap", "count_by")
    assert {key: ours["data"][key] for key in same} == {key: file["data"][key] for key in same}
    same = ("per_device_train_batch_size", "learning_rate", "lr_factors", "weight_decay", "warmup_steps", "lr_decay")
    assert {key: ours["training"][key] for key in same} == {key: file["training"][key] for key in same}


def test_the_ridge_regression_is_the_one_of_least_squares():
    """With next to no ridge, on as many images as it likes, it finds the line that made the counts."""
    rng = np.random.default_rng(0)
    features, weights = rng.normal(size=(60, 5)), np.array([3.0, -1.0, 0.5, 0.0, 2.0])
    counts = 40 + features @ weights
    line = fit_ridge(features[:40], counts[:40], (features[40:], counts[40:]))
    assert line["strength"] == 1e-3
    np.testing.assert_allclose(predict(line, features[40:]), counts[40:], atol=1e-3)
    noise = rng.normal(size=(40, 5)), rng.uniform(0, 50, size=40)
    strong = fit_ridge(*noise, (rng.normal(size=(200, 5)), rng.uniform(0, 50, size=200)))
    assert strong["strength"] > 1
    assert (predict({"weights": [-1.0] * 5, "constant": 0.0}, np.ones((2, 5))) == 0).all()


def test_the_constant_errs_the_least(tiny_set):
    train = read_examples(tiny_set, ["train"], progress=False)["train"]
    counts = np.array([len(item.points) for item in train])
    errors = [np.abs(counts - constant).mean() for constant in range(counts.max() + 1)]
    assert np.abs(counts - best_constant(train)).mean() <= min(errors)
