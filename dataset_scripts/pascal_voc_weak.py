"""Check PASCAL VOC 2012 or your own images with labels, print statistics, write Parquet, publish it on the Hub.

For segmentation that learns from image-level labels only: training images have no masks, others have them to judge
results by. The folder VOC2012 has the layout of the release, and the list of training images that SBD augments,
trainaug.txt (names) or train_cls.txt (names and class numbers):

    VOC2012/JPEGImages/*.jpg  Annotations/*.xml  SegmentationClass/*.png  ImageSets/Segmentation/trainaug.txt  val.txt

Check that all 10,582 + 1,449 images are there and readable, and print images per class, labels per image and classes
that occur together (the exit status is 1 if anything is missing or broken; every bad file is named):

    python dataset_scripts/pascal_voc_weak.py VOC2012

Your own images need a table labels.csv with the header image,labels and several labels separated by ";" (cat;dog). A
file classes.txt fixes the classes and their order. Validation images come with masks, if you have some (0 background,
1 for the first class, 255 for pixels that do not count):

    my_pets/classes.txt  train/labels.csv  train/images/*  val/labels.csv  val/images/*  val/masks/NAME.png

    python dataset_scripts/pascal_voc_weak.py my_pets --own_data

Warned about, with file and number: images without a label, classes with a single image or none, masks that lack the
labels of their image.

Add images of other domains to the training split: --extra LIST IMAGES DOMAIN with a table (LIST ends in .csv) or a
list in the released format (name c1 c2 ... per line; the first class has number --first_class, 1 as released). DOMAIN
is a number, 1 for single-label and 2 for web images in the thesis. --separate_extra makes splits of them:

    python dataset_scripts/pascal_voc_weak.py VOC2012 --extra single.txt single_images 1 --extra web.csv web_images 2

Write Parquet with a dataset card, which `datasets.load_dataset("pets_parquet")` reads:

    python dataset_scripts/pascal_voc_weak.py my_pets --own_data --parquet pets_parquet --num_proc 4

Put that on the Hub as well (log in with `hf auth login` first; you need the right to publish the images):

    python dataset_scripts/pascal_voc_weak.py my_pets --own_data --parquet pets_parquet --push_to_hub me/pets --private
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np
from publishing import CardFacts, add_arguments, parse_arguments, publish
from tqdm.auto import tqdm

from dense_hf import InvalidDataError
from dense_hf.data import (
    PascalVOCWeak,
    WeakFolder,
    WeakImage,
    WeakSet,
    compare_weak_with_release,
    format_weak_statistics,
    open_image,
    read_label_list,
    read_labels_csv,
    read_weak_mask,
    read_weak_set,
)
from dense_hf.data.weak_source import mask_rule

CARD = CardFacts(
    template="weak_labels.md",
    task="image-segmentation",
    tags=("weakly-supervised-segmentation", "image-level-labels"),
    release={
        "title": "PASCAL VOC 2012 with image-level labels",
        "description": "Photos with the classes that they show, and masks of the validation set.",
        "source": (
            "M. Everingham, L. Van Gool, C. K. I. Williams, J. Winn, A. Zisserman: The PASCAL Visual Object Classes "
            "Challenge 2012; more training images by B. Hariharan, P. Arbelaez, L. Bourdev, S. Maji, J. Malik: "
            "Semantic Contours from Inverse Detectors. ICCV 2011. The photos are from Flickr: read the terms of the "
            "releases before you publish them."
        ),
    },
    own_description="Images with the classes that they show.",
)


def read_options(arguments: list[str] | None) -> argparse.Namespace:
    """The command line; `--help` prints the examples above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="VOC2012, or a folder with labels.csv and images/, perhaps by split")
    parser.add_argument(
        "--extra", nargs=3, action="append", default=[], metavar=("LIST", "IMAGES", "DOMAIN"),
        help="more training images: a list or table, their folder, and a number from 0",
    )  # fmt: skip
    parser.add_argument("--first_class", type=int, default=1, help="first class number of extra lists (default: 1)")
    parser.add_argument("--separate_extra", action="store_true", help="extra images get splits domain_1, ...")
    add_arguments(parser)
    options = parse_arguments(parser, arguments)
    for _, _, domain in options.extra:
        if not (domain.isascii() and domain.isdigit() and len(domain) < 6):
            parser.error(f"DOMAIN of --extra must be a whole number from 0 to 99999. Received: {domain}")
    if options.first_class < 0:
        parser.error(f"--first_class must be at least 0. Received: {options.first_class}")
    return options


def read_extra(extra: Sequence[str], class_names: Sequence[str], first_class: int) -> WeakFolder:
    """The images of one `--extra`, with the classes of the folder."""
    list_path, images_dir, domain = extra
    if list_path.lower().endswith(".csv"):
        return read_labels_csv(list_path, images_dir, class_names, int(domain))
    return read_label_list(list_path, images_dir, class_names, int(domain), first_class)


def check(images: WeakSet) -> tuple[list[str], list[str]]:
    """Decode every image and mask: a sentence for each file that is bad, and warnings about masks."""
    rule = mask_rule(images.class_names)
    problems, warnings = [], []
    for split, folder in images.splits.items():
        empty: list[WeakImage] = []
        other: list[WeakImage] = []
        for image in tqdm(folder.images, desc=f"Checking {split}", unit=" images", disable=None):
            try:
                open_image(image.path)
                if image.mask_path is None:
                    continue
                inside = {int(number) - 1 for number in np.unique(read_weak_mask(image, rule)) if 0 < number < 255}
            except InvalidDataError as error:
                problems.append(str(error))
                continue
            if image.labels and not inside:
                empty.append(image)
            elif inside != set(image.labels):
                other.append(image)
        total = len(folder)
        for found, what in ((empty, "have labels and an empty mask"), (other, "have labels other than their mask")):
            if found:
                labels = ", ".join(images.class_names[label] for label in found[0].labels) or "none"
                first = f"{found[0].mask_path} of an image with labels {labels}"
                warnings.append(f"{split}: {len(found):,} of {total:,} images {what} (first: {first})")
    return problems, warnings


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    options = read_options(arguments)
    try:
        images = read_weak_set(options.folder)
        extra = [read_extra(one, images.class_names, options.first_class) for one in options.extra]
        images = images.with_extra(extra, join=not options.separate_extra)
    except (InvalidDataError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    problems, warnings = check(images)
    statistics = format_weak_statistics(images)
    print(statistics)
    if not options.own_data:
        problems += compare_weak_with_release(images)
    for kind, lines in (("warnings", warnings), ("problems", problems)):
        if lines:
            print("\n".join(["", f"{len(lines)} {kind}:", *lines]), file=sys.stderr)
    if problems:
        return 1
    print(f"\n{sum(map(len, images.splits.values())):,} images and their labels can be read.")
    return publish(options, lambda cache: PascalVOCWeak(images, cache_dir=cache), CARD, statistics)


if __name__ == "__main__":
    sys.exit(main())
