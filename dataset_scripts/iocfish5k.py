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
import tempfile
from pathlib import Path

from huggingface_hub import DatasetCard, DatasetCardData
from tqdm.auto import tqdm

from dense_hf import InvalidDataError
from dense_hf.data import (
    ImageSummary,
    IOCfish5K,
    PointFolder,
    compare_with_release,
    format_statistics,
    new_directory,
    push_folder,
    write_parquet,
)
from dense_hf.data.statistics import RELEASED_STATISTICS

CARD_TEMPLATE = Path(__file__).parent / "cards" / "points.md"
RELEASE_CARD = {
    "title": "IOCfish5K",
    "description": "Indiscernible object counting: underwater scenes, animals that blend in, one point per animal.",
    "source": (
        "G. Sun, Z. An, Y. Liu, C. Liu, C. Sakaridis, D.-P. Fan, L. Van Gool: Indiscernible Object Counting in "
        "Underwater Scenes. CVPR 2023. The release has no licence file: ask its authors before you publish it."
    ),
}


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line; `--help` prints the examples above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="folder with images/, annotations/ and lists of ids")
    parser.add_argument("--own_data", action="store_true", help="do not compare with the numbers of the release")
    parser.add_argument("--parquet", metavar="DIR", help="new folder for Parquet files and a dataset card")
    parser.add_argument("--push_to_hub", metavar="REPO", help="also upload that folder as dataset REPO (name/set)")
    parser.add_argument("--private", action="store_true", help="create REPO as private")
    parser.add_argument("--num_proc", type=int, default=1, help="processes that write Parquet (default: 1)")
    parser.add_argument("--title", help="title of the card of your own data (default: name of the folder)")
    parser.add_argument("--source", default="Own data.", help="where your own data come from, for the card")
    options = parser.parse_args(arguments)
    if options.push_to_hub and not options.parquet:
        parser.error("--push_to_hub uploads what --parquet writes: give both")
    return options


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


def write_output(options: argparse.Namespace, statistics: str) -> None:
    """data/*.parquet and README.md in a new folder, all or nothing."""
    title = options.title or Path(options.folder).resolve().name
    own_card = {"title": title, "description": "Images with one point per object.", "source": options.source}
    with new_directory(options.parquet) as output, tempfile.TemporaryDirectory() as cache:
        builder = IOCfish5K(data_dir=options.folder, cache_dir=cache)
        data_files = write_parquet(builder, output, options.num_proc)
        card = DatasetCard.from_template(
            DatasetCardData(
                license=None if options.own_data else "unknown",
                pretty_name=title if options.own_data else RELEASE_CARD["title"],
                task_categories=["other"],
                tags=["object-counting", "points"],
                configs=[{"config_name": "default", "data_files": data_files}],
            ),
            template_path=str(CARD_TEMPLATE),
            repo_id=options.push_to_hub or Path(options.parquet).name,
            statistics=statistics,
            **(own_card if options.own_data else RELEASE_CARD),
        )
        card.save(output / "README.md")


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    options = parse_arguments(arguments)
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
    if options.parquet:
        try:
            write_output(options, statistics)
        except (InvalidDataError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        print(f"Parquet and a dataset card are in {options.parquet}")
    if options.push_to_hub:
        print(f"Uploaded: {push_folder(options.parquet, options.push_to_hub, options.private)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
