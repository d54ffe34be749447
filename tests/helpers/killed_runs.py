"""Runs that are killed, or whose disk gets full, at random moments and go on, against one that nothing disturbs.

    python killed_runs.py FOLDER SEED KILLS FULL_DISKS PROGRAM [WORDS ...]

PROGRAM is "dense-hf" or a script; OUT in the words is a folder of the run. All it needs is
imported once. Each run is a process of its own, forked from here. At one of its next steps towards the disk it kills
itself (SIGKILL), half of the bytes being written; or from then on no file grows beyond 100 bytes, for what is written
in C, too (RLIMIT_FSIZE). It is started again with --resume until both have happened so often. Whenever a run comes
to its end, its files must be those of the undisturbed one, and the next begins anew.
"""

import json
import os
import random
import re
import resource
import runpy
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from dense_hf.data import VideoReader

REPOSITORY = Path(__file__).parents[2]
STEPS = ("fsync", "replace", "write", "ftruncate", "unlink", "truncate")
ALWAYS_RESUME = ("refine_maps.py", "make_prototypes.py")


def run(program: str, words: list[str], prepare: Callable[[], None]) -> tuple[int, str]:
    """The exit code of a run in a new process, -9 for one that was killed, and what it said to stderr."""
    reading, writing = os.pipe()
    if child := os.fork():
        os.close(writing)
        with open(reading, "rb") as stream:
            told = stream.read().decode(errors="replace")
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), told
    code = 1
    try:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(writing, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))  # not those of pytest
        prepare()
        if program == "dense-hf":
            from dense_hf.cli import main

            code = main(words)
        else:
            sys.argv = [program, *words]
            runpy.run_path(program, run_name="__main__")
            code = 0
    except SystemExit as error:
        print(error, file=sys.stderr)
        code = 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        empty_disk()
        os._exit(code)


def at_step(number: int, do: Callable[[str, Callable, tuple], None]) -> Callable[[], None]:
    """Makes the steps towards the disk countable; before that of this number, something is done with it."""

    def prepare() -> None:
        left = number

        def counted(name):
            step = getattr(os, name)

            def take(*args):
                nonlocal left
                left -= 1
                if not left:
                    do(name, step, args)
                return step(*args)

            return take

        for name in STEPS:
            setattr(os, name, counted(name))

    return prepare


def die(name: str, step: Callable, args: tuple) -> None:
    """As by `kill -9`."""
    if name == "write":
        step(args[0], args[1][: len(args[1]) // 2])
    os.kill(os.getpid(), signal.SIGKILL)


def fill_disk(*_: object, limit: int = 100) -> None:
    """No file grows beyond so many bytes. Python ignores the signal SIGXFSZ; to write more is an error."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def empty_disk() -> None:
    """What `make test` measures of a process is written at its end, whole."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def written(folder: Path) -> dict[Path, bytes]:
    """All files."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def problems(before: dict[Path, bytes], folder: Path, told: str) -> list[str]:
    """What a run whose disk was full must not leave or say; a killed one before it may have left anything."""
    new = {path: content for path, content in written(folder).items() if before.get(path) != content}
    found = [str(path) for path in new if path.suffix == ".partial"]
    last = told.replace("\r", "\n").strip().rpartition("\n")[2]
    if "Traceback" in told or not re.match(r"(dense-hf|\w+\.py): .*File too large", last):
        found.append(told)
    for path, content in new.items():
        if path.suffix == ".json":
            json.loads(content)
        elif path.suffix in (".csv", ".jsonl"):
            found += [str(path)] if content and not content.endswith(b"\n") else []
        elif path.suffix == ".png":
            Image.open(path).load()
        elif path.suffix == ".mp4":
            list(VideoReader(path))
    return found


def contents(folder: Path) -> dict[str, bytes]:
    """What a run has made, without its records and the speed of an evaluation."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".jsonl"))
    speed = re.compile(rb'"frames_per_second": [^,]*,')
    return {str(path.relative_to(folder)): speed.sub(b"", path.read_bytes()) for path in files}


def main() -> None:
    """Print how often runs were disturbed and finished."""
    folder, seed, kills, full_disks, program, *words = sys.argv[1:]
    import dense_hf.inference.checkpoints
    import dense_hf.inference.label_maps
    import dense_hf.inference.localization_maps
    import dense_hf.inference.refined_maps
    import dense_hf.inference.run_records
    import dense_hf.inference.video_label_maps
    import dense_hf.inference.video_outputs
    import dense_hf.weak_segmentation.localization  # noqa: F401

    outputs = {name: Path(folder, name) for name in ("whole", "disturbed")}
    lines = {name: [word.replace("OUT", str(output)) for word in words] for name, output in outputs.items()}
    for output in outputs.values():
        output.mkdir(parents=True)
    code, told = run(program, lines["whole"], lambda: None)
    codes = [code]
    expected = contents(outputs["whole"])
    chance = random.Random(int(seed))
    resume = [] if program.endswith(ALWAYS_RESUME) else ["--resume"]
    left = [die] * int(kills) + [fill_disk] * int(full_disks)
    chance.shuffle(left)
    finished = 0
    different: list[str] = []
    while not any(codes) and (left or not finished):
        prepare = at_step(chance.randint(1, chance.choice((8, 40))), left[-1]) if left else lambda: None
        before = written(outputs["disturbed"])
        code, told = run(program, [*lines["disturbed"], *resume], prepare)
        if code:
            disturbed = left.pop()
            different += problems(before, outputs["disturbed"], told) if disturbed is fill_disk else []
            if code not in ((1, 2) if disturbed is fill_disk else (-signal.SIGKILL,)):
                codes.append(code)
            continue
        codes.append(code)
        finished += 1
        found = contents(outputs["disturbed"])
        different += [name for name in expected | found if expected.get(name) != found.get(name)]
        shutil.rmtree(outputs["disturbed"])
        outputs["disturbed"].mkdir()
    result = {"left": len(left), "codes": sorted(set(codes)), "different": different, "files": len(expected)}
    print(told if any(codes) else "", file=sys.stderr)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
