"""Print a row of Tables 4.1 and 5.6, and the per-class Table 5.8, for any video model.

    python scripts/evaluate_video.py --model runs/cffm_b1 --data_dir data/VSPW_480p --skip_incomplete
    torchrun --standalone --nproc_per_node 4 scripts/evaluate_video.py ...   # the same numbers, sooner

--model is a folder or a name on the Hub. Every video is segmented frame by frame, the encoder sees a frame once, and
label maps are compared at the size of the frames. The default is the released protocol: frames are resized to fit
853 x 480 and then up to multiples of 32, videos of up to 16 frames count in nothing, mIoU is the mean over annotated
classes. --protocol thesis follows the text (see `evaluate_videos` for the differences).

    --split test --output numbers.json
    --save_predictions predictions/cffm_b1   # PNGs like the masks: data/VIDEO/mask/FRAME.png

CFFM++ needs prototypes of a video before its first frame: they are made first, from frames of the whole video, or read
from a folder (--prototypes), which gets those that it lacks. They are not in the frames per second.

With --save_predictions a stopped run goes on where it was: videos that are there are read instead of segmented.
With --config FILE, the part `evaluation` of the file says the same; options on the command line win.
"""

from dataclasses import dataclass, field
from typing import Any

from dense_hf.inference.checkpoints import load_video_model
from dense_hf.inference.evaluations import prepare_output, publish, split_of
from dense_hf.inference.processes import closes_process_group, one_line_errors, start_processes
from dense_hf.inference.prototype_files import PrototypeMaker, make_prototypes
from dense_hf.inference.result_folders import describe_maker
from dense_hf.inference.video_folder_options import VideoFolderArguments
from dense_hf.inference.video_label_maps import VideoPredictions, evaluate_videos
from dense_hf.methods import method_of
from dense_hf.options import parse_part
from dense_hf.reports.video import about_the_speed, class_table, count_parameters, results_row
from dense_hf.training.video.run import check_once


@dataclass
class EvaluationArguments:
    """What is evaluated, and where it goes."""

    model: str = field(metadata={"help": "A folder or a name on the Hub."})
    split: str = field(default="validation", metadata={"help": "train, validation or test."})
    test_scale: list[int] | None = field(
        default=None,
        metadata={"help": "Long and short side that frames fit. Default: the checkpoint's, else 853 480."},
    )
    save_predictions: str | None = field(default=None, metadata={"help": "A folder for label maps as PNG files."})
    prototypes: str | None = field(
        default=None, metadata={"help": "For CFFM++: a folder of prototypes. Default: they are made and not kept."}
    )
    output: str | None = field(default=None, metadata={"help": "A JSON file for the numbers."})
    quiet: bool = field(default=False, metadata={"help": "No progress bars."})


@closes_process_group
@one_line_errors
def main() -> None:
    """Read, segment, print."""
    state = start_processes()
    arguments, data = parse_part("evaluation", (EvaluationArguments, VideoFolderArguments), __doc__)
    videos = data.read()
    split = split_of(arguments.split, videos.splits.__contains__)
    model, processor = load_video_model(arguments.model, arguments.test_scale, state.device)
    check_once(videos, [split], data.skip_incomplete, progress=not arguments.quiet)
    members = videos.splits[split]
    prepare_output(arguments.output)
    extra_inputs: Any = None
    if hasattr(model, "find_prototypes"):
        extra_inputs = PrototypeMaker.of(model, processor, max_pixels=videos.max_pixels)
        if arguments.prototypes is not None:
            extra_inputs = make_prototypes(extra_inputs, members, arguments.prototypes, not arguments.quiet)
    elif arguments.prototypes is not None:
        raise ValueError(f"--prototypes is for CFFM++. Received: {model.config.model_type}")
    predictions = None
    if arguments.save_predictions is not None:
        maker = describe_maker(arguments.model, model, processor)
        predictions = VideoPredictions(arguments.save_predictions, videos, maker)
    results = evaluate_videos(
        model,
        processor,
        videos,
        members,
        data.protocol,
        predictions,
        extra_inputs,
        measure_speed=True,
        progress=not arguments.quiet,
        description=split,
    )
    names = videos.rule.names
    tables = [
        results_row(method_of(model.config).title, model, results),
        f"\n{split}: {results['num_videos']} videos, {results['num_skipped_videos']} too short to count.",
        about_the_speed(state.device),
    ]
    if "per_class_iou" in results:
        tables.append(f"\n{class_table(names, results)}")
    numbers = {"model": arguments.model, "split": split, "protocol": data.protocol}
    numbers |= {"parameters": count_parameters(model), **results, "classes": list(names)}
    publish("\n".join(tables), numbers, arguments.output)


if __name__ == "__main__":
    main()
