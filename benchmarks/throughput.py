"""Pictures and frames per second from file to file, and how much of the time is not the model's.

    python benchmarks/throughput.py                             # CPU, one thread, 512 x 512 and 480 x 854
    python benchmarks/throughput.py --pictures 4 --frames 6 --rounds 1 --only p2pnet lwcc
    python benchmarks/throughput.py --device cuda             # has not run on a GPU yet

All models have random weights, at the width of the thesis: what they find means nothing, what they cost does.

- pictures: `dense-hf count` of a folder of JPEG files, with its tables, without overlays. Beside it the same networks
  as other projects run them: the plain graph of P2PNet, and lwcc's DM-Count, each in a loop that opens a file,
  prepares it, computes, and writes a line of a table. The weights of lwcc are a download, so its graph has random
  ones; where lwcc is not installed, the same layers stand in for it (plain_counters.py).
- frames: `dense-hf segment` of an MP4 file, with a label map of every frame as PNG and the table of shares. SegFormer
  and VidEoMT of transformers go through the same command, so only the networks differ. Random weights are the worst
  case of what is outside of the model: 124 classes compete everywhere, and label maps are noise.

A run of one item is subtracted from a run of all, so loading is not counted; the rows take turns, and the median of
the rounds counts. On a CPU the seconds are those that it was busy with this process (with one thread, on a machine of
its own, the same as those of a clock), on a GPU those of a clock.
"""

import argparse
import csv
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from plain_counters import plain_form
from torchvision.transforms.v2 import functional as transforms
from transformers import VideomtVideoProcessor

from dense_hf import CounterImageProcessor, IOCFormerImageProcessor
from dense_hf.cli import main as run_command
from dense_hf.data import VideoWriter, open_image
from dense_hf.markdown import percent, table
from dense_hf.methods import method_of
from dense_hf.video_segmentation.streaming_videomt import StreamingVideomt

NUM_LABELS = 124
LONGEST_OF_LWCC = 1000
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


