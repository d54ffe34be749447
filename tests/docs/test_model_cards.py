"""The cards in the repository are what the script makes of the data files; new numbers come where they belong."""

import copy
import json
import re
import shutil
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

import dense_hf
from dense_hf.reports.model_card import METRIC_TYPES

pytestmark = pytest.mark.no_cover

ROOT = Path(__file__).parents[2]
MODULES = [path.stem for path in (ROOT / "scripts" / "demo").glob("*.py")]
METHODS = sorted((ROOT / "model_cards" / "methods").glob("*.yaml"))
CHECKPOINTS = sorted(path.parent for path in ROOT.glob("checkpoints/*/results.json"))
PAGE = "docs/results.md"
CARDS = [ROOT / "model_cards" / f"{path.stem}.md" for path in METHODS]
CARDS += [path / "README.md" for path in CHECKPOINTS]


@pytest.fixture
def script(monkeypatch):
    """`script(name)`: a file of scripts/ as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "demo"))
    yield import_module
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def cards(script):
    """The script as a module."""
    return script("make_model_cards")


def test_cards_and_the_page_of_results_are_what_the_script_writes(cards):
    """Byte for byte; `python scripts/demo/make_model_cards.py` writes them again."""
    changed = [
        str(path) for path, text in cards.all_texts(ROOT, {}).items() if (ROOT / path).read_bytes() != text.encode()
    ]
    assert changed == []


def test_the_table_of_the_readme_is_what_the_files_of_results_say(script):
    """Byte for byte; `python scripts/demo/results_page.py` writes it again."""
    assert script("results_page").front_page(ROOT) == (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_method_and_every_checkpoint_has_a_card():
    assert sorted(path.parent for path in ROOT.glob("checkpoints/*/config.json")) == CHECKPOINTS
    data_files = {path.stem for path in ROOT.glob("model_cards/checkpoints/*.yaml")}
    assert {path.name for path in CHECKPOINTS} <= data_files
    titles = {yaml.safe_load(path.read_text(encoding="utf-8"))["title"] for path in METHODS}
    methods = {name.removesuffix("Config") for name in dir(dense_hf) if name.endswith("Config")}
    methods.remove("ResNet38")  # a backbone
    spelled = {
        "DeepLabV3PlusVideo": "DeepLabv3+ for video",
        "Plus": "++",
        "LargeFOV": "-LargeFOV",
        "DensityCounter": "Density counters",
    }
    spelled |= {"DSSINet": "DSSI-Net", "MSPSNet": "MPS", "NetVideo": "Net for video"}
    for name, words in spelled.items():
        methods = {method.replace(name, words) for method in methods}
    assert methods <= titles


HUB_TASKS = ("image-classification", "image-segmentation", "object-detection")
METRICS = ("mae", "rmse", "nae", "mean_iou", "weighted_iou", "pixel_accuracy", "vc8", "vc16", "mean_average_precision")


@pytest.mark.parametrize("path", CARDS, ids=lambda path: str(path.relative_to(ROOT)))
def test_metadata_can_be_read_and_says_whose_number_it_is(path):
    card = ModelCard.load(path)
    assert (card.data.library_name, card.data.license) == ("transformers", "apache-2.0")
    assert "dense_hf" in card.data.tags
    results = card.data.eval_results or []
    assert results or path.name in ("cffm_plus.md", "deeplabv3plus_video.md")
    assert card.data.pipeline_tag in HUB_TASKS or path.name == "affinity_net.md"
    for result in results:
        assert result.task_type == card.data.tags[0]
        assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", result.dataset_type)
        assert result.metric_type in METRICS
        assert result.metric_value <= 1 or result.metric_type in ("mae", "rmse", "nae"), "shares are 0 to 1"
        if path.parent.parent.name == "checkpoints":
            assert result.metric_name.endswith("(measured here)")
            assert result.source_url is None
        else:
            assert re.search(r"\(thesis, Table \d\.\d+\)$", result.metric_name)
            assert result.source_name == "thesis"


@pytest.mark.parametrize("path", CARDS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_sections(path):
    text = path.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert "://" in link or (path.parent / link).exists(), link
    titles = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    assert titles == ["What it is for", "Limits", "Results", "How it was made", "Cite"]


@pytest.mark.parametrize("path", METHODS, ids=lambda path: path.stem)
def test_numbers_of_the_thesis_are_those_of_the_configurations(path):
    """Each configuration of a table's row says in its first lines what the thesis has there."""
    for table in yaml.safe_load(path.read_text(encoding="utf-8"))["thesis"]:
        for row in table["rows"]:
            if "config" in row:
                head = (ROOT / row["config"]).read_text(encoding="utf-8").split("\nmodel")[0]
                assert f"Table {table['number']}" in head
                stated = {float(number) for number in re.findall(r"\d+\.\d+", head)}
                assert set(row["splits"]["val"].values()) <= stated, row["name"]


