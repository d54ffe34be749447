"""`dense-hf count`: images in; tables and pictures out."""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..inference.console import say, shown
from ..inference.image_files import output_names
from .common import (
    add_bf16_option,
    add_device_option,
    add_model_option,
    add_output_option,
    add_picture_options,
    check_device,
    computing,
    hash_of_model,
    loading,
    numbers,
    report_left_out,
    stamp_of,
    writing,
)
from .errors import CommandError
from .map_options import add_band_options, add_map_options, kinds_of_tables
from .sharding import RECORDS, Part, add_shard_option, merge_counts

if TYPE_CHECKING:
    from ..counting.image_processing_iocformer import IOCFormerImageProcessor
    from ..data.geo.pictures import OpenedPicture
    from ..inference.count_tables import CountRow, TableKinds
    from ..inference.run_records import RunRecord

DEFAULT_OUTPUT = "counts"
RECORD = RECORDS["count"]

_EXAMPLES = """\
examples:
  one photo; tables and pictures go to the folder "counts"
    dense-hf count reef.jpg --model checkpoints/iocformer

  a folder with its subfolders, results into "results"
    dense-hf count survey --recursive --output results --model checkpoints/iocformer

  rows of a data set, pictures of a WebDataset, a folder of an object store (which needs its package for fsspec), a
  data set of the Hub, of which a row group is fetched at a time
    dense-hf count train-00000.parquet shard-00000.tar s3://bucket/survey --model checkpoints/iocformer
    dense-hf count hf://datasets/your-name/survey --recursive --model checkpoints/iocformer

  a drone mosaic of any size, with its points on a map and counts of the fields in it (needs dense_hf[geo])
    dense-hf count mosaic.tif --map gpkg --region fields.geojson --model checkpoints/iocformer

  a pattern (quoted, so that it is not the shell that resolves it), only the tables, only points the model is sure of
    dense-hf count "survey/**/*.jpg" --no-overlays --threshold 0.5 --model checkpoints/iocformer

files in the output folder:
  counts.csv    one line per image: file, width, height, count, density_count (the sum of the density
                map), mean_score, crowded_tiles (where the count may be too low); of a model that was calibrated
                (`dense-hf calibrate`) range_low, range_high, level and unlike: so large a share of pictures like
                those of the calibration has a number of objects in the range, and in what this one is unlike them;
                of a model with several classes a column count_NAME for each
  points.csv    one line per object: file, x, y (pixels, from the upper left corner), score; with several classes label
  regions.csv   with --region, one line per region of each image: file, region, count, density_count, pixels, area
  points.gpkg   with --map, the points for QGIS; points.geojson likewise
  counts.json   all, with the settings, and what was wrong with images that could not be read; at the end
  overlays/     per image a picture with the points and one with the density
  counts.jsonl  what was written, for the next run: a line per image with its result and its seconds

Images that lie on a map (GeoTIFF) have more columns: their coordinate system, the area that is seen in square meters,
objects per square meter and per hectare; points have map_x and map_y in that system.

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
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="image files, folders, quoted patterns, FILE.parquet, FILE.tar, addresses (s3://bucket/survey)",
    )
    add_model_option(parser)
    add_output_option(parser, DEFAULT_OUTPUT)
    parser.add_argument("--recursive", "-r", action="store_true", help="search folders inside folders, too")
    parser.add_argument(
        "--threshold",
        type=numbers,
        metavar="SCORE",
        help="least score that counts, of all classes or of each, such as 0.3,0.4 (default: the model's; released: "
        "0.35)",
    )
    parser.add_argument(
        "--tile-overlap",
        type=int,
        metavar="PIXELS",
        help="pixels that neighboring tiles share (default: that of the checkpoint; released: 0)",
    )
    parser.add_argument(
        "--level", type=float, help="of the ranges, such as 0.9; the model must be calibrated (default: its first)"
    )
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="tiles at a time (default: 8)")
    add_picture_options(parser)
    add_band_options(parser)
    add_map_options(parser)
    add_device_option(parser)
    add_bf16_option(parser)
    add_shard_option(parser)
    parser.add_argument("--no-overlays", action="store_true", help="write only the tables")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Count all images that can be read, and report the others."""
    from .. import __version__
    from ..counting.count_ranges import widths_of
    from ..data.geo.pictures import OpenedPicture
    from ..inference.checkpoints import best_device, load_counter
    from ..inference.class_names import counted_classes
    from ..inference.region_files import region_settings
    from ..inference.run_records import RunRecord, listed_files
    from ..inference.stored import find_pictures, opened_picture

    given = None if args.threshold is None else args.threshold[0] if len(args.threshold) == 1 else args.threshold
    if not all(0 <= one <= 1 for one in args.threshold or ()):
        raise CommandError(f"--threshold is a score in [0, 1]. Received: {given}")
    if args.batch_size < 1:
        raise CommandError(f"--batch-size is at least 1. Received: {args.batch_size}")
    check_device(args.device)
    part = Part(args)
    earlier = listed_files(args.output / RECORD) | part.excluded()
    left_out: Counter[str] = Counter()
    images, problems = find_pictures(args.images, args.recursive, earlier, left_out)
    report_left_out(left_out)
    if not images:
        hint = "" if args.recursive else " With --recursive, folders inside folders are searched."
        told = "; ".join(f"{source}: {problem}" for source, problem in problems.items())
        raise CommandError(f"{told}.{hint}")
    kinds = kinds_of_tables(args, [image for image in images if isinstance(image, Path)])
    changes: dict[str, Any] = {} if args.tile_overlap is None else {"tile_overlap": args.tile_overlap}
    if args.part_side is not None:
        changes |= {"max_part_side": args.part_side, "min_short_side": None, "max_short_side": None}
        changes["resize_to_multiple"] = False
    with loading(args.model):
        model, processor = load_counter(args.model, args.device or part.device or best_device(), args.bf16, **changes)
    if args.part_side is not None and not hasattr(type(processor), "max_part_side"):
        received = f"{args.part_side}, for a model that counts tiles of {processor.tile_size} pixels"
        raise CommandError(f"--part-side is for models that see whole images. Received: {received}")
    has_points = getattr(model.config, "regression_branch", True)
    if given is not None and not has_points:
        raise CommandError(
            f"--threshold is for models with points, this one has a density map only. Received: {given}"
        )
    threshold = processor.threshold_for(given) if has_points else None
    by_density = has_points and threshold is None
    names = counted_classes(model.config)
    if isinstance(threshold, list) and len(threshold) != max(1, len(names)):
        raise CommandError(f"--threshold is one score, or one of each of {max(1, len(names))}. Received: {threshold}")
    kinds = replace(kinds, class_names=tuple(names))
    try:
        widths = widths_of(processor, args.level, threshold)
    except ValueError as error:
        raise CommandError(f"--level: {shown(str(error))}") from error
    settings = {
        "dense_hf_version": __version__,
        "model": args.model,
        "threshold": threshold,
        **{name: getattr(processor, name) for name in ("tile_size", "tile_overlap") if hasattr(processor, name)},
        "page": args.page,
        "white": args.white,
        "level": None if widths is None else widths["level"],
    }
    settings |= {
        name: value
        for name, value in {
            "bands": args.bands,
            "nodata": None if args.nodata is None else repr(args.nodata),
            "part_side": args.part_side,
            "count_by": "density" if by_density else None,
            "bf16": args.bf16 or None,
            "regions": region_settings(args.region) or None,
        }.items()
        if value is not None
    }
    overlays = _overlay_kinds(model) if not args.no_overlays else ()
    files = {
        str(path): [f"overlays/{name}_{kind}.png" for kind in overlays]
        for path, name in zip(images, output_names(images))
    }
    shown_names = {str(path): shown(path) for path in images}
    own = [path for path in images if part.takes(str(path))]
    with writing(), computing("; try a smaller --batch-size"):
        part.folder.mkdir(parents=True, exist_ok=True)
        with RunRecord(
            part.folder / RECORD,
            "count",
            settings
            | hash_of_model(args.model, model, processor)
            | {"overlays": list(overlays)}
            | part.settings(shown_names),
            resume=args.resume,
            overwrite=args.overwrite,
            files=kinds.files,
            reserved=[file for path in own for file in files[str(path)]],
        ) as run_record:
            reading = {"page": args.page, "white": args.white, "bands": args.bands, "nodata": args.nodata}
            counter = partial(
                _count_file,
                read=partial(opened_picture, opener=OpenedPicture, **reading),
                model=model,
                processor=processor,
                threshold=threshold,
                batch_size=args.batch_size,
                options={} if widths is None else {"level": widths["level"]},
                names=names,
                regions=args.region,
            )
            return part.run(
                shown_names,
                problems,
                settings,
                lambda errors: count_images(own, counter, run_record, files, errors, settings, kinds),
                lambda: merge_counts(args.output, args.overwrite),
                asdict(kinds),
            )


