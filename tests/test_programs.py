"""What `helpers/programs.py` starts is what a new interpreter would be, but for what is imported already."""

import json
import signal
import subprocess
import sys

import programs
import pytest

pytestmark = [
    pytest.mark.skipif(not programs.FORKS, reason="they are new interpreters here"),
    pytest.mark.no_cover,
]

ABOUT = """
import json, os, sys
print(json.dumps({
    "name": __name__, "file": globals().get("__file__"), "main": sys.modules["__main__"].__dict__ is globals(),
    "names": sorted(name for name in globals() if name not in ("json", "os", "sys") and name[:2] != "__"),
    "argv": sys.argv, "path": [os.path.realpath(path) if path else path for path in sys.path], "cwd": os.getcwd(),
    "variables": {k: v for k, v in os.environ.items() if k != "LC_CTYPE"}, "input": sys.stdin.read(),
    "streams": [(s.encoding, s.errors, s.line_buffering, s.isatty()) for s in (sys.stdin, sys.stdout, sys.stderr)],
    "signals": [str(signal) for signal in map(__import__("signal").getsignal, (1, 2, 13, 15, 17, 25))],
    "ours": "dense_hf" in sys.modules,
}))
print("æ", file=sys.stderr)
sys.exit(3)
"""


@pytest.mark.parametrize("how", ["file", "-m", "-c", "-S"])
def test_a_program_is_what_a_new_interpreter_is(how, tmp_path, script_environment):
    (tmp_path / "about.py").write_text(ABOUT)
    (tmp_path / "elsewhere").mkdir()
    words = {"file": [tmp_path / "about.py"], "-m": ["-m", "about"], "-c": ["-c", ABOUT], "-S": ["-S", "-c", ABOUT]}
    command = [sys.executable, *map(str, words[how]), "first", "--second"]
    settings = {"cwd": tmp_path / "elsewhere", "input": "æ", "capture_output": True, "encoding": "utf-8"}
    settings["env"] = {
        **script_environment,
        "PYTHONPATH": f"{script_environment['PYTHONPATH']}:{tmp_path}",
        "DENSE_HF_OURS": "1",
    }
    warm, new = (run(command, **settings) for run in (programs.run, subprocess.run))
    assert new.returncode == warm.returncode == 3, warm.stderr
    assert warm.stderr == new.stderr == "æ\n"
    assert json.loads(warm.stdout) == json.loads(new.stdout)


@pytest.mark.parametrize(
    ("program", "status", "words"),
    [
        ("import torch", 0, ""),
        ("import atexit; atexit.register(lambda: print('at the end', file=sys.stderr))", 0, "at the end"),
        ("sys.exit('one sentence')", 1, "one sentence"),
        ("raise ValueError('no')", 1, "ValueError: no"),
        ("os.kill(os.getpid(), 9)", -9, ""),
        ("os.kill(os.getpid(), 2)", -2, "KeyboardInterrupt"),
        ("os._exit(7)", 7, ""),
    ],
)
def test_it_ends_as_a_new_interpreter_ends(program, status, words, script_environment):
    command = [sys.executable, "-c", f"import os, sys\n{program}"]
    done = programs.run(command, env=script_environment, capture_output=True, text=True)
    assert done.returncode == status
    assert done.stderr.strip().endswith(words)


def test_it_is_talked_to_and_stopped(script_environment):
    text = "import sys; print('begun', flush=True); print(sys.stdin.readline(), flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with programs.Program([sys.executable, "-c", text], env=script_environment, **pipes) as process:
        assert process.stdout.readline() == "begun\n"
        process.stdin.write("more\n")
        process.stdin.flush()
        assert process.stdout.readline() == "more\n"
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == process.poll() == -signal.SIGTERM


def test_one_of_a_group_that_fails_ends_the_others(script_environment):
    text = "import os, signal; signal.pause() if os.environ['RANK'] == '1' else int('no number')"
    with pytest.raises(AssertionError, match=r"ValueError: invalid literal"):
        programs.run_processes(2, [sys.executable, "-c", text], env=script_environment)
