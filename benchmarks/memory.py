"""How much memory the real programs take with large inputs, and that it does not grow where it must not.

    PYTHONPATH=tests/helpers OMP_NUM_THREADS=1 python benchmarks/memory.py          # all: an hour on one thread
    PYTHONPATH=tests/helpers python benchmarks/memory.py --only photo stream
    PYTHONPATH=tests/helpers python benchmarks/memory.py --share 0.01               # a hundredth of all: minutes

Each is a process of its own with its children, looked at from outside twice a second (/proc, so Linux only). All
inputs are noise. Rows:

- photo: `dense-hf count` of a JPEG of 6000 x 4000, with tables and overlays, by the small counter of tree crowns that
  comes with dense_hf.
- photo, ResNet-50: the same by IOCFormer of the thesis' size (700 queries), with random weights.
- mosaic: `dense-hf count` of a GeoTIFF of 20,000 x 20,000 pixels (1.2 GB), read by windows of
  1024, by a tiny MCNN (`pip install .[geo]`). One of 1,000 x 1,000 is counted before it, and the peaks are compared.
- video: `dense-hf segment` of an MP4 of 30,000 frames of 96 x 64, with overlay and table, by a tiny CFFM.
- stream: `dense-hf segment -` of 120 frames of 1920 x 1080 from a pipe, with overlay and table, by CFFM-B1 with 124
  classes and random weights. A stream of 60 frames runs before it, and the peaks are compared: the buffers of the
  encoder and decoder of video are full after some 50 frames.
- training: `scripts/train_iocformer.py` for an epoch of 10,000 pictures of 96 x 96, the small model of
  scripts/configs/iocformer/smoke.yaml, batches of 16.

The columns in percent are of the time of a run, its start and what it writes at the end included. What must be flat
is so if the median of the last quarter is at most 16 MB above that of the second quarter (caches are full by then); of
the stream, if its peak is at most 64 MB above that of 60 frames: there are as many references after the ninth frame
as later; of the mosaic, if its peak is below 1 GB or at most 256 MB above that of the small one: libraries alone take
most of a gigabyte. One photo is one item, so its memory is listed and not judged. Runs of less than half the size
(--share) were starting for too much of their time, and are not judged. The exit code is 1 if something grew or failed.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from tiny_checkpoints import CHECKPOINTS
from tiny_counters import tiny_counter
from watched_programs import Sample, Watched, watch

from dense_hf import CFFMImageProcessor, IOCFormerImageProcessor
from dense_hf.data import VideoWriter
from dense_hf.markdown import table
from dense_hf.methods import method_of

ROOT = Path(__file__).parents[1]
PROGRAM = [sys.executable, "-m", "dense_hf.cli"]
MEGABYTES, MEGABYTES_OF_A_STREAM, MEGABYTES_OF_A_MOSAIC = 16, 64, 256
BLOCK = 500
JUDGED_SHARE = 0.5
QUARTERS = (0.25, 0.5, 0.75, 1.0)


class Measured(NamedTuple):
    """A run, and what its memory says."""

    size: str
    run: Watched
    growth: float | None = None
    """Megabytes; None where growing is no fault."""
    limit: float = MEGABYTES


def at_quarters(samples: list[Sample]) -> list[float]:
    """Megabytes when 25, 50, 75 and 100 % of the time of a run were over."""
    return [samples[round(share * (len(samples) - 1))].megabytes for share in QUARTERS]


def growth(samples: list[Sample]) -> float:
    """By how many megabytes the median of the last quarter is above that of the second; 0 of fewer than 4 samples."""
    if len(samples) < 4:
        return 0.0
    quarter = len(samples) // 4
    second, last = samples[quarter : 2 * quarter], samples[3 * quarter :]
    return median(one.megabytes for one in last) - median(one.megabytes for one in second)


def words(*given: object) -> list[str]:
    """A command line."""
    return [str(word) for word in given]


def noise(width: int, height: int) -> Image.Image:
    """A picture of it."""
    return Image.effect_noise((width, height), 60).convert("RGB")


def write_video(path: Path, frames: int, size: tuple[int, int]) -> None:
    """A few frames of noise in turn: drawing each would take longer than segmenting it."""
    pictures = [np.asarray(noise(*size)) for _ in range(10)]
    with VideoWriter(path, 25, size) as video:
        for number in range(frames):
            video.write(pictures[number % len(pictures)])


def count_photo(root: Path, share: float, model: Path, *options: object) -> Measured:
    """A photo with `share` of the pixels."""
    width, height = (max(64, round(side * share**0.5)) for side in (6000, 4000))
    noise(width, height).save(root / "photo.jpg")
    run = watch(words(*PROGRAM, "count", root / "photo.jpg", "--model", model, "--output", root / "counts", *options))
    return Measured(f"{width} x {height}", run)


def photo(root: Path, share: float) -> Measured:
    """The bundled counter of trees."""
    return count_photo(root, share, ROOT / "checkpoints" / "iocformer-trees")


def photo_resnet50(root: Path, share: float) -> Measured:
    """IOCFormer as in the thesis; random weights find hundreds of points in a tile if they may."""
    torch.manual_seed(0)
    row = method_of("iocformer")
    row.model_class(row.config_class()).save_pretrained(root / "iocformer")
    IOCFormerImageProcessor().save_pretrained(root / "iocformer")
    return count_photo(root, share, root / "iocformer", "--threshold", 0.9)


def write_mosaic(path: Path, side: int) -> None:
    """A square map of 10 cm pixels, one block of noise again and again."""
    import rasterio
    from rasterio.windows import Window

    block = np.asarray(noise(BLOCK, BLOCK)).transpose(2, 0, 1)
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(0.1, 0, 500_000, 0, -0.1, 5_300_000)}
    layout = {"tiled": True, "blockxsize": 256, "blockysize": 256, "photometric": "RGB"}
    size = {"count": 3, "height": side, "width": side, "dtype": "uint8"}
    with rasterio.open(path, "w", driver="GTiff", **size, **layout, **place) as file:
        for top in range(0, side, BLOCK):
            for left in range(0, side, BLOCK):
                width, height = min(BLOCK, side - left), min(BLOCK, side - top)
                file.write(block[:, :height, :width], window=Window(left, top, width, height))


def mosaic(root: Path, share: float) -> Measured:
    """Twice: a small one, and that with `share` of the pixels."""
    model = tiny_counter("mcnn")
    model.save_pretrained(root / "mcnn")
    method_of("mcnn").processor_class(**(model.config.processor_settings or {})).save_pretrained(root / "mcnn")
    runs = []
    for side in (1_000, max(1_000, round(20_000 * share**0.5))):
        write_mosaic(root / "mosaic.tif", side)
        outputs = ["--output", root / f"counts_{side}", "--no-overlays", "--overwrite", "--part-side", 1024]
        runs.append(watch(words(*PROGRAM, "count", root / "mosaic.tif", "--model", root / "mcnn", *outputs)))
        if runs[-1].code:
            return Measured(f"{side} x {side}", runs[-1])
    few, many = runs
    grown = 0.0 if many.peak < 1024 else many.peak - few.peak
    return Measured(f"{side} x {side}; peak of 1000 x 1000: {few.peak:.0f}", many, grown, MEGABYTES_OF_A_MOSAIC)


def video(root: Path, share: float) -> Measured:
    """Frames as small as those of a tiny model."""
    frames, size = max(1, round(30_000 * share)), (96, 64)
    CHECKPOINTS["cffm"][0]().save_pretrained(root / "cffm")
    processor = CFFMImageProcessor(size={"shortest_edge": size[1], "longest_edge": size[0]})
    processor.save_pretrained(root / "cffm")
    write_video(root / "street.mp4", frames, size)
    outputs = ["--output", root / "overlay.mp4", "--table", root / "shares.csv"]
    run = watch(words(*PROGRAM, "segment", root / "street.mp4", "--model", root / "cffm", *outputs))
    return Measured(f"{frames:,} frames of {size[0]} x {size[1]}", run, growth(run.samples))


def stream(root: Path, share: float) -> Measured:
    """Twice: half of the frames, and all."""
    torch.manual_seed(0)
    row = method_of("cffm")
    row.model_class(row.make_config("b1", {"num_labels": 124})).save_pretrained(root / "cffm")
    CFFMImageProcessor(size={"shortest_edge": 480, "longest_edge": 853}).save_pretrained(root / "cffm")
    frames = max(2, round(120 * share))
    runs = []
    for number in (frames // 2, frames):
        write_video(root / "camera.mkv", number, (1920, 1080))
        outputs = ["--output", root / "overlay.mp4", "--table", root / "shares.csv", "--overwrite"]
        with subprocess.Popen(["cat", root / "camera.mkv"], stdout=subprocess.PIPE) as camera:  # noqa: S607
            runs.append(watch(words(*PROGRAM, "segment", "-", "--model", root / "cffm", *outputs), camera.stdout))
        if runs[-1].code:
            return Measured(f"{number} frames", runs[-1])
    few, many = runs
    size = f"{frames} frames of 1920 x 1080; peak of {frames // 2}: {few.peak:.0f}"
    return Measured(size, many, many.peak - few.peak, MEGABYTES_OF_A_STREAM)


def training(root: Path, share: float) -> Measured:
    """An epoch over pictures with four points each, in a table."""
    images = max(16, round(10_000 * share))
    (root / "images").mkdir()
    drawn = np.random.default_rng(0).uniform(0, 96, (images, 4, 2))
    with (root / "points.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "x", "y"])
        for number, points in enumerate(drawn):
            noise(96, 96).save(root / "images" / f"{number}.jpg")
            writer.writerows([f"{number}.jpg", f"{x:.1f}", f"{y:.1f}"] for x, y in points)
    options = {
        "config": ROOT / "scripts/configs/iocformer/smoke.yaml",
        "data_dir": root / "points.csv",
        "images_dir": root / "images",
        "output_dir": root / "run",
        "per_device_train_batch_size": 16,
        "samples_per_image": 1,
        "num_train_epochs": 1,
        "eval_strategy": "no",
    }
    flags = [word for name, value in options.items() for word in (f"--{name}", value)]
    run = watch(words(sys.executable, ROOT / "scripts" / "train_iocformer.py", *flags))
    return Measured(f"{images:,} pictures, {-(-images // 16)} steps", run, growth(run.samples))


PARTS: dict[str, Callable[[Path, float], Measured]] = {
    "photo": photo,
    "photo, ResNet-50": photo_resnet50,
    "mosaic": mosaic,
    "video": video,
    "stream": stream,
    "training": training,
}


def cells(name: str, found: Measured, is_judged: bool) -> list[str]:
    """A row of the table."""
    if found.run.code or not found.run.samples:
        return [name, found.size, f"failed ({found.run.code})", "", "", "", "", ""]
    flat = "not judged"
    if found.growth is not None and is_judged:
        flat = f"{'yes' if found.growth <= found.limit else 'NO'}, {found.growth:+.0f} (limit {found.limit})"
    megabytes = [found.run.peak, *at_quarters(found.run.samples)]
    return [name, found.size, *(f"{number:.0f}" for number in megabytes), flat]


def main(argv: list[str] | None = None) -> int:
    """Run all, print the table; a row is printed when it is there, too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="of the pixels of a photo, of frames and of pictures")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    options = parser.parse_args(argv)
    if not 0 < options.share <= 1:
        parser.error(f"--share must be above 0 and at most 1. Received: {options.share}")
    rows, is_bad, is_judged = [], False, options.share >= JUDGED_SHARE
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            found = PARTS[name](Path(folder), options.share)
        rows.append(cells(name, found, is_judged))
        print(*rows[-1], sep=", ", file=sys.stderr, flush=True)
        is_bad |= bool(found.run.code) or (is_judged and (found.growth or 0) > found.limit)
    print(f"{os.environ.get('OMP_NUM_THREADS', 'all')} thread(s), float32, torch {torch.__version__}")
    shares = [f"at {share:.0%}" for share in QUARTERS]
    print(table(("what", "size", "peak MB", *shares, "flat"), rows, "llrrrrrl"))
    return int(is_bad)


if __name__ == "__main__":
    sys.exit(main())
