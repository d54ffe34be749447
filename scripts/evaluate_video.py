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

With --flow also TC, the mean IoU of each frame's labels with those of the frame before, moved along the optical flow:

    --flow raft                         # torchvision's raft_large; its weights are downloaded
    --flow dis                          # or OpenCV's Dense Inverse Search; needs dense_hf[flow]
    --flow flows                        # files flows/VIDEO/FRAME.flo, from each frame to the one before

TC depends on the flow, so numbers of two flows cannot be compared. That of the release sees 100 videos and is half a
pixel off (see `TemporalConsistency`); its numbers are others. VC is printed with the protocol that it follows.

How much a model makes of the frames before the target is asked by showing it something else, the same to every model:

    --damage black --damage_every 4     # frames 3, 7, 11, ... are lost; also noise, flicker, blur, occlusion
    --references own                    # the target in the place of its references; or shuffled, any of the video
    --frame_offsets 27 18 9             # references from farther away: larger motion
    --average_frames 3                  # a plain baseline: the mean of the probabilities of the last three frames

With --save_predictions a stopped run goes on where it was: videos that are there are read instead of segmented. With
--output, what is compared is kept beside it, a video at a time (.numbers.json.run.jsonl), and --resume goes on from
that; the frames per second are those of all runs. A file that no evaluation has written is only replaced with
--overwrite.
With --config FILE, the part `evaluation` of the file says the same; options on the command line win.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torchvision.transforms.functional import to_tensor

from dense_hf.data import Video, VideoSet, open_image
from dense_hf.data.flow_files import FlowFolder
from dense_hf.errors import first_of
from dense_hf.inference.checkpoints import load_video_model
from dense_hf.inference.class_names import order_labels
from dense_hf.inference.evaluation_records import EvaluationRecord
from dense_hf.inference.evaluations import prepare_output, publish, split_of
from dense_hf.inference.processes import closes_process_group, one_line_errors, start_processes
from dense_hf.inference.prototype_files import PrototypeMaker, make_prototypes
from dense_hf.inference.result_folders import describe_maker, hash_of
from dense_hf.inference.video_folder_options import VideoFolderArguments
from dense_hf.inference.video_label_maps import FlowOf, VideoPredictions, evaluate_videos
from dense_hf.inference.video_variants import VideoVariant
from dense_hf.markdown import percent
from dense_hf.methods import method_of
from dense_hf.options import parse_part
from dense_hf.reports.video import about_the_speed, class_table, count_parameters, results_row
from dense_hf.training.video.run import check_once
from dense_hf.video_segmentation.optical_flow import FLOWS, normalized


@dataclass
class EvaluationArguments:
    """What is evaluated, and where it goes."""

    model: str = field(metadata={"help": "A folder or a name on the Hub."})
    split: str = field(default="validation", metadata={"help": "train, validation or test."})
    videos: list[str] | None = field(default=None, metadata={"help": "Only these videos of the split."})
    test_scale: list[int] | None = field(
        default=None,
        metadata={"help": "Long and short side that frames fit. Default: the checkpoint's, else 853 480."},
    )
    frame_offsets: list[int] | None = field(
        default=None, metadata={"help": "Frames before the target that references are. Default: the checkpoint's."}
    )
    save_predictions: str | None = field(default=None, metadata={"help": "A folder for label maps as PNG files."})
    flow: str | None = field(
        default=None, metadata={"help": 'For TC: "raft", "dis", or a folder of VIDEO/FRAME.flo. Default: no TC.'}
    )
    prototypes: str | None = field(
        default=None, metadata={"help": "For CFFM++: a folder of prototypes. Default: they are made and not kept."}
    )
    output: str | None = field(default=None, metadata={"help": "A JSON file for the numbers."})
    resume: bool = field(default=False, metadata={"help": "Go on with what a stopped evaluation kept by --output."})
    overwrite: bool = field(default=False, metadata={"help": "Replace an --output that no evaluation has written."})
    quiet: bool = field(default=False, metadata={"help": "No progress bars."})


def choose_videos(members: Sequence[Video], names: list[str] | None) -> list[Video]:
    """The videos that are named, or all.

    Raises:
        ValueError: a name that none has.
    """
    if names is None:
        return list(members)
    if unknown := sorted({*names} - {video.video_id for video in members}):
        known = first_of(sorted(video.video_id for video in members))
        raise ValueError(f"--videos must be videos of the split: {known}. Received: {', '.join(unknown)}")
    return [video for video in members if video.video_id in names]


