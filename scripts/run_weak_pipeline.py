"""From image-level labels to masks: all steps of the thesis' chapter 3, one after the other.

    python dataset_scripts/make_miniature_weak.py data/miniature_weak
    python scripts/run_weak_pipeline.py --config scripts/configs/mcis/smoke.yaml --data_dir data/miniature_weak \\
        --output runs/weak

The data are images whose classes are known, in the layout of PASCAL VOC or as a table (see
`dataset_scripts/pascal_voc_weak.py --help`), with masks for the split that scores are computed on. The configuration
has a part for each step (see `dense_hf/options.py`); `scripts/configs/mcis/` has a file for each row of
the thesis' tables. More images than those of the data (sections 3.4.2 and 3.4.3) stand in the configuration once, as
`extra_sources` in the data section of the classifier: all steps up to the segmenter get them.

What is done, each step by a script of its own, which also runs alone:

| folder of OUTPUT | script | what comes out |
|---|---|---|
| classifier | train_mcis.py | the classifier with co-attention |
| maps | make_maps.py | a localisation map for each class of each training image, extra ones too |
| affinity | train_affinity.py | only with a part `refinement`: a network that tells which pixels belong together |
| refined_maps | refine_maps.py | likewise: the maps, spread by a random walk |
| pseudo_labels | make_pseudo_labels.py | a mask for each training image |
| segmenter | train_deeplab.py | a segmentation network |
| evaluation | evaluate_segmentation.py | predictions for the evaluation split and their scores |
| report.html | | images, maps, pseudo labels, predictions and scores in one file |

A step that is done is skipped when the same command comes again, and one that was interrupted, even killed, goes on
where it was. A step whose settings have changed since is an error, because what was made with other settings would be
mixed with it: remove its folder and those of the steps behind it, or use another OUTPUT. What a step prints is also in
OUTPUT/logs.

The part "pipeline" of the configuration may have the options of this script as keys; the command line wins. What is
given here wins over the parts of the steps: --data_dir, and --seed, if it is given, over the `seed` of trainings.

With `--num_processes N`, the steps that can be distributed run in N processes of this machine (torchrun). For several
machines run the scripts one by one.
"""

import fcntl
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from dense_hf import InvalidDataError
from dense_hf.data import read_weak_split, write_file
from dense_hf.data.weak_source import read_weak_training
from dense_hf.inference.console import say
from dense_hf.inference.processes import one_line_errors
from dense_hf.options import (
    PARTS,
    as_command_line,
    check_keys,
    config_file,
    option,
    parse_part,
    read_part_sections,
    read_yaml,
)
from dense_hf.reports.weak_pipeline import write_report
from dense_hf.training.classifier.options import known_keys
from dense_hf.weak_segmentation import PseudoLabelSettings

SCRIPTS = Path(__file__).parent
FOLDERS = ("classifier", "maps", "affinity", "refined_maps", "pseudo_labels", "segmenter", "evaluation")


@dataclass
class PipelineOptions:
    """Where the images are, and where everything goes."""

    data_dir: str = field(metadata={"help": "Images with image-level labels."})
    output: str = field(metadata={"help": "Folder for everything that comes out."})
    saliency: str | None = option(None, "Folder with NAME.png, 255 for what stands out (released).")
    evaluation_split: str = option("val", "Split with masks to judge by, or none.")
    seed: int | None = option(None, "Of all trainings. Default: what their parts say, else 1.")
    num_processes: int = option(1, "Processes for steps that can have several.")
    report_images: int = option(24, "Training and evaluation images in the report, at most.")

    def __post_init__(self):
        if self.num_processes < 1 or self.report_images < 0:
            found = f"{self.num_processes} and {self.report_images}"
            raise ValueError(f"num_processes must be at least 1 and report_images at least 0. Received: {found}")


@dataclass(frozen=True)
class Step:
    """A script, what it gets, and what its result depends on.

    Attributes:
        folder: of OUTPUT, where everything that it makes goes.
        script: its file.
        arguments: of its command line, without the configuration.
        part: of the configuration, which it reads.
        distributed: whether it runs in several processes.
    """

    folder: str
    script: str
    arguments: tuple[str, ...]
    part: str
    distributed: bool