def test_figures_of_the_metadata_are_those_of_the_results():
    def measured(name: str) -> tuple[dict, dict]:
        folder = ROOT / "checkpoints" / name
        card = ModelCard.load(folder / "README.md")
        values = {result.metric_type: result.metric_value for result in card.data.eval_results}
        return values, json.loads((folder / "results.json").read_text())

    values, results = measured("iocformer-trees")
    assert values == {METRIC_TYPES.get(key, key): results["run"]["test"][key] for key in ("mae", "mse", "nae")}
    values, results = measured("iocformer-nuclei")
    assert values == {METRIC_TYPES.get(key, key): results["run"]["test"][key] for key in ("mae", "mse", "nae")}
    values, results = measured("cffm-street")
    assert values == {key: results["methods"]["cffm"]["released"][key]["mean"] for key in ("mean_iou", "vc8", "vc16")}
    values, results = measured("mcis-crops")
    assert values == {"mean_iou": results["rows"]["full"]["segmentation"]["mean_iou"]["mean"]}


# new results


@pytest.fixture
def clone(tmp_path):
    """What the script changes."""
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / PAGE, tmp_path / PAGE)
    (tmp_path / "model_cards").mkdir()
    for folder in ROOT.glob("checkpoints/*"):
        (tmp_path / "checkpoints" / folder.name).mkdir(parents=True)
        shutil.copy(folder / "results.json", tmp_path / "checkpoints" / folder.name)
    return tmp_path


def tree_results() -> dict:
    """As the training of the demo writes them."""
    seed = {"seed": 1, "count": 101, "density_sum": 104.26, "mae_count": 1.5, "mae_density": 1.254, "f1@12": 0.4321}
    harder = {"name": "OSBS_029", "annotated": 61, "count": 30, "density_sum": 31.6, "mae_count": 31.0, "f1@12": 0.5}
    harder |= {"mae_density": 29.4}
    return {
        "checkpoint": "iocformer-trees",
        "held_out": {
            "annotated": 109,
            "seeds": [seed, {**seed, "seed": 2, "count": 112, "mae_count": 2.5, "mae_density": 3.5}],
            "baselines": {"train_density": {"total": 59.0, "mae": 6.25}, "test_mean": {"total": 109.0, "mae": 2.28}},
        },
        "harder": [
            {**harder, "name": "second_orthophoto"},
            {**harder, "seeds": [harder, {**harder, "count": 40, "mae_count": 20.0}]},
        ],
        "run": {"test": {"mae": 8.0, "mse": 8.0, "nae": 0.07}, "best_epoch": 16.0, "epochs": 16.0, "seed": 1},
        "made": {"commit": "0123456789ab", "started": "2026-01-02 03:04 UTC", "python": "3.11.7"},
    }


def parts(text: str, mark: str) -> list[str]:
    """Before, between and behind the marks."""
    return re.split(rf"<!-- {mark}:(?:begin|end) -->", text)


def test_new_results_are_kept_and_replace_the_old_ones_everywhere(cards, clone):
    (clone / "new.json").write_text(json.dumps(tree_results()))
    arguments = [str(clone / "new.json"), "--root", str(clone)]
    assert cards.main(arguments) == 0
    text = (clone / PAGE).read_text(encoding="utf-8")
    before, section, after = parts(text, "trees")
    assert [before, after] == parts((ROOT / PAGE).read_text(encoding="utf-8"), "trees")[::2]
    card = (clone / "checkpoints/iocformer-trees/README.md").read_text(encoding="utf-8")
    for place in (section, card):
        assert "| seed 1 | 101 of 109 | 1.50 | 0.432 | 104.3 | 1.25 |" in place
        assert "| mean (lowest to highest) | 106.5 (101.0 to 112.0) | 2.00 (1.50 to 2.50) | 0.432 (" in place
        assert "| density of the training area | 59.0 | 6.25 |" in place
        assert "| OSBS_029 | 30 of 61 | 31.00 | 0.500 | 31.6 | 29.40 |" in place
        assert "| OSBS_029, mean of the seeds | 35.0 (30.0 to 40.0) | 25.50 (20.00 to 31.00) | 0.500 " in place
        assert "second_orthophoto, mean" not in place
        assert "count of points is off by -7 to +3 %" in " ".join(place.split())
    assert "| test | 1 | 8.00 | 8.00 | 0.07 |" in card
    assert "commit 0123456789ab, started 2026-01-02 03:04 UTC; Python 3.11.7." in card
    assert json.loads((clone / "checkpoints/iocformer-trees/results.json").read_text()) == tree_results()
    assert cards.main(arguments) == 0  # again, and nothing piles up
    assert (clone / PAGE).read_text(encoding="utf-8") == text
    street = Path("checkpoints/cffm-street/README.md")
    assert (clone / street).read_bytes() == (ROOT / street).read_bytes()


