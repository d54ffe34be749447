"""How long a training took that was stopped, or killed, and went on."""

import json
import signal
import subprocess
import sys
import time

import pytest

from dense_hf.training.comparison.log import timed

KILLED = """
import os, signal, sys
from pathlib import Path
from dense_hf.training.comparison.log import timed

folder = Path(sys.argv[1])

def train():
    while not (folder / "seconds.json").exists():
        pass
    os.kill(os.getpid(), signal.SIGKILL)

timed(folder, train, every=0.2)
"""


def kept(folder):
    return json.loads((folder / "seconds.json").read_text())["training"]


def busy(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return "done"


def test_a_stopped_training_counts_its_first_part_too(tmp_path):
    def stopped():
        busy(0.2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        timed(tmp_path, stopped)
    first = kept(tmp_path)
    assert first >= 0.2
    result, seconds = timed(tmp_path, lambda: busy(0.1))
    assert result == "done"
    assert seconds == kept(tmp_path) >= first + 0.1


def test_a_killed_training_has_kept_its_time(tmp_path):
    run = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, timeout=120)
    assert run.returncode == -signal.SIGKILL
    before = kept(tmp_path)
    assert before > 0
    assert timed(tmp_path, lambda: busy(0.1))[1] >= before + 0.1
