"""`make demo` on crops and its training, on synthetic shapes and an MCIS of random weights."""

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_weak_runs import MODEL

from dense_hf import MCISConfig, MCISForImageClassification
from dense_hf.data import generate_miniature_weak
from dense_hf.data.weak_source import read_weak_split
from dense_hf.inference.checkpoints import load_mcis
from dense_hf.inference.evaluation_options import SegmentationEvaluationArguments
from dense_hf.inference.localization_maps import make_maps
from dense_hf.inference.pseudo_label_files import LabelMaker, make_labels
from dense_hf.options import read_part_keys
from dense_hf.training.classifier.options import parse_mcis_run
from dense_hf.training.comparison.weak_baselines import judge_labels
from dense_hf.training.segmenter.options import parse_segmenter_run
from dense_hf.weak_segmentation import LocalizationSettings, PseudoLabelSettings
from dense_hf.weak_segmentation.image_processing_mcis import MCISImageProcessor
from dense_hf.weak_segmentation.pseudo_labels import default_background_score

pytestmark = pytest.mark.no_cover

CLASSES = ("disc", "square", "triangle")


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crops") / "data"
    generate_miniature_weak(folder, 8, 0, 10, image_size=(40, 40), disable_progress=True)
    return folder


def save_model(folder, class_names=CLASSES):
    """An MCIS that has not learned anything."""
    torch.manual_seed(0)
    names = dict(enumerate(class_names))
    MCISForImageClassification(MCISConfig(**MODEL, id2label=names)).save_pretrained(folder)
    MCISImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def test_the_demo_localizes_judges_and_draws(script, crops, tmp_path, capsys):
    model_path, output = save_model(tmp_path / "model"), tmp_path / "out"
    demo = script("demo_weak")
    assert demo.main([str(crops), "--model", str(model_path), "--output", str(output), "--per_class", "1"]) == 0
    results = json.loads((output / "results_weak.json").read_text())
    assert results["masks"] == "pseudo"
    # what the scripts of the pipeline find with the same settings
    test, (model, processor) = read_weak_split(crops, "test"), load_mcis(str(model_path))
    rows = script("train_demo_weak")
    for name in ("single_round", "full"):
        settings = rows.settings_of(rows.ROWS[name])
        localization = LocalizationSettings(**settings["localization"])
        make_maps(model, processor, test, tmp_path / name / "maps", localization, "model", progress=False)
        maker = LabelMaker(
            test.class_names,
            tmp_path / name / "maps",
            tmp_path / name / "labels",
            PseudoLabelSettings(**settings["pseudo_labels"]),
            masks=crops / "test" / "masks",
        )
        expected = make_labels(maker, test, progress=False)["quality"]
        assert results["rows"][rows.ROWS[name].title]["mean_iou"] == expected["mean_iou"]
    printed = capsys.readouterr().out
    assert "pseudo masks" in printed
    assert f"{100 * results['rows']['all background']['mean_iou']:8.1f}" in printed
    sheet = Image.open(output / "weak_maps.png")
    step, top = demo.SIDE + demo.GAP, demo.HEADING
    assert sheet.size == (5 * step - demo.GAP, top + 3 * step - demo.GAP)
    first = next(image for image in test.images if image.labels == (0,))  # one of two discs: the second half's
    discs = [image for image in test.images if image.labels == (0,)]
    picture = Image.open(discs[len(discs) // 2].path).resize((demo.SIDE, demo.SIDE), Image.Resampling.BICUBIC)
    assert (np.asarray(sheet.crop((0, top, demo.SIDE, top + demo.SIDE))) == np.asarray(picture)).all()
    assert first in discs


def test_labels_without_a_model_are_what_they_say(script, crops):
    baselines = script("crops_baselines")
    folder = read_weak_split(crops, "test")
    masks = [np.full((40, 40), image.labels[0] + 1 if image.labels else 0, np.uint8) for image in folder.images]
    constants = baselines.constant_labels(folder, masks)
    whole = constants["the whole crop is its (first) class"]
    assert judge_labels(folder.class_names, whole, masks)["mean_iou"] == 1
    scores = judge_labels(folder.class_names, constants["all background"], masks)
    assert scores["per_class_iou"]["disc"] == 0
    background = sum((mask == 0).sum() for mask in masks) / sum(mask.size for mask in masks)
    assert scores["per_class_iou"]["background"] == pytest.approx(background)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--per_class", "0"], "--per_class must be at least 1"),
        (["--model", "no/such/folder"], "no/such/folder"),
    ],
)
def test_what_cannot_be_shown(script, crops, tmp_path, capsys, options, message):
    given = ["--model", str(save_model(tmp_path / "model")), "--output", str(tmp_path / "out")]
    assert script("demo_weak").main([str(crops), *given, *options]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "results_weak.json").exists()


def test_a_model_of_other_classes(script, crops, tmp_path, capsys):
    model = save_model(tmp_path / "model", ("person", "car", "tree"))
    assert script("demo_weak").main([str(crops), "--model", str(model), "--output", str(tmp_path / "out")]) == 1
    assert "person, car, tree" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["basic", "co_attention", "single_round", "full", "contrastive_maps"])
