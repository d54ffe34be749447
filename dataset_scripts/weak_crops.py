"""Make a set of photos with image-level labels (person, car, tree) of a street video and of forest orthophotos.

    python dataset_scripts/weak_crops.py demo_data/crops

Real crops of 128 x 128 pixels, small enough to train on without a GPU. People and cars are from the street video of
street_video.py, trees from the orthophotos of tree_crowns.py; both are downloaded, checked and not installed. A part
of the crops has both a person and a car, a part of each source has none of the three.

Two folders come out, `train` and `test`, each with

- images/NAME.png and labels.csv (`image,labels`, several labels separated by ";", none for an empty crop): all that
  training may read.
- masks/NAME.png: 0 background, 1 person, 2 car, 3 tree, 255 unsure. Kept aside to judge maps by, never to train with.
  They are PSEUDO masks, too. A person is what differs from the median of the video, a car is an outline drawn once by
  hand (see street_labels.py), a tree is the ellipse inside an annotated box, whose corners are unsure.

- classes.txt: the names, in the order of their ids.

Crops to train on are from frames 0 to 599 and from x < 1700 of the first and x < 640 of the second orthophoto; crops
to test on from frames 600 to 794 and from x >= 1796 of the first and x >= 736 of the second.

What a classifier can get right without seeing the object: the video and the orthophotos look different, so an aerial
view speaks for a tree and a street for the others, as far as the empty crops do not contradict; the two parked cars
are the same in training and test and stand in one place, so that their surroundings give them away. Numbers measured
here compare methods on these crops and say nothing about other photos.
"""

import argparse
import csv
import io
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import street_video
import tree_crowns
from PIL import Image, ImageDraw
from street_labels import NUMBERS, VOID, halve
from tqdm.auto import tqdm

from dense_hf import InvalidDataError
from dense_hf.data import new_directory, write_file

CLASSES = ("person", "car", "tree")
SIDE = 128
# unlike in tree_crowns.py, for the right part of the second orthophoto has no place without a tree
FIRST_LEFT_ENDS, FIRST_RIGHT_BEGINS = 1700, 1796
# pixels of a class that make it a label; with fewer, but some, a crop is not used: nobody could tell
LEAST_PIXELS = {"person": 400, "car": 1200, "tree": 600}
MOST_UNSURE = 0.25  # of a crop
# crops of each kind; the test set is for numbers, the training set for a few minutes on a CPU
COUNTS = {
    "train": {("person",): 70, ("car",): 30, ("person", "car"): 20, (): 50, ("tree",): 70, ("no tree",): 30},
    "test": {("person",): 24, ("car",): 14, ("person", "car"): 8, (): 16, ("tree",): 24, ("no tree",): 12},
}
TRIES = 20_000  # places looked at for one kind; a kind that is rare ends with fewer crops


@dataclass(frozen=True)
class Scene:
    """A picture [H, W, 3] and its mask [H, W] of class id + 1, 0 and 255, both uint8."""

    pixels: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class Crop:
    """A part of a scene with the names of its classes, in the order of `CLASSES`."""

    pixels: np.ndarray
    mask: np.ndarray
    labels: tuple[str, ...]


def labels_of(mask: np.ndarray) -> tuple[str, ...] | None:
    """The classes of a mask; None if it is unsure what somebody would say is in the picture."""
    if (mask == VOID).mean() > MOST_UNSURE:
        return None
    found = []
    for number, name in enumerate(CLASSES, start=1):
        pixels = int((mask == number).sum())
        if pixels >= LEAST_PIXELS[name]:
            found.append(name)
        elif pixels:
            return None
    return tuple(found)


