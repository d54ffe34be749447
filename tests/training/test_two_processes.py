"""Two gloo processes against one: the same samples, first step, metrics, and end after a stop."""

import json
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
import yaml
from programs import run_processes
from safetensors.torch import load_file

from dense_hf.training.epoch_sampler import EpochSampler

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def config_file(tmp_path_factory, tiny_set, tiny_model):
    """5 validation images and 6 training images, no dropout: what two processes do can be compared with one."""
    model = {**tiny_model, "dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}
    training = {
        "num_train_epochs": 2,
        "max_grad_norm": 0.0,
        "lr_milestones": [1],
        "learning_rate": 1.0e-3,
        "eval_start_epoch": 1,
        "eval_every_epochs": 1,
        "disable_tqdm": True,
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": 1,
        "save_total_limit": 9,
    }
    sections = {"model": model, "data": {"data_dir": str(tiny_set), "threshold": 0.1}, "training": training}
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(yaml.safe_dump(sections), encoding="utf-8")
    return path


TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


def log_history(folder: Path) -> list[dict]:
    last = max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    return json.loads((last / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, config_file, script_environment, run_here):
    """The same training with one process of batch 4 and two of batch 2; 6 images do not fill the second step."""
    folders = {processes: tmp_path_factory.mktemp(f"processes{processes}") for processes in (1, 2)}
    options = ("--config", config_file, "--output_dir", folders[2], "--per_device_train_batch_size", 2)
    run_processes(2, [sys.executable, SCRIPTS / "train_iocformer.py", *options], env=script_environment)
    run_here("train_iocformer.py", *options[:2], "--output_dir", folders[1], "--per_device_train_batch_size", 4)
    return folders


@pytest.mark.slow
def test_both_runs_take_the_same_steps(runs):
    losses = {n: [entry["loss"] for entry in log_history(folder) if "loss" in entry] for n, folder in runs.items()}
    assert len(losses[1]) == len(losses[2]) == 4
    # the sums of two halves and of a whole differ in the last bits only; Adam then grows them
    assert losses[2][0] == pytest.approx(losses[1][0], rel=1e-5)
    assert losses[2] == pytest.approx(losses[1], rel=1e-2)
    weights = {n: load_file(folder / "model.safetensors") for n, folder in runs.items()}
    assert max((weights[1][key] - weights[2][key]).abs().max() for key in weights[1]) < 0.02


@pytest.mark.slow
def test_metrics_do_not_depend_on_the_number_of_processes(
    runs, tiny_set, tmp_path, script_environment, run_here, capsys
):
    """The weights and the numbers of the run of two, 5 images (3 for a process and 2 for the other), counted again."""
    files = {processes: tmp_path / f"{processes}.json" for processes in (1, 2)}
    options = ("--model", runs[2], "--data_dir", tiny_set, "--threshold", 0.1, "--output")
    command = [sys.executable, SCRIPTS / "evaluate_counting.py", *options, files[2]]
    printed = [run_processes(2, command, env=script_environment).stdout]
    run_here("evaluate_counting.py", *options, files[1])
    printed.append(capsys.readouterr().out)
    results = {n: json.loads(path.read_text(encoding="utf-8")) for n, path in files.items()}
    in_training = json.loads((runs[2] / "results.json").read_text(encoding="utf-8"))
    assert results[1] == results[2] == {split: in_training[split] for split in ("validation", "test")}
    numbers = results[1]["validation"]
    assert numbers["num_images"] == 5
    for text in printed:
        assert text.count("| Method |") == 1
        assert f"| {numbers['mae']:.2f} | {numbers['mse']:.2f} | {numbers['nae']:.2f} |" in text


@pytest.mark.slow
def test_two_processes_resume_to_the_same_bits(runs, config_file, script_environment, same_weights, tmp_path):
    """From the middle of the first epoch, now with loader workers, and by the real torchrun."""
    options = ("--config", config_file, "--output_dir", tmp_path, "--per_device_train_batch_size", 2)
    options += ("--resume_from_checkpoint", runs[2] / "checkpoint-1", "--dataloader_num_workers", 2)
    command = [sys.executable, *TORCHRUN, SCRIPTS / "train_iocformer.py", *options]
    subprocess.run([*map(str, command)], env=script_environment, check=True)
    assert same_weights(runs[2] / "checkpoint-4", tmp_path / "checkpoint-4")


def test_processes_share_the_samples_of_one(tiny_set):
    """The batches that accelerate deals to two processes are the halves of the batches of one."""
    from accelerate.data_loader import BatchSamplerShard
    from torch.utils.data import BatchSampler

    def batches(batch_size, processes):
        sampler = EpochSampler(7, seed=3, multiple_of=4)
        sampler.start_epoch(5)
        shards = [BatchSamplerShard(BatchSampler(sampler, batch_size, False), processes, i) for i in range(processes)]
        return [list(chain(*step)) for step in zip(*shards, strict=True)]

    assert batches(2, 2) == batches(4, 1)
    flat = list(chain(*batches(2, 2)))
    assert sorted(index for _, index in flat) == list(range(8))
    assert {epoch for epoch, _ in flat} == {5}
