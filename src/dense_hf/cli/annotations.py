"""`dense-hf annotations`: check, convert and show what people's annotation tools write; make masks of it."""

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..inference.console import say, shown
from ..reading import read_text
from .errors import CommandError

_MAX_CLASSES_BYTES = 2**20  # 255 names at most

_FORMATS = """\
formats, found from the content (--format names one):
  csv           a table: image,x,y,label or image,xmin,ymin,xmax,ymax,label; also points.csv of `dense-hf count`
  coco          JSON: keypoints, boxes, polygons, masks (RLE)
  yolo          a folder with labels/*.txt and data.yaml, classes.txt or obj.names: boxes, pose, polygons
  voc           a folder of PASCAL VOC XML
  labelme       a folder of JSON (labelme) or XML (the tool of MIT)
  cvat          "CVAT for images 1.1" or "CVAT for video 1.1"
  label_studio  JSON, JSON-MIN or CSV
  via           VGG Image Annotator 2 (or 1): project, JSON, CSV
  darwin        V7 Darwin JSON, a file per picture
  qupath        GeoJSON of QuPath, a file per picture
  imagej        .roi, RoiSet.zip, or the table of Analyze > Measure
  geojson       features in pixels of the picture; only if named
  createml      JSON of CreateML; datumaro: JSON of Datumaro; image_folder: metadata.jsonl with objects
  iocfish5k     images/, annotations/*.xml, train_id.txt, val_id.txt, test_id.txt
written: {writable}

A point is an object. A box counts at its centre, a polygon or mask at the centre of its box (or --polygon-point
centroid), an object of several keypoints once. Coordinates are pixels of the upright picture, x right, y down, from
its corner.
"""
_EXAMPLES = """\
examples:
    dense-hf annotations check export.json --images photos
    dense-hf annotations convert export.json points.csv --to csv
    dense-hf annotations show export.json --images photos --output look
    dense-hf annotations masks instances.json my_set --images photos
    dense-hf annotations ACTION --help

"""
_CHECK = """\
examples:
  what is in a file, and all that is wrong with it
    dense-hf annotations check annotations.xml

  with the pictures: is each of them there, and of the size that the file says?
    dense-hf annotations check export.json --images photos

"""
_CONVERT = """\
examples:
  from CVAT to a table
    dense-hf annotations convert annotations.xml points.csv --to csv

  from Label Studio to a folder to train on, with a fifth of the pictures for validation and for the test
    dense-hf annotations convert export.json my_reef --to iocfish5k --images photos --validation 0.2 --test 0.2

  the points that a model found, to be corrected in CVAT
    dense-hf annotations convert results/points.csv found.xml --to cvat --images photos

What is left out (points outside of the picture, lines, cancelled annotations) is said; nothing is overwritten.
Pictures are copied for iocfish5k only; those of yolo belong into OUT/images/, as data.yaml says.

"""
_SHOW = """\
examples:
  pictures with a dot on each object, to see that the points are where they belong
    dense-hf annotations show annotations.xml --images photos --output look

"""
_MASKS = """\
IN is an annotation file with polygons or masks (COCO, LabelMe, CVAT, Label Studio brushes, ...), or a folder of PNG
files that are called like the pictures: in the colors of a labelmap.txt beside them (CVAT's "Segmentation mask"), with
class numbers as gray values or palette (--classes), or with 0 and 255 (--foreground).

layouts of OUT:
  weak   images/, labels.csv, masks/ (0 background, class + 1), classes.txt: for train_mcis.py and its like
  video  data/VIDEO/origin/, data/VIDEO/mask/, train.txt, label_num_dic_final.json: for train_cffm.py and its like; a
         VIDEO is a folder of pictures. Pixels without a class do not count, unless --background makes one of them

examples:
  from COCO to image-level labels with masks to judge by
    dense-hf annotations masks instances.json my_set --images photos

  frames and the masks of CVAT
    dense-hf annotations masks cvat_export my_videos --images frames --layout video --background ground

  masks of one class, black and white
    dense-hf annotations masks masks my_set --images photos --foreground fish

"""
_CHOICES = ("box", "centroid")


