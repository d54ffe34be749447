"""Make counting data sets of the nuclei of the 2018 Data Science Bowl (BBBC038, stage1_train; CC0).

    python dataset_scripts/dsb2018.py stage1_train data/dsb2018

stage1_train is the download of the Broad Institute, unpacked: a folder per image with images/ID.png and a file for
each nucleus in masks/. A folder with images/NAME.png, instances/NAME.png (16-bit maps, 0 is background) and
points.json (the names and full ids) is read as well; published corrections of the masks come in such a form.

Three folders come out, each in the layout of IOCfish5K: dark (fluorescence), color (stained tissue) and bright (gray,
with light ground). What an image is, its pixels decide: color where the channels differ, else bright or dark by the
mean. Points are the centers of masks. --size 256 keeps only the images of 256 x 256 pixels.

The splits are a rule, not a draw: the first 8 hexadecimal digits of the SHA-256 of an image's id, as a fraction of
16^8, are below 0.6 for training, below 0.8 for validation, else for the test. They are the same on every machine and
for every part of the data. Images are split, not plates: a test image may come from the same plate as training images,
which the release does not tell. README.md, which is written too, has the numbers.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from dense_hf import InvalidDataError
from dense_hf.data import new_directory, open_image, write_points
from dense_hf.data.point_folder import SPLIT_LISTS
from dense_hf.markdown import table

KINDS = ("dark", "color", "bright")
TRAIN_BELOW, VALIDATION_BELOW = 0.6, 0.8
COLOR_SPREAD = 5.0  # mean of largest - smallest channel; 0 in gray images, at least 11.9 in those with color
BRIGHT_MEAN = 128.0  # of gray images; 57 is the most of a dark one, 205 the least of a bright one
MAX_PIXELS = 4_000_000  # of an image; the largest has 1388 x 1040

CARD = """# Nuclei of the 2018 Data Science Bowl, by kind

Microscope images of stage1_train (BBBC038v1, Broad Bioimage Benchmark Collection; Caicedo et al., Nature Methods
2019), CC0. One point per nucleus: the center of its mask.

{table}

Split by the image's id: the first 8 hexadecimal digits of its SHA-256, as a fraction of 16^8, below {train} train,
below {validation} validation, else test. Test images may come from the same plate as training
images. Dark, color and bright images look so different that errors should be told apart.

Made by `dataset_scripts/dsb2018.py`{size}.
"""


def split_of(image_id: str) -> str:
    """The split of an image: a function of its id only."""
    fraction = int(sha256(image_id.encode()).hexdigest()[:8], 16) / 16**8
    return "train" if fraction < TRAIN_BELOW else "validation" if fraction < VALIDATION_BELOW else "test"


def kind_of(pixels: np.ndarray) -> str:
    """Dark, color or bright, of uint8 [H, W, 3]."""
    if np.ptp(pixels, axis=2).mean() >= COLOR_SPREAD:
        return "color"
    return "bright" if pixels.mean() >= BRIGHT_MEAN else "dark"


def mask_centers(labels: np.ndarray) -> np.ndarray:
    """The center [n, 2] (x, y) of each positive label of an int map [H, W]; the middle of pixel 0 is 0.5."""
    rows, columns = np.nonzero(labels)
    _, inverse, counts = np.unique(labels[rows, columns], return_inverse=True, return_counts=True)
    sums = [np.bincount(inverse, weights=places, minlength=len(counts)) for places in (columns, rows)]
    return np.stack(sums, axis=1) / counts[:, None] + 0.5


def read_labels(path: Path, size: tuple[int, int]) -> np.ndarray:
    """A label map or mask as int [H, W].

    Raises:
        InvalidDataError: not a gray PNG of this size.
    """
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if image.size != size:
                raise InvalidDataError(path, f"the {size[0]} x {size[1]} pixels of its image", f"{image.size}")
            labels = np.asarray(image).astype(np.int64)
    except (OSError, SyntaxError) as error:
        raise InvalidDataError(path, "a PNG file", error) from error
    if labels.ndim != 2:
        raise InvalidDataError(path, "one channel", f"{labels.shape[2]} channels")
    return labels


def read_release(folder: Path) -> Iterator[tuple[str, Path, list[Path]]]:
    """Id, image and masks, of the layout of the release; names that begin with a dot are what file systems leave."""
    for place in sorted(path for path in folder.glob("[!.]*") if path.is_dir()):
        yield place.name, place / "images" / f"{place.name}.png", sorted((place / "masks").glob("[!.]*.png"))


def read_instances(folder: Path) -> Iterator[tuple[str, Path, list[Path]]]:
    """Id, image and the one label map, of the folder with points.json."""
    listing = folder / "points.json"
    try:
        entries = {str(entry["id"]): str(entry["name"]) for entry in json.loads(listing.read_text())}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InvalidDataError(listing, "a list with the name and the id of each image", error) from error
    for image_id, name in sorted(entries.items()):
        if not (image_id.isalnum() and name.isalnum()):
            raise InvalidDataError(listing, "letters and digits as ids and names", f"{image_id!r:.80}, {name!r:.80}")
        yield image_id, folder / "images" / f"{name}.png", [folder / "instances" / f"{name}.png"]


def read_nuclei(image_path: Path, maps: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 [H, W, 3] and centers [n, 2] of an image. A file of masks may be one nucleus, or a map of many."""
    image = open_image(image_path, max_pixels=MAX_PIXELS)
    if not maps:
        raise InvalidDataError(image_path.parent.parent / "masks", "a mask for each nucleus", "no PNG file")
    points = [mask_centers(read_labels(path, image.size)) for path in maps]
    return np.asarray(image), np.concatenate(points)


