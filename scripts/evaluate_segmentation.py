"""Mean IoU of a segmenter, tested as released: five scales, mirrored and not, a dense CRF (thesis section 3.3.3).

    python scripts/evaluate_segmentation.py --model runs/deeplab --data_dir data/VOC2012 --output results.json
    torchrun --standalone --nproc_per_node 4 scripts/evaluate_segmentation.py ...   # the same numbers, sooner

--model is a folder or a name on the Hub that scripts/train_deeplab.py has written. Images are those of --split (val),
in the layout of PASCAL VOC or of a folder of your own (see train_deeplab.py); each must have a mask. Images are cut
into squares of 401 pixels (--window) that are at most 267 apart (--stride) and blend where they overlap; smaller
images are padded.

    --no_flip --no_crf --scales 1              once, at the size of the image: what training calls evaluation
    --window 128 --stride 85                   for small tiles
    --predictions predictions/deeplab          PNGs like the masks

With --predictions a stopped run goes on where it was: images that are there are read instead of segmented. --config
FILE reads the same options from the part `evaluation` of a file; options after it win.

--output gets mean_iou, per_class_iou by class name (null for a class that does not occur), pixel_accuracy and others,
num_images, and settings.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from dense_hf.data import write_file
from dense_hf.data.files import without_nan
from dense_hf.data.weak_source import mask_rule, read_weak_split
from dense_hf.errors import InvalidDataError
from dense_hf.inference.checks import check_label_maps
from dense_hf.inference.evaluation_options import parse_evaluation
from dense_hf.inference.label_maps import SegmentationPredictions, evaluate_segmentation
from dense_hf.inference.processes import closes_process_group
from dense_hf.inference.result_folders import describe_maker
from dense_hf.reports.segmenter import scores_table
from dense_hf.weak_segmentation.image_processing_deeplab_largefov import DeepLabLargeFOVImageProcessor
from dense_hf.weak_segmentation.modeling_deeplab_largefov import DeepLabLargeFOVForSemanticSegmentation


@closes_process_group
def main() -> None:
    """Read, segment, print."""
    # without `cpu`, torchrun on a machine without a GPU starts independent runs instead of one (accelerate 1.15)
    state = PartialState(cpu=not torch.accelerator.is_available())
    try:
        arguments = parse_evaluation(manual=__doc__)
        folder = read_weak_split(arguments.data_dir, arguments.split, with_masks=True)
        rule = mask_rule(folder.class_names)
        model: Any = DeepLabLargeFOVForSemanticSegmentation.from_pretrained(arguments.model).eval()
        processor = DeepLabLargeFOVImageProcessor.from_pretrained(arguments.model)
        if (names := tuple(model.config.id2label.values())) != rule.names:
            expected = f"a model of the classes of {arguments.data_dir}, {', '.join(rule.names)}"
            raise InvalidDataError(arguments.model, expected, ", ".join(names))
        segmenter = arguments.segmenter(model, processor)
        check_label_maps(folder.images, rule, "Checking masks", progress=not arguments.quiet)
        predictions = None
        if arguments.predictions is not None:
            maker = describe_maker(Path(arguments.model).name, model, processor)
            maker |= {"split": arguments.split, **arguments.settings()}
            predictions = SegmentationPredictions(arguments.predictions, rule, maker)
        if arguments.output is not None and state.is_main_process:
            Path(arguments.output).parent.mkdir(parents=True, exist_ok=True)
        model.to(state.device)
        results = evaluate_segmentation(
            segmenter, folder, predictions, progress=not arguments.quiet, description=arguments.split
        )
    except (InvalidDataError, OSError, ValueError) as error:
        sys.exit(f"evaluate_segmentation.py: {error}")
    if state.is_main_process:
        print(scores_table(results))
        if arguments.output is not None:
            about = {"model": arguments.model, "split": arguments.split, "settings": arguments.settings()}
            write_file(arguments.output, (json.dumps(without_nan({**about, **results}), indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
