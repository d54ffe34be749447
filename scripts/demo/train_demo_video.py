"""Train the video models of `make demo` from scratch: three methods, three seeds each, the same budget for all.

    make train-demo-video                                    # fetches the video, then runs this
    python scripts/demo/train_demo_video.py demo_data/street --output runs/street --jobs 2

Does attention over earlier frames make the labels of a video steadier, as the thesis says? Nine runs with the files
scripts/configs/{segformer,cffm,mrcfa}/street.yaml: the same encoder, clips, steps and batches for SegFormer (each
frame alone), CFFM and MRCFA, one thread each so that the weights are the same on every run. They learn from frames 0
to 599 of a street video with PSEUDO labels (see dataset_scripts/street_video.py) and are judged on frames 600 to 794.
Nothing is selected by the test frames: learning rate, batch and frame size were compared on frames 520 to 599 (those
trainings, most of them of CFFM, are listed in the card of cffm-street), and every run ends with its last weights. The
checkpoint that is bundled is that of CFFM with seed 1, decided before any result was seen.

Beside the models stands what no model is: the label that each pixel has most often in training, for every frame. It is
perfectly steady and has no people, so VC without mIoU says little.

OUTPUT gets a folder per run, with its card and its numbers, results.json, and cffm-street, which is what lies in
checkpoints/. What is finished is not done again; an interrupted run goes on where it was.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from bundling import bundle, remember_start
from demo_video import PROTOCOLS, SEEN, judge
from tables import street_table
from tqdm.auto import tqdm

import dense_hf  # noqa: F401  AutoConfig knows its models from here on
from dense_hf import InvalidDataError
from dense_hf.data import VideoSet, open_image, read_mask, read_video_folder, write_file
from dense_hf.inference.checkpoints import load_video_model
from dense_hf.inference.video_label_maps import segment_video
from dense_hf.reports.video import count_parameters

SCRIPTS = Path(__file__).parents[1]
METHODS = {"segformer": "SegFormer", "cffm": "CFFM", "mrcfa": "MRCFA"}
SEEDS = (1, 2, 3)
BUNDLED = ("cffm", 1)
NUMBERS = ("mean_iou", "vc8", "vc16")
# colours of road, grass, building, car, post and person in pictures; `dense-hf segment` looks for them in the config
PALETTE = [[120, 110, 130], [70, 160, 60], [190, 110, 70], [40, 110, 220], [250, 210, 0], [235, 30, 120]]


def train(street: Path, output: Path, method: str, seed: int) -> float | None:
    """One run; the seconds it took, None if it was finished already. What it prints goes to `output`.log."""
    folder = output / f"{method}_seed_{seed}"
    if (folder / "results.json").is_file() and (folder / "model.safetensors").is_file():
        return None
    command = [sys.executable, str(SCRIPTS / f"train_{method}.py")]
    command += ["--config", str(SCRIPTS / "configs" / method / "street.yaml"), "--data_dir", str(street)]
    command += ["--output_dir", str(folder), "--seed", str(seed), "--resume_from_checkpoint", "auto"]
    start = time.monotonic()
    with open(f"{folder}.log", "a") as log:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, stdout=log, stderr=subprocess.STDOUT)  # noqa: S603
    if done.returncode:
        raise InvalidDataError(f"{folder}.log", "a run that comes to its end", f"exit code {done.returncode}")
    return time.monotonic() - start


def evaluate(run: Path, videos: VideoSet) -> dict[str, Any]:
    """The numbers of a finished run on the test frames, in both protocols; they are kept in its folder.

    Raises:
        InvalidDataError: a frame or a mask that cannot be used.
        OSError: there is no checkpoint.
    """
    kept = run / "test_numbers.json"
    if not kept.is_file():
        model, processor = load_video_model(str(run))
        (video,) = videos.splits["test"]
        frames = segment_video(model, processor, videos, video, range(len(video.frames)), {})
        maps = {number: labels for number, labels, _ in tqdm(frames, desc=run.name, total=len(video.frames))}
        numbers = judge(videos, video, maps) | {"parameters": count_parameters(model)}
        write_file(kept, json.dumps(numbers, indent=2).encode())
    return json.loads(kept.read_text(encoding="utf-8"))


def judge_most_frequent(videos: VideoSet) -> dict[str, Any]:
    """The numbers of a map that never changes: at each pixel the label that it has most often in the training frames.

    Pixels that never have one get label 0; they are not judged unless the test frames have a label there.
    """
    (training,) = videos.splits["train"]
    size = open_image(training.frames[0].image_path).size
    counts = np.zeros((videos.rule.num_labels, size[1], size[0]), dtype=np.int64)
    for path in (frame.mask_path for frame in training.frames if frame.mask_path is not None):
        counts += read_mask(path, size, videos.rule) == np.arange(videos.rule.num_labels)[:, None, None]
    constant = counts.argmax(axis=0).astype(np.uint8)
    (video,) = videos.splits["test"]
    return judge(videos, video, dict.fromkeys(range(len(video.frames)), constant))


def spread(values: Sequence[float]) -> dict[str, float]:
    """What is said of one number of several seeds."""
    deviation = stdev(values) if len(values) > 1 else 0.0
    return {"mean": mean(values), "standard_deviation": deviation, "lowest": min(values), "highest": max(values)}


def summarize(per_run: Mapping[str, Mapping[int, dict[str, Any]]], constant: dict[str, Any]) -> dict[str, Any]:
    """Numbers of all runs, their spread over the seeds, and the differences to SegFormer, seed by seed.

    Args:
        per_run: method to seed to what `evaluate` returned.
        constant: of `judge_most_frequent`.
    """
    methods: dict[str, Any] = {}
    for method, seeds in per_run.items():
        first = next(iter(seeds.values()))
        rows: dict[str, Any] = {"title": METHODS[method], "parameters": first["parameters"]}
        for protocol in PROTOCOLS:
            rows[protocol] = {key: spread([run[protocol][key] for run in seeds.values()]) for key in NUMBERS}
            rows[f"{protocol}_minus_segformer"] = {
                key: spread(
                    [run[protocol][key] - per_run["segformer"][seed][protocol][key] for seed, run in seeds.items()]
                )
                for key in NUMBERS
            }
        rows["per_class_iou"] = {
            name: None if iou is None else spread([run["per_class_iou"][name] for run in seeds.values()])
            for name, iou in first["per_class_iou"].items()
        }
        methods[method] = rows | {"seeds": [{"seed": seed} | run for seed, run in seeds.items()]}
    return {"checkpoint": "cffm-street", "labels": "pseudo", "methods": methods, "most_frequent_label": constant}


def main(arguments: list[str] | None = None) -> int:
    """Train, judge, write; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("street", type=Path, help="Folder that dataset_scripts/street_video.py made.")
    parser.add_argument("--output", type=Path, default=Path("runs/street"), help="Folder for the runs.")
    parser.add_argument("--jobs", type=int, default=2, help="Runs at a time, one thread each (default: 2).")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    made = remember_start(options.output)
    runs = [(method, seed) for seed in SEEDS for method in METHODS]  # so that a stopped run has whole seeds
    try:
        videos = read_video_folder(options.street / SEEN)
        with ThreadPoolExecutor(options.jobs) as pool:
            tasks = pool.map(lambda run: train(videos.directory, options.output, *run), runs)
            for (method, seed), seconds in zip(runs, tasks):
                took = "was there already" if seconds is None else f"{seconds / 60:.1f} minutes"
                print(f"{METHODS[method]}, seed {seed}: {took}", flush=True)
        per_run = {
            method: {seed: evaluate(options.output / f"{method}_seed_{seed}", videos) for seed in SEEDS}
            for method in METHODS
        }
        results = summarize(per_run, judge_most_frequent(videos)) | {"made": made}
        write_file(options.output / "results.json", json.dumps(results, indent=2).encode())
        method, seed = BUNDLED
        run = options.output / f"{method}_seed_{seed}"
        bundle(run, options.output / results["checkpoint"], results, palette=PALETTE)
    except (InvalidDataError, OSError, ValueError) as error:
        print(f"train_demo_video.py: {error}", file=sys.stderr)
        return 1
    print(f"\n{street_table(results)}\n\nresults.json and {results['checkpoint']}/ are in {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
