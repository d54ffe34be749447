"""Running a program that has transformers but not dense_hf."""

import os
import sys
from pathlib import Path

from programs import empty_home, run

GUARD = """
import importlib.util
assert importlib.util.find_spec("dense_hf") is None, "this interpreter must not have the package"
"""


def site_packages() -> str:
    """Where transformers is; an editable install is found there through a hook, which `-S` leaves out."""
    return next(path for path in sys.path if Path(path, "transformers").is_dir())


def run_without_the_package(program: str, folder: Path, *arguments: str) -> None:
    """Run Python code in `folder`, offline, with the arguments, and fail with what it wrote if it fails."""
    # sums depend on how many threads share them: one, as here (`training_fixtures.py`)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment |= {"PYTHONPATH": site_packages(), "HF_HOME": empty_home()}
    command = [sys.executable, "-S", "-c", GUARD + program, *arguments]
    done = run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
