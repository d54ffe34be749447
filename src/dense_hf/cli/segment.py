"""`dense-hf segment`: a video, a folder of frames or a camera in; the classes of every pixel out."""

import argparse
import signal
import sys
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from fractions import Fraction
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..inference.image_files import shown
from .common import add_device_option, add_model_option, computing, loading, writing
from .errors import CommandError

if TYPE_CHECKING:
    import numpy as np

    from ..inference.video_outputs import LabelFolder, Overlay, ShareTable
    from ..pipelines import VideoSemanticSegmentationPipeline
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

Ctrl-C ends after the frame that is being segmented, a second one at once; what was written until then is complete.

exit code: 0 all frames were segmented, 1 some could not be read, 2 nothing could be done, 130 interrupted
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
        "an odd side of a video becomes one pixel longer. Files of an earlier run are replaced",
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
    from ..inference.video_outputs import LabelFolder, Overlay, ShareTable
    from .frame_sources import open_source

    source = open_source(args.source, args.start, args.max_frames, args.fps)
    with loading(args.model):
        segmenter = load_segmenter(args.model, args.device)
    names, palette = class_names(segmenter.model.config), class_colors(segmenter.model.config)
    if args.labels_dir is not None and len(names) > 254:
        raise CommandError(f"--labels-dir: the files of VSPW hold 254 classes. Received: a model with {len(names)}")
    with writing(), ExitStack() as files:
        overlay = labels = table = None
        for path in (args.output, args.table):
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
        if args.output is not None:
            overlay = Overlay(args.output, source.fps, names, palette, args.opacity)
            files.enter_context(closing(overlay))
            if not overlay.is_video:
                args.output.mkdir(exist_ok=True)
        if args.labels_dir is not None:
            labels = LabelFolder(args.labels_dir, source.video, names, palette)
        if args.table is not None:
            table = files.enter_context(closing(ShareTable(args.table, source.fps, names)))
        return segment_frames(source, segmenter, args.start, overlay, labels, table)


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


def segment_frames(
    source: "FrameSource",
    segmenter: "VideoSemanticSegmentationPipeline",
    start: int,
    overlay: "Overlay | None",
    labels: "LabelFolder | None",
    table: "ShareTable | None",
) -> int:
    """Segment and write frame by frame; nothing is kept but what the model remembers. Returns the exit code."""
    from tqdm import tqdm

    begin, done, damaged = time.perf_counter(), 0, 0
    layout = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}]"
    progress = tqdm(total=source.num_frames, unit=" frames", bar_format=layout, disable=None)
    frames, copies = tee(source.frames)  # in step with each other, so that one frame at a time is kept
    results = segmenter.segment((frame for _, frame in frames), start)
    with interruptible() as interrupted, progress, computing():
        for (name, frame), result in zip(copies, results):
            segmentation = result["segmentation"]
            if overlay is not None:
                overlay.write(name, None if isinstance(frame, Exception) else frame, segmentation)
            if labels is not None and segmentation is not None:
                labels.write(name, segmentation)
            if table is not None:
                table.write(result["frame"], name, segmentation, shown(result.get("error", "")))
            done += 1
            damaged += segmentation is None
            progress.update()
            if interrupted.is_set():
                break
    seconds = time.perf_counter() - begin
    if done == damaged and not interrupted.is_set():
        raise CommandError(f"none of {done} frames could be read")
    remark = f"; {damaged} could not be read" if damaged else ""
    sys.stdout.write(f"{done} frames in {seconds:.1f} s ({done / seconds:.2f} frames/s){remark}\n")
    if interrupted.is_set():
        sys.stderr.write("interrupted; what was written is complete\n")
        return 130
    return 1 if damaged else 0


@contextmanager
def interruptible() -> Generator[threading.Event]:
    """An event that the first Ctrl-C sets. A second one raises `KeyboardInterrupt`, as Ctrl-C does elsewhere."""
    interrupted = threading.Event()

    def handle(number: int, stack: object) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()

    if threading.current_thread() is not threading.main_thread():  # only the main thread is told
        yield interrupted
        return
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
