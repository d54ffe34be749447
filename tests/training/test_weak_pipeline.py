"""The order of steps, skipping, resuming after a kill, changed settings. The steps are stand-ins that do nothing."""

import importlib
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image
from programs import Program

ROOT = Path(__file__).parents[2]
SCRIPTS = ("train_mcis", "make_maps", "train_affinity", "refine_maps", "make_pseudo_labels", "train_deeplab")
WITHOUT_REFINEMENT = ["train_mcis", "make_maps", "make_pseudo_labels", "train_deeplab", "evaluate_segmentation"]
# notes its call; then fails, if there is a file `fail_STEM`, or waits as long as there is a file `stop_STEM`
STAND_IN = """
import json, os, sys, time
from pathlib import Path
here = Path(__file__).parent
name = Path(__file__).stem
with open(here / "calls.txt", "a") as calls:
    calls.write(name + " " + json.dumps(sys.argv[1:]) + "\\n")
print("this is", name, flush=True)
if (here / f"fail_{name}").exists():
    sys.exit(3)
while (here / f"stop_{name}").exists():
    print("waiting", flush=True)
    time.sleep(0.05)
"""


@pytest.fixture
def place(tmp_path) -> Path:
    """A folder with stand-ins for the steps, two images for each split and a configuration."""
    for name in (*SCRIPTS, "evaluate_segmentation"):
        (tmp_path / f"{name}.py").write_text(STAND_IN)
    for split in ("train", "val"):
        for folder in ("images", "masks"):
            (tmp_path / "data" / split / folder).mkdir(parents=True)
        for name in ("a", "b"):
            Image.new("RGB", (12, 9), "gray").save(tmp_path / "data" / split / "images" / f"{name}.png")
            Image.new("L", (12, 9), 1).save(tmp_path / "data" / split / "masks" / f"{name}.png")
        (tmp_path / "data" / split / "labels.csv").write_text("image,labels\na.png,cat\nb.png,cat;dog\n")
    (tmp_path / "config.yaml").write_text("localization:\n  num_references: 2\n")
    return tmp_path


def command(place: Path, *more: str) -> list[str]:
    program = [sys.executable, str(place / "run_weak_pipeline.py"), "--config", str(place / "config.yaml")]
    return [*program, "--data_dir", str(place / "data"), "--output", str(place / "run"), *more]


