"""Running programs that have loaded nothing of ours and know only the stand-in for the Hub.

Each is a process of its own, forked from one that has imported torch and transformers (`programs.py`); models,
processors, remote code and dense_hf are imported after the fork.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from programs import run
from without_the_package import GUARD, site_packages

REPOSITORY = Path(__file__).parents[2]


def run_programs(
    programs: Mapping[str, tuple[str, list[str]]], folder: Path, environment: Mapping[str, str], package: bool = True
) -> dict[str, tuple[int, str]]:
    """Run Python programs one after the other in `folder`.

    Args:
        programs: Source and arguments of each, by name.
        folder: Where they run; gets a file of what each one wrote.
        environment: Variables besides those of this process.
        package: Whether dense_hf can be imported, from the source tree.

    Returns:
        Exit code and output by name.
    """
    paths = [str(REPOSITORY / "src")] if package else []
    path = os.pathsep.join([*paths, site_packages()])
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment, "PYTHONPATH": path}
    guard = "import sys; assert 'dense_hf' not in sys.modules\n" if package else GUARD
    done = {}
    for name, (program, arguments) in programs.items():
        log = folder / f"{name}.log"
        command = [sys.executable, "-S", "-c", guard + program, *arguments]
        with open(log, "wb") as file:
            ended = run(command, cwd=folder, env=variables, stdout=file, stderr=subprocess.STDOUT, timeout=500)
        done[name] = ended.returncode, log.read_text(encoding="utf-8")
    return done


def script(name: str, *arguments: object) -> tuple[str, list[str]]:
    """A script of the repository as a program."""
    path = str(REPOSITORY / name)
    program = (
        "import os, runpy, sys\n"
        f"sys.argv[0] = {path!r}\n"
        f"sys.path.insert(0, os.path.dirname({path!r}))\n"
        f"runpy.run_path({path!r}, run_name='__main__')\n"
    )
    return program, [str(argument) for argument in arguments]


def dense_hf(*arguments: object) -> tuple[str, list[str]]:
    """A command line of the program `dense-hf` as a program."""
    return "import sys\nfrom dense_hf.cli import main\nsys.exit(main(sys.argv[1:]))\n", [str(a) for a in arguments]
