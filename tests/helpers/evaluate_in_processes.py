"""Every evaluation with as many processes as torchrun starts: process 0 writes the numbers to a JSON file.

    python evaluate_in_processes.py FOLDER SIZE NUMBERS.json

FOLDER has a counter, a classifier, a DeepLab, a CFFM and data for each; SIZE is how many items are judged.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

from dense_hf.data import read_video_folder, read_weak_split
from dense_hf.data.counting_examples import read_examples
from dense_hf.data.files import without_nan
from dense_hf.inference.checkpoints import load_counter, load_mcis, load_model, load_video_model
from dense_hf.inference.class_scores import evaluate_classification
from dense_hf.inference.counts import evaluate_counting
from dense_hf.inference.label_maps import evaluate_segmentation
from dense_hf.inference.processes import closes_process_group, start_processes
from dense_hf.inference.video_label_maps import evaluate_videos
from dense_hf.weak_segmentation import MultiScaleSegmenter
from dense_hf.weak_segmentation.modeling_deeplab_largefov import DeepLabLargeFOVForSemanticSegmentation


@closes_process_group
def main() -> None:
    """Judge the first items of each data set."""
    state = start_processes()
    folder, size, output = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    numbers = {}
    examples = read_examples(folder / "fish", ["validation"], progress=False)["validation"][:size]
    numbers["counting"] = evaluate_counting(*load_counter(str(folder / "counter"), "cpu"), examples, progress=False)
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
    numbers["video"] = evaluate_videos(
        *load_video_model(str(folder / "cffm"), device="cpu"), videos, members, progress=False
    )
    if state.is_main_process:
        output.write_text(json.dumps(without_nan(numbers)))


if __name__ == "__main__":
    main()