class Stopwatch:
    """Seconds within some functions, a function inside another counted once.

    Args:
        device: whose work is waited for before the clock is read.
    """

    def __init__(self, device: str):
        self.device, self.inside, self.depth = device, 0.0, 0

    def now(self) -> float:
        """Seconds since some moment."""
        if self.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    @contextmanager
    def counting(self) -> Iterator[None]:
        """What happens in this context is inside."""
        self.depth += 1
        start = self.now() if self.depth == 1 else 0.0
        try:
            yield
        finally:
            self.depth -= 1
            if self.depth == 0:
                self.inside += self.now() - start

    def watch(self, owner: Any, name: str) -> None:
        """Count the time in a method of a class."""
        method = getattr(owner, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            with self.counting():
                return method(*arguments, **options)

        setattr(owner, name, watched)


def command(*words: object) -> None:
    """Run `dense-hf`, quietly.

    Raises:
        RuntimeError: it failed, with what it said.
    """
    said = StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        code = run_command([str(word) for word in words])
    if code:
        raise RuntimeError(said.getvalue()[-2000:])


def build(name: str, folder: Path) -> Any:
    """A model of random weights saved in `folder` with its processor, for a command; the class that computes.

    `name` is that of a row of methods.py, a counter of the family of density counters, or "videomt".
    """
    torch.manual_seed(0)
    if name == "videomt":
        from video import build_peer

        model, processor = build_peer("videomt-s", "b1", NUM_LABELS).model, VideomtVideoProcessor()
    elif name in ("cffm", "mrcfa", "segformer"):
        row = method_of(name)
        model = row.model_class(row.make_config("b1", {"num_labels": NUM_LABELS}))
        processor = row.processor_class(size={"shortest_edge": 480, "longest_edge": 853})
    else:
        row = method_of("density_counter" if name == "dmcount" else name)
        config = row.config_class.from_method(name) if name == "dmcount" else row.config_class()
        model = row.model_class(config)
        processor = IOCFormerImageProcessor() if name == "iocformer" else CounterImageProcessor()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return StreamingVideomt if name == "videomt" else type(model)


def count(name: str, folder: Path, options: argparse.Namespace, watch: Stopwatch) -> Callable[[Path], None]:
    """`dense-hf count` of a folder."""
    watch.watch(build(name, folder / name), "forward")
    points = ["--threshold", 0.9] if name != "dmcount" else []

    def run(pictures: Path) -> None:
        output = ["--output", folder / f"{name}_tables", "--overwrite", "--no-overlays"]
        command("count", pictures, "--model", folder / name, *output, *points, "--device", options.device)

    return run


def plain_loop(name: str, folder: Path, options: argparse.Namespace, watch: Stopwatch) -> Callable[[Path], None]:
    """The plain network of P2PNet or of lwcc in a loop over the files."""
    torch.manual_seed(0)
    row = method_of("p2pnet" if name == "p2pnet plain" else "density_counter")
    config = row.config_class() if name == "p2pnet plain" else row.config_class.from_method("dmcount")
    model = row.model_class(config).eval().to(options.device)
    network: Callable[[torch.Tensor], torch.Tensor] = plain_form(model)
    if name == "lwcc":
        try:
            from lwcc.models.DMCount import VGG, cfg, make_layers
        except ImportError:
            pass
        else:
            lwcc = VGG(make_layers(cfg["E"])).eval().to(options.device)
            network = lambda pixels: lwcc(pixels)[0]  # noqa: E731

    def run(pictures: Path) -> None:
        with (folder / "plain.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            for path in sorted(pictures.iterdir()):
                picture = open_image(path)
                if name == "lwcc":
                    picture.thumbnail((LONGEST_OF_LWCC, LONGEST_OF_LWCC))
                pixels = transforms.to_dtype(transforms.pil_to_tensor(picture), torch.float32, scale=True)
                pixels = transforms.normalize(pixels, MEAN, STD)[None].to(options.device)
                with torch.no_grad(), watch.counting():
                    found = network(pixels)
                number = found.sum() if name == "lwcc" else (found[..., 1] > 0.9).sum()
                writer.writerow([path.name, float(number)])

    return run


def segment(name: str, folder: Path, options: argparse.Namespace, watch: Stopwatch) -> Callable[[Path], None]:
    """`dense-hf segment` of a file."""
    model_class = build(name, folder / name)
    for method in ("forward", "segment_frame"):
        if hasattr(model_class, method):
            watch.watch(model_class, method)

    def run(video: Path) -> None:
        output = ["--labels-dir", folder / f"{name}_maps", "--table", folder / f"{name}.csv", "--overwrite"]
        command("segment", video, "--model", folder / name, *output, "--device", options.device)

    return run


ROWS: dict[str, Callable[..., Callable[[Path], None]]] = {
    **dict.fromkeys(("iocformer", "dmcount", "p2pnet"), count),
    **dict.fromkeys(("lwcc", "p2pnet plain"), plain_loop),
    **dict.fromkeys(("cffm", "mrcfa", "segformer", "videomt"), segment),
}


def write_inputs(folder: Path, options: argparse.Namespace) -> dict[bool, dict[int, Path]]:
    """For pictures (False) and frames (True): number of items -> the folder or the file that has them."""
    height, width = options.size
    found: dict[bool, dict[int, Path]] = {False: {}, True: {}}
    for number in (1, 1 + options.pictures):
        found[False][number] = folder / f"pictures_{number}"
        found[False][number].mkdir()
        for index in range(number):
            picture = Image.effect_noise((width, height), 60).convert("RGB")
            picture.save(found[False][number] / f"{index}.jpg")
    height, width = options.frame_size
    for number in (1, 1 + options.frames):
        found[True][number] = folder / f"video_{number}.mp4"
        with VideoWriter(found[True][number], 25, (width, height)) as video:
            for _ in range(number):
                video.write(np.asarray(Image.effect_noise((width, height), 60).convert("RGB")))
    return found


def measure(run: Callable[[Path], None], inputs: dict[int, Path], watch: Stopwatch) -> tuple[float, float]:
    """Seconds of an item, and those of them in the model."""
    spent = []
    for number in sorted(inputs):
        start, watch.inside = watch.now(), 0.0
        run(inputs[number])
        spent.append((watch.now() - start, watch.inside))
    items = max(inputs) - min(inputs)
    return (spent[1][0] - spent[0][0]) / items, (spent[1][1] - spent[0][1]) / items


def main(argv: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=6)
    parser.add_argument("--size", type=int, nargs=2, default=[512, 512], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--frames", type=int, default=10, help="the first nine have fewer references")
    parser.add_argument("--frame-size", type=int, nargs=2, default=[480, 854], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="+", default=list(ROWS), choices=list(ROWS))
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    watches = {name: Stopwatch(options.device) for name in options.only}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = write_inputs(folder, options)
        runs = {name: ROWS[name](name, folder, options, watches[name]) for name in options.only}
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in options.only}
        for _ in range(options.rounds):
            for name, run in runs.items():
                found[name].append(measure(run, inputs[ROWS[name] is segment], watches[name]))
    rows = []
    for name, rounds in found.items():
        whole, inside = (median(column) for column in zip(*rounds))
        rows.append((name, f"{1 / whole:.2f}", f"{whole:.3f}", f"{inside:.3f}", percent(1 - inside / whole)))
    print(
        f"pictures of {options.size}, frames of {options.frame_size}, {options.threads} thread(s), float32, "
        f"{options.device}, torch {torch.__version__}, median of {options.rounds}"
    )
    print(table(("", "a second", "seconds each", "of them the model", "outside of it, %"), rows, "lr"))


if __name__ == "__main__":
    main()