def street_scenes(frames: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> list[Scene]:
    """Frames [H, W, 3] with the numbers of street_labels.py [H/2, W/2] as masks of our classes."""
    table = np.zeros(256, np.uint8)
    table[VOID] = VOID
    for number, name in enumerate(CLASSES[:2], start=1):
        table[NUMBERS[name]] = number
    return [Scene(frame, table[label].repeat(2, axis=0).repeat(2, axis=1)) for frame, label in zip(frames, labels)]


def forest_scene(pixels: np.ndarray, boxes: np.ndarray) -> Scene:
    """An orthophoto with the ellipse inside each box [n, 4] (left, top, right, bottom) as a tree."""
    height, width = pixels.shape[:2]
    crowns, corners = Image.new("1", (width, height)), Image.new("1", (width, height))
    for box in boxes:
        ImageDraw.Draw(crowns).ellipse(tuple(box), fill=1)
        ImageDraw.Draw(corners).rectangle(tuple(box), fill=1)
    tree = CLASSES.index("tree") + 1
    mask = np.where(np.asarray(crowns), tree, np.where(np.asarray(corners), VOID, 0)).astype(np.uint8)
    return Scene(pixels, mask)


def part(scene: Scene, left: int, right: int) -> Scene:
    """The columns from `left` to before `right`."""
    return Scene(scene.pixels[:, left:right], scene.mask[:, left:right])


def draw_crops(scenes: Sequence[Scene], kind: tuple[str, ...], count: int, rng: np.random.Generator) -> Iterator[Crop]:
    """Up to `count` crops with exactly the classes of `kind`, from random places of random scenes.

    Places are drawn around a pixel of the last class of `kind`, so that a class in a corner is found.
    """
    found = 0
    for _ in range(TRIES):
        if found == count:
            return
        scene = scenes[rng.integers(len(scenes))]
        height, width = scene.mask.shape
        top, left = rng.integers(height - SIDE + 1), rng.integers(width - SIDE + 1)
        if kind:
            ys, xs = np.nonzero(scene.mask == CLASSES.index(kind[-1]) + 1)
            if not len(ys):
                continue
            chosen = rng.integers(len(ys))
            top = int(np.clip(ys[chosen] - rng.integers(SIDE), 0, height - SIDE))
            left = int(np.clip(xs[chosen] - rng.integers(SIDE), 0, width - SIDE))
        mask = scene.mask[top : top + SIDE, left : left + SIDE]
        if labels_of(mask) == kind:
            found += 1
            yield Crop(scene.pixels[top : top + SIDE, left : left + SIDE], mask, kind)


def write_split(folder: Path, street: Sequence[Scene], forest: Sequence[Scene], counts: dict, seed: int) -> None:
    """The crops of one split. Names say nothing but the order, which is random."""
    rng = np.random.default_rng(seed)
    crops: list[Crop] = []
    for kind, count in tqdm(counts.items(), desc=folder.name, unit=" kinds"):
        aerial = kind in (("tree",), ("no tree",))
        crops += draw_crops(forest if aerial else street, () if kind == ("no tree",) else kind, count, rng)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["image", "labels"])
    for index, place in enumerate(rng.permutation(len(crops))):
        crop, name = crops[place], f"{folder.name}_{index:04d}.png"
        Image.fromarray(crop.pixels).save(folder / "images" / name)
        Image.fromarray(crop.mask).save(folder / "masks" / name)
        rows.writerow([name, ";".join(crop.labels)])
    write_file(folder / "labels.csv", table.getvalue().encode())
    write_file(folder / "classes.txt", "".join(f"{name}\n" for name in CLASSES).encode())


def read_street(downloads: Path) -> list[Scene]:
    """All frames of the video with their masks.

    Raises:
        InvalidDataError: if the package or its video cannot be had.
    """
    package = street_video.apt_download(street_video.PACKAGE, downloads)
    path = street_video.take_from_package(package, street_video.STREET, downloads)
    frames = street_video.read_frames(street_video.check_digest(path, street_video.STREET_SHA256))
    return street_scenes(frames, street_video.label_street([halve(frame) for frame in frames]))


def read_forest(wheel: zipfile.ZipFile, name: str) -> Scene:
    """An orthophoto of the checked wheel."""
    return forest_scene(*tree_crowns.read_boxes(wheel, name)[:2])


def main(arguments: list[str] | None = None) -> int:
    """Download, cut, write; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="new or empty folder for the two splits")
    output = parser.parse_args(arguments).output
    try:
        with new_directory(output) as folder, tempfile.TemporaryDirectory() as name:
            downloads = Path(name)
            with zipfile.ZipFile(tree_crowns.download(downloads)) as wheel:
                first, second = read_forest(wheel, tree_crowns.FIRST), read_forest(wheel, tree_crowns.SECOND)
            street = read_street(downloads)
            end = street_video.FIRST_TEST_FRAME
            train = [part(first, 0, FIRST_LEFT_ENDS), part(second, 0, tree_crowns.LEFT_ENDS)]
            test = [
                part(first, FIRST_RIGHT_BEGINS, first.mask.shape[1]),
                part(second, tree_crowns.RIGHT_BEGINS, second.mask.shape[1]),
            ]
            write_split(folder / "train", street[:end], train, COUNTS["train"], seed=0)
            write_split(folder / "test", street[end:], test, COUNTS["test"], seed=1)
    except (InvalidDataError, ImportError, ValueError) as error:
        print(f"weak_crops.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