def read_extra_sources(path: Path, config: dict[str, Any]) -> list[str]:
    """The sources of the classifier, which all steps read, each as a word of a command line.

    Raises:
        InvalidDataError: a section of the classifier has unknown keys, or another part has other sources.
    """
    found = read_part_sections(path, "classifier", known_keys())["data"].get("extra_sources")
    for part in PARTS[1:]:
        content = config.get(part)
        for section in (content, content.get("data")) if isinstance(content, dict) else ():
            if isinstance(section, dict) and section.get("extra_sources", found) != found:
                expected = "extra_sources in the data section of the classifier alone: all steps get them from there"
                raise InvalidDataError(path, expected, f"others in {part}")
    return as_command_line({"extra_sources": found})[1:]


def check_background(path: Path, config: dict[str, Any], saliency: bool) -> None:
    """Before hours of training, what the step behind it would refuse.

    Raises:
        InvalidDataError: saliency says what is background, and a refinement needs scores.
    """
    part = config.get("pseudo_labels") or {}
    if not isinstance(part, dict) or not (saliency or part.get("saliency")):
        return
    if part.get("background_score") is not None:
        expected = "no background_score in the part pseudo_labels beside saliency, which says what is background"
        raise InvalidDataError(path, expected, part["background_score"])
    given = {one.name: part[one.name] for one in fields(PseudoLabelSettings) if one.name in part}
    try:
        PseudoLabelSettings(**given).check_with_saliency()
    except (TypeError, ValueError) as error:
        raise InvalidDataError(path, "a part pseudo_labels that goes with saliency", error) from error


def plan(options: PipelineOptions, config: dict[str, Any], extra_sources: Sequence[str] = ()) -> list[Step]:
    """The steps in their order; those behind the classifier, which reads its file, are told its sources."""
    output = Path(options.output)
    classifier, maps, affinity, refined, labels, segmenter, evaluation = (output / name for name in FOLDERS)
    data = ("--data_dir", options.data_dir)
    all_data = (*data, "--extra_sources", *extra_sources) if extra_sources else data

    def trained(part: str) -> tuple[object, ...]:
        section = config.get(part)
        training = section.get("training") if isinstance(section, dict) else None
        told = isinstance(training, dict) and "seed" in training and options.seed is None
        seed = () if told else ("--seed", 1 if options.seed is None else options.seed)
        return (*seed, "--resume_from_checkpoint", "auto")

    def step(folder: Path, script: str, part: str, *words: object, distributed: bool = True) -> Step:
        return Step(folder.name, script, tuple(map(str, words)), part, distributed)

    given = (*all_data, "--model", classifier, "--split", "train")
    steps = [
        step(classifier, "train_mcis.py", "classifier", *data, *trained("classifier"), "--output_dir", classifier),
        step(maps, "make_maps.py", "localization", *given, "--output", maps),
    ]
    if config.get("refinement") is not None:
        given = (*all_data, "--maps", maps, "--model", affinity)
        training = (*all_data, *trained("refinement"), "--maps", maps, "--output_dir", affinity)
        steps += [
            step(affinity, "train_affinity.py", "refinement", *training),
            step(refined, "refine_maps.py", "refinement", *given, "--output", refined, distributed=False),
        ]
        maps = refined
    saliency = () if options.saliency is None else ("--saliency", options.saliency)
    given = (*all_data, "--maps", maps, "--split", "train", *saliency, "--output", labels)
    training = (*all_data, *trained("segmenter"), "--pseudo_labels", labels, "--output_dir", segmenter)
    steps += [
        step(labels, "make_pseudo_labels.py", "pseudo_labels", *given, distributed=False),
        step(segmenter, "train_deeplab.py", "segmenter", *training),
    ]
    if options.evaluation_split != "none":
        given = (*data, "--model", segmenter, "--split", options.evaluation_split)
        written = ("--save_predictions", evaluation / "predictions", "--output", evaluation / "results.json")
        steps.append(step(evaluation, "evaluate_segmentation.py", "evaluation", *given, *written))
    return steps


class Records:
    """What OUTPUT/steps says about each step: its settings, and whether it is done."""

    def __init__(self, output: Path):
        self.output = output

    def read(self, step: Step) -> dict[str, Any] | None:
        """The record of a step; None if there is none, or if the folder of the step has been removed since."""
        file = self._file(step)
        if not file.is_file() or not (self.output / step.folder).is_dir():
            return None
        return json.loads(file.read_text(encoding="utf-8"))

    def write(self, step: Step, **record: Any) -> None:
        """Replace the record of a step."""
        (self.output / step.folder).mkdir(parents=True, exist_ok=True)
        self._file(step).parent.mkdir(exist_ok=True)
        write_file(self._file(step), json.dumps(record, indent=2).encode())

    def _file(self, step: Step) -> Path:
        return self.output / "steps" / f"{step.folder}.json"


