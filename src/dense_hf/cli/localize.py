"""`dense-hf localize`: a folder of related images in; masks of their classes out."""

import argparse
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..inference.console import say, shown
from .common import (
    add_device_option,
    add_model_option,
    add_output_option,
    add_picture_options,
    check_device,
    computing,
    hash_of_model,
    loading,
    report_left_out,
    stamp_of,
    writing,
)
from .errors import CommandError
from .sharding import RECORDS, Part, add_shard_option, merge_masks

if TYPE_CHECKING:
    from ..data import WeakImage
    from ..inference.mask_outputs import MaskRow
    from ..inference.run_records import RunRecord

DEFAULT_OUTPUT = "localized"
RECORD = RECORDS["localize"]

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

  rows of a data set of the Hub, or pictures of a WebDataset, by ROW or NAME in the table; a store needs its package
    dense-hf localize hf://datasets/your-name/crops/data --labels labels.csv --model checkpoints/mcis
    dense-hf localize crops-00000.tar --labels labels.csv --model checkpoints/mcis

Images with a class in common are compared with each other, so more of them give better masks. A class that a single
image has is compared with itself. Images that are not in the table are passed over; one without a class in it is all
background.

files in the output folder:
  maps/NAME_ID.png   how much speaks for a class, gray; ID is its number in areas.json, from 0
  masks/NAME.png     0 background, ID + 1, 255 undecided; with the colors of PASCAL VOC
  overlays/NAME.png  the image with the colors of its mask and a legend
  areas.csv          a line per image and class: file, class, pixels, share
  areas.json         the same with the settings, and what was wrong with images that could not be read; at the end
  areas.jsonl        what was written, for the next run

Files and lines are on the disk as soon as an image has its mask. Ctrl-C and SIGTERM end a run with whole tables; the
same command with --resume goes on, also after the process was killed, and its results are those of a run that nothing
has stopped. In the table a name that begins like a formula (= + - @) has a ' before it.

