"""`dense-hf calibrate`: annotated pictures in; a model that says how sure its counts are."""

import argparse
from pathlib import Path
from typing import Any

from ..inference.console import say, shown
from .common import add_device_option, check_device, computing, loading, numbers, white, writing
from .errors import CommandError
from .map_options import add_band_options

_MANUAL = """\
DATA is annotations of any format that `dense-hf annotations --help` lists, or a folder in the layout of IOCfish5K, of
pictures that the model has NOT learned from: it counts those too well, and the ranges would be too narrow. Their kind
decides what the ranges are good for, so take pictures at random from where those come from that will be counted.

examples:
  with the pictures of one annotation file
    dense-hf calibrate runs/mine annotations.xml --images photos

  with the validation pictures of a training with --validation 0.2 --test 0.2
    dense-hf calibrate runs/mine annotations.xml --images photos --validation 0.2 --test 0.2 --split validation

  then counts have ranges, here and in pipelines
    dense-hf count new_photos --model runs/mine

A range of level 0.9 holds the annotated number of 90 of 100 such pictures. It needs at least 9 pictures, one of 0.95
at least 19; with 30 and more it is reliable. The result goes to preprocessor_config.json of MODEL, of which all else
stays as it is. A range is for the settings (threshold, overlap of tiles) that were calibrated. A picture that differs
from those of DATA in brightness, contrast, saturation, sharpness or count is named, because its range may not hold.

exit code: 0 calibrated, 2 refused
"""


def add_parser(subparsers: Any) -> None:
    """Add the command to the program."""
    text = "Find out on annotated pictures how far off a model's counts are, so that it gives ranges around them."
    parser = subparsers.add_parser(
        "calibrate",
        help="find out on annotated pictures how sure a model's counts are",
        description=text,
        epilog=_MANUAL,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="folder of a model that counts; it is changed")
    parser.add_argument("data", type=Path, metavar="DATA", help="annotations of pictures it has not learned from")
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of the pictures (default: where DATA is)")
    parser.add_argument("--format", metavar="FORMAT", help="of DATA (default: found from the content)")
    parser.add_argument(
        "--split", choices=("train", "validation", "test"), help="which pictures, if there are several"
    )
    parser.add_argument(
        "--validation", type=float, default=0.0, metavar="SHARE", help="of the pictures, as in training"
    )
    parser.add_argument("--test", type=float, default=0.0, metavar="SHARE", help="of the pictures, as in training")
    parser.add_argument("--seed", type=int, default=0, help="of the random shares (default: 0)")
    parser.add_argument(
        "--level",
        type=numbers,
        metavar="LEVELS",
        help="shares of pictures whose number is within the range; the first is what results have (default: "
        "0.9,0.8,0.95, as far as there are pictures enough)",
    )
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="tiles at a time (default: 8)")
    parser.add_argument("--white", type=white, metavar="VALUE", help="see dense-hf count; as you will count with")
    add_band_options(parser)
    add_device_option(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier calibration")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read, count, compare, write."""
    from ..counting.count_ranges import range_around, spread_of
    from ..data.point_source import PointSource
    from ..inference.calibration import (
        KEY,
        LEVELS,
        calibrate_counts,
        pictures_needed,
        read_processor_settings,
        write_calibration,
    )
    from ..inference.checkpoints import best_device, load_counter

    if args.batch_size < 1:
        raise CommandError(f"--batch-size is at least 1. Received: {args.batch_size}")
    check_device(args.device)
    if not args.model.is_dir():
        raise CommandError(f"MODEL is a folder, which gets the result. Received: {shown(args.model)}")
    given = {"white": args.white, "bands": args.bands, "nodata": args.nodata}
    source = PointSource(
        args.data,
        args.images,
        args.format,
        validation=args.validation,
        test=args.test,
        seed=args.seed,
        reading={name: value for name, value in given.items() if value is not None},
    )
    with loading(str(args.model)):
        if read_processor_settings(args.model).get(KEY) is not None and not args.overwrite:
            raise CommandError(f"{shown(args.model)} is calibrated already; --overwrite replaces that")
        model, processor = load_counter(str(args.model), args.device or best_device(), count_calibration=None)
    try:
        splits = source.read(whole="test")
        examples = _choose(splits, args.split)
        levels = args.level
        if levels is None:
            levels = [level for level in LEVELS if len(examples) >= pictures_needed(level)] or LEVELS[:1]
            for level in LEVELS:
                if level not in levels:
                    say(f"no range of level {level:g}: it needs {pictures_needed(level)} pictures", error=True)
    except ValueError as error:
        raise CommandError(shown(str(error))) from error
    with writing(), computing("; try a smaller --batch-size"):
        calibration = calibrate_counts(model, processor, examples, levels, args.batch_size)
        write_calibration(args.model, calibration)
    say(f"{shown(args.model)}: calibrated on {len(examples)} pictures, {calibration['num_tiles']} tiles")
    for row in calibration["levels"]:
        low, high = range_around(100, spread_of(100, 100), row["image"])
        say(f"  level {row['level']:g}: a count of 100 is {low} to {high}")
    return 0


def _choose(splits: dict[str, list[Any]], wanted: str | None) -> list[Any]:
    """The pictures of a split, or of the only one.

    Raises:
        CommandError: there is none of that name, or several without one.
    """
    if wanted is not None:
        if wanted not in splits:
            raise CommandError(f"--split is one of {', '.join(splits)}. Received: {wanted}")
        return splits[wanted]
    if len(splits) != 1:
        raise CommandError(f"DATA has several splits, {', '.join(splits)}; --split says which (not what was learned)")
    return next(iter(splits.values()))
