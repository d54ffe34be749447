"""What video segmentation costs: ratios measured in one run, and memory.

    python benchmarks/video.py                     # CFFM-B1 and MRCFA-B1, 480 x 864, 124 labels, one thread
    python benchmarks/video.py --methods mrcfa --backbone b0 --repeats 3

Times of this machine mean little, ratios do. Each row is measured in turn with what it is compared to (A B A B ...)
and prints the median of the ratios of CPU time, with the lowest and the highest.

- new frame / SegFormer: one frame of a running video against the same frame through transformers'
  SegformerForSemanticSegmentation with the same encoder, 256 decoder features and fused attention.
- clip / SegFormer: the whole clip of four frames, as the released code computes every target.
- training step / plain (with --training, in place of all others): forward, losses, backward and AdamW of one clip, the
  encoder's layers, the loss and the optimizer against those of transformers and PyTorch by default (at most 0.8);
  beside it the encoder and the loss alone, forward and backward; the loss of one map of the target.
- frames per second: of a running video, as the thesis counts them (Tables 4.1 and 5.6; there on a Quadro RTX 6000).
- memory of a video: what a session holds, and by how much the largest size of the process in frames 40 to 60 exceeds
  that in frames 20 to 40.
- side by side (with --side-by-side, in place of all above): every video model of Tables 4.1 and 5.6 and peers of
  transformers, with random weights, each in a process of its own: CPU seconds of the first frame, of a frame that has
  all its references, and of a clip of 4 and of 8 frames where clips are what it takes; by how much each raised the
  largest size of the process. NetWarp is given a flow, so that of computing one is missing.
- labels / all enlarged (with --labels, in place of all above): the label map of a frame against enlarging the logits
  of all classes, for frames of 480 x 864 and of 1080 x 1920, which the model sees at 480 x 864, too. The logits are
  drawn: smooth, 8 or 20 classes compete, the others are 12 below. Then the share of the labels in both, they and a new
  frame of CFFM.
- parts (with --parts, in place of all above): where a new frame's seconds go, part by part, beside those of SegFormer
  and as shares of its frame; the encoder is the least that a frame can take.
- peak memory (with --memory): by how much the largest size of a process of its own, while a video of frames of some
  size runs, exceeds that of the model alone.
"""

import argparse
import copy
import multiprocessing
import time
from collections.abc import Callable, Generator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from measuring import compare, resident_mebibytes
from torch.nn import functional as F
from transformers import (
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    ResNetConfig,
    SegformerForSemanticSegmentation,
    VideomtConfig,
    VideomtForUniversalSegmentation,
)

from dense_hf import CFFMConfig, CFFMForVideoSemanticSegmentation, MRCFAConfig, MRCFAForVideoSemanticSegmentation
from dense_hf.markdown import table
from dense_hf.methods import method_of
from dense_hf.training.optimizers import in_one_pass
from dense_hf.video_segmentation import clip_loss
from dense_hf.video_segmentation.frame_encoder import OURS
from dense_hf.video_segmentation.largest_class import largest_class, largest_of_all
from dense_hf.video_segmentation.streaming_videomt import StreamingVideomt
from dense_hf.video_segmentation.video_segmenter import VideoSegmenterModel

METHODS = {
    "cffm": (CFFMConfig, CFFMForVideoSemanticSegmentation),
    "mrcfa": (MRCFAConfig, MRCFAForVideoSemanticSegmentation),
}
VIDEOMT_SIDE = 640  # as many pixels as 480 x 854
SIDE_BY_SIDE = (
    *("segformer", "cffm", "mrcfa", "pspnet_video", "ocrnet_video", "tcb ppm", "tcb ocr", "tcb ocr rolling"),
    *("netwarp ppm", "videomt-s", "mask2former-r50"),
)
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


def training_step(model: VideoSegmenterModel, clip: torch.Tensor, labels: torch.Tensor, is_plain: bool) -> Callable:
    """Forward, losses, backward and the step of the recipe's optimizer."""
    groups = [{"params": list(model.parameters()), "lr": 0.0}]
    optimizer = torch.optim.AdamW(groups, fused=None if is_plain else in_one_pass(groups))

    def step() -> None:
        model.train()
        optimizer.zero_grad()
        with patch.object(clip_loss, "enlarged_cross_entropy", plain_loss) if is_plain else nullcontext():
            model(clip, labels=labels).loss.backward()
        optimizer.step()

    return step


