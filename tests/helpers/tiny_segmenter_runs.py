"""Images of coloured squares with masks, and a segmenter that trains on them in milliseconds."""

import copy
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog", "potted plant")
COLOURS = np.array([[40, 40, 40], [220, 40, 40], [40, 220, 40], [60, 60, 230]])
SECTIONS = {
    "model": {
        "resnet_embedding_size": 4,
        "resnet_hidden_sizes": [8, 8, 16, 16],
        "resnet_depths": [1, 1, 1, 1],
        "head_hidden_size": 8,
    },
    "data": {"crop_size": 33, "eval_window": 33, "eval_stride": 22, "image_cache_size": 100},
    "training": {
        "per_device_train_batch_size": 2,
        "max_steps": 6,
        "save_steps": 1,
        "save_total_limit": 99,
        "logging_steps": 1,
        "disable_tqdm": True,
    },
}


def make_set(folder: Path, train: int = 5, val: int = 3) -> Path:
    """`folder` in the layout of a user's own images; train/masks can play the pseudo labels."""
    rng = np.random.default_rng(0)
    for split, number in (("train", train), ("val", val)):
        images, masks = folder / split / "images", folder / split / "masks"
        images.mkdir(parents=True)
        masks.mkdir()
        rows = ["image,labels"]
        for index in range(number):
            height, width = rng.integers(30, 60, 2)
            labels = np.zeros((height, width), np.uint8)
            chosen = sorted(rng.choice(3, 2, replace=False).tolist())
            for label in chosen:
                y, x = rng.integers(0, height - 16), rng.integers(0, width - 16)
                labels[y : y + 16, x : x + 16] = label + 1
            labels[-2:] = 255
            pixels = COLOURS[labels % 255] + rng.integers(-20, 21, (height, width, 3))
            name = f"{split}_{index}"
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(images / f"{name}.png")
            Image.fromarray(labels).save(masks / f"{name}.png")
            rows.append(f"{name}.png,{';'.join(CLASSES[label] for label in chosen)}")
        (folder / split / "labels.csv").write_text("\n".join(rows) + "\n")
    (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    return folder


def segmenter_sections(**more: dict) -> dict[str, dict]:
    """The part `segmenter` of a tiny run; `more` are keys of its sections that differ."""
    sections = copy.deepcopy(SECTIONS)
    for name, keys in more.items():
        sections[name] |= keys
    return sections