def run_steps(steps: Sequence[Step], config: dict[str, Any], path: Path, options: PipelineOptions) -> None:
    """All steps that are not done yet.

    Raises:
        InvalidDataError: a step was done, or begun, with other settings.
        subprocess.CalledProcessError: a script failed; it has said why.
    """
    output = Path(options.output)
    records = Records(output)
    before: str | None = None  # when the step before was done: a step made from older files is not done
    for number, step in enumerate(steps, start=1):
        settings = {
            "script": step.script,
            "arguments": list(step.arguments),
            "config": {step.part: config.get(step.part)},
            "step before done at": before,
        }
        record = records.read(step)
        if record is not None and record["settings"] != settings:
            changed = ", ".join(key for key in settings if record["settings"].get(key) != settings[key])
            expected = f"what it was made with ({changed}); else remove this folder, or use another --output"
            raise InvalidDataError(output / step.folder, expected, "other settings")
        if record is None or not record["done"]:
            tqdm.write(f"step {number} of {len(steps)}: {step.script} -> {output / step.folder}", sys.stderr)
            records.write(step, settings=settings, done=None)
            start = time.time()
            run_script(step, path, options)
            now = datetime.now().astimezone().isoformat(sep=" ")
            record = {"settings": settings, "done": now, "seconds": time.time() - start}
            records.write(step, **record)
        else:
            tqdm.write(f"step {number} of {len(steps)}: {step.script} was done before", sys.stderr)
        before = record["done"]


@contextmanager
def only_one_run(output: Path) -> Generator[None]:
    """Inside, nobody else works in the folder: neither a second run, nor a script whose run was killed.

    Raises:
        ValueError: somebody does.
    """
    with open(output / ".lock", "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(f"{output} is in use by another run, or by a script that one has left") from error
        os.set_inheritable(file.fileno(), True)  # the lock is free when all scripts have ended, too
        yield


def run_script(step: Step, path: Path, options: PipelineOptions) -> None:
    """Run the script of a step to its end; what it prints appears here and in OUTPUT/logs.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    command = [sys.executable]
    if step.distributed and options.num_processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={options.num_processes}"]
    command += [str(SCRIPTS / step.script), "--config", str(path), *step.arguments]
    log = Path(options.output) / "logs" / f"{step.folder}.log"
    log.parent.mkdir(exist_ok=True)
    output: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "close_fds": False}
    with open(log, "ab") as file, subprocess.Popen(command, **output) as child:  # noqa: S603
        try:
            while child.stdout and (chunk := os.read(child.stdout.fileno(), 65536)):
                file.write(chunk)
                file.flush()
                sys.stderr.buffer.write(chunk)
                sys.stderr.flush()
        except BaseException:
            child.terminate()
            raise
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)


@one_line_errors
def main(arguments: Sequence[str] | None = None) -> None:
    """Check the data, run what is not done, write the report."""
    usage = "%(prog)s --config FILE --data_dir DIR --output DIR [options]"
    options: PipelineOptions = parse_part("pipeline", (PipelineOptions,), __doc__, arguments, usage)[0]
    name = config_file(arguments)
    if name is None:
        raise ValueError("--config is needed: a file with a part for each step. scripts/configs/mcis has some")
    path = Path(name)
    config = read_yaml(path)
    check_keys(path, "parts", config, PARTS)
    check_background(path, config, options.saliency is not None)
    extra_sources = read_extra_sources(path, config)
    train = read_weak_training(options.data_dir, extra_sources)
    if options.evaluation_split != "none":
        read_weak_split(options.data_dir, options.evaluation_split, with_masks=True)
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    steps = plan(options, config, extra_sources)
    try:
        with only_one_run(output):
            run_steps(steps, config, path, options)
    except subprocess.CalledProcessError as error:
        failed = f"this failed with status {error.returncode}: {shlex.join(error.cmd)}"
        sys.exit(f"run_weak_pipeline.py: {failed}\nWhat is done is kept; the same command goes on here")
    report = write_report(output, Path(options.data_dir), train, options.evaluation_split, options.report_images)
    say(f"{report} has images, maps, pseudo labels and scores")


if __name__ == "__main__":
    main()
