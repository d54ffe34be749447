"""Training of MCIS: its log, evaluation, frozen norms, resumption, two processes, and the script's files."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from tiny_mcis_runs import make_mcis_trainer, sections, tiny_processor

from dense_hf.data import open_image
from dense_hf.errors import InvalidDataError
from dense_hf.training.mcis_arguments import parse_mcis_run
from dense_hf.training.mcis_trainer import MCISArguments
from dense_hf.weak_segmentation.modeling_mcis import MCISForImageClassification

REPOSITORY = Path(__file__).parents[2]
CONFIGS = REPOSITORY / "scripts" / "configs" / "mcis"
LAST_STEP = 9  # 3 epochs of 8 images in batches of 3
TIMM = {
    "backbone_config": {
        "model_type": "timm_backbone",
        "backbone": "test_resnet",
        "features_only": True,
        "out_indices": [2],
    }
}


def history_of(checkpoint):
    return json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]


def losses_of(history):
    return [entry for entry in history if "loss" in entry]


@pytest.fixture(scope="module")
def whole_run(weak_set, tmp_path_factory):
    """Saves after every step."""
    folder = tmp_path_factory.mktemp("whole")
    make_mcis_trainer(weak_set, folder, save_strategy="steps", save_steps=1).train()
    return folder


# what a step does -------------------------------------------------------------------------------------------------


def test_every_term_is_logged_and_they_add_up(whole_run):
    entries = losses_of(history_of(whole_run / "checkpoint-9"))
    assert len(entries) == LAST_STEP
    for entry in entries:
        terms = {name: value for name, value in entry.items() if name.startswith("loss_")}
        assert sum(terms.values()) == pytest.approx(entry["loss"], rel=1e-5)
        views = {f"loss_view_{index}_{part}" for index in range(3) for part in ("basic", "co_attention")}
        contrast = {"loss_contrastive", "loss_paired_contrastive"}
        assert {"loss_basic", "loss_co_attention"} | views == terms.keys() - contrast
        assert not (entry["epoch"] <= 1 and contrast & terms.keys())  # contrastive_start_epoch is 1
    assert {"loss_contrastive", "loss_paired_contrastive"} & {name for entry in entries for name in entry}


def test_a_gate_that_nothing_trains_stays_as_it_is(weak_set, tmp_path):
    trainer = make_mcis_trainer(weak_set, tmp_path, {"contrastive_start_epoch": 9}, num_train_epochs=1)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()
    after = trainer.model.state_dict()
    assert {name for name in before if torch.equal(before[name], after[name])} == {"gate.weight"}


def test_three_matrices_of_two_domains_are_trained(weak_set, tmp_path):
    """The validation images as another domain: pairs of all kinds in a batch of 13."""
    source = {"data_dir": str(weak_set), "split": "val", "domain": 1}
    trainer = make_mcis_trainer(
        weak_set, tmp_path, {"num_domains": 2}, [source], per_device_train_batch_size=13, num_train_epochs=1
    )
    affinities = trainer.model.co_attention.affinities
    before = [layer.weight.detach().clone() for layer in affinities]
    trainer.train()
    assert len(affinities) == 3
    decay = 1 - 1e-2 * 5e-4 * 1.9  # Nesterov's first step; a matrix of pairs that do not occur would do just this
    for old, layer in zip(before, affinities):
        assert (layer.weight - decay * old).abs().max() > 1e-7


@pytest.mark.parametrize("options", [{"gradient_checkpointing": True}, {"bf16": True}], ids=str)
def test_memory_savers_train_the_same_model_nearly(whole_run, weak_set, tmp_path, options):
    trainer = make_mcis_trainer(weak_set, tmp_path, max_steps=2, **options)
    trainer.train()
    pairs = zip(losses_of(trainer.state.log_history), losses_of(history_of(whole_run / "checkpoint-2")), strict=True)
    for saving, plain in pairs:
        assert saving["loss"] == pytest.approx(plain["loss"], rel=1e-5 if "bf16" not in options else 0.1)


def test_batch_norm_of_another_backbone_is_frozen(weak_set, tmp_path):
    """Nothing of it moves or is trained, its convolutions do, and all comes back from the file."""
    trainer = make_mcis_trainer(weak_set, tmp_path, TIMM, num_train_epochs=1)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trained = {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}
    trainer.train()
    after = trainer.model.state_dict()
    norms = {name for name in before if "bn" in name or "running" in name}
    assert len(norms) > 8
    assert not norms & trained
    assert all(torch.equal(before[name], after[name]) for name in norms)
    assert not any(torch.equal(before[name], after[name]) for name in trained if name.startswith("backbone."))
    trainer.model.save_pretrained(tmp_path / "saved")
    again = MCISForImageClassification.from_pretrained(tmp_path / "saved").state_dict()
    assert again.keys() == after.keys()
    assert all(torch.equal(again[name], after[name]) for name in after)
    free = make_mcis_trainer(weak_set, tmp_path, {**TIMM, "freeze_backbone_batch_norm": False})
    assert len([name for name, _ in free.model.named_parameters()]) > len(trained)


# evaluation -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_evaluation_against_image_by_image(weak_set, tmp_path, batch_size):
    trainer = make_mcis_trainer(weak_set, tmp_path, per_device_eval_batch_size=batch_size)
    model = trainer.model.train()
    metrics = trainer.evaluate()
    assert model.training
    logits, labels = [], []
    for image in trainer.eval_dataset:
        pixels = tiny_processor()(open_image(image.path), return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            logits.append(model(pixels).logits[0].double().numpy())
        labels.append([float(label in image.labels) for label in range(3)])
    scores, truth = np.array(logits), np.array(labels)
    loss = -(truth * np.log(1 / (1 + np.exp(-scores))) + (1 - truth) * np.log(1 / (1 + np.exp(scores)))).mean()
    precisions = []
    for k in np.flatnonzero(truth.any(axis=0)):
        of_image = [truth[scores[:, k] >= score, k].mean() for score in scores[truth[:, k] == 1, k]]
        precisions.append(np.mean(of_image))
    assert metrics["eval_loss"] == pytest.approx(loss, rel=1e-5)
    assert metrics["eval_mean_average_precision"] == pytest.approx(np.mean(precisions))
    assert metrics["eval_num_images"] == 5


def test_evaluation_by_the_calendar_keeps_the_best(weak_set, tmp_path):
    trainer = make_mcis_trainer(
        weak_set,
        tmp_path,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        num_train_epochs=2,
    )
    trainer.train()
    scores = {
        entry["step"]: entry["eval_mean_average_precision"] for entry in trainer.state.log_history
        if "eval_loss" in entry
    }  # fmt: skip
    assert list(scores) == [3, 6]
    assert scores[trainer.state.best_global_step] == max(scores.values())
    best = load_file(tmp_path / f"checkpoint-{trainer.state.best_global_step}" / "model.safetensors")
    assert all(torch.equal(value, best[name]) for name, value in trainer.model.state_dict().items())


# stop and go on ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stop", "workers"), [(1, 0), (3, 0), (5, 2)])  # 3 is the end of an epoch
def test_resumed_run_ends_with_the_same_bits(whole_run, same_weights, weak_set, tmp_path, stop, workers):
    trainer = make_mcis_trainer(
        weak_set, tmp_path, save_strategy="steps", save_steps=LAST_STEP, dataloader_num_workers=workers
    )
    trainer.train(resume_from_checkpoint=str(whole_run / f"checkpoint-{stop}"))
    assert same_weights(tmp_path / "checkpoint-9", whole_run / "checkpoint-9")
    assert not same_weights(whole_run / "checkpoint-8", whole_run / "checkpoint-9")


SCRIPT = REPOSITORY / "scripts" / "train_mcis.py"


@pytest.fixture(scope="module")
def config(tmp_path_factory, weak_set):
    """2 steps per epoch in batches of 4, with an evaluation after each epoch and a checkpoint after each step."""
    path = tmp_path_factory.mktemp("config") / "run.yaml"
    run = sections(weak_set, eval_strategy="epoch", save_strategy="steps", save_steps=1)
    path.write_text(yaml.safe_dump(run), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def one_process(config, tmp_path_factory, run_here):
    """The script with batches of 4."""
    folder = tmp_path_factory.mktemp("one")
    run_here(SCRIPT.name, "--config", config, "--output_dir", folder, "--per_device_train_batch_size", 4)
    return folder


def results_of(folder):
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_killed_process_resumes_to_the_same_bits(
    one_process, config, tmp_path, script_environment, run_here, same_weights
):
    """SIGKILL in the middle of a real run, then `--resume_from_checkpoint auto`."""
    words = ["--config", config, "--output_dir", tmp_path, "--per_device_train_batch_size", "4"]
    with subprocess.Popen([sys.executable, SCRIPT, *words], env=script_environment) as process:
        deadline = time.monotonic() + 300
        while not (tmp_path / "checkpoint-2").exists() and process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "checkpoint-6").exists()
    run_here(SCRIPT.name, *words, "--resume_from_checkpoint", "auto")
    assert same_weights(one_process / "checkpoint-6", tmp_path / "checkpoint-6")
    assert results_of(one_process) == results_of(tmp_path)


@pytest.mark.slow
def test_what_the_script_leaves(one_process):
    """For users, and for the scripts that make maps."""
    names = {"config.json", "model.safetensors", "preprocessor_config.json", "README.md", "results.json"}
    assert names <= {path.name for path in one_process.iterdir()}
    model = MCISForImageClassification.from_pretrained(one_process)
    assert model.config.id2label == {0: "disc", 1: "square", 2: "triangle"}
    results = results_of(one_process)
    assert (results["epochs"], results["seed"], results["val"]["num_images"]) == (3, 1, 5)
    card = ModelCard.load(one_process / "README.md")
    (metric,) = card.data.eval_results
    assert metric.metric_value == results["val"]["mean_average_precision"]
    assert "mcis" in card.data.tags
    assert all(words in card.text for words in ("synthetic", "image-level labels", "## Limits", "disc, square"))


# two processes ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_do_what_one_does(one_process, config, weak_set, tmp_path, script_environment):
    """Steps, terms of the loss and metrics: one process with batches of 4 pairs, two with batches of 2."""
    two = tmp_path / "two"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    words = ["--config", config, "--output_dir", two, "--per_device_train_batch_size", "2"]
    subprocess.run([*launcher, SCRIPT, *words], env=script_environment, check=True)
    histories = [history_of(folder / "checkpoint-6") for folder in (one_process, two)]
    assert len(histories[0]) == len(histories[1]) == 6 + 3
    for first, second in zip(*histories):
        assert first.keys() == second.keys()
        for name in [name for name in first if "loss" in name]:
            assert second[name] == pytest.approx(first[name], rel=1e-4), name
    results = results_of(two)["val"]
    assert results["num_images"] == 5
    # the weights of the two, judged by one
    trainer = make_mcis_trainer(weak_set, tmp_path / "again")
    trainer.model.load_state_dict(load_file(two / "model.safetensors"))
    metrics = trainer.evaluate(metric_key_prefix="val")
    for name in ("loss", "mean_average_precision"):
        assert metrics[f"val_{name}"] == pytest.approx(results[name], rel=1e-9)


# the script's words -----------------------------------------------------------------------------------------------


def parse(path, *more):
    return parse_mcis_run(arguments=["--config", str(path), "--output_dir", "unused", *more])


def test_every_file_has_a_comment_and_is_a_run():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} >= {"smoke", "thesis_text"}
    for path in CONFIGS.glob("*.yaml"):
        assert path.read_text(encoding="utf-8").startswith("# ")
        parse(path)


def test_the_text_of_the_thesis_and_the_released_recipe():
    text = parse(CONFIGS / "thesis_text.yaml")
    released = parse_mcis_run(arguments=["--output_dir", "unused"])
    changed = {
        name: getattr(text.config, name)
        for name in type(text.config).__annotations__
        if getattr(text.config, name) != getattr(released.config, name)
    }
    assert changed == {
        "shared_class_head": True, "loss_reduction": "sum", "contrastive_start_epoch": 0,
        "skip_empty_contrastive": False, "flip_view": False, "scale_views": [],
    }  # fmt: skip
    assert (text.training.weight_decay, released.training.weight_decay) == (2e-4, 5e-4)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"classifiers": {}}, ["classifiers", "did you mean classifier?"]),
        ({"classifier": {"model": {"hiden_size": 2}}}, ["hiden_size ", "did you mean hidden_size?"]),
        ({"classifier": {"model": {"loss_reduction": "max"}}}, ["loss_reduction", "'max'"]),
        ({"classifier": {"data": {"image_size": 3, "image_std": [1]}}}, ["image_size must be", "image_std must be"]),
        ({"classifier": {"data": {"hue": 1}}}, ["hue must be in [0, 0.5]"]),
        ({"classifier": {"data": {"extra_sources": [{"list": "a"}]}}}, ["list and images_dir"]),
        ({"classifier": {"training": {"head_lr_factor": 0}}}, ["head_lr_factor must be positive"]),
        ({"classifier": {"model": {"backbone_weights": "a", "model_name_or_path": "b"}}}, ["leave out"]),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path, content, words):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(ValueError) as error:  # noqa: PT011  the words are checked below
        parse(path)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_sources_in_a_file_are_those_of_the_command_line(tmp_path):
    source = {"data_dir": "web", "domain": 1}
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"classifier": {"data": {"extra_sources": [source]}}}), encoding="utf-8")
    typed = parse_mcis_run(arguments=["--output_dir", "unused", "--extra_sources", json.dumps(source)])
    assert parse(path).sources == typed.sources
    assert (typed.sources[0].data_dir, typed.sources[0].domain) == ("web", 1)


def test_a_broken_image_is_named_before_the_first_step(weak_set, tmp_path, run_here):
    data = tmp_path / "data" / "images"
    data.mkdir(parents=True)
    (data / "a.jpg").write_bytes(b"no image")
    (data.parent / "labels.csv").write_text("image,labels\na.jpg,cat\n")
    with pytest.raises(SystemExit, match=r"train_mcis\.py: .*a\.jpg"):
        run_here("train_mcis.py", "--data_dir", data.parent, "--output_dir", tmp_path / "out")
    words = ["--data_dir", weak_set, "--output_dir", tmp_path / "out", "--disable_tqdm", "true"]
    with pytest.raises(SystemExit, match=r"a split test"):
        run_here("train_mcis.py", *words, "--eval_strategy", "epoch", "--eval_split", "test")
    assert not (tmp_path / "out").exists()


def test_weights_of_another_network_are_refused(weak_set, tmp_path, run_here):
    save_file({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "other.safetensors")
    words = ["--data_dir", weak_set, "--output_dir", tmp_path / "out", "--disable_tqdm", "true"]
    with pytest.raises(SystemExit, match=r"torchvision:vgg16.*missing features"):
        run_here("train_mcis.py", *words, "--backbone_weights", tmp_path / "other.safetensors")


def test_the_recipe_fixes_what_it_decides():
    with pytest.raises(ValueError, match="lr_scheduler_type is fixed by the recipe"):
        MCISArguments(output_dir="unused", lr_scheduler_type="cosine")
    with pytest.raises(InvalidDataError, match="no_such_file"):
        parse_mcis_run(arguments=["--output_dir", "x", "--config", "no_such_file.yaml"])
