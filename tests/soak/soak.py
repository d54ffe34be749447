"""Long runs of the real programs: memory, open files and threads must not grow.

    python soak.py [--share 0.01] [--only count session segment localize]

20,000 generated images through `dense-hf count`, 20,000 frames through the session of a video model and through
`dense-hf segment`, 5,000 crops through `dense-hf localize`, with tiny models. Each is a process of its own, which is
looked at from outside twice a second (/proc, so Linux only). What a process uses in the second quarter of its time is
compared with the last quarter: caches are full by then. Prints a table; the exit code is 1 if something grew. What
ends within two minutes was starting for too much of it: its row is printed and not judged.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image
from tiny_checkpoints import CHECKPOINTS
from watched_programs import Sample, watch

from dense_hf import CFFMForVideoSemanticSegmentation, CFFMImageProcessor
from dense_hf.data import VideoWriter

ITEMS = {"count": 20_000, "session": 20_000, "segment": 20_000, "localize": 5_000}
# What a table has of each item stays in memory until the last file is written: that may grow, by so much. `localize`
# also keeps features, up to 1 GiB: 4 KB of a crop, which keep some 40 KB of the heap from being given back.
MEGABYTES, BYTES_PER_ITEM = 16, {"count": 4_000, "session": 0, "segment": 0, "localize": 64_000}
SIZE = (48, 32)
JUDGED_SECONDS = 120


def checkpoints(root: Path) -> None:
    """Tiny models."""
    for name in ("iocformer", "cffm", "mcis"):
        make, processor, _ = CHECKPOINTS[name]
        make().save_pretrained(root / name)
        if name == "cffm":
            processor = CFFMImageProcessor(size={"shortest_edge": SIZE[1], "longest_edge": SIZE[0]})
        processor.save_pretrained(root / name)


def command(part: str, items: int, root: Path) -> list[str]:
    """What runs; its inputs are made here."""
    rng = np.random.default_rng(0)
    pictures = (rng.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8) for _ in range(items))
    program = [sys.executable, "-m", "dense_hf.cli"]
    if part == "session":
        return [sys.executable, __file__, "--session", str(root / "cffm"), str(items)]
    if part == "segment":
        with VideoWriter(root / "street.mp4", 25, SIZE) as video:
            for picture in pictures:
                video.write(picture)
        outputs = ["--output", root / "overlay.mp4", "--table", root / "shares.csv"]
        return [*program, "segment", *map(str, [root / "street.mp4", "--model", root / "cffm", *outputs])]
    folder = root / part
    folder.mkdir()
    for number, picture in enumerate(pictures):
        Image.fromarray(picture[:32, :32] if part == "count" else picture).save(folder / f"{number}.png")
    model = root / ("iocformer" if part == "count" else "mcis")
    options = ["--no-overlays"] if part == "count" else ["--threshold", 0.5, "--num-references", 1]
    return [*program, part, *map(str, [folder, "--model", model, "--output", root / f"{part}_out", *options])]


def segment_frames(model: str, items: int) -> None:
    """Frames of one endless video."""
    import torch

    network = CFFMForVideoSemanticSegmentation.from_pretrained(model).eval()
    session = network.new_session()
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        for _ in range(items):
            network.segment_frame(torch.randn(1, 3, SIZE[1], SIZE[0], generator=generator), session)


def grown(part: str, items: int, samples: list[Sample]) -> list[str]:
    """What is more in the last quarter than in the second, and a line of the table."""
    quarter = len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[3 * quarter : -1]
    before, after = (Sample(*map(median, zip(*some))) for some in (early, late))
    numbers = [f"{getattr(before, name):.0f} -> {getattr(after, name):.0f}" for name in Sample._fields[1:]]
    print(f"| `{part}` | {items:,} | {samples[-1].seconds / 60:.1f} | {' | '.join(numbers)} |", flush=True)
    if samples[-1].seconds < JUDGED_SECONDS:
        return []
    allowed = MEGABYTES + BYTES_PER_ITEM[part] * items / 2**20 / 2
    found = [f"{part}: memory"] if after.megabytes - before.megabytes > allowed else []
    return found + [f"{part}: {name}" for name in ("files", "threads") if getattr(after, name) > getattr(before, name)]


def main() -> int:
    """Run all, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="of the items")
    parser.add_argument("--only", nargs="*", choices=ITEMS, default=[*ITEMS])
    parser.add_argument("--session", nargs=2, metavar=("MODEL", "FRAMES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.session:
        segment_frames(options.session[0], int(options.session[1]))
        return 0
    problems = []
    print("| what | items | minutes | megabytes | open files | threads |\n|---|---|---|---|---|---|", flush=True)
    for part in options.only:
        with tempfile.TemporaryDirectory() as root:
            checkpoints(Path(root))
            items = round(ITEMS[part] * options.share)
            code, samples, _ = watch(command(part, items, Path(root)))
            if code != 0 or len(samples) < 20:
                problems.append(f"{part}: exit code {code} after {len(samples) / 2} s")
            else:
                problems += grown(part, items, samples)
    for problem in problems:
        print(f"grew or failed: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
