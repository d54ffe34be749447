"""A run that is stopped and resumed is the run that was not stopped, bit for bit: augmentation and dropout on."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from programs import Program

from dense_hf.training.counting.augmentation import CountingAugmentation

pytestmark = pytest.mark.no_cover

STEPS_PER_EPOCH = 4
LAST_STEP = 3 * STEPS_PER_EPOCH


@pytest.fixture(scope="module")
def whole_run(make_trainer, tmp_path_factory):
    """Saves after every step."""
    folder = tmp_path_factory.mktemp("whole")
    make_trainer(folder, save_strategy="steps", save_steps=1).train()
    return folder


def test_the_test_can_fail(whole_run, same_weights, make_trainer, tmp_path):
    """Another augmentation or another seed gives other weights, so equality below means something."""
    assert not same_weights(whole_run / "checkpoint-11", whole_run / "checkpoint-12")
    without = CountingAugmentation(horizontal_flip=0, scale=0, grayscale=0)
    make_trainer(tmp_path / "other", augmentation=without, save_strategy="steps", save_steps=LAST_STEP).train()
    assert not same_weights(tmp_path / "other" / "checkpoint-12", whole_run / "checkpoint-12")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [1, 3, 4, 6, 11])  # 4 is the end of an epoch
def test_resumed_run_ends_with_the_same_bits(whole_run, same_weights, make_trainer, tmp_path, stop, workers):
    trainer = make_trainer(
        tmp_path,
        save_strategy="steps",
        save_steps=LAST_STEP,
        dataloader_num_workers=workers,
        dataloader_persistent_workers=bool(workers) and stop % 2 == 1,
    )
    trainer.train(resume_from_checkpoint=str(whole_run / f"checkpoint-{stop}"))
    assert same_weights(tmp_path / "checkpoint-12", whole_run / "checkpoint-12")


@pytest.mark.slow
def test_killed_process_resumes_to_the_same_bits(
    tiny_model, tiny_set, tmp_path, script_environment, run_here, same_weights, caplog
):
    """SIGKILL in the middle of a real run, a checkpoint cut off as by a crash, `--resume_from_checkpoint auto`."""
    training = {
        "num_train_epochs": 3,
        "per_device_train_batch_size": 2,
        "learning_rate": 1.0e-3,
        "eval_start_epoch": 1,
        "eval_every_epochs": 1,
        "save_strategy": "steps",
        "save_steps": 2,
        "save_total_limit": 99,
        "lr_milestones": [1, 2],
        "disable_tqdm": True,
    }
    sections = {
        "model": tiny_model,
        "data": {"data_dir": str(tiny_set), "samples_per_image": 4},
        "training": training,
    }
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(sections), encoding="utf-8")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    script = Path(__file__).parents[3] / "scripts" / "train_iocformer.py"
    command = [sys.executable, str(script), "--config", str(config), "--output_dir", str(killed)]
    with Program(command, env=script_environment) as process:
        deadline = time.monotonic() + 300
        while not (killed / "checkpoint-6").exists() and process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (killed / "checkpoint-36").exists()
    last = max(killed.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    (last / "trainer_state.json").unlink(missing_ok=True)  # whatever the kill left, this one is not complete

    run_here(script.name, "--config", config, "--output_dir", killed, "--resume_from_checkpoint", "auto")
    assert any(str(last) in record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    run_here(script.name, "--config", config, "--output_dir", whole)
    assert same_weights(whole / "checkpoint-36", killed / "checkpoint-36")
    results = [json.loads((folder / "results.json").read_text(encoding="utf-8")) for folder in (whole, killed)]
    assert results[0] == results[1]


def test_a_run_at_its_end_is_resumed_by_no_step(make_trainer, tmp_path):
    """Also where the end is in the middle of an epoch."""
    options = {"max_steps": 2, "save_strategy": "steps", "save_steps": 2}
    make_trainer(tmp_path, **options).train()
    again = make_trainer(tmp_path, **options)
    assert again.steps_per_epoch == 4
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert again.state.global_step == 2
