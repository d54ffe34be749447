"""Each file of Table 2.3 is a run of its method, and a tiny run of each trains, resumes and is judged."""

import json
import sys
from pathlib import Path

import pytest
import torch
import yaml
from programs import run_processes
from safetensors.torch import load_file
from tiny_counters import TINY_COUNTERS, tiny_counter
from tiny_density_counter import tiny_density_model
from torch.testing import assert_close

from dense_hf import CounterImageProcessor
from dense_hf.counting import modeling_p2pnet
from dense_hf.training.counting.dataset import collate_crops
from dense_hf.training.counting.options import parse_counting_run
from dense_hf.training.counting.run import build_data, read_data
from dense_hf.training.epoch_sampler import EpochSampler

pytestmark = pytest.mark.no_cover

SCRIPTS = Path(__file__).parents[3] / "scripts"
FOLDER = SCRIPTS / "configs" / "counting"
FILES = {name: FOLDER / f"table_2.3_{'mps' if name == 'mspsnet' else name}.yaml" for name in TINY_COUNTERS}
# learning rate, weight decay, images of a step, of facts about the released code
RECIPES = {
    "mcnn": (1e-6, 0, 1),
    "man": (5e-6, 1e-5, 1),
    "dssinet": (1e-5, 0, 12),
    "mspsnet": (1e-6, 0, 1),
    "lcfcn": (1e-5, 5e-4, 1),
    "p2pnet": (1e-4, 0, 32),
}


@pytest.mark.parametrize("name", FILES)
def test_files_are_runs_with_the_released_recipe(name):
    run = parse_counting_run(name, arguments=["--config", str(FILES[name]), "--output_dir", "unused"])
    arguments = run.training
    assert (arguments.learning_rate, arguments.weight_decay, arguments.per_device_train_batch_size) == RECIPES[name]
    assert FILES[name].read_text(encoding="utf-8").startswith("# Table 2.3, ")
    assert arguments.lr_milestones == []


@pytest.mark.parametrize("name", FILES)
def test_a_tiny_run_trains_resumes_and_is_judged(name, tiny_set, run_here, same_weights, tmp_path):
    sections = {
        "model": TINY_COUNTERS[name],
        "data": {"data_dir": str(tiny_set), "crop_size": 64},
        "training": {
            "per_device_train_batch_size": 2,
            "learning_rate": 1.0e-4,
            "max_steps": 2,
            "eval_strategy": "no",
            "save_strategy": "steps",
            "save_steps": 1,
            "save_total_limit": 9,
            "disable_tqdm": True,
        },
    }
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(sections), encoding="utf-8")
    words = ["--method", name, "--config", str(file), "--output_dir"]
    run_here("train_counter.py", *words, str(tmp_path / "whole"))
    stopped = tmp_path / "whole" / "checkpoint-1"
    run_here("train_counter.py", *words, str(tmp_path / "again"), "--resume_from_checkpoint", str(stopped))
    assert same_weights(tmp_path / "again" / "checkpoint-2", tmp_path / "whole" / "checkpoint-2")
    assert not same_weights(stopped, tmp_path / "whole" / "checkpoint-2")
    assert json.loads((tmp_path / "whole" / "results.json").read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["density_counter", "p2pnet"])
def test_two_processes_take_the_step_of_their_mean_loss(name, tiny_set, script_environment, tmp_path, monkeypatch):
    """One step of SGD against gradients that are added up here: of the halves, and for BL of the batch as a whole.

    P2PNet's cross entropies are a mean by weights, so that halves and the whole differ; its points are divided by
    those of all processes, as released.
    """
    fields = {"freeze_backbone_batch_norm": True}
    if name == "density_counter":
        model = tiny_density_model("bl", **fields)
    else:
        model = tiny_counter(name, compat=False, **fields)
    CounterImageProcessor(**model.config.processor_settings).save_pretrained(tmp_path / "start")
    model.save_pretrained(tmp_path / "start")
    options = {
        "model_name_or_path": tmp_path / "start",
        "data_dir": tiny_set,
        "crop_size": 64,
        "optimizer": "sgd",
        "momentum": 0,
        "weight_decay": 0,
        "learning_rate": 0.01,
        "max_grad_norm": 0,
        "max_steps": 1,
        "eval_strategy": "no",
        "per_device_train_batch_size": 2,
        "use_cpu": True,
        "output_dir": tmp_path / "two",
    }
    words = [str(word) for key, value in options.items() for word in (f"--{key}", value)]
    run_processes(2, [sys.executable, SCRIPTS / "train_counter.py", "--method", name, *words], env=script_environment)
    run = parse_counting_run(name, arguments=words)
    _, samples = build_data(run, read_data(run)["train"])
    sampler = EpochSampler(len(samples), run.training.seed, multiple_of=4)
    chosen = [samples[key] for key, _ in zip(sampler, range(4))]
    halves = [collate_crops(chosen[:2]), collate_crops(chosen[2:])]
    number = torch.tensor(sum(len(sample["labels"]) for sample in chosen) / 2)
    monkeypatch.setattr(modeling_p2pnet, "points_per_process", lambda points, device: number)
    two = load_file(tmp_path / "two" / "model.safetensors")
    for batches in [halves] if name == "p2pnet" else [halves, [collate_crops(chosen)]]:
        model.train().zero_grad()
        (sum(model(**batch).loss for batch in batches) / len(batches)).backward()
        for key, value in model.named_parameters():
            step = value.detach() - two[key]
            assert_close(step, 0.01 * value.grad, rtol=1e-3, atol=1e-6)
        assert all(float(value.grad.abs().max()) > 0 for key, value in model.named_parameters() if "head" in key)
