"""Every evaluation with as many processes as torchrun starts: process 0 writes the numbers to a JSON file.

    python evaluate_in_processes.py FOLDER SIZE NUMBERS.json

FOLDER has a counter, a classifier, an AffinityNet, a DeepLab, a CFFM and data for each; SIZE is how many items are
judged. What is made of them as files, maps, labels and prototypes, goes beside the numbers, into NUMBERS.files.
"""

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

from dense_hf.data import WeakFolder, read_video_folder, read_weak_split
from dense_hf.data.counting_examples import read_examples
from dense_hf.data.files import without_nan
from dense_hf.inference.certain_labels import make_certain_labels
from dense_hf.inference.checkpoints import load_counter, load_mcis, load_model, load_video_model
from dense_hf.inference.class_scores import evaluate_classification
from dense_hf.inference.counts import evaluate_counting
from dense_hf.inference.evaluation_records import EvaluationRecord
from dense_hf.inference.label_maps import evaluate_segmentation
from dense_hf.inference.localization_maps import make_maps
from dense_hf.inference.processes import closes_process_group, start_processes
from dense_hf.inference.prototype_files import PrototypeMaker, make_prototypes
from dense_hf.inference.pseudo_label_files import LabelMaker, make_labels
from dense_hf.inference.refined_maps import refine_maps
from dense_hf.inference.video_label_maps import evaluate_videos
from dense_hf.weak_segmentation import MultiScaleSegmenter, PseudoLabelSettings
from dense_hf.weak_segmentation.affinity_labels import CertainLabels
from dense_hf.weak_segmentation.localization import LocalizationSettings
from dense_hf.weak_segmentation.modeling_affinity_net import AffinityNetModel
from dense_hf.weak_segmentation.modeling_deeplab_largefov import DeepLabLargeFOVForSemanticSegmentation
from dense_hf.weak_segmentation.random_walk import RandomWalk


def pixels(folder: Path) -> dict[str, str]:
    """A hash of each file of results."""
    found = [path for path in sorted(folder.rglob("*")) if path.suffix in (".png", ".safetensors")]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def weak_files(folder: Path, images: WeakFolder, files: Path) -> dict:
    """Maps, refined maps, pseudo labels and labels of cells: their summaries."""
    model, processor = load_mcis(str(folder / "mcis"), "cpu")
    quiet = {"progress": False}
    found = {}
    found["maps"] = make_maps(model, processor, images, files / "maps", LocalizationSettings(), "mcis", **quiet)
    affinity = load_model(str(folder / "affinity"), AffinityNetModel, "an AffinityNet", "cpu")
    walk = RandomWalk(num_steps=2)
    refined = refine_maps(*affinity, images, files / "maps", files / "refined", walk, "affinity", **quiet)
    found["refined"] = refined
    settings = PseudoLabelSettings(background_score=0.3)
    maker = LabelMaker(
        images.class_names, files / "refined", files / "labels", settings, masks=folder / "weak" / "val" / "masks"
    )
    found["labels"] = make_labels(maker, images, **quiet)
    make_certain_labels(images, files / "maps", files / "cells", CertainLabels(crf=False), **quiet)
    for summary in found.values():
        summary.pop("maps", None), summary.pop("maps_hash", None)  # folders of this run
    return found


@closes_process_group
def main() -> None:
    """Judge the first items of each data set."""
    state = start_processes()
    folder, size, output = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    numbers = {}
    examples = read_examples(folder / "fish", ["validation"], progress=False)["validation"][:size]
    counter = load_counter(str(folder / "counter"), "cpu")
    with EvaluationRecord(str(output), {"size": size}) as record:
        numbers["counting"] = evaluate_counting(*counter, examples, progress=False, record=record)
        record.finish()
    images = read_weak_split(folder / "weak", "train").images[:size]
    classifier = load_mcis(str(folder / "mcis"), "cpu")
    numbers["classifier"] = evaluate_classification(*classifier, images, batch_size=1, progress=False)
    masked = read_weak_split(folder / "weak", "val", with_masks=True)
    model, processor = load_model(str(folder / "deeplab"), DeepLabLargeFOVForSemanticSegmentation, "a DeepLab", "cpu")
    segmenter = MultiScaleSegmenter(model, processor, scales=[1], window=49, stride=32, flip=False)
    part = replace(masked, images=masked.images[:size])
    numbers["segmentation"] = evaluate_segmentation(segmenter, part, progress=False)
    videos = read_video_folder(folder / "videos")
    members = videos.splits["train"][:size]
    cffm = load_video_model(str(folder / "cffm"), device="cpu")
    numbers["video"] = evaluate_videos(*cffm, videos, members, progress=False)
    files = output.with_suffix(".files")
    numbers["weak"] = weak_files(folder, replace(masked, images=masked.images[:size]), files)
    make_prototypes(PrototypeMaker.of(*cffm, num_prototypes=3), members, files / "prototypes", progress=False)
    numbers["files"] = pixels(files)
    if state.is_main_process:
        output.write_text(json.dumps(without_nan(numbers)))


if __name__ == "__main__":
    main()