def add_parser(subparsers: Any) -> None:
    """Add the command and its three actions to the program."""
    text = "Check, convert and show annotations: CVAT, Label Studio, COCO, YOLO, LabelMe, QuPath, ImageJ, tables, ..."
    parser = subparsers.add_parser(
        "annotations",
        help="check, convert and show points and masks of other tools",
        description=text,
        epilog=_EXAMPLES + _about_formats(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    check = _action(actions, "check", "say what is in annotations and list all that is wrong", _CHECK, run_check)
    _add_input(check)
    convert = _action(actions, "convert", "write annotations in another format", _CONVERT, run_convert)
    _add_input(convert)
    convert.add_argument("output", type=Path, metavar="OUT", help="a file or a new folder, as the format is")
    convert.add_argument("--to", required=True, metavar="FORMAT", help="what to write, see below")
    convert.add_argument("--validation", type=float, default=0.0, metavar="SHARE", help="of the pictures (default: 0)")
    convert.add_argument("--test", type=float, default=0.0, metavar="SHARE", help="of the pictures (default: 0)")
    convert.add_argument("--seed", type=int, default=0, help="of the random shares (default: 0)")
    convert.add_argument("--strict", action="store_true", help="write nothing if anything would be left out")
    masks = _action(actions, "masks", "make label maps of polygons and masks, to train on", _MASKS, run_masks)
    _add_input(masks)
    masks.add_argument("output", type=Path, metavar="OUT", help="a new or empty folder")
    masks.add_argument("--layout", choices=("weak", "video"), default="weak", help="see above (default: weak)")
    masks.add_argument("--classes", metavar="NAMES", help="cat,dog or a file with a name per line; their order counts")
    masks.add_argument("--foreground", metavar="NAME", help="the class of 255 (or 1), for PNG files of 0 and 255")
    masks.add_argument("--background", metavar="NAME", help="video: a class for all pixels without one")
    show = _action(actions, "show", "draw the points into the pictures", _SHOW, run_show)
    _add_input(show)
    show.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new or empty folder")
    show.add_argument("--limit", type=int, default=50, metavar="N", help="the most pictures (default: 50)")


def _about_formats() -> str:
    writable = "csv, coco, yolo, labelme, cvat, label_studio, qupath, geojson, iocfish5k"
    return _FORMATS.format(writable=writable)


def _action(actions: Any, name: str, text: str, examples: str, run: Any) -> argparse.ArgumentParser:
    parser = actions.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=examples + _about_formats(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def _add_input(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="IN", help="the annotation file, or a folder of them")
    parser.add_argument("--images", type=Path, metavar="DIR", help="the folder of the pictures (default: where IN is)")
    parser.add_argument("--format", metavar="FORMAT", help="of IN (default: found from the content)")
    parser.add_argument("--unit", choices=("pixel", "percent", "fraction"), help="of the numbers of a table")
    parser.add_argument(
        "--polygon-point", choices=_CHOICES, default="box", help="the point of a polygon or mask (default: box)"
    )


def _read(args: argparse.Namespace) -> Any:
    """The annotations; all that is wrong with them on stderr, if something is."""
    from ..data.formats import InvalidAnnotationsError, read_annotations

    try:
        return read_annotations(args.path, args.format, args.polygon_point, args.images, args.unit)
    except InvalidAnnotationsError as error:
        raise _listed(error) from error
    except ValueError as error:
        raise CommandError(shown(str(error))) from error


def _match(args: argparse.Namespace, annotations: Any, decode: bool = False) -> Any:
    """The annotations with their pictures."""
    from ..data.formats import InvalidAnnotationsError
    from ..data.formats.matching import match_pictures

    try:
        return match_pictures(annotations, args.path, args.images, progress=True, decode=decode)
    except InvalidAnnotationsError as error:
        raise _listed(error) from error
    except ValueError as error:
        raise CommandError(shown(str(error))) from error


def _listed(error: Any) -> CommandError:
    for problem in error.problems:
        say(shown(problem), error=True)
    number = len(error.problems)
    return CommandError(f"{shown(error.path)}: {number} problem{'' if number == 1 else 's'}, listed above")


def _left_out(args: argparse.Namespace, problems: Any) -> CommandError:
    _tell(*problems)
    return CommandError(
        f"{shown(args.path)}: expected nothing to leave out (--strict). Received: what is listed above"
    )


def _tell(*problems: str) -> None:
    for problem in problems:
        say(shown(problem), error=True)


def run_check(args: argparse.Namespace) -> int:
    """Print what there is; 0 if all is well, 2 if something is wrong."""
    annotations = _read(args)
    matched = None
    if args.images is not None or annotations.format in ("yolo", "iocfish5k"):
        matched = _match(args, annotations)
    records = annotations if matched is None else matched.records
    points = sum(len(record) for record in records)
    say(f"{shown(args.path)}: {annotations.format}, {len(records):,} pictures, {points:,} objects")
    empty = sum(not len(record) for record in records)
    say(f"pictures without objects: {empty:,}")
    classes = Counter(name for record in records for name in record.classes)
    for name, number in classes.most_common():
        say(f"  {number:>9,}  {'(no class)' if name is None else shown(name)}")
    splits = Counter(record.split or "none said" for record in records)
    if set(splits) != {"none said"}:
        say("pictures of each split: " + ", ".join(f"{name} {number:,}" for name, number in splits.items()))
    _tell(*annotations.problems, *(matched.problems if matched else ()))
    if matched is None:
        say("the pictures were not looked at (--images DIR compares names and sizes)")
    return 0


def run_convert(args: argparse.Namespace) -> int:
    """Read, find pictures where the format or the shares need them, write."""
    from ..data.formats import WRITABLE_FORMATS, iocfish5k, write_annotations
    from ..data.point_source import random_splits

    if args.to not in WRITABLE_FORMATS:
        raise CommandError(f"--to takes {', '.join(WRITABLE_FORMATS)}. Received: {shown(args.to)}")
    if not (args.validation >= 0 and args.test >= 0 and args.validation + args.test <= 1):
        received = f"{args.validation} and {args.test}"
        raise CommandError(f"--validation and --test are shares, at most 1 together. Received: {received}")
    if args.output.exists() and not (args.output.is_dir() and not any(args.output.iterdir())):
        raise CommandError(f"{shown(args.output)} is there already: choose another name, or remove it")
    annotations = _read(args)
    records, paths, problems = list(annotations), [], list(annotations.problems)
    needs_pictures = args.to == "iocfish5k" or (
        args.to in ("yolo", "cvat", "label_studio") and any(record.size is None for record in records)
    )
    if args.images is not None or needs_pictures:
        matched = _match(args, annotations, decode=args.to == "iocfish5k")
        records, paths = list(matched.records), list(matched.paths)
        problems += matched.problems
        if args.strict and (matched.num_dropped or matched.unannotated):
            raise _left_out(args, matched.problems)
    if args.strict and annotations.num_dropped:
        raise _left_out(args, annotations.problems)
    if args.validation or args.test:
        # sorted as `PointSource` does it, so that the shares are those of a training on the same pictures
        names = [path.as_posix() for path in paths] or [str(record.image) for record in records]
        order = sorted(range(len(records)), key=names.__getitem__)
        for split, members in random_splits(order, args.validation, args.test, args.seed).items():
            for index in members:
                records[index] = replace(records[index], split=split)
    try:
        if args.to == "iocfish5k":
            iocfish5k.write(records, args.output, paths)
        else:
            write_annotations(records, args.output, args.to)
    except (ValueError, OSError) as error:
        raise CommandError(shown(str(error))) from error
    _tell(*problems)
    points = sum(len(record) for record in records)
    say(f"{len(records):,} pictures with {points:,} objects are in {shown(args.output)} ({args.to})")
    return 0


def run_masks(args: argparse.Namespace) -> int:
    """Read, draw every label map, copy the pictures beside them."""
    from ..data.formats.mask_layouts import write_video_layout, write_weak_layout

    if args.images is None:
        raise CommandError("--images must name the folder of the pictures. Received: none")
    if args.background is not None and args.layout != "video":
        raise CommandError("--background is for --layout video; the masks of weak have a background always")
    maps = _label_maps(args)
    try:
        if args.layout == "video":
            number = write_video_layout(maps, args.output, args.background)
        else:
            number = write_weak_layout(maps, args.output)
    except (ValueError, OSError) as error:
        raise CommandError(shown(str(error))) from error
    _tell(*maps.problems)
    say(f"{number:,} pictures with masks of {len(maps.class_names)} classes are in {shown(args.output)}")
    say(f"classes: {shown(', '.join(maps.class_names))}")
    return 0


def _label_maps(args: argparse.Namespace) -> Any:
    from ..data.formats.label_maps import label_maps_of_objects, read_mask_files
    from ..data.formats.records import InvalidAnnotationsError

    classes = args.classes
    if classes is not None:
        path = Path(classes)
        lines = read_text(path, _MAX_CLASSES_BYTES).splitlines() if path.is_file() else classes.split(",")
        classes = [name.strip() for name in lines if name.strip()]
    try:
        if args.path.is_dir() and (args.foreground or any(args.path.rglob("*.png"))) and not _has_annotations(args):
            return read_mask_files(args.path, args.images, classes, args.foreground)
        if args.foreground is not None:
            raise CommandError(f"--foreground is for a folder of PNG files. Received: {shown(args.path)}")
        annotations = _read(args)
        matched = _match(args, annotations)
        maps = label_maps_of_objects(matched, classes)
    except InvalidAnnotationsError as error:
        raise _listed(error) from error
    except (ValueError, OSError) as error:
        raise CommandError(shown(str(error))) from error
    maps.problems += [*annotations.problems, *matched.problems]
    return maps


def _has_annotations(args: argparse.Namespace) -> bool:
    """Whether a folder has files of an annotation tool beside its pictures."""
    return args.format is not None or any(
        path.suffix.lower() in (".json", ".geojson", ".xml", ".csv") for path in args.path.rglob("*")
    )


def run_show(args: argparse.Namespace) -> int:
    """Draw the first pictures, by their names."""
    from tqdm.auto import tqdm

    from ..data import new_directory, open_image
    from ..inference.image_files import output_names
    from ..visualization import draw_points

    if args.limit < 1:
        raise CommandError(f"--limit must be at least 1. Received: {args.limit}")
    annotations = _read(args)
    matched = _match(args, annotations)
    chosen = list(zip(matched.records, matched.paths))[: args.limit]
    try:
        with new_directory(args.output) as folder:
            names = output_names([path for _, path in chosen])
            for (record, path), name in tqdm(list(zip(chosen, names)), desc="Drawing", unit="picture"):
                target = folder / f"{name}.jpg"
                target.parent.mkdir(parents=True, exist_ok=True)
                label = f"{len(record)} object{'' if len(record) == 1 else 's'}"
                draw_points(open_image(path), record.points, label).save(target, quality=90)
    except (ValueError, OSError) as error:
        raise CommandError(shown(str(error))) from error
    _tell(*annotations.problems, *matched.problems)
    left = len(matched.records) - len(chosen)
    more = f" (--limit: {left} more are not drawn)" if left else ""
    say(f"{len(chosen)} pictures with their points are in {shown(args.output)}{more}")
    return 0
