"""`dense-hf segment`: a video, a folder of frames or a camera in; the classes of every pixel out."""

import argparse
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from fractions import Fraction
from itertools import chain, tee
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..inference.console import say, shown
from ..inference.signals import stopping
from .common import (
    add_device_option,
    add_earlier_results_options,
    add_model_option,
    computing,
    hash_of_model,
    loading,
    writing,
)
from .errors import CommandError

if TYPE_CHECKING:
    import numpy as np

    from ..inference.video_outputs import KeptLabels, Overlay, ShareTable
    from ..pipelines import VideoSemanticSegmentationPipeline
    from ..pipelines.video_semantic_segmentation import FrameSegmentation
    from .frame_sources import FrameSource

_EXAMPLES = """\
examples:
  a video; the overlay has its size and frames per second
    dense-hf segment street.mp4 --model checkpoints/cffm --output overlay.mp4

  a folder of frames, in the order of the numbers in their names, as a video or again as a folder
    dense-hf segment VSPW_480p/data/1001/origin --fps 15 --model checkpoints/cffm --output overlay.mp4
    dense-hf segment VSPW_480p/data/1001/origin --model checkpoints/cffm --output overlays

  only numbers: the label of each pixel as PNG files, and how much of each frame each class takes
    dense-hf segment street.mp4 --model checkpoints/cffm --labels-dir labels --table shares.csv

  ten seconds, after the first minute, of a video with 25 frames per second
    dense-hf segment street.mp4 --start 1500 --max-frames 250 --model checkpoints/cffm --output overlay.mp4

  a camera, until Ctrl-C (the first one, or its device on Linux; cameras have not been tried yet)
    dense-hf segment camera:0 --model checkpoints/cffm --output overlay.mp4
    dense-hf segment /dev/video0 --model checkpoints/cffm --output overlay.mp4

A frame that cannot be read is reported, and the video goes on; the overlay shows the frame before it once more. A
frame of another size starts anew, because frames are compared with those before them.

Ctrl-C and SIGTERM end after the frame that is being segmented, a second one at once; what was written until then is
complete, also the video. The same command with --resume goes on, also after the process was killed, and its results
are those of a run that nothing has stopped. For that, the labels of the frames are kept beside the first of the
results (.NAME.labels, without --labels-dir) until all frames are done; those of a camera or an address are not.

What an earlier run has written is replaced, other files never (.NAME.run.jsonl beside a result says what it is of).
The labels of another model are refused, because they would change the meaning of those that are there.

exit code: 0 all frames were segmented, 1 some could not be read, 2 nothing could be done, 130 Ctrl-C, 143 SIGTERM
"""