def test_words_follow_the_numbers(script):
    reading, results = script("tables").counting_reading, tree_results()
    text = " ".join(reading(results).split())
    assert "density branch does not err less than the points" in text
    assert "sum is within 5 % of the annotated total" in text
    assert "below that of the best constant for seed 1; it is not for seed 2 and the mean." in text
    better = copy.deepcopy(results)
    for seed in better["held_out"]["seeds"]:
        seed |= {"mae_density": 1.0, "count": 110}
    text = " ".join(reading(better).split())
    assert "density branch errs less than the points" in text
    assert "below that of the best constant for seed 1, seed 2 and the mean." in text
    assert text.endswith("off by +1 %.")


@pytest.mark.parametrize("damage", ["no_marks", "no_number", "no_run", "unknown", "no_json", "no_file"])
def test_results_that_do_not_fit_change_nothing(cards, damage, clone, capsys):
    if damage == "no_marks":
        (clone / PAGE).write_text("# nothing to replace\n")
    results = tree_results()
    if damage == "no_number":
        del results["held_out"]["seeds"][0]["mae_count"]
    if damage == "no_run":
        del results["run"]
    if damage == "unknown":
        results["checkpoint"] = "iocformer-fish"
    if damage != "no_file":
        (clone / "new.json").write_text("{" if damage == "no_json" else json.dumps(results))
    old = {path: path.read_bytes() for path in clone.rglob("*") if path.is_file()}
    assert cards.main([str(clone / "new.json"), "--root", str(clone)]) == 1
    assert "new.json" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in clone.rglob("*") if path.is_file()} == old


def test_a_new_checkpoint_needs_its_data_file_alone(cards, clone):
    """The clone forgets that it had one for the crops."""
    shutil.rmtree(clone / "checkpoints" / "mcis-crops", ignore_errors=True)
    many = {"mean": 0.5, "lowest": 0.4, "highest": 0.6}
    scores = {"mean_iou": many, "minus_basic": many, "per_class_iou": {"car": many}}
    row = {"title": "full model", "seeds": {"1": {}}, "pseudo_labels": scores, "segmentation": scores}
    constant = {"mean_iou": 0.25, "per_class_iou": {"car": 0.0}}
    without = {"all background": {"pseudo_labels": constant, "segmentation": constant}}
    results = {"checkpoint": "mcis-crops", "masks": "pseudo", "rows": {"full": row}, "without_model": without}
    (clone / "new.json").write_text(json.dumps(results))
    assert cards.main([str(clone / "new.json"), "--root", str(clone)]) == 0
    card = ModelCard.load(clone / "checkpoints/mcis-crops/README.md")
    assert [result.metric_value for result in card.data.eval_results] == [0.5]
    for line in (
        "| full model | 50.0 (40.0 to 60.0) | +50.00 (+40.00 to +60.00) |",
        "| all background, no model | 25.0 | - | 25.0 | - |",
    ):
        assert line in card.text
        assert line in (clone / PAGE).read_text()
    assert "mcis-crops" in (clone / "model_cards/README.md").read_text()


def test_a_training_notes_where_it_comes_from_before_it_begins(script, tmp_path):
    remember_start = script("bundling").remember_start
    known = remember_start(tmp_path)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", known["started"])
    (tmp_path / "seed_1").mkdir()
    assert remember_start(tmp_path) == known
    (tmp_path / "made.json").unlink()
    assert remember_start(tmp_path) == {}  # it began without being noted


def test_the_bundle_of_a_training_is_a_checkpoint_with_card_and_results(script, save_counter, tmp_path):
    run = Path(save_counter(tmp_path / "run"))
    for name in ("config.json", "preprocessor_config.json"):
        content = json.loads((run / name).read_text())
        (run / name).write_text(json.dumps({**content, "auto_map": {}}))
    script("bundling").bundle(run, tmp_path / "bundle", tree_results())
    assert sorted(path.name for path in (tmp_path / "bundle").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "results.json",
    ]
    assert "| seed 1 | 101 of 109 |" in (tmp_path / "bundle" / "README.md").read_text()
