"""Check a download of IOCfish5K, print its statistics, write it as Parquet, publish it on the Hub.

The folder has the layout of the release:

    IOCfish5K/images/*.jpg  IOCfish5K/annotations/*.xml  IOCfish5K/train_id.txt  val_id.txt  test_id.txt

Check that all 3,137 + 500 + 2,000 images and 659,024 points are there and readable, and print the numbers of Tables
2.1 and 2.2 of the thesis (the exit status is 1 if anything is missing or broken; every bad file is named):

    python dataset_scripts/iocfish5k.py IOCfish5K

The same for your own images and points in that layout (see points_from_csv.py to get there from a table):

    python dataset_scripts/iocfish5k.py my_corals --own_data

Write Parquet with a dataset card, which `datasets.load_dataset("corals_parquet")` reads:

    python dataset_scripts/iocfish5k.py my_corals --own_data --parquet corals_parquet --num_proc 4

Put that on the Hub as well (log in with `hf auth login` first; you need the right to publish the images):

    python dataset_scripts/iocfish5k.py my_corals --own_data --parquet corals_parquet --push_to_hub me/corals --private
"""

import argparse
import sys

from publishing import CardFacts, add_arguments, parse_arguments, publish
from tqdm.auto import tqdm

from dense_hf import InvalidDataError
from dense_hf.data import ImageSummary, IOCfish5K, PointFolder, compare_with_release, format_statistics
from dense_hf.data.statistics import RELEASED_STATISTICS

CARD = CardFacts(
    template="points.md",
    task="other",
    tags=("object-counting", "points"),
    release={
        "title": "IOCfish5K",
        "description": "Indiscernible object counting: animals under water that blend in, one point per animal.",
        "source": (
            "G. Sun, Z. An, Y. Liu, C. Liu, C. Sakaridis, D.-P. Fan, L. Van Gool: Indiscernible Object Counting in "
            "Underwater Scenes. CVPR 2023. The release has no licence file: ask its authors before you publish it."
        ),
    },
    own_description="Images with one point per object.",
)


def check(folder: PointFolder) -> tuple[list[ImageSummary], list[str]]:
    """Decode every image and read every annotation: what is good, and a sentence for each file that is not."""
    problems = [f"missing: {name}" for name in folder.missing_files()]
    summaries = []
    images = [(split, image) for split in folder.ids for image in folder.images(split)]
    for split, image in tqdm(images, desc="Checking", unit=" images", disable=None):
        if not (image.image_path.exists() and image.annotation_path.exists()):
            continue
        try:
            summaries.append(folder.summarize_image(split, image, decode=True))
        except InvalidDataError as error:
            problems.append(str(error))
    return summaries, problems


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="folder with images/, annotations/ and lists of ids")
    add_arguments(parser)
    options = parse_arguments(parser, arguments)
    try:
        folder = PointFolder(options.folder)
        summaries, problems = check(folder)
    except InvalidDataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    statistics = format_statistics(summaries) if summaries else "No image could be read."
    print(statistics)
    if not options.own_data:
        print(f"\n{RELEASED_STATISTICS}")
        problems += compare_with_release(folder.list_lengths, summaries)
    if problems:
        print("\n".join(["", f"{len(problems)} problems:", *problems]), file=sys.stderr)
        return 1
    print(f"\n{len(summaries):,} images and their annotations are complete.")
    return publish(options, lambda cache: IOCfish5K(data_dir=options.folder, cache_dir=cache), CARD, statistics)


if __name__ == "__main__":
    sys.exit(main())
