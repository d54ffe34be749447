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

import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import runs
from demo_video import PROTOCOLS, SEEN, judge
from tqdm.auto import tqdm

import dense_hf  # noqa: F401  AutoConfig knows its models from here on
from dense_hf.data import VideoSet, open_image, read_mask, read_video_folder, write_file
from dense_hf.inference.checkpoints import load_video_model
from dense_hf.inference.video_label_maps import segment_video
from dense_hf.reports.video import count_parameters

METHODS = {"segformer": "SegFormer", "cffm": "CFFM", "mrcfa": "MRCFA"}
BUNDLED = "cffm_seed_1"
NUMBERS = ("mean_iou", "vc8", "vc16")
# colors of road, grass, building, car, post and person in pictures; `dense-hf segment` looks for them in the config
PALETTE = [[120, 110, 130], [70, 160, 60], [190, 110, 70], [40, 110, 220], [250, 210, 0], [235, 30, 120]]


def train(street: Path, output: Path, method: str, seed: int) -> float | None:
    """One run; the seconds it took, None if it was finished already."""
    name, config = f"{method}_seed_{seed}", runs.SCRIPTS / "configs" / method / "street.yaml"
    return runs.run_script(
        output, name, f"train_{method}.py", *runs.training_words(config, street, output / name, seed)
    )


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
    return runs.read_json(kept)


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
            rows[protocol] = {key: runs.over_seeds([run[protocol][key] for run in seeds.values()]) for key in NUMBERS}
            rows[f"{protocol}_minus_segformer"] = {
                key: runs.over_seeds(
                    [run[protocol][key] - per_run["segformer"][seed][protocol][key] for seed, run in seeds.items()]
                )
                for key in NUMBERS
            }
        rows["per_class_iou"] = {
            name: None if iou is None else runs.over_seeds([run["per_class_iou"][name] for run in seeds.values()])
            for name, iou in first["per_class_iou"].items()
        }
        methods[method] = rows | {"seeds": [{"seed": seed} | run for seed, run in seeds.items()]}
    return {"checkpoint": "cffm-street", "labels": "pseudo", "methods": methods, "most_frequent_label": constant}


def train_and_judge(street: Path, output: Path, jobs: int) -> dict[str, Any]:
    """All runs and what came out of them.

    Raises:
        InvalidDataError: the video cannot be used, or a run fails.
    """
    videos = read_video_folder(street / SEEN)
    runs.run_all(partial(train, videos.directory, output), METHODS, jobs)
    per_run = {
        method: {seed: evaluate(output / f"{method}_seed_{seed}", videos) for seed in runs.SEEDS} for method in METHODS
    }
    return summarize(per_run, judge_most_frequent(videos))


def main(arguments: list[str] | None = None) -> int:
    """Train, judge, write; returns the exit status."""
    parser = runs.parser_of(__doc__, "street_video.py", "runs/street")

    def make(options: runs.Namespace) -> runs.Results:
        return train_and_judge(options.data, options.output, options.jobs)

    return runs.run_training(parser, arguments, make, BUNDLED, palette=PALETTE)


if __name__ == "__main__":
    sys.exit(main())