def set_frame_offsets(model: Any, offsets: list[int]) -> list[int]:
    """Let a model look at as many frames as before, elsewhere.

    Raises:
        ValueError: a model without references, or another number of them.
    """
    known = getattr(model.config, "frame_offsets", ())
    falling = all(one > other for one, other in zip(offsets, [*offsets[1:], 0]))
    if len(offsets) != len(known) or not falling:
        raise ValueError(
            f"--frame_offsets must be {len(known)} numbers that fall from oldest to newest, as those of the model "
            f"({list(known)}). Received: {offsets}"
        )
    model.config.frame_offsets = offsets
    return offsets


def flow_of(source: str, videos: VideoSet, device: torch.device) -> FlowOf:
    """The flow of frames: one of `FLOWS` by its name, else that of a folder."""
    if source not in FLOWS:
        return FlowFolder(source)
    measure = FLOWS[source]()

    def flow(video: Video, number: int, size: tuple[int, int]) -> np.ndarray:
        pictures = (open_image(video.frames[one].image_path, videos.max_pixels) for one in (number, number - 1))
        current, previous = (normalized(to_tensor(picture)[None].to(device)) for picture in pictures)
        return measure(current, previous)[0].numpy(force=True)

    return flow


@closes_process_group
@one_line_errors
def main() -> None:
    """Read, segment, print."""
    state = start_processes()
    arguments, data, variant = parse_part(
        "evaluation", (EvaluationArguments, VideoFolderArguments, VideoVariant), __doc__
    )
    videos = data.read()
    split = split_of(arguments.split, videos.splits.__contains__)
    model, processor = load_video_model(arguments.model, arguments.test_scale, state.device)
    order_labels(model, videos.rule.names, arguments.model)
    shown = {name: value for name, value in asdict(variant).items() if value != getattr(VideoVariant, name)}
    if arguments.frame_offsets is not None:
        shown["frame_offsets"] = set_frame_offsets(model, arguments.frame_offsets)
    check_once(videos, [split], data.skip_incomplete, progress=not arguments.quiet)
    members = choose_videos(videos.splits[split], arguments.videos)
    prepare_output(arguments.output)
    extra_inputs: Any = None
    if hasattr(model, "find_prototypes"):
        extra_inputs = PrototypeMaker.of(model, processor, max_pixels=videos.max_pixels)
        if arguments.prototypes is not None:
            extra_inputs = make_prototypes(extra_inputs, members, arguments.prototypes, not arguments.quiet)
    elif arguments.prototypes is not None:
        raise ValueError(f"--prototypes is for CFFM++. Received: {model.config.model_type}")
    predictions = None
    maker = describe_maker(arguments.model, model, processor) | ({"variant": shown} if shown else {})
    if arguments.videos:
        shown = {**shown, "videos": sorted(arguments.videos)}  # what is predicted of a video is the same without
    if arguments.save_predictions is not None:
        predictions = VideoPredictions(arguments.save_predictions, videos, maker)
    settings = {
        **maker,
        "protocol": data.protocol,
        "videos": hash_of((video.video_id, [frame.frame_id for frame in video.frames]) for video in members),
        "classes": list(videos.rule.names),
        **({} if arguments.flow is None else {"flow": arguments.flow}),
    }
    with EvaluationRecord(arguments.output, settings, arguments.resume, arguments.overwrite) as record:
        results = evaluate_videos(
            model,
            processor,
            videos,
            members,
            data.protocol,
            predictions,
            extra_inputs,
            measure_speed=variant.references == "earlier",  # others are decoded and encoded once more
            progress=not arguments.quiet,
            description=split,
            record=record,
            variant=variant,
            flow=None if arguments.flow is None else flow_of(arguments.flow, videos, state.device),
        )
        names = videos.rule.names
        tables = [
            *([", ".join(f"{name} {value}" for name, value in shown.items()) + "\n"] if shown else []),
            results_row(method_of(model.config).title, model, results),
            f"\n{split}: {results['num_videos']} videos, {results['num_skipped_videos']} too short to count.",
            f"VC: protocol {data.protocol}."
            + (f" TC: {percent(results.get('tc'))}, flow {arguments.flow}." * bool(arguments.flow)),
            about_the_speed(state.device),
        ]
        if "per_class_iou" in results:
            tables.append(f"\n{class_table(names, results)}")
        numbers = {"model": arguments.model, "split": split, "protocol": data.protocol, **shown}
        numbers |= {} if arguments.flow is None else {"flow": arguments.flow}
        numbers |= {"parameters": count_parameters(model), **results, "classes": list(names)}
        publish("\n".join(tables), numbers, arguments.output)
        record.finish()


if __name__ == "__main__":
    main()
