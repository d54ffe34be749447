"""Runs that are killed at random moments and go on, against one that nothing disturbs.

    python killed_runs.py FOLDER SEED KILLS PROGRAM [WORDS ...]

PROGRAM is "dense-hf" or a script; OUT in the words is a folder of the run. All it needs is imported once. Each run is
a process of its own, forked from here, that kills itself (SIGKILL) at one of its next steps towards the disk, half of
the bytes being written. It is started again with --resume until there were KILLS kills. Whenever a run comes to its
end, its files must be those of the undisturbed one, and the next begins anew.
"""

import json
import os
import random
import re
import runpy
import shutil
import signal
import sys
from pathlib import Path

STEPS = ("fsync", "replace", "write", "ftruncate", "unlink", "truncate")


def run(program: str, words: list[str], kill_at: int) -> int:
    """The exit code of a run in a new process, -9 for one that was killed."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        if kill_at:
            die_at(kill_at)
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
    finally:
        sys.stderr.flush()
        os._exit(code)


def die_at(number: int) -> None:
    """Make the steps towards the disk countable, and the last one deadly."""
    left = number

    def deadly(name):
        step = getattr(os, name)

        def do(*args):
            nonlocal left
            left -= 1
            if not left:
                if name == "write":
                    step(args[0], args[1][: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return step(*args)

        return do

    for name in STEPS:
        setattr(os, name, deadly(name))


def contents(folder: Path) -> dict[str, bytes]:
    """What a run has made, without its records and the speed of an evaluation."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".jsonl"))
    speed = re.compile(rb'"frames_per_second": [^,]*,')
    return {str(path.relative_to(folder)): speed.sub(b"", path.read_bytes()) for path in files}


def main() -> None:
    """Print how often runs were killed and finished."""
    folder, seed, kills, program, words = (
        Path(sys.argv[1]),
        int(sys.argv[2]),
        int(sys.argv[3]),
        sys.argv[4],
        sys.argv[5:],
    )
    import dense_hf.inference.checkpoints
    import dense_hf.inference.label_maps
    import dense_hf.inference.localization_maps
    import dense_hf.inference.run_records
    import dense_hf.inference.video_label_maps
    import dense_hf.inference.video_outputs
    import dense_hf.weak_segmentation.localization  # noqa: F401

    outputs = {name: folder / name for name in ("whole", "killed")}
    lines = {name: [word.replace("OUT", str(output)) for word in words] for name, output in outputs.items()}
    for output in outputs.values():
        output.mkdir(parents=True)
    codes = [run(program, lines["whole"], 0)]
    expected = contents(outputs["whole"])
    chance = random.Random(seed)
    killed = finished = 0
    different = []
    while not any(codes) and (killed < kills or not finished):
        code = run(
            program, [*lines["killed"], "--resume"], chance.randint(1, chance.choice((8, 40))) if killed < kills else 0
        )
        if code == -signal.SIGKILL:
            killed += 1
            continue
        codes.append(code)
        finished += 1
        found = contents(outputs["killed"])
        different += [name for name in expected | found if expected.get(name) != found.get(name)]
        shutil.rmtree(outputs["killed"])
        outputs["killed"].mkdir()
    print(json.dumps({"killed": killed, "codes": sorted(set(codes)), "different": different, "files": len(expected)}))


if __name__ == "__main__":
    main()
