"""Blocks of Markdown pages, and how tests run them: in a folder of their own that looks like a clone.

It has links to the folders of this repository, and what a reader would have brought along: pictures, tables of
points and of labels, a video. What is different from what a reader does stands in `RULES`, and nowhere else:

- `pip install` is not run, but what it asks for must exist in setup.cfg;
- `make` targets are expanded (`make --dry-run`), not run, because they are what runs this test; the commands of those
  of `REALLY_MADE` run, with the interpreter of this test instead of .venv;
- programs are forked from a process that has imported the libraries, as `programs.py` says; so is what
  `accelerate launch` and `run_weak_pipeline.py` start, themselves in this process;
- `dense-hf serve` loads its model here, and `curl` asks this process (`Served`);
- `accelerate launch` gets `--cpu`, so that it does the same on every machine.

A block behind a line `<!-- not run: reason -->` is only checked: programs, files and options exist.
"""

import configparser
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import programs
import pytest
import torch
from accelerate.commands.launch import launch_command, launch_command_parser
from PIL import Image
from torch.distributed.run import get_args_parser as torchrun_parser

from dense_hf.cli import main as dense_hf_main
from dense_hf.data import VideoWriter, generate_miniature_videos

ROOT = Path(__file__).parents[1]
REALLY_MADE = {"demo"}


class Block(NamedTuple):
    """A fenced block: its language, its text, the line it begins on, and why it is not run, if it is not."""

    language: str
    text: str
    line: int
    not_run: str | None


def blocks(markdown: str) -> list[Block]:
    """All fenced blocks."""
    pattern = r"^(?:<!-- not run: (.+) -->\n)?```(.*)\n((?:.*\n)*?)```$"
    found = re.finditer(pattern, markdown, flags=re.MULTILINE)
    return [Block(m[2].strip(), m[3], markdown.count("\n", 0, m.start(3)), m[1]) for m in found]


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
    launcher, *arguments = words
    if launcher == "torchrun":
        run([sys.executable, "-m", "torch.distributed.run", *arguments], folder)
    elif launcher == "python" and arguments[0] != "scripts/run_weak_pipeline.py":
        run([sys.executable, *arguments], folder)
    else:
        with pytest.MonkeyPatch.context() as here:
            for name, value in environment().items():
                here.setenv(name, value)
            here.setattr(subprocess, "Popen", programs.Program)
            if launcher == "python":
                assert call(*arguments) == 0
            else:
                assert arguments.pop(0) == "launch"
                launch_command(launch_command_parser().parse_args(["--cpu", *arguments]))


def run_make(words: list[str], folder: Path) -> None:
    """Every target exists, with all that it needs."""
    (target,) = words[1:]
    there = ["--old-file=install", f"--old-file={sys.prefix}/.installed", f"VENV={sys.prefix}"]
    expanded = run(["make", "--no-print-directory", "--dry-run", *there, target], ROOT)
    if target in REALLY_MADE:
        made = commands(expanded)
        assert {program for program, *_ in made} == {f"{sys.prefix}/bin/python"}
        for _, *arguments in made:
            run([sys.executable, *arguments], ROOT)


