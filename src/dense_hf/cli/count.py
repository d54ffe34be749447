"""`dense-hf count`: images in; tables and pictures out."""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..inference.console import say, shown
from ..inference.image_files import find_images, output_names
from .common import (
    add_device_option,
    add_model_option,
    add_output_option,
    computing,
    hash_of_model,
    loading,
    report_left_out,
    stamp_of,
    writing,
)
from .errors import CommandError

if TYPE_CHECKING:
    from PIL import Image

    from ..counting.image_processing_iocformer import IOCFormerImageProcessor
    from ..counting.tile_merging import ObjectCount
    from ..inference.count_tables import CountRow
    from ..inference.run_records import RunRecord

DEFAULT_OUTPUT = "counts"
RECORD = "counts.jsonl"

_EXAMPLES = """\
examples:
  one photo; tables and pictures go to the folder "counts"
    dense-hf count reef.jpg --model checkpoints/iocformer

  a folder with its subfolders, results into "results"
    dense-hf count survey --recursive --output results --model checkpoints/iocformer

  a pattern (quoted, so that it is not the shell that resolves it), only the tables, only points the model is sure of
    dense-hf count "survey/**/*.jpg" --no-overlays --threshold 0.5 --model checkpoints/iocformer

files in the output folder:
  counts.csv    one line per image: file, width, height, count, density_count (the second opinion of the density
                branch), mean_score, crowded_tiles (where the count may be too low)
  points.csv    one line per object: file, x, y (pixels, from the upper left corner), score
  counts.json   both, with the settings, and what was wrong with images that could not be read; at the end
  overlays/     per image a picture with the points and one with the density
  counts.jsonl  what was written, for the next run: a line per image with its result and its seconds

Lines of the tables are on the disk as soon as an image is counted. Ctrl-C and SIGTERM end a run with whole tables; the
same command with --resume goes on, also after the process was killed, and its tables are those of a run that nothing
has stopped. In the tables a name that begins like a formula (= + - @) has a ' before it.

exit code: 0 all images were counted, 1 some could not be read, 2 nothing could be done, 130 Ctrl-C, 143 SIGTERM
"""


