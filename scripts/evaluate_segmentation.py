"""Mean IoU of a segmenter, tested as released: five scales, mirrored and not, a dense CRF (thesis section 3.3.3).

    python scripts/evaluate_segmentation.py --model runs/deeplab --data_dir data/VOC2012 --output results.json
    torchrun --standalone --nproc_per_node 4 scripts/evaluate_segmentation.py ...   # the same numbers, sooner

--model is a folder or a name on the Hub that scripts/train_deeplab.py has written. Images are those of --split, in the
layout of PASCAL VOC or of a folder of your own (see train_deeplab.py); each must have a mask. Images are cut into
squares of 401 pixels (--window) that are at most 267 apart (--stride) and blend where they overlap; smaller images are
padded.

    --no_flip --no_crf --scales 1              once, at the size of the image: what training calls evaluation
    --window 128 --stride 85                   for small tiles
    --save_predictions predictions/deeplab     PNGs like the masks

With --save_predictions a stopped run goes on where it was: images that are there are read instead of segmented. With
--output, what is compared is kept beside it as it comes (.results.json.run.jsonl), and --resume goes on from that. A
file that no evaluation has written is only replaced with --overwrite. With
--config FILE, the part `evaluation` of the file says the same; options on the command line win.

--output gets mean_iou, per_class_iou by class name (null for a class that does not occur), pixel_accuracy and others,
num_images, and settings.
"""

from pathlib import Path

from dense_hf.data.weak_source import mask_rule, read_weak_split
from dense_hf.inference.checkpoints import load_model
from dense_hf.inference.checks import check_label_maps
from dense_hf.inference.class_names import order_labels
from dense_hf.inference.evaluation_options import parse_evaluation
from dense_hf.inference.evaluation_records import EvaluationRecord
from dense_hf.inference.evaluations import prepare_output, publish, weak_split_of
from dense_hf.inference.label_maps import SegmentationPredictions, evaluate_segmentation
from dense_hf.inference.processes import closes_process_group, one_line_errors, start_processes
from dense_hf.inference.result_folders import describe_maker, hash_of
from dense_hf.reports.segmenter import scores_table
from dense_hf.weak_segmentation.modeling_deeplab_largefov import DeepLabLargeFOVForSemanticSegmentation


@closes_process_group
@one_line_errors
def main() -> None:
    """Read, segment, print."""
    state = start_processes()
    arguments = parse_evaluation(manual=__doc__)
    split = weak_split_of(arguments.data_dir, arguments.split)
    folder = read_weak_split(arguments.data_dir, split, with_masks=True)
    rule = mask_rule(folder.class_names)
    kind = "a DeepLab-LargeFOV"
    model, processor = load_model(arguments.model, DeepLabLargeFOVForSemanticSegmentation, kind, state.device)
    order_labels(model, rule.names, arguments.model)
    segmenter = arguments.segmenter(model, processor)
    check_label_maps(folder.images, rule, "Checking masks", progress=not arguments.quiet)
    predictions = None
    maker = describe_maker(Path(arguments.model).name, model, processor) | {"split": split, **arguments.settings()}
    if arguments.save_predictions is not None:
        predictions = SegmentationPredictions(arguments.save_predictions, rule, maker)
    prepare_output(arguments.output)
    settings = {**maker, "images": hash_of((image.name, image.labels) for image in folder.images)}
    with EvaluationRecord(arguments.output, settings, arguments.resume, arguments.overwrite) as record:
        results = evaluate_segmentation(segmenter, folder, predictions, not arguments.quiet, split, record)
        about = {"model": arguments.model, "split": split, "settings": arguments.settings()}
        publish(scores_table(results), about | results, arguments.output)
        record.finish()


if __name__ == "__main__":
    main()
