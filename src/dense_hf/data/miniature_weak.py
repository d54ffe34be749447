"""A synthetic miniature set of images with image-level labels, to try the steps of chapter 3 without a real one.

Discs, squares and triangles on textured scenes; each class has a grain of its own, in any color. Some images have
none of them, some several. Masks come along, for evaluation only.
The images are drawn, not photographed; no number measured on them says anything about real scenes.

H, W: image size.
"""

import csv
import io
import os
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from .files import new_directory, write_file
from .images import png_bytes
from .miniature_set import texture
from .weak_folder import CLASS_FILE, HEADER

WEAK_CLASSES = ("disc", "square", "triangle")
_SPLITS = ("train", "val", "test")
_UNSURE = 255  # the outline of a shape


def generate_miniature_weak(
    directory: str | os.PathLike,
    num_train: int = 24,
    num_validation: int = 8,
    num_test: int = 8,
    seed: int = 0,
    image_size: tuple[int, int] = (96, 80),
    disable_progress: bool | None = None,
) -> None:
    """Write a synthetic set: SPLIT/images/*.jpg, SPLIT/labels.csv, SPLIT/masks/*.png and classes.txt.

    Image i of a split depends only on (seed, split, i) and the options: a larger set begins with the smaller one.
    The last of every eight images has no class, the others have one or two: class i modulo 3, and perhaps the next.
    In a mask, 0 is the background, 255 the outline of a shape, and other numbers are class ids + 1. A split of 0
    images has no folder.

    Args:
        directory: a new or empty folder; it appears when all files are written.
        num_train, num_validation, num_test: images per split, at least one in all.
        image_size: (width, height) in pixels.
        disable_progress: no progress bar; None: none unless on a terminal.

    Raises:
        ValueError: for an argument out of its range, or if `directory` has something in it.
    """
    sizes = dict(zip(_SPLITS, (num_train, num_validation, num_test)))
    if min(sizes.values()) < 0 or not any(sizes.values()) or min(image_size) < 32:
        raise ValueError(
            "the numbers of images must not be negative, nor all 0, and image_size at least 32 x 32. "
            f"Received: {sizes}, {image_size}"
        )
    with new_directory(directory) as folder:
        write_file(folder / CLASS_FILE, "".join(f"{name}\n" for name in WEAK_CLASSES).encode())
        for split, size in sizes.items():
            if size:
                _write_split(folder / split, split, size, seed, image_size, disable_progress)


def _write_split(
    folder: Path, split: str, size: int, seed: int, image_size: tuple[int, int], disable_progress: bool | None
) -> None:
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(HEADER)
    for index in tqdm(range(size), desc=f"Drawing synthetic {split}", unit=" images", disable=disable_progress):
        rng = np.random.default_rng((seed, _SPLITS.index(split), index))
        classes = {index % len(WEAK_CLASSES)}
        if rng.random() < 0.4:
            classes.add((index + 1) % len(WEAK_CLASSES))
        if index % 8 == 7:
            classes = set()
        pixels, mask = draw_weak_scene(rng, image_size, sorted(classes))
        name = f"synthetic_{split}_{index:05d}"
        Image.fromarray(pixels).save(folder / "images" / f"{name}.jpg", quality=95)
        (folder / "masks" / f"{name}.png").write_bytes(png_bytes(Image.fromarray(mask)))
        writer.writerow([f"{name}.jpg", ";".join(WEAK_CLASSES[label] for label in sorted(classes))])
    write_file(folder / "labels.csv", table.getvalue().encode())


def draw_weak_scene(
    rng: np.random.Generator, size: tuple[int, int], classes: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """One synthetic scene: uint8 pixels [H,W,3] and its mask, uint8 [H,W].

    Args:
        rng: the only source of randomness.
        size: (width, height) in pixels.
        classes: at most two ids; each gets one shape, in a part of the width of its own.
    """
    width, height = size
    scene = texture(rng, width, height)
    mask = np.zeros((height, width), dtype=np.uint8)
    rows, columns = np.mgrid[:height, :width]
    part = width / max(1, len(classes))
    for place, label in zip(rng.permutation(len(classes)), classes):
        radius = rng.uniform(0.3, 0.45) * min(part, height)
        x = rng.uniform(place * part + radius, (place + 1) * part - radius)
        y = rng.uniform(radius, height - radius)
        inside = _inside(label, columns - x, rows - y)  # at most 1 within the shape
        grain = (columns // 3 % 2, rows // 3 % 2, (columns + rows) // 4 % 2)[label]
        fill = rng.uniform(60, 200, size=3) + 70.0 * (grain[..., None] - 0.5)
        body = inside <= radius
        scene[body] = fill[body] + rng.normal(scale=5, size=(body.sum(), 3))
        mask[body] = label + 1
        mask[np.abs(inside - radius) < 1] = _UNSURE
    return scene.clip(0, 255).round().astype(np.uint8), mask


def _inside(label: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A measure in pixels that is at most r within a shape of half width r around (0, 0), [H,W]."""
    if label == 0:
        return np.hypot(x, y)
    if label == 1:
        return np.maximum(np.abs(x), np.abs(y))
    return np.maximum(2 * np.abs(x) - y, y)  # the tip is up, at -r