def test_rows_are_what_their_titles_say_and_all_scripts_can_read_them(script, tmp_path, name):
    module = script("train_demo_weak")
    runner = module.Runner(tmp_path, tmp_path)
    path = str(runner._config(name, module.ROWS[name]))
    run = parse_mcis_run(arguments=["--config", path, "--output_dir", "unused"])
    assert run.config.use_co_attention == (name != "basic")
    assert run.config.use_contrastive_co_attention == (name not in ("basic", "co_attention"))
    parse_segmenter_run(arguments=["--config", path, "--data_dir", "x", "--pseudo_labels", "y", "--output_dir", "z"])
    read_part_keys(path, "evaluation", SegmentationEvaluationArguments.__dataclass_fields__)
    settings = module.settings_of(module.ROWS[name])
    localization = LocalizationSettings(**settings["localization"])
    assert localization.num_references == (0 if name in ("basic", "single_round") else 3)
    assert localization.use_contrastive == (name == "contrastive_maps")
    labels = PseudoLabelSettings(**settings["pseudo_labels"])
    assert labels.crf is False
    if name != "basic":  # the scores that the bundled model keeps are those that its rows were measured with
        assert labels.background_score == default_background_score(run.config, localization.num_references)


@pytest.fixture
def training(script, monkeypatch, tmp_path):
    """The script, all of whose steps are replaced by files of the names that they would write."""
    module, started = script("train_demo_weak"), []

    def write(command, **_):
        name = Path(command[1]).name
        options = dict(zip(command[2::2], command[3::2]))
        started.append((name, options))
        output = Path(options.get("--output_dir") or options["--output"])
        score = (10 * int(options.get("--seed") or output.parts[-2][-1]) + (3 if "full" in str(output) else 0)) / 100
        scores = {"mean_iou": score, "per_class_iou": {"background": score, "disc": 2 * score}}
        if name == "train_mcis.py":
            save_model(output)
        elif name == "make_pseudo_labels.py":
            output.mkdir(parents=True)
            (output / "pseudo_labels.json").write_text(json.dumps({"quality": scores}))
        elif name == "evaluate_segmentation.py":
            output.write_text(json.dumps(scores))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(module.runs, "subprocess", SimpleNamespace(run=write, STDOUT=subprocess.STDOUT))
    return module, started


def test_every_row_is_judged_and_one_classifier_is_bundled(training, crops, tmp_path, capsys):
    module, started = training
    output = tmp_path / "runs"
    assert module.main([str(crops), "--output", str(output), "--jobs", "1"]) == 0
    scripts = [name for name, _ in started]
    assert scripts[:9] == ["train_mcis.py"] * 9
    assert scripts[9:] == 15 * [
        "make_maps.py",
        "make_pseudo_labels.py",
        "train_deeplab.py",
        "evaluate_segmentation.py",
    ]
    assert {options["--split"] for name, options in started if name == "evaluate_segmentation.py"} == {"test"}
    models = {options["--model"] for name, options in started if name == "make_maps.py"}
    assert models == {options["--output_dir"] for name, options in started if name == "train_mcis.py"}
    results = json.loads((output / "results.json").read_text())
    full = results["rows"]["full"]
    assert full["segmentation"]["mean_iou"]["mean"] == pytest.approx(0.23)
    assert full["segmentation"]["mean_iou"]["standard_deviation"] == pytest.approx(0.1)
    assert full["pseudo_labels"]["minus_basic"]["lowest"] == pytest.approx(0.03)
    assert full["segmentation"]["per_class_iou"]["disc"]["highest"] == pytest.approx(0.66)
    constant = results["without_model"]["all background"]
    masks = [Image.open(path) for path in sorted((crops / "train" / "masks").iterdir())]
    pixels = np.concatenate([np.asarray(mask).ravel() for mask in masks])
    share = (pixels == 0).sum() / (pixels != 255).sum()
    assert constant["pseudo_labels"]["per_class_iou"]["background"] == pytest.approx(share)
    bundled = output / "mcis-crops"
    classifier = output / "classifiers" / "full_seed_1"
    assert (bundled / "model.safetensors").read_bytes() == (classifier / "model.safetensors").read_bytes()
    assert json.loads((bundled / "results.json").read_text()) == results
    printed = capsys.readouterr().out
    table = printed[printed.index("Against PSEUDO masks") : printed.index("\n\nresults.json")]
    assert "| full model, multi-round | 23.0 (13.0 to 33.0) | +3.00 (+3.00 to +3.00) |" in table
    assert table in (bundled / "README.md").read_text()

    assert module.main([str(crops), "--output", str(output), "--jobs", "1"]) == 0
    assert len(started) == 9 + 15 * 4
    (output / "finished" / "full_seed_2_segmenter").unlink()
    assert module.main([str(crops), "--output", str(output), "--jobs", "1"]) == 0
    assert [name for name, _ in started[69:]] == ["train_deeplab.py"]


def test_a_step_that_fails_names_its_log(script, crops, tmp_path, monkeypatch, capsys):
    module = script("train_demo_weak")
    (tmp_path / "train_mcis.py").write_text("import sys\nsys.exit('out of memory')\n")
    monkeypatch.setattr(module.runs, "SCRIPTS", tmp_path)
    assert module.main([str(crops), "--output", str(tmp_path / "runs"), "--jobs", "1"]) == 1
    assert "classifiers_basic_seed_1.log" in capsys.readouterr().err
    assert "out of memory" in (tmp_path / "runs" / "logs" / "classifiers_basic_seed_1.log").read_text()
    assert not list((tmp_path / "runs" / "finished").iterdir())