def count_images(
    images: Sequence[Path],
    counter: Callable[..., "CountRow"],
    record: "RunRecord",
    files: Mapping[str, Sequence[str]],
    errors: dict[str, str],
    settings: dict[str, Any],
    kinds: "TableKinds",
) -> int:
    """Count, draw, and append to the tables, which are whole also when interrupted. Returns the exit code.

    Args:
        images: their files.
        counter: of an image and the files of its overlays.
        record: of this run.
        files: of each image, by its path: its overlays.
        errors: what is wrong with others, by the name that is shown.
        settings: for the tables.
        kinds: of tables.
    """
    from tqdm import tqdm

    from ..errors import InvalidDataError
    from ..inference.count_tables import CountTables, RecordedRows

    stamps = {str(path): stamp_of(path) for path in images}
    found = ((name, record.result(name, stamp)) for name, stamp in stamps.items())
    counts = {name: result["count"] for name, result in found if result is not None}
    # the rows stay on the disk: with their points they are more than memory holds
    rows = RecordedRows(record, list(stamps), counts)
    with (
        CountTables(record.folder, rows, kinds) as tables,
        tqdm(total=len(images), initial=len(counts), unit="image", disable=None) as progress,
    ):
        try:
            for path, (name, stamp) in zip(images, stamps.items()):
                if name in counts:
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
                    counts[name] = row.count
                    tables.add(row)
                    say(_line(row, kinds.class_names))
                progress.update()
            record.remove_others(counts)
        finally:
            tables.finish(rows, errors, settings)
    say(f"{sum(counts.values())} objects in {len(counts)} images; results in {shown(record.folder)}")
    if errors:
        say(f"{len(errors)} could not be counted: {', '.join(errors)}", error=True)
    if not counts:
        raise CommandError("no image could be counted")
    return 1 if errors else 0


