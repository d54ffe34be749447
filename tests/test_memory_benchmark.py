"""What is said of the memory of a program: samples of a real one with a child, and rows of the table."""

import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import watched_programs
from programs import Program
from watched_programs import Sample, Watched, watch

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import memory

# 64 MiB that are given back; then a child that keeps 32 MiB and an open file until its parent is told to end
PROGRAM = """
import subprocess, sys
large = b"1" * (64 * 2**20)
del large
child = "kept = b'1' * (32 * 2**20); file = open('open', 'w'); open('ready', 'w').close(); input()"
subprocess.run([sys.executable, "-c", child], check=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_program_and_its_child_are_seen(tmp_path, monkeypatch):
    """Looked at without pause; it is told to end once it has been seen as a whole."""
    monkeypatch.chdir(tmp_path)
    told = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    looks = []

    def sleep(seconds):
        if (tmp_path / "ready").exists():
            looks.append(seconds)
        if len(looks) == 3:
            told.stdin.write(b"\n")
            told.stdin.close()

    monkeypatch.setattr(watched_programs, "time", SimpleNamespace(sleep=sleep, monotonic=iter(range(10**9)).__next__))
    with told:
        run = watch([sys.executable, "-c", PROGRAM], told.stdout)
    assert run.code == 0
    assert {one.threads for one in run.samples} == {1, 2}
    whole = [one.megabytes for one in run.samples if one.files == 7]  # three of each, and one
    assert whole, "a program that waits to be told has been looked at"
    assert 32 < max(whole) < 64
    assert run.peak > 64, "although it may have been gone when the program was looked at"


def samples(*megabytes: float) -> list[Sample]:
    return [Sample(index, value, 3, 1) for index, value in enumerate(megabytes)]


def test_growth_is_the_last_quarter_above_the_second():
    loading, flat = [10, 20, 90, 95], [100] * 12
    assert memory.growth(samples(*loading, *flat)) == 0
    assert memory.growth(samples(*range(0, 160, 10))) == 80
    assert memory.growth(samples(1, 100)) == 0, "too few"
    assert memory.at_quarters(samples(1, 2, 3, 4, 5)) == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("megabytes", "share", "flat", "code"),
    [
        (15, "0.5", "yes, +15 (limit 16)", 0),
        (17, "0.5", "NO, +17 (limit 16)", 1),
        (17, "0.4", "not judged", 0),
    ],
)
def test_what_grows_is_a_row_and_an_exit_code(monkeypatch, capsys, megabytes, share, flat, code):
    run = Watched(0, samples(1, 2, 3, 4, 5), 7)
    monkeypatch.setitem(memory.PARTS, "video", lambda folder, share: memory.Measured(f"{share:g}", run, megabytes))
    assert memory.main(["--only", "video", "--share", share]) == code
    assert capsys.readouterr().out.splitlines()[-1] == f"| video | {share} | 7 | 2 | 3 | 4 | 5 | {flat} |"


def test_what_fails_is_said(monkeypatch, capsys):
    run = Watched(3, samples(1), 7)
    monkeypatch.setitem(memory.PARTS, "photo", lambda folder, share: memory.Measured("small", run))
    assert memory.main(["--only", "photo"]) == 1
    assert "| photo | small | failed (3) |" in capsys.readouterr().out


@pytest.mark.slow
def test_a_real_photo(monkeypatch, capsys, script_environment):
    """A file of 64 x 64, through the program."""
    start = partial(Program, env=script_environment)
    monkeypatch.setattr(watched_programs, "subprocess", SimpleNamespace(Popen=start, DEVNULL=subprocess.DEVNULL))
    assert memory.main(["--only", "photo", "--share", "0.0001"]) == 0
    assert "| photo | 64 x 64 |" in capsys.readouterr().out
