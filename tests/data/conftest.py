"""Small folders with image-level labels, in both layouts, and what the library logs."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dense_hf.data.class_names import VOC_NAMES

SIZE = (24, 18)  # width, height
# image to the names of its objects; the first four are for training, two for validation
VOC_OBJECTS = {
    "2007_000001": ("cat", "person"),
    "2007_000002": ("cat",),
    "2008_000003": ("person", "cat", "person"),
    "2008_000004": ("dog",),
    "2009_000005": ("cat",),
    "2009_000006": ("dog", "person"),
}


def write_picture(path: Path, seed: int) -> None:
    """Noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_mask(path: Path, numbers: tuple[int, ...]) -> None:
    """A palette PNG with a bar of each number, between background and an outline of 255."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    for place, number in enumerate(numbers):
        mask[3 * place + 1 : 3 * place + 3, 2:-2] = number
        mask[3 * place + 1, 2] = 255
    image = Image.fromarray(mask, mode="P")
    image.putpalette([*range(256)] * 3)
    image.save(path)


def write_list(path: Path, lines: list[str]) -> None:
    """One per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def write_voc(root: Path) -> Path:
    """VOC2012 with the list of SBD: train has 2 images, trainaug 4, val 2; every image has a mask."""
    for seed, (name, objects) in enumerate(VOC_OBJECTS.items()):
        write_picture(root / "JPEGImages" / f"{name}.jpg", seed)
        nodes = "".join(f"<object><name>{one}</name><difficult>1</difficult></object>" for one in objects)
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{nodes}</annotation>")
        numbers = tuple(sorted({VOC_NAMES.index(one) + 1 for one in objects}))
        folders = (
            ("SegmentationClassAug",) if name.startswith("2008") else ("SegmentationClass", "SegmentationClassAug")
        )
        for folder in folders:
            write_mask(root / folder / f"{name}.png", numbers)
    names = list(VOC_OBJECTS)
    for split, members in (("train", names[:2]), ("trainaug", names[:4]), ("val", names[4:])):
        write_list(root / "ImageSets" / "Segmentation" / f"{split}.txt", members)
    return root


def write_own(root: Path) -> Path:
    """train (3 images), val (2, with masks) of the classes cat and potted plant, in a classes.txt beside them."""
    tables = {
        "train": ["a.jpg,cat", "b,cat;potted plant", "c,potted plant"],
        "val": ["a,potted plant", "d,cat;potted plant"],
    }
    for split, rows in tables.items():
        write_list(root / split / "labels.csv", ["image,labels", *rows])
        for seed, row in enumerate(rows):
            write_picture(root / split / "images" / f"{row[0]}.jpg", seed)
    write_mask(root / "val" / "masks" / "a.png", (2,))
    write_mask(root / "val" / "masks" / "d.png", (1, 2))
    write_list(root / "classes.txt", ["cat", "potted plant"])
    return root


@pytest.fixture
def voc(tmp_path):
    """See `write_voc`."""
    return write_voc(tmp_path / "VOC2012")


@pytest.fixture
def own(tmp_path):
    """See `write_own`."""
    return write_own(tmp_path / "own")


@pytest.fixture
def extra_list(tmp_path):
    """A released list of single-label images, whose classes count from 1, and the folder of the images."""
    for seed, name in enumerate(("single_1", "single_2")):
        write_picture(tmp_path / "single_images" / f"{name}.jpg", 50 + seed)
    write_list(tmp_path / "single.txt", ["single_1 8", "single_2 20"])
    return tmp_path / "single.txt", tmp_path / "single_images"


@pytest.fixture
def logged(caplog):
    """`logged()`: what the library has warned of so far."""
    logger = logging.getLogger("transformers")  # does not propagate, so caplog would not hear it
    logger.addHandler(caplog.handler)
    yield lambda: [record.getMessage() for record in caplog.records]
    logger.removeHandler(caplog.handler)
