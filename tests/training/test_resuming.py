"""The last complete checkpoint is found; cut off or missing files are noticed, whichever they are."""

import json
import subprocess
import sys

import pytest
import torch
from programs import Program
from safetensors.torch import save_file

from dense_hf import InvalidDataError
from dense_hf.training.resuming import (
    checkpoint_problem,
    last_complete_checkpoint,
    lock_output,
    resolve_checkpoint,
)

FILES = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")


def write_checkpoint(folder):
    folder.mkdir(parents=True)
    tensors = {"weight": torch.arange(100.0)}
    save_file(tensors, folder / "model.safetensors")
    for name in FILES[1:4]:
        torch.save(tensors, folder / name)
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 5, "log_history": []}), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", FILES)
def test_every_file_must_be_there_and_whole(tmp_path, name):
    folder = write_checkpoint(tmp_path / "checkpoint-5")
    assert checkpoint_problem(folder) is None
    content = (folder / name).read_bytes()
    for length in (0, len(content) // 2, len(content) - 1):
        (folder / name).write_bytes(content[:length])
        assert name in checkpoint_problem(folder)
    (folder / name).unlink()
    assert name in checkpoint_problem(folder)


def test_a_real_checkpoint_is_complete(make_trainer, tmp_path):
    make_trainer(tmp_path, save_strategy="steps", save_steps=2, max_steps=2).train()
    assert last_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-2"


def test_incomplete_ones_are_skipped_and_named(tmp_path, caplog):
    for step in (5, 20, 100):
        write_checkpoint(tmp_path / f"checkpoint-{step}")
    (tmp_path / "checkpoint-100" / "optimizer.pt").unlink()
    assert last_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-20"
    (message,) = [record.getMessage() for record in caplog.records]
    assert "checkpoint-100" in message
    assert "optimizer.pt is missing" in message


def test_what_the_option_means(tmp_path):
    assert resolve_checkpoint(None, tmp_path) is None
    assert resolve_checkpoint("auto", tmp_path / "not yet there") is None
    whole = write_checkpoint(tmp_path / "checkpoint-5")
    assert resolve_checkpoint("auto", tmp_path) == whole
    assert resolve_checkpoint("True", tmp_path) == whole
    assert resolve_checkpoint(str(whole), "elsewhere") == whole
    with pytest.raises(ValueError, match="checkpoints of an earlier run"):
        resolve_checkpoint(None, tmp_path)
    with pytest.raises(ValueError, match="Received: nowhere"):
        resolve_checkpoint("nowhere", tmp_path)
    (whole / "trainer_state.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"trainer_state\.json is cut off"):
        resolve_checkpoint(str(whole), tmp_path)


HOLD = """
import sys
from dense_hf.training.resuming import lock_output
lock_output(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


def test_one_training_at_a_time(make_trainer, tmp_path, script_environment):
    """A second one is refused while the first lives, and not by what a killed one has left."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with Program(command, env=script_environment, **pipes) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InvalidDataError, match=r"run: expected what no other run works with; .*another process"):
            lock_output(tmp_path / "run")
        with pytest.raises(InvalidDataError, match="another process"):
            make_trainer(tmp_path / "run").train()
        other.kill()
    lock_output(tmp_path / "run")


def test_a_training_replaces_no_file_of_the_user(make_trainer, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(InvalidDataError, match=r"would replace: README\.md"):
        make_trainer(tmp_path, max_steps=1).train()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"README.md": "mine"}
    lock_output(tmp_path / "run")
    (tmp_path / "run" / "README.md").touch()
    lock_output(tmp_path / "run")  # of a training that was here
