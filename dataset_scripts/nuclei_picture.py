"""Make a counting data set of the one annotated picture of nuclei inside a Python package.

    python dataset_scripts/nuclei_picture.py demo_data/nuclei

A real fluorescence image of 512 x 512 pixels with 125 nuclei that were outlined by people, which the wheel of
stardist 0.9.2 (BSD-3-Clause, 3 MB) carries as its example. Points are the centers of the outlines. The wheel (that of
one platform, whatever this machine is) is downloaded from the package registry as a file, checked against its known
digest, and not installed. The folder has the layout of IOCfish5K, with a test image only.

Is it among the images that the bundled counter of nuclei learned from (dataset_scripts/dsb2018.py, --size 256)? No,
but it is a part of a larger image of that set: of 4dbbb275960a..., 520 x 696 pixels, which is a training image where
all sizes are used. That was found by

    python dataset_scripts/nuclei_picture.py demo_data/nuclei --compare data/dsb2018/dark data/dsb2018/color

which looks for pieces of each image of such folders, of any split, in it: 64 x 64 pixels, those three of the image
that have the most contrast, at the same size, and one at half and at twice the size, in all eight orientations; and
prints the highest correlations of gray values, whatever brightness and contrast are. Of the 664 images that one has
0.994, the next ones 0.958 and less: single nuclei look alike.
"""

import argparse
import io
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from downloads import check_digest, pip_download
from dsb2018 import mask_centers
from PIL import Image
from scipy import fft
from tqdm.auto import tqdm

from dense_hf import InvalidDataError
from dense_hf.data import new_directory, open_image, write_points
from dense_hf.data.point_folder import SPLIT_LISTS, PointFolder

WHEEL, WHEEL_SHA256 = (
    "stardist-0.9.2-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
    "2316c0feb7bd5621e7a277cb3868df475c338943c591925c420ee3622c42f023",
)
PLATFORM = ("--only-binary", ":all:", "--python-version", "3.11", "--platform", "manylinux_2_28_x86_64")
NAME = "nuclei.png"
PIECE = 64  # pixels; the side of what is looked for
LEAST_CONTRAST = 0.3  # of the picture's mean: where it has less, noise would correlate


def read_picture(wheel: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 [h, w], which the file has as 16 bits with values up to 235, and the outlines as a label map."""
    with zipfile.ZipFile(wheel) as archive:
        pixels, labels = (
            np.asarray(Image.open(io.BytesIO(archive.read(f"stardist/data/images/{name}.tif")), formats=("TIFF",)))
            for name in ("img2d", "mask2d")
        )
    if pixels.max() > 255 or labels.shape != pixels.shape:
        raise InvalidDataError(wheel, "gray values up to 255 and a mask of this size", (pixels.max(), labels.shape))
    return pixels.astype(np.uint8), labels.astype(np.int64)


def write_picture(folder: Path, pixels: np.ndarray, labels: np.ndarray) -> int:
    """The data set; returns how many nuclei it has."""
    for part in ("images", "annotations"):
        (folder / part).mkdir(parents=True)
    points = mask_centers(labels)
    Image.fromarray(pixels).save(folder / "images" / NAME)
    write_points(folder / "annotations" / "nuclei.xml", points, NAME, pixels.shape[::-1])
    (folder / SPLIT_LISTS["test"]).write_text(f"{NAME}\n")
    return len(points)


class Search:
    """The best correlation of a piece with any place of a picture [h, w], in all orientations of the picture."""

    def __init__(self, picture: np.ndarray):
        picture = picture.astype(np.float64)
        # zeros behind the picture, so that nothing of its beginning is found at its end
        self.shape = tuple(side + PIECE for side in (max(picture.shape),) * 2)
        self.turned = [self._prepare(np.rot90(one, k)) for one in (picture, picture[:, ::-1]) for k in range(4)]

    def _prepare(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The spectrum, and the norm of each place without its mean."""
        sums, squares = (_window_sums(values) for values in (picture, picture**2))
        norms = np.sqrt(np.maximum(squares - sums**2 / PIECE**2, 0))
        norms = np.maximum(norms, LEAST_CONTRAST * norms.mean()).astype(np.float32)
        return fft.rfft2(picture.astype(np.float32), self.shape), norms

    def best(self, piece: np.ndarray) -> float:
        """In [-1, 1] for `piece` [64, 64]; 0 for one without contrast."""
        piece = piece - piece.mean()
        norm = np.linalg.norm(piece)
        if norm < 1e-6:
            return 0.0
        spectrum = np.conj(fft.rfft2(piece.astype(np.float32), self.shape))
        return max(
            float((fft.irfft2(known * spectrum, self.shape)[: norms.shape[0], : norms.shape[1]] / norms).max() / norm)
            for known, norms in self.turned
        )


def _window_sums(values: np.ndarray) -> np.ndarray:
    """Of all squares of 64 pixels."""
    sums = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    return sums[PIECE:, PIECE:] - sums[:-PIECE, PIECE:] - sums[PIECE:, :-PIECE] + sums[:-PIECE, :-PIECE]


def pieces_of(image: Image.Image) -> Iterator[np.ndarray]:
    """Those that are looked for, float [64, 64]."""
    for scale, number in ((1.0, 3), (0.5, 1), (2.0, 1)):
        size = tuple(round(scale * side) for side in image.size)
        pixels = np.asarray(image.convert("L").resize(size, Image.Resampling.BILINEAR), dtype=np.float64)
        places = [
            pixels[y : y + PIECE, x : x + PIECE]
            for y in range(0, size[1] - PIECE + 1, PIECE)
            for x in range(0, size[0] - PIECE + 1, PIECE)
        ]
        yield from sorted(places, key=np.std, reverse=True)[:number]


def compare(picture: np.ndarray, folders: list[Path]) -> list[tuple[float, str]]:
    """The best correlation with each image, the highest first, and where that lies.

    Raises:
        InvalidDataError: a folder or an image that cannot be used.
    """
    search = Search(picture)
    images = [
        (f"{folder.directory.name} {split} {item.image_id}", item.image_path)
        for folder in (PointFolder(folder) for folder in folders)
        for split, listing in SPLIT_LISTS.items()
        if (folder.directory / listing).exists()
        for item in folder.images(split)
    ]
    found = []
    for name, path in tqdm(images, desc="Comparing", unit=" images", disable=None):
        found.append((max((search.best(piece) for piece in pieces_of(open_image(path))), default=0.0), name))
    return sorted(found, reverse=True)


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="new folder; with --compare, one that was made before")
    parser.add_argument("--compare", type=Path, nargs="+", help="folders of dsb2018.py to look for the picture in")
    options = parser.parse_args(arguments)
    try:
        if options.compare:
            (item,) = PointFolder(options.output).images("test")
            found = compare(np.asarray(open_image(item.image_path).convert("L")), options.compare)
            print(f"{len(found)} images; the highest correlations, of which the same place would have nearly 1:")
            print("\n".join(f"{value:.3f} {name}" for value, name in found[:5]))
            return 0
        with new_directory(options.output) as folder, tempfile.TemporaryDirectory() as downloads:
            wheel = check_digest(pip_download("stardist==0.9.2", WHEEL, Path(downloads), *PLATFORM), WHEEL_SHA256)
            print(f"{write_picture(folder, *read_picture(wheel))} nuclei")
    except (OSError, ValueError) as error:  # InvalidDataError, a folder that is not empty
        print(f"nuclei_picture.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
