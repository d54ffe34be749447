"""Train the video models of `make demo` again: three methods, three seeds each, the same budget for all.

    make train-demo-video                                    # fetches the video, then runs this
    python scripts/demo/train_demo_video.py demo_data/street --output runs/street --jobs 2

Does attention over earlier frames make the labels of a video steadier, as the thesis says? Nine runs with the files
scripts/configs/{cffm/street_per_frame,cffm/street,mrcfa/street}.yaml: the same backbone, which starts from ImageNet
weights, clips, steps and batches for the decoder of CFFM that sees each frame alone, CFFM and MRCFA, one thread each
so that the weights are the same on every run. They learn from frames 0 to 599 of a street video with PSEUDO labels
(see dataset_scripts/street_video.py) and are judged on frames 600 to 794. Nothing is selected by the test frames:
what was tried was compared on frames 520 to 599 (those trainings are listed in the card of cffm-street), and every run
ends with its last weights. The checkpoint that is bundled is that of CFFM with seed 1, decided before any result was
seen. It is stored in half precision, 6 MB, and all are judged with weights that are rounded so.

They are judged on the frames as they are and with every fourth one lost (black), as when a camera drops it. Averaging
the probabilities of three frames needs no method at all, so the model of single frames is judged with that, too.

Beside the models stands what no model is: the label that each pixel has most often in training, for every frame. It is
perfectly steady and has no people, so VC without mIoU says little.

OUTPUT gets a folder per run, with its card and its numbers, results.json, and cffm-street, which is what lies in
checkpoints/. What is finished is not done again; an interrupted run goes on where it was.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
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
from dense_hf.inference.video_variants import VideoVariant
from dense_hf.reports.video import count_parameters

METHODS = {  # the name of a training script, and a file of its configurations
    "per_frame": ("cffm", "street_per_frame.yaml"),
    "cffm": ("cffm", "street.yaml"),
    "mrcfa": ("mrcfa", "street.yaml"),
}
ROWS = {  # title, method that is trained, frames whose probabilities are averaged
    "per_frame": ("Per frame", "per_frame", 1),
    "per_frame_mean3": ("Per frame, mean of three", "per_frame", 3),
    "cffm": ("CFFM", "cffm", 1),
    "mrcfa": ("MRCFA", "mrcfa", 1),
}
LOST = VideoVariant(damage="black", damage_every=4)
BUNDLED = "cffm_seed_1"
NUMBERS = ("mean_iou", "vc8", "vc16")
# colors of road, grass, building, car, post and person in pictures; `dense-hf segment` looks for them in the config
PALETTE = [[120, 110, 130], [70, 160, 60], [190, 110, 70], [40, 110, 220], [250, 210, 0], [235, 30, 120]]


def train(street: Path, output: Path, method: str, seed: int) -> float | None:
    """One run; the seconds it took, None if it was finished already."""
    name, (script, file) = f"{method}_seed_{seed}", METHODS[method]
    words = runs.training_words(runs.SCRIPTS / "configs" / script / file, street, output / name, seed)
    return runs.run_script(output, name, f"train_{script}.py", *words)


def evaluate(run: Path, videos: VideoSet, average_frames: int = 1) -> dict[str, Any]:
    """The numbers of a finished run on the test frames; they are kept in its folder.

    Its weights are rounded to half precision, as the bundled ones are stored.

    Returns:
        What `judge` does, and that of the released protocol with every fourth frame lost, as "lost".

    Raises:
        InvalidDataError: a frame or a mask that cannot be used.
        OSError: there is no checkpoint.
    """
    kept = run / f"test_numbers_{average_frames}.json"
    if not kept.is_file():
        model, processor = load_video_model(str(run))
        model.half().float()
        (video,) = videos.splits["test"]

        def judge_variant(variant: VideoVariant) -> dict[str, Any]:
            frames = segment_video(model, processor, videos, video, range(len(video.frames)), {}, variant)
            bar = tqdm(frames, desc=f"{run.name}, {variant.damage or 'as it is'}", total=len(video.frames))
            return judge(videos, video, {number: labels for number, labels, _ in bar})

        clean, lost = (
            judge_variant(replace(variant, average_frames=average_frames)) for variant in (VideoVariant(), LOST)
        )
        numbers = clean | {"lost": lost["released"], "parameters": count_parameters(model)}
        write_file(kept, json.dumps(numbers, indent=2).encode())
    return runs.read_json(kept)


def judge_most_frequent(videos: VideoSet) -> dict[str, Any]:
    """As `evaluate`, of a map that never changes: at each pixel the label it has most often in the training frames.

    Pixels that never have one get label 0; they are not judged unless the test frames have a label there.
    """
    (training,) = videos.splits["train"]
    size = open_image(training.frames[0].image_path).size
    counts = np.zeros((videos.rule.num_labels, size[1], size[0]), dtype=np.int64)
    for path in (frame.mask_path for frame in training.frames if frame.mask_path is not None):
        counts += read_mask(path, size, videos.rule) == np.arange(videos.rule.num_labels)[:, None, None]
    constant = counts.argmax(axis=0).astype(np.uint8)
    (video,) = videos.splits["test"]
    numbers = judge(videos, video, dict.fromkeys(range(len(video.frames)), constant))
    return numbers | {"lost": numbers["released"]}


def summarize(per_run: Mapping[str, Mapping[int, dict[str, Any]]], constant: dict[str, Any]) -> dict[str, Any]:
    """Numbers of all runs, their spread over the seeds, and the differences to `per_frame`, seed by seed.

    Args:
        per_run: row to seed to what `evaluate` returned.
        constant: of `judge_most_frequent`.
    """
    methods: dict[str, Any] = {}
    for method, seeds in per_run.items():
        first = next(iter(seeds.values()))
        rows: dict[str, Any] = {"title": ROWS[method][0], "parameters": first["parameters"]}
        for protocol in (*PROTOCOLS, "lost"):
            rows[protocol] = {key: runs.over_seeds([run[protocol][key] for run in seeds.values()]) for key in NUMBERS}
            rows[f"{protocol}_minus_per_frame"] = {
                key: runs.over_seeds(
                    [run[protocol][key] - per_run["per_frame"][seed][protocol][key] for seed, run in seeds.items()]
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
        row: {seed: evaluate(output / f"{method}_seed_{seed}", videos, frames) for seed in runs.SEEDS}
        for row, (_, method, frames) in ROWS.items()
    }
    return summarize(per_run, judge_most_frequent(videos))


def main(arguments: list[str] | None = None) -> int:
    """Train, judge, write; returns the exit status."""
    parser = runs.parser_of(__doc__, "street_video.py", "runs/street")

    def make(options: runs.Namespace) -> runs.Results:
        return train_and_judge(options.data, options.output, options.jobs)

    return runs.run_training(parser, arguments, make, BUNDLED, half=True, palette=PALETTE)


if __name__ == "__main__":
    sys.exit(main())
