"""The curves of a training reach the tools that draw them, without a network and without an account."""

import os
import sqlite3
import sys
from pathlib import Path

import programs
import pytest

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "scripts" / "configs" / "counting" / "smoke.yaml"
SHORT = "--max_steps 2 --save_strategy no --eval_strategy no --load_best_model_at_end false --logging_steps 1"


def written_by_wandb(folder: Path) -> bytes:
    (run,) = folder.glob("wandb/offline-run-*/*.wandb")
    return run.read_bytes()


def written_by_trackio(folder: Path) -> bytes:
    with sqlite3.connect(folder / "trackio" / "reef.db") as database:
        rows = database.execute("select run_name, metrics from metrics").fetchall()
    assert {name for name, _ in rows} == {"first"}
    return b"".join(metrics for _, metrics in rows)


TOOLS = {"wandb": written_by_wandb, "trackio": written_by_trackio}


@pytest.mark.slow
@pytest.mark.parametrize("tool", TOOLS)
def test_numbers_arrive_offline(tool, tiny_set, tmp_path):
    pytest.importorskip(tool)
    command = [sys.executable, str(ROOT / "scripts" / "train_counter.py"), "--method", "density_counter"]
    command += ["--config", str(CONFIG), "--data_dir", str(tiny_set), "--output_dir", str(tmp_path / "run")]
    command += [*SHORT.split(), "--report_to", tool, "--run_name", "first", "--project", "reef"]
    offline = {"WANDB_MODE": "offline", "TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HUB_OFFLINE": "1"}
    environment = {**os.environ, **offline, "PYTHONPATH": str(ROOT / "src"), "HF_HOME": programs.HOME}
    done = programs.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    written = TOOLS[tool](tmp_path)
    for name in (b"train/loss", b"train/loss_points", b"train/learning_rate", b"train/validation_mae"):
        assert name in written
