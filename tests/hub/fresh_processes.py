"""Running programs in interpreters that have loaded nothing of ours and know only the stand-in for the Hub.

Each program is a process of its own. They are forked from one that has imported torch and transformers, which saves
seconds each; models, processors, remote code and dense_hf are imported after the fork.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]

FORK = """
import importlib.util, json, os, sys, traceback
import torch, transformers, transformers.models.auto, transformers.pipelines, transformers.trainer
if sys.argv[1] == "without":
    assert importlib.util.find_spec("dense_hf") is None, "this interpreter must not have the package"
else:
    assert "dense_hf" not in sys.modules
programs = json.loads(sys.stdin.read())
codes = {}
for name, (program, arguments) in programs.items():
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        log = os.open(name + ".log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code = 0
        try:
            sys.argv = ["-c", *arguments]
            exec(compile(program, name, "exec"), {"__name__": "__main__"})
        except SystemExit as stop:
            code = 0 if stop.code in (None, 0) else 1
            print(stop.code)
        except BaseException:
            code = 1
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    codes[name] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(json.dumps(codes))
"""


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
    site = next(path for path in sys.path if Path(path, "transformers").is_dir())
    paths = [str(REPOSITORY / "src")] if package else []
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment, "PYTHONPATH": os.pathsep.join([*paths, site])}
    # an editable install is found through site-packages, so its hook is left out with -S and the path given by hand
    command = [sys.executable, "-S", "-c", FORK, "with" if package else "without"]
    done = subprocess.run(
        command, input=json.dumps(programs), env=variables, cwd=folder, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr[-3000:]
    codes = json.loads(done.stdout.splitlines()[-1])
    return {name: (code, (folder / f"{name}.log").read_text(encoding="utf-8")) for name, code in codes.items()}


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
