"""Every reader of a stranger's files, with files that it reads: what fuzzing starts from."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tiny_checkpoints import CHECKPOINTS

from dense_hf.convert import read_state_dict
from dense_hf.data import VideoReader, VideoWriter, open_image, read_ids, read_points
from dense_hf.data.labels import label_map_png, read_class_file, read_mask
from dense_hf.data.weak_folder import read_class_names, read_labels_csv
from dense_hf.inference.checkpoints import load_counter, load_mcis, load_video_model
from dense_hf.options import read_config
from dense_hf.reading import read_json


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        name: of the file that it is given.
        seeds: content of files that it reads.
        read: what it does with the path.
    """

    name: str
    seeds: list[bytes]
    read: Callable[[Path], Any]


def encoded(image: Image.Image, kind: str) -> bytes:
    """An image as a file."""
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def saved(content: Any, **options: Any) -> bytes:
    """As torch writes it."""
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def video(folder: Path, suffix: str) -> bytes:
    """Four frames."""
    path = folder / f"seed{suffix}"
    with VideoWriter(path, 10, (32, 32)) as writer:
        for number in range(4):
            writer.write(np.full((32, 32, 3), 50 * number, np.uint8))
    return path.read_bytes()


def read_video(path: Path) -> None:
    """Some frames, past the damaged ones."""
    with VideoReader(path) as frames:
        for number, _ in enumerate(frames.with_errors()):
            if number == 8:
                break


def readers(folder: Path) -> dict[str, Reader]:
    """All of them; `folder` is for the checkpoints and images that some look at."""
    images = folder / "images"
    images.mkdir(parents=True)
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(images / name)
    (folder / "classes.json").write_text('{"others": 0, "wall": 1, "sky": 2}')
    rule = read_class_file(folder / "classes.json")
    points = b"<annotation>\n<object><point><x>17</x><y>4.5</y></point></object>\n</annotation>"
    yaml = "model:\n  hidden_size: 3\n  scales: [0.5, 1.0]\ntraining: &all {learning_rate: 1.0e-4, name: 'x'}\n"
    picture = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    tensors = {"a.weight": torch.ones(3, 2), "a.bias": torch.zeros(3)}
    pickled = [saved({"state_dict": tensors, "epoch": 3}), saved(tensors, _use_new_zipfile_serialization=False)]
    found = {
        "points": Reader("a.xml", [points], lambda path: read_points(path, (100, 80))),
        "ids": Reader("train_id.txt", [b"a.png\nb\r\n\n c d.jpg \n", "\ufefföl.png\n".encode()], read_ids),
        "labels": Reader(
            "labels.csv",
            [b'image,labels\na.png,cat\n"b.png","cat;dog"\n'],
            lambda path: read_labels_csv(path, images),
        ),
        "class_names": Reader("classes.txt", [b"cat\ndog\n"], read_class_names),
        "class_file": Reader("classes.json", [b'{"others": 0, "wall": 1, "sky": "2", "x": 255}'], read_class_file),
        "yaml": Reader(
            "run.yaml",
            [yaml.encode()],
            lambda path: read_config(
                path, {"model": ["hidden_size", "scales"], "training": ["learning_rate", "name"]}
            ),
        ),
        "json": Reader(
            "a.json", [b'{"a": [1, -2.5e3, true, null, "x\\u00e9"], "b": {}}'], lambda p: read_json(p, 2**20)
        ),
        "image": Reader(
            "a.png",
            [encoded(picture, kind) for kind in ("PNG", "JPEG", "TIFF", "BMP", "WEBP")],
            open_image,
        ),
        "mask": Reader(
            "a.png", [label_map_png(np.ones((8, 8), np.uint8))], lambda path: read_mask(path, (8, 8), rule)
        ),
        "video": Reader("a.mp4", [video(folder, ".mp4"), video(folder, ".mkv")], read_video),
        "pth": Reader("a.pth", pickled, read_state_dict),
    }
    loaders = {"iocformer": load_counter, "cffm": load_video_model, "mcis": load_mcis}
    for model, load in loaders.items():
        make, processor, _ = CHECKPOINTS[model]
        where = folder / model
        made = make()
        made.save_pretrained(where)
        processor.save_pretrained(where)
        for file in ("config.json", "preprocessor_config.json", "model.safetensors"):
            # the reader writes the file into the folder, and afterwards what was there
            found[f"{model}_{file.partition('.')[0]}"] = Reader(
                file, [(where / file).read_bytes()], in_folder(where, load)
            )
    sharded = folder / "sharded"
    made.save_pretrained(sharded, max_shard_size="5KB")
    processor.save_pretrained(sharded)
    index = "model.safetensors.index.json"
    found["index"] = Reader(index, [(sharded / index).read_bytes()], in_folder(sharded, load_mcis))
    return found


def in_folder(folder: Path, load: Callable[[str], Any]) -> Callable[[Path], Any]:
    """Loads a checkpoint with one of its files exchanged."""

    def read(path: Path) -> None:
        whole = (folder / path.name).read_bytes()
        (folder / path.name).write_bytes(path.read_bytes())
        try:
            load(str(folder))
        finally:
            (folder / path.name).write_bytes(whole)

    return read