def loss_step(model: VideoSegmenterModel, labels: torch.Tensor, is_plain: bool) -> Callable:
    """Forward and backward of the loss of a clip with labels [1, T, H, W]; drawn logits have a quarter of a side."""
    height, width = (-(-side // 4) for side in labels.shape[-2:])
    logits = [torch.randn(1, maps, model.config.num_labels, height, width) for maps in (labels.shape[1], 1)]

    def step() -> None:
        given = [one.clone().requires_grad_() for one in logits]
        with patch.object(clip_loss, "enlarged_cross_entropy", plain_loss) if is_plain else nullcontext():
            clip_loss.clip_loss(model.config, *given, labels)[0].backward()

    return step


def encoder_step(model: VideoSegmenterModel, clip: torch.Tensor) -> Callable:
    """Forward and backward of the encoder alone, of all frames of a clip, with the mean of its maps as loss."""

    def step() -> None:
        model.train()
        model.zero_grad()
        maps = model.encoder(clip.flatten(0, 1), return_dict=True).hidden_states
        torch.stack([one.mean() for one in maps]).sum().backward()

    return step


def plain_loss(logits: torch.Tensor, labels: torch.Tensor, ignore_index: int) -> torch.Tensor:
    """[K, h, w] against [H, W], as a whole and channels first."""
    enlarged = F.interpolate(logits[None].contiguous(), size=labels.shape, mode="bilinear")
    return F.cross_entropy(enlarged, labels[None].long(), ignore_index=ignore_index, reduction="sum")


def plain_encoder(model: VideoSegmenterModel) -> VideoSegmenterModel:
    """The same weights, with the layers of the encoder as transformers computes them."""
    plain = copy.deepcopy(model)
    originals = {ours: original for original, ours in OURS.items()}
    for module in plain.encoder.modules():
        module.__class__ = originals.get(type(module), type(module))
    plain.encoder.stages[0].register_forward_pre_hook(lambda stage, inputs: tuple(x.contiguous() for x in inputs))
    return plain


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


def build_peer(name: str, backbone: str, num_labels: int) -> Any:
    """A model of `SIDE_BY_SIDE` in eval mode."""
    if name == "videomt-s":
        sizes = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "num_blocks": 3}
        config = VideomtConfig(**sizes, image_size=VIDEOMT_SIDE, num_labels=num_labels)
        return StreamingVideomt(VideomtForUniversalSegmentation(config).eval())
    if name == "mask2former-r50":
        resnet = ResNetConfig(out_features=["stage1", "stage2", "stage3", "stage4"])
        return Mask2FormerForUniversalSegmentation(
            Mask2FormerConfig(backbone_config=resnet, num_labels=num_labels)
        ).eval()
    method, *words = name.split()
    row, fields = method_of(method), {"num_labels": num_labels}
    fields |= dict(zip(("head", "memory"), words))
    model = row.model_class(row.make_config(backbone if row.thesis_config else None, fields)).eval()
    if method == "netwarp":
        model.flow = lambda current, previous: torch.zeros(len(current), 2, *current.shape[-2:])
    return model


def seconds(run: Callable[[], object]) -> float:
    """CPU seconds of a call, which needs no gradients."""
    start = time.process_time()
    with torch.no_grad():
        run()
    return time.process_time() - start


def peer_row(name: str, backbone: str, num_labels: int, size: tuple[int, int], repeats: int) -> list[str]:
    """Cells of a row of the table side by side."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build_peer(name, backbone, num_labels)
    network = getattr(model, "model", model) if name == "videomt-s" else model
    size = (VIDEOMT_SIDE, VIDEOMT_SIDE) if name == "videomt-s" else size
    before = resident_mebibytes()

    frame, peaks = torch.randn(1, 3, *size), []
    if hasattr(model, "new_session"):
        session = model.new_session()
        first = seconds(lambda: model.segment_frame(frame, session))
        for _ in range(max([*model.frame_offsets, 1])):
            model.segment_frame(frame, session)
        steady = median(seconds(lambda: model.segment_frame(frame, session)) for _ in range(repeats))
    else:
        first = seconds(lambda: model(frame))
        steady = median(seconds(lambda: model(frame)) for _ in range(repeats))
    peaks.append(resident_mebibytes("VmHWM") - before)
    clips = []
    for length in (4, 8):
        clip = torch.randn(1, length, 3, *size)
        if name == "videomt-s":
            clips.append(f"{seconds(lambda clip=clip: network(pixel_values_videos=clip)):.2f}")
        elif length == getattr(model.config, "num_reference_frames", 0) + 1:
            clips.append(f"{seconds(lambda clip=clip: model(clip)):.2f}")
        else:
            clips.append("")
        peaks.append(resident_mebibytes("VmHWM") - before)
    parameters = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    memory = [f"{peak:.0f}" for peak in peaks]
    return [name, f"{parameters:.1f}", f"{first:.2f}", f"{steady:.2f}", *clips, *memory]


def print_side_by_side(backbone: str, num_labels: int, size: tuple[int, int], repeats: int) -> None:
    """A table of all, each in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    head = (
        "model",
        "million parameters",
        "first frame",
        "frame",
        "clip of 4",
        "clip of 8",
        "MiB",
        "after 4",
        "after 8",
    )
    rows = []
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn, max_tasks_per_child=1) as pool:
        for name in SIDE_BY_SIDE:
            rows.append(pool.submit(peer_row, name, backbone, num_labels, size, repeats).result())
            print(*rows[-1], flush=True)
    print(f"{size[0]} x {size[1]}, {num_labels} labels, fp32, one thread, torch {torch.__version__}, CPU seconds")
    print(table(head, rows))