@pytest.fixture
def run(place, monkeypatch, capfd):
    """The program in this process, with the stand-ins; its status and what it and they have printed."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    program = importlib.import_module("run_weak_pipeline")
    monkeypatch.setattr(program, "SCRIPTS", place)

    def run_program(*more: str) -> tuple[int, str]:
        try:
            program.main(command(place, *more)[2:])
        except SystemExit as stop:
            return (1, f"{stop.code}\n{capfd.readouterr().err}")
        return 0, capfd.readouterr().err

    return run_program


def calls(place: Path) -> list[tuple[str, list[str]]]:
    file = place / "calls.txt"
    lines = file.read_text().splitlines() if file.exists() else []
    return [(line.split(" ", 1)[0], json.loads(line.split(" ", 1)[1])) for line in lines]


def test_steps_run_once_and_in_order(place, run):
    status, printed = run("--seed", "5", "--saliency", str(place / "salient"))
    assert status == 0, printed
    names = [name for name, _ in calls(place)]
    assert names == WITHOUT_REFINEMENT
    words = dict(calls(place))
    output = str(place / "run")
    assert all(arguments[:2] == ["--config", str(place / "config.yaml")] for arguments in words.values())
    assert words["make_maps"][words["make_maps"].index("--model") + 1] == f"{output}/classifier"
    assert words["make_pseudo_labels"][-4:] == [
        "--saliency",
        str(place / "salient"),
        "--output",
        f"{output}/pseudo_labels",
    ]
    assert "5" in words["train_mcis"]
    assert "5" in words["train_deeplab"]
    assert (place / "run" / "report.html").is_file()
    assert "this is train_deeplab" in (place / "run" / "logs" / "segmenter.log").read_text()
    assert "this is train_deeplab" in printed
    assert run("--seed", "5", "--saliency", str(place / "salient"))[0] == 0
    assert len(calls(place)) == 5


def test_refinement_and_no_evaluation(place, run):
    (place / "config.yaml").write_text("refinement:\n  walk: {}\n")
    assert run("--evaluation_split", "none")[0] == 0
    words = dict(calls(place))
    assert [*words] == [
        "train_mcis",
        "make_maps",
        "train_affinity",
        "refine_maps",
        "make_pseudo_labels",
        "train_deeplab",
    ]
    maps = words["make_pseudo_labels"][words["make_pseudo_labels"].index("--maps") + 1]
    assert maps == str(place / "run" / "refined_maps")


@pytest.mark.parametrize("script", ["make_maps", "train_deeplab"])
def test_killed_in_a_step_and_run_again(place, run, script, script_environment):
    shutil.copy(ROOT / "scripts" / "run_weak_pipeline.py", place)
    (place / f"stop_{script}").touch()
    with Program(command(place), env=script_environment, stderr=subprocess.PIPE, text=True) as process:
        while f"this is {script}" not in process.stderr.readline():
            pass
        status, printed = run()  # the first is still there
        assert status == 1
        assert "in use by another run" in printed
        process.send_signal(signal.SIGKILL)
        process.stderr.close()
    (place / f"stop_{script}").unlink()
    # the stand-in ends, at the latest when nobody reads what it prints, and the lock with it
    while "in use" in (outcome := run())[1]:
        pass
    assert outcome[0] == 0, outcome
    names = [name for name, _ in calls(place)]
    assert names.count(script) == 2
    assert len(names) == 6


def test_a_step_that_fails_names_its_command(place, run):
    (place / "fail_make_pseudo_labels").touch()
    status, printed = run()
    assert status == 1
    assert "status 3" in printed
    assert "make_pseudo_labels.py --config" in printed
    (place / "fail_make_pseudo_labels").unlink()
    assert run()[0] == 0
    assert [name for name, _ in calls(place)].count("train_mcis") == 1


def test_changed_settings_are_not_mixed(place, run):
    assert run()[0] == 0
    (place / "config.yaml").write_text("localization:\n  num_references: 3\n")
    status, printed = run()
    assert status == 1
    assert f"{place}/run/maps" in printed
    assert "config" in printed
    shutil.rmtree(place / "run" / "maps")
    status, printed = run()  # the maps are new now, what was made of the old ones is not
    assert status == 1
    assert f"{place}/run/pseudo_labels" in printed
    for folder in ("pseudo_labels", "segmenter", "evaluation"):
        shutil.rmtree(place / "run" / folder)
    assert run()[0] == 0
    assert [name for name, _ in calls(place)].count("train_mcis") == 1


def write_sources(place: Path, sources: list, **parts: dict) -> None:
    """A configuration with extra sources, and a folder web with an image."""
    if not (place / "web").exists():
        shutil.copytree(place / "data" / "train", place / "web")
        for name in ("a", "b"):
            (place / "web" / "images" / f"{name}.png").rename(place / "web" / "images" / f"web_{name}.png")
        (place / "web" / "labels.csv").write_text("image,labels\nweb_a,cat\nweb_b,cat;dog\n")
    config = {"classifier": {"data": {"extra_sources": sources}}, "refinement": {"walk": {}}, **parts}
    (place / "config.yaml").write_text(yaml.safe_dump(config))


def test_extra_sources_reach_all_steps_and_count_as_settings(place, run):
    web = {"data_dir": str(place / "web"), "domain": 1}
    write_sources(place, [web])
    assert run()[0] == 0
    behind = dict(calls(place))
    assert "--extra_sources" not in behind.pop("train_mcis")  # it reads them from the file
    assert "--extra_sources" not in behind.pop("evaluate_segmentation")
    for arguments in behind.values():
        assert json.loads(arguments[arguments.index("--extra_sources") + 1]) == web
    assert "2 training images" in (page := (place / "run" / "report.html").read_text())
    assert "and 2 of extra sources" in page
    write_sources(place, [json.dumps(web | {"domain": 0})])
    steps = ("classifier", "maps", "affinity", "refined_maps", "pseudo_labels", "segmenter", "evaluation")
    for folder in steps:
        status, printed = run()
        assert status == 1
        assert f"{place}/run/{folder}: expected what it was made with" in printed
        shutil.rmtree(place / "run" / folder)
    assert run()[0] == 0


@pytest.mark.parametrize(
    ("sources", "parts", "message"),
    [
        ([{"data_dir": "nowhere"}], {}, "nowhere: expected a folder"),
        ([{"folder": "web"}], {}, "keys among data_dir"),
        (["WEB", "WEB"], {}, "names of images must be unique"),
        (["WEB"], {"localization": {"extra_sources": ["WEB"]}}, None),
        (["WEB"], {"localization": {"extra_sources": ["other"]}}, "the classifier alone.*others in localization"),
        (["WEB"], {"segmenter": {"data": {"extra_sources": ["other"]}}}, "the classifier alone.*others in segmenter"),
        (["WEB"], {"classifier": {"data": {"extra_source": []}}}, "did you mean extra_sources"),
    ],
)
def test_bad_sources_before_the_first_step(place, run, sources, parts, message):
    web = json.dumps({"data_dir": str(place / "web")})
    write_sources(place, sources, **parts)
    content = json.dumps(yaml.safe_load((place / "config.yaml").read_text()))
    (place / "config.yaml").write_text(content.replace('"WEB"', json.dumps(web)))  # JSON is YAML
    status, printed = run()
    if message is None:
        assert status == 0, printed
        return
    assert status == 1
    assert re.search(message, printed), printed
    assert calls(place) == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--evaluation_split", "test"], "labels.csv"),
        (["--num_processes", "0"], "num_processes must be at least 1"),
        (["--data_dir", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_before_the_first_step(place, run, more, message):
    status, printed = run(*more)
    assert status == 1
    assert message in printed
    assert calls(place) == []


def test_its_part_of_the_configuration(place, run):
    (place / "config.yaml").write_text("pipeline: {evaluation_split: none, seed: 4}\n")
    assert run()[0] == 0
    assert "evaluate_segmentation" not in dict(calls(place))
    assert dict(calls(place))["train_deeplab"][4:6] == ["--seed", "4"]


def test_a_seed_of_a_step_is_not_replaced_unless_told(place, run):
    (place / "config.yaml").write_text("segmenter: {training: {seed: 7}}\n")
    assert run("--evaluation_split", "none")[0] == 0
    words = dict(calls(place))
    assert "--seed" not in words["train_deeplab"]
    assert words["train_mcis"][words["train_mcis"].index("--seed") + 1] == "1"
    assert run("--evaluation_split", "none", "--seed", "5", "--output", str(place / "other"))[0] == 0
    words = dict(calls(place))
    assert all(words[name][words[name].index("--seed") + 1] == "5" for name in ("train_mcis", "train_deeplab"))


def test_a_refinement_of_scores_beside_saliency_is_refused_before_the_first_step(place, run):
    (place / "config.yaml").write_text("pseudo_labels: {crf: true}\n")
    status, printed = run("--saliency", str(place / "salient"))
    assert status == 1
    assert "a part pseudo_labels that goes with saliency" in printed
    (place / "config.yaml").write_text("pseudo_labels: {background_score: 0.3}\n")
    status, printed = run("--saliency", str(place / "salient"))
    assert (status, "no background_score in the part pseudo_labels beside saliency" in printed) == (1, True), printed
    assert calls(place) == []


def test_the_manual_and_what_must_be_given(place, run, capfd):
    program = importlib.import_module("run_weak_pipeline")
    with pytest.raises(SystemExit) as stop:
        program.main(["--help"])
    assert stop.value.code == 0
    text = capfd.readouterr().out
    assert "From image-level labels to masks" in text
    for field in program.PipelineOptions.__dataclass_fields__:
        assert f"--{field}" in text
    with pytest.raises(SystemExit, match="--config is needed"):
        program.main(["--data_dir", str(place / "data"), "--output", str(place / "run")])
    with pytest.raises(SystemExit):
        program.main([*command(place)[2:], "--sead", "3"])
    assert not (place / "run").exists()


def test_an_unknown_part_of_the_configuration(place, run):
    (place / "config.yaml").write_text("localisation:\n  num_references: 3\n")
    status, printed = run()
    assert status == 1
    assert "did you mean localization" in printed
