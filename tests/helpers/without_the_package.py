"""Running a program in an interpreter that has transformers but not dense_hf."""

import os
import subprocess
import sys
from pathlib import Path

import torch

GUARD = """
import importlib.util
assert importlib.util.find_spec("dense_hf") is None, "this interpreter must not have the package"
"""


def run_without_the_package(program: str, folder: Path, *arguments: str) -> None:
    """Run Python code in `folder`, offline, with the arguments, and fail with what it wrote if it fails."""
    # an editable install is found through site-packages, so its hook is left out with -S and the path given by hand
    site = next(path for path in sys.path if Path(path, "transformers").is_dir())
    environment = {**os.environ, "PYTHONPATH": site, "HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"}
    environment["OMP_NUM_THREADS"] = str(torch.get_num_threads())  # sums depend on how many threads share them
    command = [sys.executable, "-S", "-c", GUARD + program, *arguments]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
