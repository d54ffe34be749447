"""`dense-hf rank`: pictures without annotations in; in which order they should get some out."""

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from ..inference.console import say, shown
from ..inference.image_files import find_images
from .common import (
    add_device_option,
    add_model_option,
    add_picture_options,
    check_device,
    computing,
    loading,
    report_left_out,
    writing,
)
from .errors import CommandError
from .map_options import add_band_options

_MANUAL = """\
Pictures that the model is unsure of come first, a bit later those that look to it like one before them. It is unsure
where its points and its density map differ, where the range around the count is wide (of a model that was calibrated,
see `dense-hf calibrate`), and where many points are hardly above the threshold. With --annotated, what looks like an
annotated picture comes later, too.

examples:
  the 30 pictures to annotate next, with what the model found in them
    dense-hf rank photos --model runs/mine --top 30 --output next

files in the output folder, a new or empty one:
  ranking.csv        rank, file, count, unsure (0 to 1) and what that is made of, of all pictures
  label_studio.json  the first pictures with predictions, to be imported into Label Studio and corrected there
  annotations.xml    the same for CVAT ("CVAT for images 1.1")

exit code: 0 all pictures were looked at, 1 some could not be read, 2 nothing could be done
"""
COLUMNS = ("rank", "file", "count", "unsure", "disagreement", "width", "uncertain")


def add_parser(subparsers: Any) -> None:
    """Add the command to the program."""
    text = "Say which pictures should be annotated next, and write what a model found in them, to be corrected."
    parser = subparsers.add_parser(
        "rank",
        help="say which pictures should be annotated next",
        description=text,
        epilog=_MANUAL,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, folders, or quoted patterns")
    add_model_option(parser)
    parser.add_argument(
        "--annotated", action="append", default=[], metavar="IMAGE", help="annotated pictures; several times"
    )
    parser.add_argument("--top", type=int, default=20, metavar="N", help="pictures to write points of (default: 20)")
    parser.add_argument(
        "--output", type=Path, default=Path("ranking"), metavar="DIR", help="a new or empty folder (default: ranking)"
    )
    parser.add_argument("--recursive", "-r", action="store_true", help="search folders inside folders, too")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="tiles at a time (default: 8)")
    add_picture_options(parser)
    add_band_options(parser)
    add_device_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Look at all pictures that can be read, order them, write."""
    from ..data import new_directory
    from ..inference.checkpoints import best_device, load_counter
    from .ranking import rank_pictures

    for name in ("top", "batch_size"):
        if getattr(args, name) < 1:
            raise CommandError(f"--{name.replace('_', '-')} is at least 1. Received: {getattr(args, name)}")
    check_device(args.device)
    left_out: Counter[str] = Counter()
    images, problems = find_images(args.images, args.recursive, (), left_out)
    known, unknown = find_images(args.annotated, args.recursive, (), left_out)
    report_left_out(left_out)
    if told := problems | unknown:
        raise CommandError("; ".join(f"{source}: {problem}" for source, problem in told.items()))
    done = {path.resolve() for path in known}
    images = [path for path in images if path.resolve() not in done]
    if not images:
        raise CommandError("no pictures without annotations are left")
    with loading(args.model):
        model, processor = load_counter(args.model, args.device or best_device())
    errors: list[str] = []
    try:
        with writing(), new_directory(args.output) as folder, computing("; try a smaller --batch-size"):
            ranked = rank_pictures(
                _look(images, "Looking", args, model, processor, errors),
                _look(known, "Annotated", args, model, processor, errors),
            )
            if not ranked:
                raise CommandError("no picture could be read")
            _write(folder, ranked, args.top)
    except ValueError as error:
        raise CommandError(shown(str(error))) from error
    for picture in ranked[: args.top]:
        say(f"{picture.rank}. {shown(picture.path)}: {picture.count} objects, unsure {picture.unsure:.2f}")
    say(f"{len(ranked)} pictures in order; points of the first {min(args.top, len(ranked))} in {shown(args.output)}")
    return 1 if errors else 0


def _look(
    paths: list[Path], what: str, args: argparse.Namespace, model: Any, processor: Any, errors: list[str]
) -> list[Any]:
    """What the model says of each picture that can be read."""
    from tqdm import tqdm

    from ..data import open_image
    from ..errors import InvalidDataError
    from ..inference.class_names import counted_classes
    from .ranking import look_at

    found = []
    for path in tqdm(paths, desc=what, unit="image", disable=None):
        try:
            image = open_image(path, page=args.page, white=args.white, bands=args.bands, nodata=args.nodata)
        except InvalidDataError as error:
            errors.append(shown(path))
            say(f"not ranked: {shown(str(error))}", error=True)
            continue
        names = counted_classes(model.config)
        found.append(look_at(path, image, model, processor, args.batch_size, names=names))
    return found


def _write(folder: Path, ranked: list[Any], top: int) -> None:
    from ..data import write_file
    from ..data.formats import AnnotatedImage, cvat, label_studio
    from ..inference.appending import csv_bytes

    lines = (
        (one.rank, shown(one.path), one.count, one.unsure, *(one.signals.get(name) for name in COLUMNS[4:]))
        for one in ranked
    )
    write_file(folder / "ranking.csv", csv_bytes(COLUMNS, lines))
    records = [
        AnnotatedImage.of_points(picture.path.name, picture.points, picture.size, picture.labels)
        for picture in ranked[:top]
    ]
    label_studio.write(records, folder / "label_studio.json", found_by="dense_hf")
    cvat.write(records, folder / "annotations.xml")
