"""`dense-hf localize`: a folder of related images in; masks of their classes out."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..inference.image_files import find_images, shown
from .common import add_device_option, add_model_option, add_output_option, computing, loading, writing
from .errors import CommandError

if TYPE_CHECKING:
    from ..data import WeakImage
    from ..weak_segmentation import LocalizationSettings, PseudoLabelSettings

DEFAULT_OUTPUT = "localized"

_EXAMPLES = """\
examples:
  a folder of photos and a table of what is in them; results go to the folder "localized"
    dense-hf localize photos --labels labels.csv --model checkpoints/mcis

    image,labels
    cat_1.jpg,cat
    room_3,cat;potted plant
    street_7.jpg,

  without a table, the classes that the model finds in each photo
    dense-hf localize photos --threshold 0.7 --model checkpoints/mcis --output results

  masks that follow the edges of the photos; or with saliency maps (saliency/NAME.png, gray, 255 for what stands out)
    dense-hf localize photos --labels labels.csv --crf --model checkpoints/mcis
    dense-hf localize photos --labels labels.csv --saliency saliency --model checkpoints/mcis

Images with a class in common are compared with each other, so more of them give better masks. A class that a single
image has is compared with itself. Images that are not in the table are passed over; one without a class in it is all
background.

files in the output folder:
  maps/NAME_ID.png   how much speaks for a class, gray; ID is its number in areas.json, from 0
  masks/NAME.png     0 background, ID + 1, 255 undecided; with the colors of PASCAL VOC
  overlays/NAME.png  the image with the colors of its mask and a legend
  areas.csv          a line per image and class: file, class, pixels, share
  areas.json         the same with the settings, and what was wrong with images that could not be read

exit code: 0 all images have a mask, 1 some could not be read, 2 nothing could be done
"""


def add_parser(subparsers: Any) -> None:
    """Add the command to the program."""
    parser = subparsers.add_parser(
        "localize",
        help="find the classes of related images in them",
        description="Make masks of images of which only the classes are known, with a classifier that compares them.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", metavar="FOLDER", help="folder of images")
    add_model_option(parser, " of MCIS")
    parser.add_argument(
        "--labels", type=Path, metavar="FILE", help="CSV file with the classes of each image (default: the model's)"
    )
    add_output_option(parser, DEFAULT_OUTPUT)
    parser.add_argument(
        "--threshold", type=float, default=0.5, help="score from which on the model finds a class (default: 0.5)"
    )
    parser.add_argument(
        "--num-references",
        type=int,
        default=3,
        metavar="N",
        help="images that each is compared with, per class (default: 3); 0 looks at each alone",
    )
    parser.add_argument("--seed", type=int, default=0, help="which ones (default: 0)")
    parser.add_argument("--saliency", type=Path, metavar="DIR", help="folder of saliency maps")
    parser.add_argument(
        "--background-score", type=float, default=0.2, help="what a class must exceed, without saliency (default: 0.2)"
    )
    parser.add_argument("--crf", action="store_true", help="masks follow the edges of images, without saliency")
    add_device_option(parser)
    parser.add_argument("--no-overlays", action="store_true", help="write no overlays")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make masks of all images that can be read, and report the others."""
    from .. import __version__
    from ..inference.checkpoints import best_device, load_mcis
    from ..weak_segmentation import LocalizationSettings, PseudoLabelSettings

    if not 0 <= args.threshold <= 1:
        raise CommandError(f"--threshold is a score in [0, 1]. Received: {args.threshold}")
    if not Path(args.folder).is_dir():
        raise CommandError(f"FOLDER must be a folder of images. Received: {args.folder}")
    with writing(), computing():
        localization = LocalizationSettings(num_references=args.num_references, seed=args.seed)
        rules = PseudoLabelSettings(background_score=args.background_score, crf=args.crf)
        if args.saliency is not None:
            rules.check_with_saliency()
        with loading(args.model):
            model, processor = load_mcis(args.model, args.device or best_device())
        class_names = [name for _, name in sorted((model.config.id2label or {}).items())]
        images = list_images(args.folder, args.labels, class_names)
        settings = {
            "dense_hf_version": __version__,
            "model": args.model,
            "labels": None if args.labels is None else shown(args.labels),
            "threshold": args.threshold if args.labels is None else None,
            "saliency": None if args.saliency is None else shown(args.saliency),
            **asdict(localization),
            **asdict(rules),
            "classes": class_names,
        }
        args.output.mkdir(parents=True, exist_ok=True)
        return localize_images(images, model, processor, localization, rules, args, settings)


