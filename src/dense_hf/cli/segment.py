"""`dense-hf segment`: a video, a folder of frames or a camera in; the classes of every pixel out."""

import argparse
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from fractions import Fraction
from itertools import chain, islice, tee
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..inference.console import say, shown
from ..inference.signals import stopping
from .common import (
    add_device_option,
    add_earlier_results_options,
    add_model_option,
    add_picture_options,
    check_device,
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
    from .live_frames import NamedFrame

_EXAMPLES = """\
examples:
  a video; the overlay has its size and frames per second
    dense-hf segment street.mp4 --model checkpoints/cffm --output overlay.mp4

  a folder of frames, in the order of the numbers in their names, as a video or again as a folder
    dense-hf segment VSPW_480p/data/1001/origin --fps 15 --model checkpoints/cffm --output overlay.mp4
    dense-hf segment VSPW_480p/data/1001/origin --model checkpoints/cffm --output overlays

  the frames of a tar, or the rows of a Parquet file, in the order in which they stand there
    dense-hf segment clip-00000.tar --fps 15 --model checkpoints/cffm --output overlay.mp4

  a video that lies in a tar
    dense-hf segment videos-00000.tar/street.mp4 --model checkpoints/cffm --output overlay.mp4

  only numbers: the label of each pixel as PNG files, and how much of each frame each class takes
    dense-hf segment street.mp4 --model checkpoints/cffm --labels-dir labels --table shares.csv

  ten seconds, after the first minute, of a video with 25 frames per second
    dense-hf segment street.mp4 --start 1500 --max-frames 250 --model checkpoints/cffm --output overlay.mp4

  every fifth frame, with the sound of the video
    dense-hf segment street.mp4 --every 5 --keep-audio --model checkpoints/cffm --output overlay.mp4

  what another program writes
    ffmpeg -i street.avi -f matroska - | dense-hf segment - --model checkpoints/cffm --table shares.csv

  a stream: always its newest frame, opened again when it is lost, given up after ten minutes
    dense-hf segment rtsp://192.0.2.7/stream --latest --reconnect 600 --model checkpoints/cffm --table shares.csv

  a long video, on four machines (2/4 is the second quarter); then its table and overlay, from the labels of all
    dense-hf segment day.mp4 --shard 2/4 --labels-dir labels --model checkpoints/cffm
    dense-hf segment day.mp4 --resume --labels-dir labels --table day.csv --output day_overlay.mp4 \\
        --model checkpoints/cffm

  a camera, until Ctrl-C (the first one, or its device on Linux; cameras have not been tried yet)
    dense-hf segment camera:0 --model checkpoints/cffm --output overlay.mp4
    dense-hf segment /dev/video0 --model checkpoints/cffm --output overlay.mp4

A frame that cannot be read is reported, and the video goes on; the overlay shows the frame before it once more. A
frame of another size starts anew, because frames are compared with those before them. Frames keep the times that the
video gives them, in the overlay and in the table, also if they come irregularly; the overlay begins with its first.

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
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="video file, also FILE.tar/MEMBER, frames in a folder, FILE.tar or FILE.parquet, camera:0, an address, "
        "or -",
    )
    add_model_option(parser)
    parser.add_argument(
        "--output",
        type=Path,
        metavar="PATH",
        help="overlay of the classes over the frames: a video (.mp4, .mov, .mkv, .m4v, .webm, .gif), or a folder of "
        "pictures; an odd side of a video becomes one pixel longer",
    )
    parser.add_argument(
        "--keep-audio", action="store_true", help="copy the sound of a video file into the overlay, as far as it goes"
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
        "--every",
        type=int,
        default=1,
        metavar="N",
        help="segment every Nth frame; the model looks back at those, so over N times as long (default: 1)",
    )
    parser.add_argument(
        "--latest", action="store_true", help="of a camera or an address: drop frames that a newer one has overtaken"
    )
    parser.add_argument(
        "--reconnect",
        type=float,
        metavar="SECONDS",
        help="of an address: open it again when it ends, until no frame came for so long (default: do not)",
    )
    parser.add_argument(
        "--fps", type=_fps, metavar="FPS", help="frames per second of a folder, such as 30 or 30000/1001 (default: 25)"
    )
    parser.add_argument(
        "--shard",
        metavar="I/N",
        help="only part I of N of the frames of a file or folder, with --labels-dir alone, which all parts may share; "
        "labels are those of a run of all, because a part first looks at the frames before it",
    )
    add_picture_options(parser)
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
    from ..data.video_files import is_live
    from ..inference.checkpoints import load_segmenter
    from ..inference.video_outputs import LabelFolder, Overlay, ShareTable, check_class_file
    from .frame_sources import open_source
    from .segment_targets import Targets

    if args.resume and is_live(args.source):
        raise CommandError(f"--resume: {shown(args.source)} does not give its frames twice")
    check_device(args.device)

    def opened(start: int, max_frames: int | None) -> "FrameSource":
        reading = {"page": args.page, "white": args.white}
        return open_source(
            args.source, start, max_frames, args.fps, args.every, args.latest, args.reconnect, **reading
        )

    source, warm, names_of_part = opened(args.start, args.max_frames), 0, None
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
        "every": args.every,
        "keep_audio": args.keep_audio,
        "opacity": args.opacity,
        "page": args.page,
        "white": args.white,
        **hash_of_model(args.model, segmenter.model, segmenter.image_processor),
    }
    if args.shard is not None:
        settings["shard"] = args.shard
        part, warm = part_of(args, source, segmenter)
        names_of_part = {source.name_of(args.start + number * args.every) for number in part}
        to_the_end = part.stop == source.num_frames and args.max_frames is None
        first = args.start + (part.start - warm) * args.every
        source = opened(first, None if to_the_end else warm + len(part))
    with writing(), computing(), ExitStack() as files:
        if args.labels_dir is not None:
            check_class_file(args.labels_dir, names)
        targets = Targets(args, source.video, settings, files, names_of_part)
        if (code := targets.finished(args.max_frames)) is not None:
            say("all frames were segmented before")
            return code
        overlay = labels = table = None
        if args.output is not None:
            record = targets.records.get(args.output)
            audio = args.source if args.keep_audio else None
            overlay = Overlay(args.output, source, names, palette, args.opacity, record, audio)
            files.enter_context(closing(overlay))
            if not overlay.is_video:
                args.output.mkdir(exist_ok=True)
        if args.labels_dir is not None:
            record = targets.records.get(targets.label_folder)
            labels = LabelFolder(args.labels_dir, source.video, names, palette, record)
        else:
            labels = None if is_live(args.source) else targets.kept_labels()
        if args.table is not None:
            table = files.enter_context(closing(ShareTable(args.table, names)))
        results = segmented_frames(source, segmenter, labels if targets.resumed else None, warm)
        num_frames = None if source.num_frames is None else source.num_frames - warm
        code = write_frames(results, num_frames, overlay, labels, table)
        if code < 2:
            targets.finish(args.max_frames, code)
        return code


def part_of(
    args: argparse.Namespace, source: "FrameSource", segmenter: "VideoSemanticSegmentationPipeline"
) -> tuple[range, int]:
    """The frames of `--shard`, as numbers among those that are segmented, and how many before them are looked at.

    Raises:
        CommandError: what cannot be parted.
    """
    from ..inference.shards import Shard

    try:
        shard = Shard.parse(args.shard)
    except ValueError as error:
        raise CommandError(f"--shard: {shown(str(error))}") from error
    if (reach := getattr(segmenter.streaming, "reach", 0)) is None:
        raise CommandError("--shard is not for models that remember all frames")
    if source.num_frames is None:
        raise CommandError(f"--shard: {shown(args.source)} does not say how many frames it has")
    ends = [source.num_frames * index // shard.number for index in (shard.index - 1, shard.index)]
    if ends[0] == ends[1]:
        raise CommandError(f"--shard: part {shard} of {source.num_frames} frames is empty")
    return range(*ends), min(ends[0], 4 * reach)  # damaged frames are not remembered, so more than the model needs


def _check(args: argparse.Namespace) -> None:
    """Raise `CommandError` for what cannot be done."""
    from ..data.video_files import is_address, is_live
    from ..inference.stored import is_container
    from ..inference.video_outputs import VIDEO_SUFFIXES
    from ..reading import tar_and_member

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
    if args.every < 1 or (args.reconnect is not None and not 0 < args.reconnect < float("inf")):
        raise CommandError(
            f"--every is at least 1 and --reconnect above 0. Received: {args.every} and {args.reconnect}"
        )
    if (args.latest or args.reconnect is not None) and (not is_live(args.source) or args.every > 1 or args.start):
        raise CommandError("--latest and --reconnect are for a camera or an address, without --every and --start")
    if args.reconnect is not None and not is_address(args.source):
        raise CommandError(f"--reconnect is for an address. Received: {args.source}")
    if args.keep_audio and (
        args.output is None
        or args.output.suffix.lower() not in VIDEO_SUFFIXES
        or args.output.suffix.lower() == ".gif"
        or is_live(args.source)
        or os.path.isdir(args.source)
        or is_container(args.source)
        or tar_and_member(args.source) is not None
    ):
        raise CommandError("--keep-audio is for a video file, with a video that can have sound as --output")
    if args.shard is not None and (args.labels_dir is None or args.output is not None or args.table is not None):
        raise CommandError("--shard is for --labels-dir alone; --resume makes table and overlay of all labels then")
    if args.shard is not None and is_live(args.source):
        raise CommandError(f"--shard: {shown(args.source)} does not give its frames twice")
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
    known: "KeptLabels | None" = None,
    warm: int = 0,
) -> Iterator[tuple["NamedFrame", "FrameSegmentation"]]:
    """Each frame and its result; of damaged ones the error, as the pipeline has it.

    The model does not see frames whose labels are known, but for those that it looks back at: what it remembers of a
    frame is made of that frame alone. A model with a memory of all frames sees all of them again.

    Args:
        source: of the frames.
        segmenter: the pipeline.
        known: labels of an earlier run.
        warm: how many of the first frames are only looked back at.
    """
    number, frames = 0, source.frames
    reach = getattr(segmenter.streaming, "reach", 0)  # a model of single images has none
    seen: deque[NamedFrame] = deque(maxlen=reach)
    seen.extend(frame for frame in islice(frames, warm) if not isinstance(frame.pixels, Exception))
    if known is not None and reach is not None:
        for frame in frames:
            labels = None
            if not isinstance(frame.pixels, Exception):
                labels = known.read(frame.name, frame.pixels.shape[1::-1])
                if labels is None:
                    frames = chain([frame], frames)
                    break
                seen.append(frame)
            result: Any = {"frame": number, "segmentation": labels, "class_statistics": {}}
            yield frame, result if labels is not None else {**result, "error": str(frame.pixels)}
            number += 1
        else:
            return
    frames, copies = tee(chain(seen, frames))  # in step with each other, so that one frame at a time is kept
    results = segmenter.segment((frame.pixels for frame in frames), number - len(seen))
    for frame, result in zip(copies, results):
        if result["frame"] >= number:
            yield frame, result


def write_frames(
    frames: Iterable[tuple["NamedFrame", "FrameSegmentation"]],
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
        for frame, result in frames:
            segmentation = result["segmentation"]
            if labels is not None and segmentation is not None:
                labels.write(frame.name, segmentation)
            if overlay is not None:
                pixels = None if isinstance(frame.pixels, Exception) else frame.pixels
                overlay.write(frame.name, frame.seconds, pixels, segmentation)
            if table is not None:
                error = shown(result.get("error", ""))
                table.write(frame.number, shown(frame.name), frame.seconds, segmentation, error)
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