def _line(row: "CountRow", names: Sequence[str] = ()) -> str:
    remarks = [] if row.density_count is None else [f"density {row.density_count:.1f}"]
    remarks[:0] = [f"{shown(name)} {number}" for name, number in zip(names, row.class_counts)]
    if row.level is not None:
        remarks.insert(0, f"{row.range_low} to {row.range_high} with {row.level:.0%}")
    if row.place is not None and row.place["area_m2"]:
        remarks.append(f"{1e4 * row.count / row.place['area_m2']:.4g} per hectare")
    if row.crowded_tiles:
        remarks.append(f"probably too low: {row.crowded_tiles} tiles near the limit of the model")
    return f"{row.file}: {row.count}" + (f" ({'; '.join(remarks)})" if remarks else "")


def _overlay_kinds(model: Any) -> tuple[str, ...]:
    return ("points", "density") if getattr(model.config, "density_branch", True) else ("points",)


def _count_file(
    path: Path,
    overlays: Sequence[Path],
    read: Callable[[Path], "OpenedPicture"],
    model: Any,
    processor: "IOCFormerImageProcessor",
    threshold: float | Sequence[float] | None,
    batch_size: int,
    options: Mapping[str, Any],
    names: Sequence[str],
    regions: Sequence[str] = (),
) -> "CountRow":
    from tqdm import tqdm

    from ..inference.finite_outputs import judging
    from ..inference.picture_counts import count_picture

    with read(path) as picture:
        tiles = len(processor.tile_layout(picture.image.height, picture.image.width))
        bar = tqdm(total=tiles, unit="tile", desc=shown(path.name), leave=False, disable=None)
        with bar as progress, judging(shown(path), model):
            counter = partial(
                processor.count_objects,
                model,
                threshold=threshold,
                batch_size=batch_size,
                on_batch=progress.update,
                **options,
            )
            return count_picture(shown(path), picture, counter, regions, overlays, names)
