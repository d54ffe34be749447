"""A disk that gets full while a training saves: one sentence, whole checkpoints, and the same bits after going on."""

import json
import signal

import pytest
import yaml
from killed_runs import REPOSITORY, fill_disk, run
from safetensors.torch import load_file

from dense_hf.training.calendar_trainer import CalendarTrainer
from dense_hf.training.resuming import checkpoint_problem

SIGNAL_IS_IGNORED = signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN  # by Python, so that writing is an error


def limited_from(name, call, limit):
    """From the call of a method of the trainer on, no file grows beyond `limit` bytes (RLIMIT_FSIZE)."""

    def prepare():
        method, calls = getattr(CalendarTrainer, name), 0

        def do(self, *args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == call:
                fill_disk(limit=limit)
            return method(self, *args, **kwargs)

        setattr(CalendarTrainer, name, do)

    return prepare


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.skipif(not SIGNAL_IS_IGNORED, reason="SIGXFSZ would end the process")
def test_a_full_disk_ends_a_training_in_one_sentence(tiny_model, tiny_set, tmp_path):
    training = {"max_steps": 3, "per_device_train_batch_size": 2, "eval_strategy": "no", "lr_milestones": [1]}
    training |= {"save_strategy": "steps", "save_steps": 1, "save_total_limit": 1, "disable_tqdm": True}
    sections = {"model": tiny_model, "data": {"data_dir": str(tiny_set)}, "training": training}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(sections))

    def train(folder, prepare=lambda: None):
        words = ["--config", tmp_path / "c.yaml", "--output_dir", folder, "--resume_from_checkpoint", "auto"]
        code, told = run(str(REPOSITORY / "scripts" / "train_iocformer.py"), [*map(str, words)], prepare)
        return code, told.replace("\r", "\n").strip().rpartition("\n")[2] if "Traceback" not in told else told

    whole, full = tmp_path / "whole", tmp_path / "full"
    assert train(whole)[0] == 0
    (folder,) = whole.glob("checkpoint-*")
    assert folder.name == "checkpoint-3"
    weights = (folder / "model.safetensors").stat().st_size
    assert weights < (folder / "optimizer.pt").stat().st_size
    before = None
    # config.json, code, the weights, the optimizer, and so on cannot be written
    for limit in (100, 10_000, weights - 1, weights + 1000):
        code, told = train(full, limited_from("_save_checkpoint", 2 if before is None else 1, limit))
        assert code == 1
        assert told.startswith("train_iocformer.py: The checkpoint of step 2 is not saved: ")
        assert "resume_from_checkpoint=auto" in told
        assert [path.name for path in full.glob("checkpoint-*")] == ["checkpoint-1"]
        assert checkpoint_problem(full / "checkpoint-1") is None
        assert before in (None, content(full / "checkpoint-1"))
        before = content(full / "checkpoint-1")
    # what is written at the end: the numbers, then the model
    for name, limit, left in (("evaluate", 10, []), ("save_model", weights - 1, ["results.json"])):
        code, told = train(full, limited_from(name, 1, limit))
        assert code == 1
        assert told.startswith("train_iocformer.py: ")
        assert sorted(path.name for path in full.iterdir()) == ["_lock", "checkpoint-3", *left]
    assert train(full)[0] == 0
    assert load_file(whole / "model.safetensors").keys() == load_file(full / "model.safetensors").keys()
    assert (whole / "model.safetensors").read_bytes() == (full / "model.safetensors").read_bytes()
    assert json.loads((whole / "results.json").read_text()) == json.loads((full / "results.json").read_text())