def list_images(folder: str, table: Path | None, class_names: Sequence[str]) -> list["WeakImage"]:
    """The images of a table, or all of the folder, then without classes.

    Raises:
        CommandError: no images, or two of the same name without suffix.
        InvalidDataError: a table with an unknown class, a missing image, ...
    """
    from ..data import WeakImage, read_labels_csv

    paths, _ = find_images([folder])
    if table is None:
        if not paths:
            raise CommandError(f"{shown(folder)}: no images found")
        counts = Counter(path.stem for path in paths)
        if repeated := [path.name for path in paths if counts[path.stem] > 1]:
            raise CommandError(f"names must differ without their suffix. Received: {', '.join(repeated[:5])}")
        return [WeakImage(path.stem, path, ()) for path in paths]
    images = list(read_labels_csv(table, folder, class_names).images)
    listed = {image.path.name for image in images}
    if missing := [path.name for path in paths if path.name not in listed]:
        names = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        sys.stderr.write(f"{len(missing)} images are not in {shown(table)} and passed over: {shown(names)}\n")
    return images


def localize_images(
    images: Sequence["WeakImage"],
    model: Any,
    processor: Any,
    localization: "LocalizationSettings",
    rules: "PseudoLabelSettings",
    args: argparse.Namespace,
    settings: dict[str, Any],
) -> int:
    """Look at all images, then compare, draw, and write the tables, also when interrupted. Returns the exit code."""
    from tqdm import tqdm

    from ..data import open_image
    from ..errors import InvalidDataError
    from ..inference.mask_outputs import MaskRow, mask_row, write_pictures, write_tables
    from ..weak_segmentation import ImageGroup, Localizer

    rows: list[MaskRow] = []
    errors: dict[str, str] = {}
    names: list[str] = settings["classes"]
    try:
        usable = readable_images(images, model, processor, args, errors)
        paths = {image.name: image.path for image in usable}
        group = ImageGroup({image.name: image.labels for image in usable}, lambda name: open_image(paths[name]))
        with (
            Localizer(model, processor, group, localization) as localizer,
            tqdm(total=len(usable), desc="Masks", unit="image", disable=None) as progress,
        ):
            for image in usable:
                try:
                    picture = open_image(image.path)
                    saliency = read_saliency(args.saliency, image.name, picture.size)
                    maps = localizer.attention(image.name)
                    mask = rules(maps, saliency, len(names), picture)
                except InvalidDataError as error:
                    report(image.path, error, errors)
                else:
                    write_pictures(args.output, image.name, picture, maps, mask, names, not args.no_overlays)
                    rows.append(mask_row(shown(image.path), picture, image.labels, mask, names))
                progress.update()
    finally:
        write_tables(args.output, rows, errors, settings)
    sys.stdout.write(f"{len(rows)} masks; results in {shown(args.output)}\n")
    counts = Counter(class_id for image in usable for class_id in image.labels)
    if alone := [names[class_id] for class_id in sorted(counts) if counts[class_id] == 1 and args.num_references]:
        sys.stderr.write(f"classes with a single image, which was compared with itself: {', '.join(alone)}\n")
    if without := [row.file for row in rows if not row.classes]:
        sys.stderr.write(f"{len(without)} images have no class and no map: {', '.join(without[:5])}\n")
    if errors:
        sys.stderr.write(f"{len(errors)} have no mask: {', '.join(errors)}\n")
    return 1 if errors else 0


def readable_images(
    images: Sequence["WeakImage"], model: Any, processor: Any, args: argparse.Namespace, errors: dict[str, str]
) -> list["WeakImage"]:
    """The images that can be read, so that no other is compared with one that cannot, with their classes."""
    from tqdm import tqdm

    from ..data import open_image
    from ..errors import InvalidDataError
    from ..weak_segmentation import find_classes

    usable = []
    for image in tqdm(images, desc="Reading", unit="image", leave=False, disable=None):
        try:
            picture = open_image(image.path)
        except InvalidDataError as error:
            report(image.path, error, errors)
            continue
        if args.labels is None:
            image = replace(image, labels=tuple(find_classes(model, processor, picture, args.threshold)))
        usable.append(image)
    return usable


def read_saliency(folder: Path | None, name: str, size: tuple[int, int]) -> Any:
    """uint8 [height, width], or None without a folder."""
    from ..data.images import read_gray_map

    return None if folder is None else read_gray_map(folder / f"{name}.png", size)


def report(path: Path, error: Exception, errors: dict[str, str]) -> None:
    """Remember what is wrong with an image, and say it above the progress bar."""
    from tqdm import tqdm

    errors[shown(path)] = shown(str(error))
    tqdm.write(f"no mask: {shown(str(error))}", file=sys.stderr)