def build(source: Path, output: Path, size: int | None) -> str:
    """Write the folders; returns the table of the card."""
    entries = list((read_instances if (source / "points.json").exists() else read_release)(source))
    if not entries:
        raise InvalidDataError(source, "a folder per image (stage1_train, unpacked), or points.json", "neither")
    lists: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for image_id, image_path, maps in tqdm(entries, desc="Converting", unit=" images", disable=None):
        pixels, points = read_nuclei(image_path, maps)
        if size is not None and pixels.shape[:2] != (size, size):
            continue
        folder, name = output / kind_of(pixels), f"{image_id}.png"
        for part in ("images", "annotations"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels if folder.name == "color" else pixels[:, :, 0]).save(folder / "images" / name)
        write_points(folder / "annotations" / f"{image_id}.xml", points, name, pixels.shape[1::-1])
        lists.setdefault((folder.name, split_of(image_id)), []).append((name, len(points)))
    if not lists:
        raise InvalidDataError(source, f"images of {size} x {size} pixels", "none of this size")
    rows = []
    for kind, split in sorted(lists, key=lambda key: (KINDS.index(key[0]), list(SPLIT_LISTS).index(key[1]))):
        images = lists[kind, split]
        (output / kind / SPLIT_LISTS[split]).write_text("".join(f"{name}\n" for name, _ in images))
        counts = [count for _, count in images]
        rows.append([kind, split, len(counts), sum(counts), f"{np.mean(counts):.1f}", min(counts), max(counts)])
    return table(("kind", "split", "images", "nuclei", "mean", "least", "most"), rows)


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="stage1_train, unpacked, or a folder with points.json")
    parser.add_argument("output", type=Path, help="new or empty folder")
    parser.add_argument("--size", type=int, help="keep only images of this width and height (default: all)")
    options = parser.parse_args(arguments)
    try:
        if not options.source.is_dir():
            raise InvalidDataError(options.source, "a folder", "none")
        with new_directory(options.output) as output:
            statistics = build(options.source, output, options.size)
            size = f" --size {options.size}" if options.size else ""
            card = CARD.format(table=statistics, train=TRAIN_BELOW, validation=VALIDATION_BELOW, size=size)
            (output / "README.md").write_text(card)
    except (OSError, ValueError) as error:  # InvalidDataError, a folder that is not empty, a full disk
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(statistics)
    return 0


if __name__ == "__main__":
    sys.exit(main())
