"""What a session of a long video costs: what reuse of frames saves and changes, and a memory of prototypes.

    python benchmarks/sessions.py reuse demo_data/street --frames 60 --size 576 768
    python benchmarks/sessions.py prototypes demo_data/street --size 96 128
    python benchmarks/sessions.py prototypes demo_data/street --backbone b1 --frames 20 --size 480 864

- reuse: the bundled street model on frames that it was not trained on, of a camera that stands still, with an encoder
  that sees all of each, then with `reuse="regions"` at several thresholds and halos: the share of pixels that differ
  by more from the frame before (median, largest), what the encoder computed, its CPU time as a share of that of whole
  frames, finding the boxes included, and how many pixels get the same label.
- prototypes: each frame goes to a session of CFFM, to one of CFFM++ whose prototypes were known beforehand, and to one
  that collects them on the way; CPU times, how much more than CFFM, and the size of the process, for each tenth of the
  frames. The branch of CFFM++ is a random one, which costs as much as any.
"""

import argparse
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from measuring import resident_mebibytes
from torch import Tensor
from torch.nn import functional as F

from dense_hf import CFFMConfig, CFFMForVideoSemanticSegmentation, CFFMPlusForVideoSemanticSegmentation
from dense_hf.data import open_image, read_video_folder
from dense_hf.inference.checkpoints import load_video_model
from dense_hf.markdown import percent, table
from dense_hf.video_segmentation.frame_reuse import FrameReuse

STREET_MODEL = Path(__file__).parents[1] / "checkpoints" / "cffm-street"
SETTINGS = tuple((threshold, halo) for halo in (32, 0) for threshold in (0.1, 0.2, 0.3, 0.5))


def read_frames(options: argparse.Namespace, processor: Any) -> list[Tensor]:
    """Pixels [1, 3, h, w] of the test frames of the street, in the size that was asked for."""
    (video,) = read_video_folder(options.street / "street").splits["test"]
    pictures = (open_image(frame.image_path) for frame in video.frames[: options.frames])
    frames = [processor([picture], return_tensors="pt")["pixel_values"][0] for picture in pictures]
    if options.size is None:
        return frames
    return [F.interpolate(frame, size=tuple(options.size), mode="bilinear") for frame in frames]


def segment(model: Any, processor: Any, frames: Sequence[Tensor], reuse: FrameReuse) -> tuple[Tensor, float, float]:
    """Labels [T, h, w], the CPU seconds of all maps, and the share of pixels that the encoder saw."""
    session, labels, seconds = model.new_session(reuse=reuse), [], 0.0
    for frame in frames:
        started = time.process_time()
        maps = session.reuse.maps(frame, model.encode)
        seconds += time.process_time() - started
        logits, states = model.step(frame, session.references(), maps)
        session.append(states, frame.shape)
        size = tuple(frame.shape[-2:])
        labels += processor.post_process_semantic_segmentation(SimpleNamespace(logits=logits), [size])
    return torch.stack(labels).byte(), seconds, session.reuse.computed / session.reuse.frames


def print_reuse(options: argparse.Namespace) -> None:
    """A row for each of the settings."""
    model, processor = load_video_model(str(STREET_MODEL))
    frames, rows = read_frames(options, processor), []
    differences = torch.stack([(one - other).abs().amax(dim=(0, 1)) for one, other in zip(frames[1:], frames)])
    whole, seconds, _ = segment(model, processor, frames, FrameReuse("regions", refresh_every=1))
    for threshold, halo in SETTINGS:
        changed = (differences > threshold).float().mean(dim=(1, 2))
        reuse = FrameReuse("regions", threshold=threshold, halo=halo)
        labels, spent, seen = segment(model, processor, frames, reuse)
        equal = (labels == whole).float().mean().item()
        shares = (changed.median().item(), changed.max().item(), seen, spent / seconds)
        rows.append((f"{threshold:g}", halo, *map(percent, shares), f"{100 * equal:.2f}"))
        print(*rows[-1], flush=True)
    head = ("threshold", "halo", "changed pixels", "at most", "pixels computed", "CPU of the encoder", "equal labels")
    size, milliseconds = list(frames[0].shape[-2:]), 1000 * seconds / len(frames)
    print(f"{len(frames)} frames of {size}, {milliseconds:.0f} ms for maps of a whole one, one thread")
    print(table(head, rows, "lr"))


def build_pair(backbone: str | None) -> tuple[Any, Any]:
    """CFFM and its CFFM++ in eval mode: the bundled street model, or one of the thesis with random weights."""
    torch.manual_seed(0)
    if backbone is None:
        cffm: Any = load_video_model(str(STREET_MODEL))[0]
    else:
        cffm = CFFMForVideoSemanticSegmentation(CFFMConfig.from_backbone(backbone, num_labels=124)).eval()
    return cffm, CFFMPlusForVideoSemanticSegmentation.from_cffm(cffm)


def print_prototypes(options: argparse.Namespace) -> None:
    """A row for each tenth of the frames."""
    frames, count = read_frames(options, load_video_model(str(STREET_MODEL))[1]), max(options.frames, 10)
    cffm, plus = build_pair(options.backbone)
    known = plus.find_prototypes(frame[0] for frame in frames[:10])[None]
    sessions = (
        (cffm, cffm.new_session()),
        (plus, plus.new_session(known)),
        (plus, plus.new_session(memory="prototypes")),
    )
    seconds, rows = [0.0] * len(sessions), []
    for number, frame in enumerate(islice(cycle(frames), count), start=1):
        for place, (model, session) in enumerate(sessions):
            started = time.process_time()
            model.segment_frame(frame, session)
            seconds[place] += time.process_time() - started
        if number % (count // 10) == 0:
            held = [session.num_bytes() / 2**20 for _, session in sessions]
            more = (f"{100 * (one / seconds[0] - 1):+.1f} %" for one in seconds[1:])
            times = (f"{1000 * one / (count // 10):.1f}" for one in seconds)
            rows.append((f"{number:,}", *times, *more, f"{held[-1]:.1f}", f"{resident_mebibytes():.0f}"))
            print(*rows[-1], flush=True)
            seconds = [0.0] * len(sessions)
    head = ("frames", "CFFM, ms", "known, ms", "collected, ms", "known", "collected", "session, MiB", "process, MiB")
    print(f"frames of {list(frames[0].shape[-2:])}, {plus.config.num_prototypes} prototypes, one thread")
    print(table(head, rows, "r"))


@torch.no_grad()
def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("reuse", "prototypes"))
    parser.add_argument("street", type=Path, help="folder that dataset_scripts/street_video.py made")
    parser.add_argument("--backbone", help="of the thesis with random weights, such as b1; default: the street model")
    parser.add_argument("--frames", type=int, default=10_000, help="10 or more; of reuse as many as there are")
    parser.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="default: as the street")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "reuse":
        print_reuse(options)
    else:
        print_prototypes(options)


if __name__ == "__main__":
    main()
