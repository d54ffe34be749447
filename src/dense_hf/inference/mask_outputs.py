"""What `dense-hf localize` writes: maps, masks, overlays and tables."""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..data.files import write_file
from ..data.images import png_bytes, write_gray_map
from ..data.labels import IGNORED, distinct_colors, label_map_png
from ..visualization import draw_labels
from .appending import AppendedTable, csv_bytes

COLUMNS = ("file", "class", "pixels", "share", "remark")
TABLES = ("areas.csv", "areas.json")


@dataclass(frozen=True)
class MaskRow:
    """One image. `classes` are the names of its classes; `pixels` counts them, "background" and "undecided".

    `remark` says why, if all pixels are undecided.
    """

    file: str
    width: int
    height: int
    classes: list[str]
    pixels: dict[str, int]
    remark: str = ""


def output_files(name: str, classes: Sequence[int], overlay: bool) -> list[str]:
    """What `write_pictures` writes, below its folder."""
    maps = [f"maps/{name}_{class_id}.png" for class_id in classes]
    return [*maps, f"masks/{name}.png", *([f"overlays/{name}.png"] if overlay else [])]


def write_pictures(
    output: Path,
    name: str,
    image: Image.Image,
    maps: Mapping[int, np.ndarray],
    mask: np.ndarray,
    class_names: Sequence[str],
    overlay: bool,
) -> None:
    """maps/NAME_ID.png, masks/NAME.png and overlays/NAME.png; mask and overlay have the same colours.

    Args:
        output: the folder.
        name: of the image.
        image: its picture.
        maps: class id -> uint8 [height, width].
        mask: 0 background, class id + 1, 255 undecided, uint8 [height, width].
        class_names: of all classes.
        overlay: whether there is one.
    """
    for folder in ("maps", "masks", *(["overlays"] if overlay else [])):
        (output / folder).mkdir(exist_ok=True)
    for class_id, attention in maps.items():
        write_gray_map(output / "maps" / f"{name}_{class_id}.png", attention)
    write_file(output / "masks" / f"{name}.png", label_map_png(mask))
    if overlay:
        labels = np.where((mask == 0) | (mask == IGNORED), IGNORED, mask.astype(int) - 1)
        palette = distinct_colors(len(class_names) + 1)[1:]
        write_file(output / "overlays" / f"{name}.png", png_bytes(draw_labels(image, labels, class_names, palette)))


def mask_row(
    file: str,
    image: Image.Image,
    classes: Sequence[int],
    mask: np.ndarray,
    class_names: Sequence[str],
    remark: str = "",
) -> MaskRow:
    """Count the pixels of a mask; arguments as in `write_pictures`, `classes` are those of the image."""
    found = np.bincount(mask.ravel(), minlength=IGNORED + 1)
    pixels = {"background": int(found[0])} | {class_names[k]: int(found[k + 1]) for k in classes}
    pixels["undecided"] = int(found[IGNORED])
    return MaskRow(file, image.width, image.height, [class_names[k] for k in classes], pixels, remark)


class MaskTables(ExitStack):
    """`areas.csv` (a line per image and class) grows; `areas.json` has the same at the end.

    Args:
        folder: where they go.
        rows: images that have a mask already.
    """

    def __init__(self, folder: Path, rows: Sequence[MaskRow]):
        super().__init__()
        self.folder = folder
        (folder / TABLES[1]).unlink(missing_ok=True)
        self._areas = self.enter_context(AppendedTable(folder / TABLES[0], COLUMNS, _areas(rows)))

    def add(self, row: MaskRow) -> None:
        """Append an image."""
        self._areas.add(_areas([row]))

    def finish(self, rows: Sequence[MaskRow], errors: Mapping[str, str], settings: Mapping[str, Any]) -> None:
        """Write both in the order of the images, each whole.

        Args:
            rows: the images that have a mask.
            errors: what was wrong with each of the others.
            settings: how masks were made; goes to the JSON file.
        """
        self.close()
        failures = [{"file": file, "error": error} for file, error in errors.items()]
        document = {**settings, "images": [asdict(row) for row in rows], "errors": failures}
        write_file(self.folder / TABLES[0], csv_bytes(COLUMNS, _areas(rows)))
        write_file(self.folder / TABLES[1], json.dumps(document, indent=1, allow_nan=False).encode())


def _areas(rows: Sequence[MaskRow]) -> list[tuple[object, ...]]:
    return [
        (row.file, name, pixels, f"{pixels / (row.width * row.height):.6g}", row.remark)
        for row in rows
        for name, pixels in row.pixels.items()
    ]
