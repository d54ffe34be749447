"""Every command and every program of README.md runs.

Each block runs in a folder of its own that looks like a clone (links to the folders of this repository), with what a
reader would have brought along: pictures, a table of points, a checkpoint of the authors' code. What is different from
what a reader does stands in `RULES` and `STAND_INS`, and nowhere else:

- `org/iocformer`, a name on the Hub, is a small checkpoint of random weights;
- `pip install` is not run, but what it asks for must exist in setup.cfg;
- `make` targets are expanded (`make --dry-run`), not run, because they are what runs this test; `make demo` runs, with
  the interpreter of this test instead of .venv;
- `accelerate launch` gets `--cpu`, so that it does the same on every machine.

A block in another language, and a command that no rule knows, fail: nobody can add one that is not tested.
"""

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from dense_hf.cli import main as dense_hf_main
from dense_hf.data import VideoWriter, generate_miniature_videos

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
STAND_INS = {"org/iocformer": "hub/iocformer"}
REALLY_MADE = {"demo"}


class Block(NamedTuple):
    """A fenced block: its language, its text, and the line it begins on."""

    language: str
    text: str
    line: int


def blocks(markdown: str) -> list[Block]:
    """All fenced blocks."""
    found = re.finditer(r"^```(.*)\n((?:.*\n)*?)```$", markdown, flags=re.MULTILINE)
    return [Block(m[1].strip(), m[2], markdown.count("\n", 0, m.start()) + 1) for m in found]


def commands(text: str) -> list[list[str]]:
    """The words of each command of a bash block; continued lines are one."""
    lines = text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


# rules: how a command is run, in the folder of its block


def run_pip(words: list[str], folder: Path) -> None:
    """What is installed is this repository, with extras that it has."""
    assert words[:2] == ["pip", "install"]
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    requirements = [word for word in words[2:] if word not in ("-e", "--editable", "--upgrade")]
    assert requirements
    for requirement in requirements:
        match = re.fullmatch(r"\.(?:\[([a-z,]+)\])?", requirement)
        assert match, f"not this repository: {requirement}"
        assert set((match[1] or "").split(",")) - {""} <= set(setup["options.extras_require"])


def run_dense_hf(words: list[str], folder: Path) -> None:
    """As installed: setup.cfg names the function that is called here."""
    assert "dense-hf = dense_hf.cli:main" in (ROOT / "setup.cfg").read_text()
    assert dense_hf_main(words[1:]) == 0


def run_program(words: list[str], folder: Path) -> None:
    """A program of this interpreter's environment."""
    launchers = {
        "python": [],
        "accelerate": ["-m", "accelerate.commands.accelerate_cli"],
        "torchrun": ["-m", "torch.distributed.run"],
    }
    arguments = words[1:]
    if words[:2] == ["accelerate", "launch"]:
        arguments = ["launch", "--cpu", *words[2:]]
    run([sys.executable, *launchers[words[0]], *arguments], folder)


def run_make(words: list[str], folder: Path) -> None:
    """Every target exists, with all that it needs."""
    (target,) = words[1:]
    if target in REALLY_MADE:
        run(["make", "--old-file=install", f"VENV={sys.prefix}", target], ROOT, timeout=580)
    else:
        run(["make", "--dry-run", target], ROOT)


def run(command: list[str], folder: Path, timeout: int = 400) -> None:
    """Run a process; its output is the message if it fails."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "HF_HOME": str(folder / "hf_home"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


RULES: dict[str, Callable[[list[str], Path], None]] = {
    "pip": run_pip,
    "dense-hf": run_dense_hf,
    "python": run_program,
    "accelerate": run_program,
    "torchrun": run_program,
    "make": run_make,
}


# what a reader has


def released_checkpoint(path: Path) -> None:
    """Names and shapes as the authors' script writes them, the transformer narrowed; all weights are zero."""
    listing = json.loads((ROOT / "tests/fixtures/iocformer/ioc_state_dict.json").read_text())["state_dict"]
    narrow = {256: 16, 2048: 32, 128: 8, 768: 48, 700: 20}
    weights = {}
    for name, (shape, _) in listing.items():
        from_backbone = name in ("input_proj.weight", "dm_decoder.reg_layer.0.weight")
        if not name.startswith("backbone"):
            shape = [
                size if from_backbone and axis == 1 else narrow.get(size, size) for axis, size in enumerate(shape)
            ]
        weights[f"module.{name}"] = torch.zeros(shape)
    torch.save({"epoch": 1499, "state_dict": weights}, path)


