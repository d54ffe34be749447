"""A counter, a video model and a classifier from outside of the package: trained, resumed, judged and used.

Nothing of the package knows them but three rows (`tests/helpers/toys`), and nothing else is told about them.
"""

import csv
import json

import pytest
import toys
import yaml
from huggingface_hub import ModelCard
from tiny_video_runs import DATA as VIDEO_DATA
from transformers import pipeline

from dense_hf import methods as table_of_methods
from dense_hf.cli import main
from dense_hf.data import read_video_folder, read_weak_split
from dense_hf.inference.checkpoints import load_counter, load_mcis, load_video_model
from dense_hf.methods import methods
from dense_hf.training.classifier.options import parse_mcis_run
from dense_hf.training.classifier.run import train_classifier

pytestmark = pytest.mark.no_cover

TRAINING = {
    "per_device_train_batch_size": 2,
    "learning_rate": 1.0e-2,
    "max_steps": 6,
    "eval_strategy": "no",
    "save_strategy": "steps",
    "save_steps": 2,
    "save_total_limit": 99,
    "logging_steps": 1,
    "disable_tqdm": True,
}


@pytest.fixture(scope="module", autouse=True)
def rows():
    """The three rows, gone after these tests."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(table_of_methods, "_known", methods())
        toys.add_toys()
        yield


def train(folder, name, output, data, run_here, *options, **training):
    """One run of a toy, as a person starts it; the classifier's recipe has a script of its own method only."""
    sections = {"model": {"width": 3}, "data": data, "training": {**TRAINING, **training}}
    scripts = {"toy_counter": "train_counter.py", "toy_video": "train_video_baseline.py"}
    file = folder / f"{name}.yaml"
    words = ["--config", str(file), "--output_dir", str(output), *map(str, options)]
    file.write_text(yaml.safe_dump(sections if name in scripts else {"classifier": sections}), encoding="utf-8")
    if name in scripts:
        run_here(scripts[name], "--method", name, *words)
    else:
        train_classifier(parse_mcis_run(arguments=words, method=name))
    return output


@pytest.fixture(scope="module")
def data_of(tiny_set, video_set, weak_set):
    """The section `data` of each toy's run."""
    return {
        "toy_counter": {"data_dir": str(tiny_set), "image_cache_size": 9},
        "toy_video": {**VIDEO_DATA, "data_dir": str(video_set)},
        "toy_classifier": {"data_dir": str(weak_set), "image_size": 32, "horizontal_flip": 0.5},
    }


@pytest.fixture(scope="module")
def trained(rows, data_of, run_here, tmp_path_factory):
    """The folder of each toy's run."""
    folder = tmp_path_factory.mktemp("toys")
    more = {"toy_video": {"warmup_steps": 2}}
    return {
        name: train(folder, name, folder / name, data, run_here, **more.get(name, {}))
        for name, data in data_of.items()
    }


NAMES = pytest.mark.parametrize("name", [row.name for row in toys.ROWS])


@NAMES
def test_a_resumed_run_ends_with_the_same_bits(trained, data_of, run_here, same_weights, tmp_path, name):
    more = {"warmup_steps": 2} if name == "toy_video" else {}
    stopped = trained[name] / "checkpoint-2"
    again = train(
        tmp_path, name, tmp_path / "again", data_of[name], run_here, "--resume_from_checkpoint", stopped, **more
    )
    assert same_weights(again / "checkpoint-6", trained[name] / "checkpoint-6")
    assert not same_weights(stopped, again / "checkpoint-6")
    results = [json.loads((folder / "results.json").read_text(encoding="utf-8")) for folder in (again, trained[name])]
    assert results[0] == results[1]


@NAMES
def test_its_card_has_its_title_and_its_numbers(trained, name):
    text = (trained[name] / "README.md").read_text(encoding="utf-8")
    row = methods()[name]
    assert f"# {row.title}" in text
    assert "MCIS" not in text
    assert all(f"- {limit}" in text for limit in row.limits)
    assert "width: 3" in text
    card = ModelCard.load(trained[name] / "README.md").data
    numbers = {"toy_counter": "mae", "toy_video": "mean_iou", "toy_classifier": "mean_average_precision"}
    assert numbers[name] in {result.metric_type for result in card.eval_results}


@NAMES
def test_the_terms_of_its_loss_are_in_the_log(trained, name):
    state = json.loads((trained[name] / "checkpoint-6" / "trainer_state.json").read_text(encoding="utf-8"))
    terms = {"toy_counter": "loss_size", "toy_video": "loss_target", "toy_classifier": "loss_paired"}
    assert all(terms[name] in line for line in state["log_history"] if "loss" in line)