def environment() -> dict[str, str]:
    """Of programs: the package from the source tree, one thread each, no network, a cache for tests alone."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "HF_HOME": programs.HOME,
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }


def run(command: list[str], folder: Path, timeout: int = 400) -> str:
    """Run a process; its output is the message if it fails.

    Returns:
        What it printed.
    """
    start = programs.run if command[0] == sys.executable else subprocess.run
    done = start(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


class Served:
    """The service of the last `dense-hf serve` of a page, and `curl` for it."""

    def __init__(self) -> None:
        self._client: Any = None

    def start(self, words: list[str]) -> None:
        """As the command, but for the socket."""
        from starlette.testclient import TestClient

        from dense_hf.cli import build_parser
        from dense_hf.service import ServedModel, create_app

        model = ServedModel(build_parser().parse_args(words[1:]).model)
        model.load()
        self._client = TestClient(create_app(model))

    def ask(self, words: list[str]) -> None:
        """The answer to `curl` is no refusal."""
        *options, address = words[1:]
        assert address.startswith("http://127.0.0.1:8000/"), address
        assert options[::2] == ["-F"] * (len(options) // 2)
        fields = [tuple(word.split("=", 1)) for word in options[1::2]]
        files = [(name, (value, Path(value[1:]).read_bytes())) for name, value in fields if value.startswith("@")]
        data: dict[str, list[str]] = {}
        for name, value in fields:
            if not value.startswith("@"):
                data.setdefault(name, []).append(value)
        path = address.removeprefix("http://127.0.0.1:8000")
        answer = self._client.post(path, files=files, data=data) if fields else self._client.get(path)
        assert answer.status_code == 200, f"{shlex.join(words)}: {answer.text}"


def check_curl(words: list[str], folder: Path) -> None:
    """It is run by `Served`, of the page that starts a service."""
    raise AssertionError(f"nothing serves here: {shlex.join(words)}")


RULES: dict[str, Callable[[list[str], Path], None]] = {
    "pip": run_pip,
    "dense-hf": run_dense_hf,
    "python": run_program,
    "accelerate": run_program,
    "torchrun": run_program,
    "make": run_make,
    "curl": check_curl,
}


# checks: of commands that are not run


def check_command(words: list[str], folder: Path) -> None:
    """Programs, scripts, configurations and options of a command exist; it is not run."""
    if words[0] in ("pip", "make"):
        RULES[words[0]](words, folder)
        return
    if words[0] == "dense-hf":
        options, manual = words[2:], manual_of("dense-hf", words[1])
    else:
        start = next(index for index, word in enumerate(words) if word.endswith(".py"))
        if words[0] == "accelerate":
            launch_command_parser().parse_args(words[2 : start + 1])
        elif words[0] == "torchrun":
            torchrun_parser().parse_args(words[1 : start + 1])
        else:
            assert words[:start] == ["python"], f"no rule checks {shlex.join(words)}"
        options = words[start + 1 :]
        # some options belong to one method
        method = options.index("--method") if "--method" in options else len(options)
        manual = manual_of(words[start], *options[method : method + 2])
    known = set(re.findall(r"--[\w-]+", manual))
    for word, value in zip(options, [*options[1:], ""]):
        if word.startswith("--"):
            assert word.partition("=")[0] in known, f"{shlex.join(words)}: there is no {word}"
        if word == "--config":
            assert (ROOT / value).is_file(), value


@cache
def manual_of(program: str, *arguments: str) -> str:
    """What `--help` says."""
    output = StringIO()
    with redirect_stdout(output):
        code = call(program, *arguments, "--help")
    assert code == 0, f"{program}: {output.getvalue()}"
    return output.getvalue()


def call(program: str, *arguments: str) -> int:
    """The exit status of dense-hf or of a script, in this process, whose libraries are loaded already."""
    old_arguments, old_path = sys.argv, list(sys.path)
    sys.argv = [program, *arguments]
    try:
        if program == "dense-hf":
            return dense_hf_main(list(arguments))
        sys.path.insert(0, str((ROOT / program).parent))
        runpy.run_path(str(ROOT / program), run_name="__main__")
    except SystemExit as done:
        if isinstance(done.code, str):
            print(done.code, file=sys.stderr)
            return 1
        return done.code or 0
    finally:
        sys.argv, sys.path[:] = old_arguments, old_path
    return 0


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


def make_clone(folder: Path, noise: Callable[..., Image.Image]) -> Path:
    """A folder that looks like a clone, and a cache with nothing in it."""
    programs.empty_home()
    for name in ("scripts", "dataset_scripts", "setup.cfg", "README.md"):
        (folder / name).symlink_to(ROOT / name)
    for name in ("checkpoints", "data", "survey/deep", "photos"):
        (folder / name).mkdir(parents=True)
    for checkpoint in (ROOT / "checkpoints").glob("*"):
        (folder / "checkpoints" / checkpoint.name).symlink_to(checkpoint)
    for name in (
        "forest.jpg",
        "reef.jpg",
        "nuclei.png",
        "survey/a.jpg",
        "survey/deep/b.png",
        "photos/a.jpg",
        "photos/b.jpg",
    ):
        noise(150, 100).save(folder / name)
    with VideoWriter(folder / "street.mp4", fps=10, size=(96, 64)) as video:
        for seed in range(5):
            video.write(np.asarray(noise(96, 64, seed)))
    generate_miniature_videos(folder / "data" / "own_videos", 1, 1, 0, num_frames=18, frame_size=(40, 32))
    (folder / "labels.csv").write_text("image,labels\na.jpg,person\nb.jpg,person;car\n")
    (folder / "points.csv").write_text("image,x,y\na.jpg,12,40.5\na.jpg,100,7\nb.jpg,,\n")
    images = [
        {"id": index, "file_name": f"{name}.jpg", "width": 150, "height": 100} for index, name in enumerate("ab")
    ]
    polygon = {"image_id": 0, "category_id": 1, "segmentation": [[10, 10, 60, 10, 60, 50, 10, 50]]}
    coco = {"images": images, "annotations": [polygon], "categories": [{"id": 1, "name": "car"}]}
    (folder / "instances.json").write_text(json.dumps(coco))
    points = (
        '<image name="a.jpg" width="150" height="100"><points label="fish" occluded="0" points="12.00,40.50"/></image>'
    )
    empty = '<image name="b.jpg" width="150" height="100"/>'
    (folder / "annotations.xml").write_text(f"<annotations>{points}{empty}</annotations>")
    return folder


def is_slow(block: Block) -> bool:
    """Whether it starts processes, or converts weights of real size."""
    if block.language == "python":
        return True
    words = {word for command in commands(block.text) for word in command}
    return bool(words & {"python", "accelerate", "torchrun", "convert", *REALLY_MADE})


def as_parameters(found: list[Block]) -> list:
    """Slow ones are marked; the line number is the name."""
    return [
        pytest.param(block, id=f"line_{block.line}", marks=[pytest.mark.slow] if is_slow(block) else [])
        for block in found
    ]