def add_parser(subparsers: Any) -> None:
    """Add the command to the program."""
    parser = subparsers.add_parser(
        "count",
        help="count the objects in images",
        description="Count the objects in images of any size and say where they are.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, folders, or quoted patterns")
    add_model_option(parser)
    add_output_option(parser, DEFAULT_OUTPUT)
    parser.add_argument("--recursive", "-r", action="store_true", help="search folders inside folders, too")
    parser.add_argument("--threshold", type=float, default=0.35, help="least score that counts (default: 0.35)")
    parser.add_argument(
        "--tile-overlap",
        type=int,
        metavar="PIXELS",
        help="pixels that neighboring tiles share (default: that of the checkpoint; released: 0)",
    )
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="tiles at a time (default: 8)")
    add_device_option(parser)
    parser.add_argument("--no-overlays", action="store_true", help="write only the tables")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Count all images that can be read, and report the others."""
    from .. import __version__
    from ..inference.checkpoints import best_device, load_counter
    from ..inference.count_tables import TABLES
    from ..inference.run_records import RunRecord, listed_files

    if not 0 <= args.threshold <= 1:
        raise CommandError(f"--threshold is a score in [0, 1]. Received: {args.threshold}")
    if args.batch_size < 1:
        raise CommandError(f"--batch-size is at least 1. Received: {args.batch_size}")
    record = args.output / RECORD
    left_out: Counter[str] = Counter()
    images, problems = find_images(args.images, args.recursive, listed_files(record), left_out)
    report_left_out(left_out)
    if not images:
        hint = "" if args.recursive else " With --recursive, folders inside folders are searched."
        told = "; ".join(f"{source}: {problem}" for source, problem in problems.items())
        raise CommandError(f"{told}.{hint}")
    changes: dict[str, Any] = {} if args.tile_overlap is None else {"tile_overlap": args.tile_overlap}
    with loading(args.model):
        model, processor = load_counter(args.model, args.device or best_device(), **changes)
    settings = {
        "dense_hf_version": __version__,
        "model": args.model,
        "threshold": args.threshold,
        "tile_size": processor.tile_size,
        "tile_overlap": processor.tile_overlap,
    }
    overlays = _overlay_kinds(model) if not args.no_overlays else ()
    files = {
        str(path): [f"overlays/{name}_{kind}.png" for kind in overlays]
        for path, name in zip(images, output_names(images))
    }
    with writing(), computing("; try a smaller --batch-size"):
        args.output.mkdir(parents=True, exist_ok=True)
        with RunRecord(
            record,
            "count",
            settings | hash_of_model(args.model, model, processor) | {"overlays": list(overlays)},
            resume=args.resume,
            overwrite=args.overwrite,
            files=TABLES,
            reserved=[file for names in files.values() for file in names],
        ) as run_record:
            counter = partial(
                _count_file, model=model, processor=processor, threshold=args.threshold, batch_size=args.batch_size
            )
            return count_images(images, counter, run_record, files, problems, settings)


def count_images(
    images: Sequence[Path],
    counter: Callable[..., "CountRow"],
    record: "RunRecord",
    files: Mapping[str, Sequence[str]],
    errors: dict[str, str],
    settings: dict[str, Any],
) -> int:
    """Count, draw, and append to the tables, which are whole also when interrupted. Returns the exit code.

    Args:
        images: their files.
        counter: of an image and the files of its overlays.
        record: of this run.
        files: of each image, by its path: its overlays.
        errors: what is wrong with others, by the name that is shown.
        settings: for the tables.
    """
    from tqdm import tqdm

    from ..errors import InvalidDataError
    from ..inference.count_tables import CountRow, CountTables

    stamps = {str(path): stamp_of(path) for path in images}
    found = {name: record.result(name, stamp) for name, stamp in stamps.items()}
    rows = {name: CountRow.of(result) for name, result in found.items() if result is not None}
    with (
        CountTables(record.folder, [rows[name] for name in stamps if name in rows]) as tables,
        tqdm(total=len(images), initial=len(rows), unit="image", disable=None) as progress,
    ):
        try:
            for path, (name, stamp) in zip(images, stamps.items()):
                if name in rows:
                    continue
                start = time.perf_counter()
                record.begin(name, files[name])
                try:
                    row = counter(path, [record.folder / file for file in files[name]])
                except InvalidDataError as error:
                    errors[shown(name)] = shown(str(error))
                    say(f"not counted: {shown(str(error))}", error=True)
                else:
                    record.add(name, stamp, {**asdict(row), "seconds": round(time.perf_counter() - start, 3)})
                    rows[name] = row
                    tables.add(row)
                    say(_line(row))
                progress.update()
            record.remove_others(rows)
        finally:
            tables.finish([rows[name] for name in stamps if name in rows], errors, settings)
    say(f"{sum(row.count for row in rows.values())} objects in {len(rows)} images; results in {shown(record.folder)}")
    if errors:
        say(f"{len(errors)} could not be counted: {', '.join(errors)}", error=True)
    if not rows:
        raise CommandError("no image could be counted")
    return 1 if errors else 0


def _line(row: "CountRow") -> str:
    remarks = [] if row.density_count is None else [f"density {row.density_count:.1f}"]
    if row.crowded_tiles:
        remarks.append(f"probably too low: {row.crowded_tiles} tiles near the limit of the model")
    return f"{row.file}: {row.count}" + (f" ({'; '.join(remarks)})" if remarks else "")


def _overlay_kinds(model: Any) -> tuple[str, ...]:
    return ("points", "density") if getattr(model.config, "density_branch", True) else ("points",)


def _count_file(
    path: Path,
    overlays: Sequence[Path],
    model: Any,
    processor: "IOCFormerImageProcessor",
    threshold: float,
    batch_size: int,
) -> "CountRow":
    from tqdm import tqdm

    from ..data import open_image
    from ..inference.count_tables import CountRow

    image = open_image(path)
    tiles = len(processor.tile_layout(image.height, image.width))
    with tqdm(total=tiles, unit="tile", desc=shown(path.name), leave=False, disable=None) as progress:
        result = processor.count_objects(
            model,
            image,
            threshold=threshold,
            batch_size=batch_size,
            return_density_map=None if overlays else False,
            on_batch=progress.update,
        )
    if overlays:
        _write_overlays(overlays, image, result)
    scores = result["scores"]
    return CountRow(
        file=shown(path),
        width=image.width,
        height=image.height,
        count=result["count"],
        density_count=result["density_count"],
        mean_score=float(scores.mean()) if len(scores) else None,
        crowded_tiles=result["crowded_tiles"],
        points=[(x, y, score) for (x, y), score in zip(result["points"].tolist(), scores.tolist())],
    )


def _write_overlays(files: Sequence[Path], image: "Image.Image", result: "ObjectCount") -> None:
    """The image with its points and, where there is a density, with that."""
    from ..data import write_file
    from ..data.images import png_bytes
    from ..visualization import draw_density, draw_points

    count = result["count"]
    pictures = [draw_points(image, result["points"].numpy(), f"{count} object{'' if count == 1 else 's'}")]
    if "density_map" in result:
        pictures.append(draw_density(image, result["density_map"].numpy(), f"density: {result['density_count']:.1f}"))
    for file, picture in zip(files, pictures):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_file(file, png_bytes(picture))
