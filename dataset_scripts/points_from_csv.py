"""Turn a table of points and a folder of images into the layout of IOCfish5K, ready for training.

The table is a CSV file (comma, UTF-8) with a header and exactly the columns image, x, y; one row per object, in
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
    python dataset_scripts/points_from_csv.py points.csv photos/ my_reef --unit fraction

A table whose numbers are all from 0 to 1, some of them broken, is refused unless its unit is named: as pixels, all
points would lie in the upper left corner.

The conversion is strict: images that cannot be read, images of the folder that have no row, points outside of their
image and numbers that are not plain decimals stop it with the line number, and nothing is written.
"""

import argparse
import csv
import io
import random
import shutil
import sys
from pathlib import Path

from tqdm.auto import tqdm

from dense_hf import InvalidDataError
from dense_hf.data import (
    check_name,
    new_directory,
    open_image,
    read_bytes,
    read_coordinate,
    split_suffix,
    write_points,
)

MAX_TABLE_BYTES = 2**30
UNITS = {"pixel": None, "percent": 100, "fraction": 1}


def read_table(path: str) -> dict[str, list[tuple[float, float, int]]]:
    """Image name to its (x, y, line number), in the order of the table."""
    try:
        reader = csv.reader(
            io.StringIO(read_bytes(path, MAX_TABLE_BYTES).decode("utf-8-sig"), newline=""), strict=True
        )
        header = next(reader, [])
        if sorted(header) != ["image", "x", "y"]:
            raise InvalidDataError(path, "a header with the columns image,x,y", ",".join(header)[:200])
        order = [header.index(name) for name in ("image", "x", "y")]
        points: dict[str, list[tuple[float, float, int]]] = {}
        empty: dict[str, int] = {}
        for row in reader:
            line = f"line {reader.line_num}: "
            if len(row) != 3:
                raise InvalidDataError(path, "three values per line", f"{line}{row!r:.200}")
            image, x, y = (row[index] for index in order)
            check_name(path, image, line)
            rows = points.setdefault(image, [])
            if x == y == "":
                empty[image] = reader.line_num
            else:
                rows.append((read_coordinate(path, x, line), read_coordinate(path, y, line), reader.line_num))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidDataError(path, "a CSV file in UTF-8", error) from error
    for image, number in empty.items():
        if points[image]:
            raise InvalidDataError(path, f"no points for {image!r}, which line {number} calls empty", "points")
    if not points:
        raise InvalidDataError(path, "at least one image", "a header only")
    return points


def require_pixels(path: str, points: dict[str, list[tuple[float, float, int]]]) -> None:
    """Nothing, unless the numbers can only be fractions of the sides."""
    values = [value for rows in points.values() for x, y, _ in rows for value in (x, y)]
    if values and min(values) >= 0 and max(values) <= 1 and any(value != int(value) for value in values):
        expected = "coordinates in pixels, or --unit fraction (--unit pixel if they are pixels all the same)"
        raise InvalidDataError(path, expected, f"{len(values) // 2} points with numbers from 0 to 1 only")


def check_images(table: str, directory: str, names: list[str]) -> None:
    """Every image of the table is in the folder, every image of the folder in the table, and stems are different."""
    if not Path(directory).is_dir():
        raise InvalidDataError(directory, "a folder of images", "no folder")
    present = {path.name for path in Path(directory).iterdir() if split_suffix(path.name)[1]}
    if missing := [name for name in names if name not in present]:
        expected = f"all images of {table} (their suffix belongs to the name)"
        raise InvalidDataError(directory, expected, f"{len(missing)} missing: {', '.join(missing[:10])}")
    if unlabelled := sorted(present.difference(names)):
        expected = f"a row for each image in {directory}, 'name,,' for one without objects"
        raise InvalidDataError(table, expected, f"{len(unlabelled)} without: {', '.join(unlabelled[:10])}")
    stems: dict[str, str] = {}
    for name in names:
        other = stems.setdefault(split_suffix(name)[0], name)
        if other != name:
            raise InvalidDataError(directory, "names that differ in more than the suffix", f"{other} and {name}")


def split_names(names: list[str], validation: float, test: float, seed: int) -> dict[str, list[str]]:
    """File name of each list to its images; the order of the table is kept within a split."""
    shuffled = random.Random(seed).sample(names, len(names))
    num_validation, num_test = round(validation * len(names)), round(test * len(names))
    chosen = {
        "val_id.txt": set(shuffled[:num_validation]),
        "test_id.txt": set(shuffled[num_validation : num_validation + num_test]),
        "train_id.txt": set(shuffled[num_validation + num_test :]),
    }
    return {file: [name for name in names if name in members] for file, members in chosen.items() if members}


def convert(options: argparse.Namespace) -> int:
    """Write the folder; returns its number of images."""
    points = read_table(options.table)
    if options.unit is None:
        require_pixels(options.table, points)
    whole = UNITS[options.unit or "pixel"]
    check_images(options.table, options.images, list(points))
    with new_directory(options.output) as output:
        (output / "images").mkdir()
        (output / "annotations").mkdir()
        for name, rows in tqdm(points.items(), desc="Converting", unit=" images", disable=None):
            width, height = open_image(Path(options.images) / name).size
            if whole is not None:
                rows = [(x * width / whole, y * height / whole, line) for x, y, line in rows]
            for x, y, line in rows:
                if not (0 <= x < width and 0 <= y < height):
                    expected = f"points inside of {name} ({width} x {height})"
                    raise InvalidDataError(options.table, expected, f"line {line}: {x:g}, {y:g}")
            shutil.copyfile(Path(options.images) / name, output / "images" / name)
            annotation = output / "annotations" / f"{split_suffix(name)[0]}.xml"
            write_points(annotation, [(x, y) for x, y, _ in rows], name, (width, height))
        for file, names in split_names(list(points), options.validation, options.test, options.seed).items():
            (output / file).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return len(points)


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", help="CSV file with the columns image,x,y")
    parser.add_argument("images", help="folder with the images")
    parser.add_argument("output", help="new or empty folder")
    parser.add_argument("--unit", choices=UNITS, help="what the coordinates are (default: pixel)")
    parser.add_argument("--validation", type=float, default=0.0, help="share of images for validation (default: 0)")
    parser.add_argument("--test", type=float, default=0.0, help="share of images for the test (default: 0)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random split (default: 0)")
    options = parser.parse_args(arguments)
    if not (options.validation >= 0 and options.test >= 0 and options.validation + options.test <= 1):
        parser.error("--validation and --test must be shares from 0 to 1 with a sum of at most 1")
    try:
        number = convert(options)
    except ValueError as error:  # InvalidDataError, and a folder that is not empty
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{number} images with their points are in {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