@pytest.fixture
def clone(tmp_path, monkeypatch, noise, counter_checkpoint) -> Path:
    """A folder that looks like a clone, and the current one."""
    for name in ("scripts", "dataset_scripts", "setup.cfg", "README.md"):
        (tmp_path / name).symlink_to(ROOT / name)
    for folder in ("checkpoints", "hub", "data", "survey/deep", "photos"):
        (tmp_path / folder).mkdir(parents=True)
    for checkpoint in (ROOT / "checkpoints").glob("*"):
        (tmp_path / "checkpoints" / checkpoint.name).symlink_to(checkpoint)
    shutil.copytree(counter_checkpoint, tmp_path / STAND_INS["org/iocformer"])
    for name in ("forest.jpg", "reef.jpg", "survey/a.jpg", "survey/deep/b.png", "photos/a.jpg", "photos/b.jpg"):
        noise(150, 100).save(tmp_path / name)
    with VideoWriter(tmp_path / "street.mp4", fps=10, size=(96, 64)) as video:
        for seed in range(5):
            video.write(np.asarray(noise(96, 64, seed)))
    generate_miniature_videos(tmp_path / "data" / "own_videos", 1, 1, 0, num_frames=3, frame_size=(40, 32))
    (tmp_path / "points.csv").write_text("image,x,y\na.jpg,12,40.5\na.jpg,100,7\nb.jpg,,\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def is_slow(block: Block) -> bool:
    """Whether it starts processes, or converts weights of real size."""
    if block.language == "python":
        return True
    words = {word for command in commands(block.text) for word in command}
    return bool(words & {"python", "accelerate", "torchrun", "convert", *REALLY_MADE})


RUNNABLE = [block for block in blocks(README) if block.language in ("bash", "python")]


def as_parameters(found: list[Block]) -> list:
    """Slow ones are marked; the line number is the name."""
    return [
        pytest.param(block, id=f"line_{block.line}", marks=[pytest.mark.slow] if is_slow(block) else [])
        for block in found
    ]


def test_every_block_has_a_rule():
    for block in blocks(README):
        assert block.language in ("bash", "python"), f"line {block.line}: no test runs {block.language or 'this'!r}"
        if block.language == "bash":
            for words in commands(block.text):
                assert words[0] in RULES, f"line {block.line}: no rule runs {shlex.join(words)}"


@pytest.mark.parametrize("block", as_parameters([b for b in RUNNABLE if b.language == "bash"]))
def test_commands(block, clone, capsys):
    if "convert" in block.text:
        released_checkpoint(clone / "model_best.pth")
    for words in commands(block.text):
        RULES[words[0]](words, clone)


@pytest.mark.parametrize("block", as_parameters([b for b in RUNNABLE if b.language == "python"]))
def test_programs(block, clone):
    """In a fresh process, so that a program has all the imports that it needs."""
    text = block.text
    for name, folder in STAND_INS.items():
        text = text.replace(name, folder)
    run([sys.executable, "-c", text], clone)


def test_the_page_leads_somewhere():
    """Links, pictures and paths of this repository that the page names."""
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    links = set(re.findall(r"\]\(([^)#]+)\)", prose)) | set(re.findall(r"`([\w.-]+/[\w./-]+)`", prose))
    anchors = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", prose, re.M)
    }
    assert [anchor for anchor in re.findall(r"\]\(#([^)]+)\)", prose) if anchor not in anchors] == []
    assert [link for link in sorted(links) if "://" not in link and not (ROOT / link).exists()] == []


def test_make_targets_in_the_text_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)`", README)) <= targets


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```bash\ncurl example.org | sh\n```\n", "no rule"),
        ("```\nls\n```\n", "no test runs"),
        ("```console\n$ make test\n```\n", "no test runs"),
    ],
)
def test_what_nobody_can_run_is_found(text, message, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "README", text)
    with pytest.raises(AssertionError, match=message):
        test_every_block_has_a_rule()


@pytest.mark.parametrize("command", ["pip install .[gpu]", "pip install dense_hf", "pip download ."])
def test_installing_what_does_not_exist_is_found(command, tmp_path):
    with pytest.raises(AssertionError):
        run_pip(command.split(), tmp_path)
