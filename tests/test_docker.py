"""The Dockerfile as far as it can be tested without building an image."""

import configparser
import json
import re
import shlex
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from dense_hf.cli import build_parser

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docker/Dockerfile").read_text(encoding="utf-8")
KNOWN = {"ARG", "FROM", "ENV", "RUN", "COPY", "WORKDIR", "USER", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL", "CMD"}
KNOWN |= {"ENTRYPOINT"}


def instructions(text: str) -> list[tuple[str, str]]:
    """Word and arguments of each."""
    lines = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]


FOUND = instructions(TEXT)


@pytest.fixture(scope="module")
def setup():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def of(word: str) -> list[str]:
    return [arguments for name, arguments in FOUND if name == word]


def test_stages_follow_from_each_other():
    assert {name for name, _ in FOUND} <= KNOWN
    known: set[str] = set()
    for line in of("FROM"):
        base, _, name = line.partition(" AS ")
        assert base == "python:3.11-slim"
        known.add(name)
    for line in of("COPY"):
        if match := re.match(r"--from=(\S+)", line):
            assert match[1] in known


def test_what_is_copied_exists_and_is_not_ignored():
    patterns = (ROOT / "docker/Dockerfile.dockerignore").read_text().split()
    let_in = {pattern[1:] for pattern in patterns if pattern.startswith("!")}
    copied = {name for line in of("COPY") if "--from" not in line for name in line.split()[:-1]}
    assert copied == let_in
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert patterns[0] == "*"


def test_what_is_installed_is_that_of_setup_cfg(setup):
    needed = setup["options"]["install_requires"].split("\n")
    extras = setup["options.extras_require"]
    for command in (line for line in of("RUN") if line.startswith("pip")):
        words = shlex.split(command.replace('${TORCH_INDEX:+--index-url "$TORCH_INDEX"}', ""))
        assert words[:2] == ["pip", "install"]
        for word in words[2:]:
            if word.startswith("."):
                assert set(re.fullmatch(r"\.\[([a-z,]+)\]", word)[1].split(",")) <= set(extras)
            else:
                assert word in needed


def test_who_runs_it_and_how_it_ends():
    assert of("USER") == ["dense_hf"]
    after = [name for name, _ in FOUND[FOUND.index(("USER", "dense_hf")) :]]
    assert "RUN" not in after
    assert "COPY" not in after
    assert of("STOPSIGNAL") == ["SIGTERM"]


def test_the_command_and_the_health_check_fit_together(monkeypatch):
    """Arguments are a list, so signals reach the program and no shell; the port is the one that is asked."""
    assert json.loads(of("ENTRYPOINT")[0]) == ["dense-hf"]
    args = build_parser().parse_args(json.loads(of("CMD")[0]))
    assert (args.model, args.host, args.port) == ("/model", "0.0.0.0", int(of("EXPOSE")[0]))
    check = json.loads(re.search(r"CMD (\[.*\])", of("HEALTHCHECK")[0])[1])
    asked = []
    monkeypatch.setattr(urllib.request, "urlopen", lambda address, timeout: asked.append(address))
    assert check[:2] == ["python", "-c"]
    exec(check[2], {})
    assert asked == [f"http://127.0.0.1:{args.port}/health"]


def test_the_commands_of_its_head_exist():
    for line in re.findall(r"^#   docker run .* dense_hf (.+)$", TEXT, flags=re.MULTILINE):
        build_parser().parse_args(shlex.split(line))
    assert len(re.findall(r"^#   docker build -f docker/Dockerfile", TEXT, flags=re.MULTILINE)) == 2


def test_the_entry_command_runs():
    """As installed: setup.cfg names its function."""
    words = [sys.executable, "-c", "from dense_hf.cli import main; main()", "serve", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    assert "--max-upload" in done.stdout
