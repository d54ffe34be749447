"""What reaches a terminal, and what does not end a run."""

import io
import subprocess
import sys

import pytest
from programs import Program

from dense_hf.inference.console import accept_any_letter, say, shown


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("reef.jpg", "reef.jpg"),
        ("Vögel 鳥.png", "Vögel 鳥.png"),
        ("\x1b[31mred.png", "\ufffd[31mred.png"),
        ("a\x9b2Jb\x85c\x0bd", "a\ufffd2Jb\ufffdc\ufffdd"),
        ("gnp.\u202etxt\u2028", "gnp.\ufffdtxt\ufffd"),
        ("two\nlines\tand", "two lines and"),
        ("caf\udce9.png", "caf\ufffd.png"),
    ],
)
def test_nothing_steers_a_terminal(name, text):
    assert shown(name) == text


def test_a_console_that_knows_few_letters(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="cp1252"))
    accept_any_letter()
    say("reef 鳥: 3")
    assert written.getvalue() == b"reef ?: 3\n"


def test_a_reader_that_goes_away(tmp_path, script_environment):
    """As `| head -1` does; the run goes on, and ends as if nothing had been."""
    program = f"""
from pathlib import Path
from dense_hf.inference.console import say
say("one")
input()
for number in range(3):
    say("more")
Path({str(tmp_path / "done")!r}).touch()
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with Program([sys.executable, "-c", program], env=script_environment, **pipes) as process:
        assert process.stdout.readline() == "one\n"
        process.stdout.close()
        process.stdin.write("\n")
        process.stdin.close()
        assert (process.wait(), process.stderr.read()) == (0, "")
    assert (tmp_path / "done").exists()