def add_parser(subparsers: Any) -> None:
    """Add the command to the program."""
    parser = subparsers.add_parser(
        "segment",
        help="segment a video",
        description="Give each pixel of a video its class, with a model that looks back at earlier frames (CFFM) or "
        "with one that sees every frame alone (SegFormer). Video files need PyAV: pip install dense_hf[video]",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE", help="video file, folder of frames, camera:0, or an address")
    add_model_option(parser)
    parser.add_argument(
        "--output",
        type=Path,
        metavar="PATH",
        help="overlay of the classes over the frames: a video (.mp4, .mov, .mkv, .m4v), or a folder of pictures; "
        "an odd side of a video becomes one pixel longer",
    )
    parser.add_argument("--opacity", type=float, default=0.5, help="of the colors, 0 to 1 (default: 0.5)")
    parser.add_argument(
        "--labels-dir",
        type=Path,
        metavar="DIR",
        help="labels as PNG files in the layout of VSPW: DIR/data/VIDEO/mask/FRAME.png, number k + 1 for label k",
    )
    parser.add_argument(
        "--table",
        type=Path,
        metavar="FILE",
        help="CSV file with a line per frame: its number, name and second, the share of each class, what was wrong",
    )
    parser.add_argument("--start", type=int, default=0, metavar="N", help="frames to pass over (default: 0)")
    parser.add_argument("--max-frames", type=int, metavar="N", help="the most frames to segment (default: all)")
    parser.add_argument(
        "--fps", type=_fps, metavar="FPS", help="frames per second of a folder, such as 30 or 30000/1001 (default: 25)"
    )
    add_earlier_results_options(parser)
    add_device_option(parser)
    parser.set_defaults(run=run)


def _fps(text: str) -> Fraction:
    """A number or a ratio of two."""
    try:
        fps = Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(f"not a number: {text}") from error
    if not 0 < fps < 10_000:
        raise argparse.ArgumentTypeError(f"must be positive and below 10,000: {text}")
    return fps


def run(args: argparse.Namespace) -> int:
    """Segment the frames that can be read, and report the others."""
    _check(args)
    from ..inference.checkpoints import load_segmenter
    from ..inference.video_outputs import LabelFolder, Overlay, ShareTable, check_class_file
    from .frame_sources import is_live, open_source

    if args.resume and is_live(args.source):
        raise CommandError(f"--resume: {shown(args.source)} does not give its frames twice")
    source = open_source(args.source, args.start, args.max_frames, args.fps)
    with loading(args.model):
        segmenter = load_segmenter(args.model, args.device)
    names, palette = class_names(segmenter.model.config), class_colors(segmenter.model.config)
    if args.labels_dir is not None and len(names) > 254:
        raise CommandError(f"--labels-dir: the files of VSPW hold 254 classes. Received: a model with {len(names)}")
    settings = {
        "source": os.path.abspath(args.source),
        "source_stamp": source.stamp,
        "start": args.start,
        "fps": str(source.fps),
        "opacity": args.opacity,
        **hash_of_model(args.model, segmenter.model, segmenter.image_processor),
    }
    with writing(), computing(), ExitStack() as files:
        if args.labels_dir is not None:
            check_class_file(args.labels_dir, names)
        targets = Targets(args, source.video, settings, files)
        if (code := targets.finished(args.max_frames)) is not None:
            say("all frames were segmented before")
            return code
        overlay = labels = table = None
        if args.output is not None:
            record = targets.records.get(args.output)
            overlay = files.enter_context(
                closing(Overlay(args.output, source.fps, names, palette, args.opacity, record))
            )
            if not overlay.is_video:
                args.output.mkdir(exist_ok=True)
        if args.labels_dir is not None:
            record = targets.records.get(targets.label_folder)
            labels = LabelFolder(args.labels_dir, source.video, names, palette, record)
        else:
            labels = None if is_live(args.source) else targets.kept_labels()
        if args.table is not None:
            table = files.enter_context(closing(ShareTable(args.table, source.fps, names)))
        results = segmented_frames(source, segmenter, args.start, labels if targets.resumed else None)
        code = write_frames(results, source.num_frames, overlay, labels, table)
        if code < 2:
            targets.finish(args.max_frames, code)
        return code


class Targets:
    """Where the results of a run go, each with the record of what it is of; nobody else can have them.

    Args:
        args: the options of the command.
        video: its name.
        settings: what all results depend on.
        files: the records are closed with them.

    Raises:
        InvalidDataError: results of other settings, which cannot be gone on with.
        ValueError: another run writes there, or files are in the way that no earlier run has written.
    """

    def __init__(self, args: argparse.Namespace, video: str, settings: dict[str, Any], files: ExitStack):
        from ..inference.run_records import RunRecord, record_of
        from ..inference.video_outputs import VIDEO_SUFFIXES, label_folder

        self.label_folder = None if args.labels_dir is None else label_folder(args.labels_dir, video)
        self.records: dict[Path | None, RunRecord] = {}
        for path in (args.output, self.label_folder, args.table):
            if path is None or (path.exists() and not path.is_file() and not path.is_dir()):  # a pipe is no file
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            is_file = path == args.table or (path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir())
            # no folder is mixed: which pictures there will be is not known yet
            inside = [f"{path.name}/{file.name}" for file in path.iterdir()] if path.is_dir() else []
            record = RunRecord(
                record_of(path),
                "segment",
                settings,
                resume=args.resume,
                overwrite=args.overwrite,
                files=[path.name] if is_file else [],
                reserved=[name for name in inside if name.lower().endswith((".jpg", ".png"))],
            )
            self.records[path] = files.enter_context(record)
            if path == self.label_folder and not record.resumed:  # only with --overwrite there are any
                for file in path.glob("*.png"):
                    file.unlink()

    @property
    def resumed(self) -> bool:
        """Whether there is a run to go on with."""
        return any(record.resumed for record in self.records.values())

    def finished(self, max_frames: int | None) -> int | None:
        """The exit code of an earlier run with all frames; None if there is something to do."""
        there = all(path is not None and path.exists() for path in self.records)
        codes = [(record.result("", [max_frames]) or {}).get("code") for record in self.records.values()]
        return codes[0] if there and codes and None not in codes else None

    def finish(self, max_frames: int | None, code: int) -> None:
        """All frames are done."""
        for record in self.records.values():
            record.add("", [max_frames], {"code": code})
        if self.label_folder is None and (kept := self.kept_labels()) is not None:
            kept.remove()

    def kept_labels(self) -> "KeptLabels | None":
        """Labels to go on from, beside the first of the results; empty for a new run."""
        from ..inference.video_outputs import KeptLabels

        paths = [path for path in self.records if path is not None]
        if not paths:
            return None
        kept = KeptLabels(paths[0].with_name(f".{paths[0].name}.labels"))
        if not self.resumed:
            kept.remove()
        return kept


def _check(args: argparse.Namespace) -> None:
    """Raise `CommandError` for what cannot be done."""
    from ..inference.video_outputs import VIDEO_SUFFIXES

    if args.output is None and args.labels_dir is None and args.table is None:
        raise CommandError("nothing to write; give --output, --labels-dir or --table")
    if not 0 <= args.opacity <= 1:
        raise CommandError(f"--opacity is in [0, 1]. Received: {args.opacity}")
    if args.start < 0 or (args.max_frames is not None and args.max_frames < 1):
        raise CommandError(
            f"--start is at least 0 and --max-frames at least 1. Received: {args.start} and {args.max_frames}"
        )
    if (
        args.output is not None
        and args.output.suffix.lower() not in ("", *VIDEO_SUFFIXES)
        and not args.output.is_dir()
    ):
        endings = ", ".join(VIDEO_SUFFIXES)
        raise CommandError(f"--output ends with one of {endings}, or is a folder. Received: {args.output}")
    source = Path(args.source)
    for option, path in (("--output", args.output), ("--table", args.table)):
        if path is not None and path.exists() and source.exists() and path.samefile(source):
            raise CommandError(f"{option} would replace the video itself. Received: {path}")


def class_names(config: Any) -> list[str]:
    """Name of each label."""
    return [config.id2label[label] for label in range(config.num_labels)]


def class_colors(config: Any) -> "np.ndarray":
    """Colors uint8 [K, 3]: `palette` of the config if it has one, a list of [red, green, blue], or our own.

    Raises:
        CommandError: a palette that is none.
    """
    import numpy as np

    from ..visualization import label_palette

    palette = getattr(config, "palette", None)
    if palette is None:
        return label_palette(config.num_labels)
    try:
        colors = np.array(palette, dtype=np.uint8)  # refuses what is not in 0..255
    except (ValueError, TypeError, OverflowError) as error:
        raise CommandError(f"the palette of the config must be colors of 0 to 255: {error}") from error
    if colors.shape != (config.num_labels, 3):
        raise CommandError(f"the palette of the config must be {config.num_labels} x 3. Received: {colors.shape}")
    return colors


def segmented_frames(
    source: "FrameSource",
    segmenter: "VideoSemanticSegmentationPipeline",
    start: int,
    known: "KeptLabels | None" = None,
) -> Iterator[tuple[str, Any, "FrameSegmentation"]]:
    """Name, pixels and result of each frame; of damaged ones the error, as the pipeline has it.

    The model does not see frames whose labels are known, but for those that it looks back at: what it remembers of a
    frame is made of that frame alone.

    Args:
        source: of the frames.
        segmenter: the pipeline.
        start: number of the first frame.
        known: labels of an earlier run.
    """
    number, frames = start, source.frames
    seen: deque[tuple[str, Any]] = deque(maxlen=_reach(segmenter.model))
    if known is not None:
        for name, frame in frames:
            labels = None
            if not isinstance(frame, Exception):
                labels = known.read(name, frame.shape[1::-1])
                if labels is None:
                    frames = chain([(name, frame)], frames)
                    break
                seen.append((name, frame))
            result: Any = {"frame": number, "segmentation": labels, "class_statistics": {}}
            yield name, frame, result if labels is not None else {**result, "error": str(frame)}
            number += 1
        else:
            return
    frames, copies = tee(chain(seen, frames))  # in step with each other, so that one frame at a time is kept
    results = segmenter.segment((frame for _, frame in frames), number - len(seen))
    for (name, frame), result in zip(copies, results):
        if result["frame"] >= number:
            yield name, frame, result


def _reach(model: Any) -> int:
    """How many frames a model looks back."""
    from ..methods import frame_offsets

    return max(frame_offsets(model.config)) if hasattr(model, "new_session") else 0


def write_frames(
    frames: Iterable[tuple[str, Any, "FrameSegmentation"]],
    num_frames: int | None,
    overlay: "Overlay | None",
    labels: "KeptLabels | None",
    table: "ShareTable | None",
) -> int:
    """Segment and write frame by frame; nothing is kept but what the model remembers. Returns the exit code."""
    from tqdm import tqdm

    begin, done, damaged = time.perf_counter(), 0, 0
    layout = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}]"
    with stopping() as stop, tqdm(total=num_frames, unit=" frames", bar_format=layout, disable=None) as progress:
        for name, frame, result in frames:
            segmentation = result["segmentation"]
            if labels is not None and segmentation is not None:
                labels.write(name, segmentation)
            if overlay is not None:
                overlay.write(name, None if isinstance(frame, Exception) else frame, segmentation)
            if table is not None:
                table.write(result["frame"], shown(name), segmentation, shown(result.get("error", "")))
            done += 1
            damaged += segmentation is None
            progress.update()
            if stop.is_set():
                break
    seconds = time.perf_counter() - begin
    if done == damaged and not stop.is_set():
        raise CommandError(f"none of {done} frames could be read")
    remark = f"; {damaged} could not be read" if damaged else ""
    say(f"{done} frames in {seconds:.1f} s ({done / seconds:.2f} frames/s){remark}")
    if stop.is_set():
        say("interrupted; what was written is complete, --resume goes on", error=True)
        return stop.code
    return 1 if damaged else 0