@pytest.mark.smoke
def test_a_counter_is_judged_piped_and_called(trained, tiny_set, run_here, tmp_path, noise):
    folder, numbers = str(trained["toy_counter"]), tmp_path / "numbers.json"
    run_here("evaluate_counting.py", "--model", folder, "--data_dir", tiny_set, "--output", numbers, "--quiet")
    trained_results = json.loads((trained["toy_counter"] / "results.json").read_text(encoding="utf-8"))
    evaluated = json.loads(numbers.read_text(encoding="utf-8"))
    for split in ("validation", "test"):
        assert evaluated[split]["mae"] == pytest.approx(trained_results[split]["mae"])
    picture = noise(100, 80)
    picture.save(tmp_path / "noise.png")
    counted = pipeline("object-counting", model=folder, device="cpu")(picture, return_density_map=True)
    assert counted["points"] == []
    assert counted["count"] == round(counted["density_count"])
    assert counted["density_map"].sum() == pytest.approx(counted["density_count"], rel=1e-4)
    assert main(["count", str(tmp_path / "noise.png"), "--model", folder, "--output", str(tmp_path / "out")]) == 0
    with (tmp_path / "out" / "counts.csv").open(newline="") as file:
        assert [int(row["count"]) for row in csv.DictReader(file)] == [counted["count"]]
    assert len(list((tmp_path / "out" / "overlays").glob("*_density.png"))) == 1
    assert load_counter(folder)[0].config.model_type == "toy_counter"


def test_a_video_model_is_judged_piped_and_called(trained, video_set, run_here, tmp_path):
    folder, numbers = str(trained["toy_video"]), tmp_path / "numbers.json"
    run_here("evaluate_video.py", "--model", folder, "--data_dir", video_set, "--output", numbers, "--quiet")
    trained_results = json.loads((trained["toy_video"] / "results.json").read_text(encoding="utf-8"))
    assert json.loads(numbers.read_text(encoding="utf-8"))["mean_iou"] == trained_results["validation"]["mean_iou"]
    with pytest.raises(SystemExit, match="prototypes is for CFFM"):
        run_here("evaluate_video.py", "--model", folder, "--data_dir", video_set, "--prototypes", tmp_path)
    video = read_video_folder(video_set).splits["validation"][0]
    frames = video.frames[0].image_path.parent
    results = list(pipeline("video-semantic-segmentation", model=folder, device="cpu")(str(frames)))
    assert len(results) == len(video.frames)
    table = tmp_path / "shares.csv"
    assert main(["segment", str(frames), "--model", folder, "--table", str(table), "--device", "cpu"]) == 0
    with table.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(video.frames)
    assert load_video_model(folder)[0].config.model_type == "toy_video"


def test_a_classifier_makes_maps_is_piped_and_called(trained, weak_set, run_here, tmp_path):
    folder, maps = str(trained["toy_classifier"]), tmp_path / "maps"
    run_here(
        "make_maps.py", "--model", folder, "--data_dir", weak_set, "--output", maps, "--num_references", 0, "--quiet"
    )
    images = read_weak_split(weak_set, "train")
    assert len(list(maps.glob("*.png"))) == sum(len(image.labels) for image in images.images)
    picked = images.images[:2]
    segmenter = pipeline("weakly-supervised-segmentation", model=folder, device="cpu")
    results = segmenter(
        [str(image.path) for image in picked], labels=[list(image.labels) for image in picked], num_references=0
    )
    assert [set(result["maps"]) for result in results] == [
        {images.class_names[label] for label in image.labels} for image in picked
    ]
    with pytest.raises(ValueError, match="without co-attention has single-round maps only"):
        segmenter(str(picked[0].path), labels=[0])
    words = ["localize", str(picked[0].path.parent), "--model", folder, "--output", str(tmp_path / "out")]
    assert main([*words, "--num-references", "0", "--threshold", "0", "--no-overlays"]) == 0
    assert len(list((tmp_path / "out" / "masks").glob("*.png"))) >= len(images)
    assert load_mcis(folder)[0].config.model_type == "toy_classifier"


@NAMES
@pytest.mark.smoke
def test_what_would_be_uploaded_has_its_code(trained, capsys, name):
    """`tests/hub/test_new_methods_on_the_hub.py` uploads it, and loads it elsewhere."""
    assert main(["push", str(trained[name]), "someone/toy", "--dry-run"]) == 0
    listed = {line.split()[-1] for line in capsys.readouterr().out.splitlines() if line[:1] == " "}
    assert {f"modeling_{name}.py", f"configuration_{name}.py", "README.md", "results.json"} <= listed


def test_scripts_of_a_task_teach_and_name_its_methods(run_here, capsys):
    for script, known, other in (
        ("train_counter.py", "toy_counter", "toy_video"),
        ("train_video_baseline.py", "toy_video", "toy_counter"),
    ):
        with pytest.raises(SystemExit) as stop:
            run_here(script, "--help")
        assert stop.value.code == 0
        text = capsys.readouterr().out
        assert "This text is the manual" in text
        assert known in text.rpartition("--method {")[2]
        with pytest.raises(SystemExit):
            run_here(script, "--method", known, "--help")
        text = capsys.readouterr().out
        assert "--learning_rate" in text
        for words in (["--method", other], []):
            with pytest.raises(SystemExit) as stop:
                run_here(script, *words)
            assert stop.value.code == 2
            assert "--method" in capsys.readouterr().err


def test_a_method_with_prototypes_has_a_script_of_its_own(run_here, video_set, tmp_path):
    with pytest.raises(SystemExit, match=r"prototypes of its videos has a script of its own. Received: cffm_plus"):
        run_here("train_video_baseline.py", "--method", "cffm_plus", "--data_dir", video_set, "--output_dir", tmp_path)
