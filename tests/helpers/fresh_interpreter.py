"""Running a program in an interpreter that has imported nothing yet."""

import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"


def run_fresh(program: str, folder: Path, *arguments: str) -> str:
    """Run Python code in `folder`, offline and on one core, and fail with what it wrote if it fails.

    Returns:
        What it printed.
    """
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(SOURCE), str(folder))),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    # a file, because worker processes import the program that started them
    path = folder / "program.py"
    path.write_text(program, encoding="utf-8")
    command = [sys.executable, str(path), *arguments]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
