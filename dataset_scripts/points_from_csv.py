"""Turn a table of points and a folder of images into the layout of IOCfish5K, ready for training.

The table is a CSV file with a header: image, x, y and, if there are any, the classes (label); one row per object, in
pixels of the upright image, x right, y down; an image without objects has one row with x and y empty:

    image,x,y
    reef_1.jpg,120,43.5
    reef_1.jpg,87,210
    sand_2.jpg,,

    python dataset_scripts/points_from_csv.py points.csv photos/ my_reef

All images go to the training split unless you ask for a random share of them elsewhere (the same for the same seed).
The lists train_id.txt, val_id.txt and test_id.txt are plain text: edit them for a split of your own.

    python dataset_scripts/points_from_csv.py points.csv photos/ my_reef --validation 0.1 --test 0.2 --seed 1

Look at the result, and make Parquet of it:

    python dataset_scripts/iocfish5k.py my_reef --own_data --parquet my_reef_parquet

Coordinates are pixels. Label Studio writes percents of the image's sides, YOLO fractions of them:

    python dataset_scripts/points_from_csv.py points.csv photos/ my_reef --unit percent

It is `dense-hf annotations convert --strict --format csv --to iocfish5k`, which takes the files of annotation tools
just as well. All that is wrong is listed at once: images that cannot be read or found, images of the folder without a
row, points outside of their image, numbers that are no plain decimals. Nothing is written then.
"""

import argparse
import sys

from dense_hf.cli import main as run


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", help="CSV file with the columns image,x,y")
    parser.add_argument("images", help="folder with the images")
    parser.add_argument("output", help="new or empty folder")
    parser.add_argument("--unit", help="pixel (default), percent or fraction of the image's sides")
    parser.add_argument("--validation", default="0", help="share of images for validation (default: 0)")
    parser.add_argument("--test", default="0", help="share of images for the test (default: 0)")
    parser.add_argument("--seed", default="0", help="seed of the random split (default: 0)")
    options = parser.parse_args(arguments)
    words = ["--format", "csv", "--to", "iocfish5k", "--strict", "--images", options.images]
    words += [] if options.unit is None else ["--unit", options.unit]
    for name in ("validation", "test", "seed"):
        words += [f"--{name}", getattr(options, name)]
    return 1 if run(["annotations", "convert", options.table, options.output, *words]) else 0


if __name__ == "__main__":
    sys.exit(main())