def drawn_logits(num_labels: int, competing: int, height: int, width: int) -> torch.Tensor:
    """[num_labels, height / 4, width / 4], as of a trained network: few classes are anywhere near the largest."""
    coarse = 4 * torch.randn(1, num_labels, height // 160, width // 160)
    logits = F.interpolate(coarse, size=(height // 4, width // 4), mode="bicubic")[0]
    logits[competing:] -= 12
    return logits + 0.1 * torch.randn(logits.shape)


def print_labels(backbone: str, num_labels: int, repeats: int) -> None:
    """The rows of --labels."""
    seen = (480, 864)
    model = CFFMForVideoSemanticSegmentation(CFFMConfig.from_backbone(backbone, num_labels=num_labels)).eval()
    frame, session = torch.randn(1, 3, *seen), model.new_session()
    for _ in range(model.config.num_reference_frames + 1):
        model.segment_frame(frame, session)
    forward = median(seconds(lambda: model.segment_frame(frame, session)) for _ in range(repeats))
    for size in (seen, (1080, 1920)):
        for competing in (8, 20):
            logits = drawn_logits(num_labels, competing, *seen)
            steps = [seen, size]
            name = f"labels {size[0]}, {competing} classes"
            took = compare(
                name, partial(largest_class, logits, steps), partial(largest_of_all, logits, steps), repeats
            )
            print(f"of a frame of CFFM-{backbone} ({forward:.2f} s) and its labels: {took / (took + forward):.0%}")


@contextmanager
def timed(parts: dict[str, torch.nn.Module]) -> Generator[dict[str, list[float]]]:
    """CPU seconds of every call of each part inside; of a list, those of its modules together."""
    took: dict[str, list[float]] = {name: [] for name in parts}
    with ExitStack() as stack:
        for name, part in parts.items():
            for module in part if isinstance(part, torch.nn.ModuleList) else [part]:
                plain = module.forward

                def forward(*inputs: Any, plain: Callable = plain, name: str = name, **options: Any) -> Any:
                    start = time.process_time()
                    result = plain(*inputs, **options)
                    took[name].append(time.process_time() - start)
                    return result

                stack.enter_context(patch.object(module, "forward", forward))
        yield took


def print_parts(
    method: str, model: VideoSegmenterModel, segformer: torch.nn.Module, size: list[int], repeats: int
) -> None:
    """The rows of --parts of one model."""
    session, frame = model.new_session(), torch.randn(1, 3, *size)
    parts = dict(model.named_children())
    theirs = {"encoder": segformer.segformer, "decoder": segformer.decode_head}
    for _ in range(model.config.num_reference_frames + 1):
        model.segment_frame(frame, session)
    rounds = []
    for _ in range(repeats):
        frame = torch.randn(1, 3, *size)
        with timed(parts) as ours, timed(theirs) as others:
            whole = seconds(partial(model.segment_frame, frame, session))
            reference = seconds(partial(segformer, frame))
        rounds.append(
            {f"{method}: {name}": sum(calls) for name, calls in ours.items() if calls}
            | {f"{method}: the rest": whole - sum(map(sum, ours.values())), f"{method}: all": whole}
            | {f"SegFormer: {name}": sum(calls) for name, calls in others.items()}
            | {"SegFormer: all": reference}
        )
    middle = {name: median(one[name] for one in rounds) for name in rounds[0]}
    rows = [[name, f"{value:.3f}", f"{value / middle['SegFormer: all']:.2f}"] for name, value in middle.items()]
    print(table(["part", "CPU seconds", "/ frame of SegFormer"], rows))


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
    parser.add_argument("--side-by-side", action="store_true", help="print one table of all models and peers instead")
    parser.add_argument("--training", action="store_true", help="print a training step instead")
    parser.add_argument("--labels", action="store_true", help="print what label maps take instead")
    parser.add_argument("--parts", action="store_true", help="print where the time of a frame goes instead")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.side_by_side:
        size = arguments.height, arguments.width
        print_side_by_side(arguments.backbone, arguments.num_labels, size, arguments.repeats)
        return
    if arguments.labels:
        torch.manual_seed(0)
        with torch.no_grad():
            print_labels(arguments.backbone, arguments.num_labels, arguments.repeats)
        return
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
        if arguments.training:
            clip = torch.randn(1, model.config.num_reference_frames + 1, *frame.shape[1:])
            labels = torch.randint(0, arguments.num_labels, (1, clip.shape[1], *frame.shape[2:]))
            plain = plain_encoder(model)
            ours, theirs = training_step(model, clip, labels, False), training_step(plain, clip, labels, True)
            compare("training step / plain", ours, theirs, arguments.repeats)
            ours, theirs = encoder_step(model, clip), encoder_step(plain, clip)
            compare("of it the encoder / plain", ours, theirs, arguments.repeats)
            ours, theirs = loss_step(model, labels, False), loss_step(model, labels, True)
            compare("of it the loss / plain", ours, theirs, arguments.repeats)
            continue
        if arguments.parts:
            with torch.no_grad():
                print_parts(method, model, segformer, list(frame.shape[2:]), arguments.repeats)
            continue
        with torch.no_grad():
            measure(model, segformer, frame, arguments.repeats)
        if arguments.memory:
            print_memory(method, arguments.backbone, arguments.num_labels)


if __name__ == "__main__":
    main()