exit code: 0 all images have a mask, 1 some could not be read, 2 nothing could be done, 130 Ctrl-C, 143 SIGTERM
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
    parser.add_argument(
        "folder", metavar="FOLDER", help="folder of images, FILE.parquet, FILE.tar, or an address (s3://bucket/survey)"
    )
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
        "--background-score",
        type=float,
        metavar="SCORE",
        help="what a class must exceed, without saliency (default: that of the checkpoint)",
    )
    parser.add_argument("--crf", action="store_true", help="masks follow the edges of images, without saliency")
    add_picture_options(parser)
    add_device_option(parser)
    add_shard_option(parser)
    parser.add_argument("--no-overlays", action="store_true", help="write no overlays")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make masks of all images that can be read, and report the others."""
    from .. import __version__
    from ..inference.checkpoints import best_device, load_mcis
    from ..inference.mask_outputs import TABLES, output_files
    from ..inference.result_folders import hash_of
    from ..inference.run_records import RunRecord, listed_files
    from ..inference.stored import is_stored, open_picture
    from ..weak_segmentation import ImageGroup, LocalizationSettings, Localizer, PseudoLabelSettings
    from ..weak_segmentation.pseudo_labels import default_background_score

    if not 0 <= args.threshold <= 1:
        raise CommandError(f"--threshold is a score in [0, 1]. Received: {args.threshold}")
    check_device(args.device)
    part = Part(args)
    if not Path(args.folder).is_dir() and not is_stored(args.folder):
        raise CommandError(f"FOLDER must be a folder of images. Received: {shown(args.folder)}")
    with writing(), computing():
        localization = LocalizationSettings(num_references=args.num_references, seed=args.seed)
        given = {} if args.background_score is None else {"background_score": args.background_score}
        rules = PseudoLabelSettings(**given, crf=args.crf)
        if args.saliency is not None:
            rules.check_with_saliency()
        with loading(args.model):
            model, processor = load_mcis(args.model, args.device or part.device or best_device())
        if not given:
            score = default_background_score(model.config, localization.num_references)
            rules = replace(rules, background_score=score)
        class_names = [name for _, name in sorted((model.config.id2label or {}).items())]
        earlier = listed_files(args.output / RECORD) | part.excluded()
        images, errors = list_images(args.folder, args.labels, class_names, earlier)
        settings = {
            "dense_hf_version": __version__,
            "model": args.model,
            "labels": None if args.labels is None else shown(args.labels),
            "threshold": args.threshold if args.labels is None else None,
            "saliency": None if args.saliency is None else shown(args.saliency),
            **asdict(localization),
            **asdict(rules),
            "page": args.page,
            "white": args.white,
            "classes": class_names,
        }
        read = partial(open_picture, page=args.page, white=args.white)
        usable = readable_images(images, read, model, processor, args, errors)
        group = hash_of((image.name, image.labels, stamp_of(image.path)) for image in usable)
        files = {image.name: output_files(image.name, image.labels, not args.no_overlays) for image in usable}
        names = {image.name: shown(image.path) for image in usable}
        own = [image for image in usable if part.takes(image.name)]
        part.folder.mkdir(parents=True, exist_ok=True)
        with RunRecord(
            part.folder / RECORD,
            "localize",
            settings
            | hash_of_model(args.model, model, processor)
            | {"overlays": not args.no_overlays}
            | part.settings(names),
            resume=args.resume,
            overwrite=args.overwrite,
            files=TABLES,
            reserved=[file for image in own for file in files[image.name]],
        ) as run_record:
            paths = {image.name: image.path for image in usable}
            compared = ImageGroup({image.name: image.labels for image in usable}, lambda name: read(paths[name]))
            with Localizer(model, processor, compared, localization) as localizer:
                maker = MaskMaker(read, localizer, rules, args.saliency, class_names)
                return part.run(
                    names,
                    errors,
                    settings,
                    lambda errors: localize_images(own, maker, run_record, files, group, errors, settings, usable),
                    lambda: merge_masks(args.output, args.overwrite),
                )


def list_images(
    folder: str, table: Path | None, class_names: Sequence[str], exclude: Collection[Path]
) -> tuple[list["WeakImage"], dict[str, str]]:
    """The images of a table, or all of the folder but those of an earlier run, then without classes.

    Returns:
        The images, and what is wrong with others.

    Raises:
        CommandError: no images, or two of the same name without suffix.
        InvalidDataError: a table with an unknown class, a missing image, ...
    """
    from ..data import WeakImage, read_labels_csv
    from ..data.image_lists import check_name
    from ..inference.stored import find_pictures, is_stored

    left_out: Counter[str] = Counter()
    paths, errors = find_pictures([folder], exclude=exclude, left_out=left_out)
    report_left_out(left_out)
    if table is None:
        if not paths:
            raise CommandError("; ".join(f"{name}: {problem}" for name, problem in errors.items()))
        counts = Counter(path.stem for path in paths)
        if repeated := [path.name for path in paths if counts[path.stem] > 1]:
            raise CommandError(f"names must differ without their suffix. Received: {shown(', '.join(repeated[:5]))}")
        for path in paths if is_stored(folder) else ():  # their names are nobody's files yet
            check_name(folder, path.stem)
        return [WeakImage(path.stem, path, ()) for path in paths], errors
    named = {name: path for path in paths for name in (path.stem, path.name)}
    images = list(read_labels_csv(table, named if is_stored(folder) else folder, class_names).images)
    listed = {image.path.name for image in images}
    if missing := [path.name for path in paths if path.name not in listed]:
        names = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        say(f"{len(missing)} images are not in {shown(table)} and passed over: {shown(names)}", error=True)
    return images, {}


@dataclass(frozen=True)
class MaskMaker:
    """Makes the mask of an image of a group.

    Attributes:
        read: a file -> its picture.
        localizer: compares the images of the group.
        rules: how maps become a mask.
        saliency: folder of saliency maps, or None.
        class_names: of all classes.
    """

    read: Callable[[Path], Any]
    localizer: Any
    rules: Any
    saliency: Path | None
    class_names: Sequence[str]

    def __call__(self, image: "WeakImage", output: Path, overlay: bool) -> "MaskRow":
        """Write the maps, the mask and perhaps the overlay of an image.

        Raises:
            InvalidDataError: the image or its saliency is bad.
        """
        from ..inference.finite_outputs import judging
        from ..inference.mask_outputs import mask_row, write_pictures

        picture = self.read(image.path)
        saliency = read_saliency(self.saliency, image.name, picture.size)
        with judging(shown(image.path), self.localizer.model):
            maps = self.localizer.attention(image.name)
        mask = self.rules(maps, saliency, len(self.class_names), picture)
        write_pictures(output, image.name, picture, maps, mask, self.class_names, overlay)
        remark = self.rules.remark_of(mask)
        return mask_row(shown(image.path), picture, image.labels, mask, self.class_names, remark)


def localize_images(
    images: Sequence["WeakImage"],
    maker: MaskMaker,
    record: "RunRecord",
    files: Mapping[str, Sequence[str]],
    group: str,
    errors: dict[str, str],
    settings: dict[str, Any],
    compared: Sequence["WeakImage"] = (),
) -> int:
    """Compare, draw, and append to the tables, which are whole also when interrupted. Returns the exit code.

    Args:
        images: those that can be read.
        maker: of an image.
        record: of this run.
        files: of each image, by name.
        group: a hash of all images: each mask depends on others.
        errors: what is wrong with others, by the name that is shown.
        settings: for the tables.
        compared: all images of the group, where these are a part of it.
    """
    from tqdm import tqdm

    from ..errors import InvalidDataError
    from ..inference.mask_outputs import MaskRow, MaskTables

    found = {image.name: record.result(image.name, group) for image in images}
    rows = {name: MaskRow(**result) for name, result in found.items() if result is not None}
    with (
        MaskTables(record.folder, [rows[image.name] for image in images if image.name in rows]) as tables,
        tqdm(total=len(images), initial=len(rows), desc="Masks", unit="image", disable=None) as progress,
    ):
        try:
            for image in images:
                if image.name in rows:
                    continue
                record.begin(image.name, files[image.name])
                try:
                    row = maker(image, record.folder, any(file.startswith("overlays/") for file in files[image.name]))
                except InvalidDataError as error:
                    report(image.path, error, errors)
                else:
                    record.add(image.name, group, asdict(row))
                    rows[image.name] = row
                    tables.add(row)
                progress.update()
            record.remove_others(rows)
        finally:
            tables.finish([rows[image.name] for image in images if image.name in rows], errors, settings)
    say(f"{len(rows)} masks; results in {shown(record.folder)}")
    counts = Counter(class_id for image in compared or images for class_id in image.labels)
    names = maker.class_names
    if alone := [
        names[class_id] for class_id in sorted(counts) if counts[class_id] == 1 and settings["num_references"]
    ]:
        told = shown(", ".join(alone))
        say(f"classes with a single image, which was compared with itself: {told}", error=True)
    if undecided := [row.file for row in rows.values() if row.remark]:
        remark = next(row.remark for row in rows.values() if row.remark)
        say(f"{len(undecided)} masks decide nothing ({', '.join(undecided[:5])}): {remark}", error=True)
    if without := [row.file for row in rows.values() if not row.classes]:
        say(f"{len(without)} images have no class and no map: {', '.join(without[:5])}", error=True)
    if errors:
        say(f"{len(errors)} have no mask: {', '.join(errors)}", error=True)
    if not rows:
        raise CommandError("no image has a mask")
    return 1 if errors else 0


def readable_images(
    images: Sequence["WeakImage"],
    read: Callable[[Path], Any],
    model: Any,
    processor: Any,
    args: argparse.Namespace,
    errors: dict[str, str],
) -> list["WeakImage"]:
    """The images that can be read, so that no other is compared with one that cannot, with their classes."""
    from tqdm import tqdm

    from ..errors import InvalidDataError
    from ..inference.finite_outputs import judging
    from ..weak_segmentation import find_classes

    usable = []
    for image in tqdm(images, desc="Reading", unit="image", leave=False, disable=None):
        try:
            picture = read(image.path)
        except InvalidDataError as error:
            report(image.path, error, errors)
            continue
        if args.labels is None:
            with judging(shown(image.path), model):
                found = find_classes(model, processor, picture, args.threshold)
            image = replace(image, labels=tuple(found))
        usable.append(image)
    return usable


def read_saliency(folder: Path | None, name: str, size: tuple[int, int]) -> Any:
    """uint8 [height, width], or None without a folder."""
    from ..data.images import read_gray_map

    return None if folder is None else read_gray_map(folder / f"{name}.png", size)


def report(path: Path, error: Exception, errors: dict[str, str]) -> None:
    """Remember what is wrong with an image, and say it above the progress bar."""
    errors[shown(path)] = shown(str(error))
    say(f"no mask: {shown(str(error))}", error=True)
