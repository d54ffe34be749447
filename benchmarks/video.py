"""What video segmentation costs: ratios measured in one run, and memory.

    python benchmarks/video.py                     # CFFM-B1 and MRCFA-B1, 480 x 864, 124 labels, one thread
    python benchmarks/video.py --methods mrcfa --backbone b0 --repeats 3

Times of this machine mean little, ratios do. Each row is measured in turn with what it is compared to (A B A B ...)
and prints the median of the ratios of CPU time, with the lowest and the highest.

- new frame / SegFormer: one frame of a running video against the same frame through transformers'
  SegformerForSemanticSegmentation with the same encoder, 256 decoder features and fused attention.
- clip / SegFormer: the whole clip of four frames, as the released code computes every target.
- frames per second: of a running video, as the thesis counts them (Tables 4.1 and 5.6; there on a Quadro RTX 6000).
- memory of a video: what a session holds, and by how much the largest size of the process in frames 40 to 60 exceeds
  that in frames 20 to 40.
- peak memory (with --memory): by how much the largest size of a process of its own, while a video of frames of some
  size runs, exceeds that of the model alone.
"""

import argparse
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import torch
from measuring import compare, resident_mebibytes
from transformers import SegformerForSemanticSegmentation

from dense_hf import CFFMConfig, CFFMForVideoSemanticSegmentation, MRCFAConfig, MRCFAForVideoSemanticSegmentation
from dense_hf.video_segmentation.video_segmenter import VideoSegmenterModel

METHODS = {
    "cffm": (CFFMConfig, CFFMForVideoSemanticSegmentation),
    "mrcfa": (MRCFAConfig, MRCFAForVideoSemanticSegmentation),
}
SIZES = ((240, 432), (480, 864), (720, 1280), (1080, 1920))


def measure(model: VideoSegmenterModel, segformer: torch.nn.Module, frame: torch.Tensor, repeats: int) -> None:
    """Print the rows of one model."""
    clip = torch.randn(1, model.config.num_reference_frames + 1, *frame.shape[1:])
    session = model.new_session()
    sizes = []
    for _ in range(60):
        model.segment_frame(frame, session)
        sizes.append(resident_mebibytes())
    for name, run in (
        ("new frame / SegFormer", lambda: model.segment_frame(frame, session)),
        ("clip / SegFormer", lambda: model(clip)),
    ):
        seconds = compare(name, run, lambda: segformer(frame), repeats)
        if name.startswith("new frame"):
            print(f"frames per second        {1 / seconds:.2f}")
    print(f"memory of a video        {session.num_bytes() / 2**20:.0f} MiB")
    print(f"growth of the process    {max(sizes[40:]) - max(sizes[20:40]):.1f} MiB")


def peak_mebibytes(method: str, backbone: str, num_labels: int, size: tuple[int, int]) -> float:
    """Largest size of this process, less that before the first frame, after 12 frames of a video."""
    torch.set_num_threads(1)
    config_class, model_class = METHODS[method]
    model = model_class(config_class.from_backbone(backbone, num_labels=num_labels)).eval()
    session, before = model.new_session(), resident_mebibytes()
    for frame in torch.randn(12, 1, 3, *size).unbind():
        model.segment_frame(frame, session)
    return resident_mebibytes("VmHWM") - before


def print_memory(method: str, backbone: str, num_labels: int) -> None:
    """Peak memory for frames of several sizes, each in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn, max_tasks_per_child=1) as pool:
        for size in SIZES:
            peak = pool.submit(peak_mebibytes, method, backbone, num_labels, size).result()
            print(f"peak memory {size[0]:4d} x {size[1]:4d}  {peak:.0f} MiB", flush=True)


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--backbone", default="b1", choices=("b0", "b1", "b2", "b5"))
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=864)
    parser.add_argument("--num-labels", type=int, default=124)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", action="store_true", help="also print the peak memory for frames of several sizes")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    frame = torch.randn(1, 3, arguments.height, arguments.width)
    for method in arguments.methods:
        torch.manual_seed(0)
        config_class, model_class = METHODS[method]
        config = config_class.from_backbone(arguments.backbone, num_labels=arguments.num_labels)
        model = model_class(config).eval()
        config.encoder_config.num_labels = arguments.num_labels
        segformer = SegformerForSemanticSegmentation(config.encoder_config).eval()
        print(
            f"{method.upper()}-{arguments.backbone}, {arguments.height} x {arguments.width}, {arguments.num_labels} "
            f"labels, fp32, {arguments.threads} thread(s), torch {torch.__version__}, {arguments.repeats} pairs"
        )
        with torch.no_grad():
            measure(model, segformer, frame, arguments.repeats)
        if arguments.memory:
            print_memory(method, arguments.backbone, arguments.num_labels)


if __name__ == "__main__":
    main()
