"""Counts and seconds of a counter in torch, as ONNX and as ONNX of 8 bits, on the same pictures in one run.

    python benchmarks/exported.py checkpoints/iocformer-trees photos

Prints a table: the sum of the counts, the mean difference of a picture's count from the model's, seconds a picture
(the fastest of three runs over all), and megabytes.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from dense_hf.data import open_image
from dense_hf.export import export_model
from dense_hf.export.runtime import ExportedCounter
from dense_hf.inference.checkpoints import load_counter
from dense_hf.inference.image_files import find_images
from dense_hf.markdown import table


def measure(count: Callable[[Image.Image], Any], images: list[Image.Image]) -> tuple[list[int], float]:
    """Counts, and seconds a picture."""
    best = float("inf")
    counts: list[int] = []
    for _ in range(3):
        begin = time.perf_counter()
        counts = [count(image)["count"] for image in images]
        best = min(best, time.perf_counter() - begin)
    return counts, best / len(images)


def megabytes(folder: Path) -> float:
    """Of the files that hold weights."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.suffix in (".onnx", ".safetensors")) / 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder of a checkpoint")
    parser.add_argument("images", nargs="+", help="files, folders or patterns")
    args = parser.parse_args()
    images = [open_image(path) for path in find_images(args.images)[0]]
    model, processor = load_counter(args.model)
    found = {"torch": (*measure(lambda image: processor.count_objects(model, image), images), megabytes(args.model))}
    with tempfile.TemporaryDirectory() as work:
        for name, int8 in (("ONNX", False), ("ONNX, int8", True)):
            folder = Path(work, name)
            export_model(args.model, folder, int8=int8)
            found[name] = (*measure(ExportedCounter(folder).count, images), megabytes(folder))
    expected = found["torch"][0]
    rows = []
    for name, (counts, seconds, size) in found.items():
        difference = sum(abs(one - other) for one, other in zip(counts, expected)) / len(counts)
        rows.append([name, sum(counts), f"{difference:.2f}", f"{seconds:.3f}", f"{size:.1f}"])
    print(table(["", "objects", "off by, a picture", "seconds a picture", "MB"], rows))


if __name__ == "__main__":
    main()
