"""`dense-hf count`: images in; tables and pictures out."""

import argparse
import io
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..inference.image_files import find_images, output_names, shown
from .common import add_device_option, add_model_option, add_output_option, computing, loading, writing
from .errors import CommandError

if TYPE_CHECKING:
    from PIL import Image

    from ..counting.image_processing_iocformer import IOCFormerImageProcessor
    from ..counting.tile_merging import ObjectCount
    from ..inference.count_tables import CountRow

DEFAULT_OUTPUT = "counts"

_EXAMPLES = """\
examples:
  one photo; tables and pictures go to the folder "counts"
    dense-hf count reef.jpg --model checkpoints/iocformer

  a folder with its subfolders, results into "results"
    dense-hf count survey --recursive --output results --model checkpoints/iocformer

  a pattern (quoted, so that it is not the shell that resolves it), only the tables, only points the model is sure of
    dense-hf count "survey/**/*.jpg" --no-overlays --threshold 0.5 --model checkpoints/iocformer

files in the output folder:
  counts.csv   one line per image: file, width, height, count, density_count (the second opinion of the density
               branch), mean_score, crowded_tiles (where the count may be too low), seconds
  points.csv   one line per object: file, x, y (pixels, from the upper left corner), score
  counts.json  both, with the settings, and what was wrong with images that could not be read
  overlays/    per image a picture with the points and one with the density

exit code: 0 all images were counted, 1 some could not be read, 2 nothing could be done
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

    if not 0 <= args.threshold <= 1:
        raise CommandError(f"--threshold is a score in [0, 1]. Received: {args.threshold}")
    if args.batch_size < 1:
        raise CommandError(f"--batch-size is at least 1. Received: {args.batch_size}")
    images, problems = find_images(args.images, args.recursive, exclude=args.output)
    if not images:
        hint = "" if args.recursive else " With --recursive, folders inside folders are searched."
        raise CommandError("; ".join(f"{source}: {problem}" for source, problem in problems.items()) + f".{hint}")
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
    with writing():
        args.output.mkdir(parents=True, exist_ok=True)
        return count_images(
            images,
            model,
            processor,
            args.output,
            problems,
            settings,
            threshold=args.threshold,
            batch_size=args.batch_size,
            overlays=not args.no_overlays,
        )


def count_images(
    images: Sequence[Path],
    model: Any,
    processor: "IOCFormerImageProcessor",
    output: Path,
    errors: dict[str, str],
    settings: dict[str, Any],
    *,
    threshold: float,
    batch_size: int,
    overlays: bool,
) -> int:
    """Count, draw, and write the tables, also when interrupted. Returns the exit code."""
    from tqdm import tqdm

    from ..errors import InvalidDataError
    from ..inference.count_tables import write_tables

    rows: list[CountRow] = []
    bar = tqdm(total=len(images), unit="image", disable=None)
    try:
        with bar as progress, computing("; try a smaller --batch-size"):
            for path, name in zip(images, output_names(images)):
                try:
                    row = _count_file(path, name, model, processor, output, threshold, batch_size, overlays)
                except InvalidDataError as error:
                    errors[shown(path)] = shown(str(error))
                    progress.write(f"not counted: {shown(str(error))}", file=sys.stderr)
                else:
                    rows.append(row)
                    progress.write(_line(row), file=sys.stdout)
                progress.update()
    finally:
        write_tables(output, rows, errors, settings)
    sys.stdout.write(f"{sum(row.count for row in rows)} objects in {len(rows)} images; results in {shown(output)}\n")
    if errors:
        sys.stderr.write(f"{len(errors)} could not be counted: {', '.join(errors)}\n")
    return 1 if errors else 0


def _line(row: "CountRow") -> str:
    remarks = [] if row.density_count is None else [f"density {row.density_count:.1f}"]
    if row.crowded_tiles:
        remarks.append(f"probably too low: {row.crowded_tiles} tiles near the limit of the model")
    return f"{row.file}: {row.count}" + (f" ({'; '.join(remarks)})" if remarks else "")


def _count_file(
    path: Path,
    name: Path,
    model: Any,
    processor: "IOCFormerImageProcessor",
    output: Path,
    threshold: float,
    batch_size: int,
    overlays: bool,
) -> "CountRow":
    from tqdm import tqdm

    from ..data import open_image
    from ..inference.count_tables import CountRow

    start = time.perf_counter()
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
        _write_overlays(output / "overlays" / name, image, result)
    scores = result["scores"]
    return CountRow(
        file=shown(path),
        width=image.width,
        height=image.height,
        count=result["count"],
        density_count=result["density_count"],
        mean_score=float(scores.mean()) if len(scores) else None,
        crowded_tiles=result["crowded_tiles"],
        seconds=round(time.perf_counter() - start, 3),
        points=[(x, y, score) for (x, y), score in zip(result["points"].tolist(), scores.tolist())],
    )


def _write_overlays(stem: Path, image: "Image.Image", result: "ObjectCount") -> None:
    """`<image>_points.png` and, where there is a density, `<image>_density.png`."""
    from ..data import write_file
    from ..visualization import draw_density, draw_points

    count = result["count"]
    pictures = {"points": draw_points(image, result["points"].numpy(), f"{count} object{'' if count == 1 else 's'}")}
    if "density_map" in result:
        pictures["density"] = draw_density(
            image, result["density_map"].numpy(), f"density: {result['density_count']:.1f}"
        )
    stem.parent.mkdir(parents=True, exist_ok=True)
    for kind, picture in pictures.items():
        content = io.BytesIO()
        picture.save(content, "PNG")
        write_file(stem.with_name(f"{stem.name}_{kind}.png"), content.getvalue())
