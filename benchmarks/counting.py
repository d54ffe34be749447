"""What IOCFormer costs: ratios measured in one run, and peak memory.

    python benchmarks/counting.py                  # forward and training step, batch 8, 256 x 256, 700 queries
    python benchmarks/counting.py --batch-size 2 --repeats 3

Times of this machine mean little, ratios do. Each row is measured in turn with what it is compared to (A B A B ...)
and prints the median of the ratios, with the lowest and the highest.

- forward / backbone: the whole model in eval mode against its timm ResNet-50 (output stride 16) alone. The authors'
  released code is at 4.5 on the same sizes (measured elsewhere, one thread).
- forward / plain, training step / plain: against the same weights in the plain form, which upsamples before the first
  density convolution and lets attention do without the fused kernels where queries and values differ in width.
- peak memory: highest resident size of a fresh process that does nothing else (Linux).
"""

import argparse
import copy
import subprocess
import sys
import time
from collections.abc import Callable

import timm
import torch
from measuring import compare, resident_mebibytes
from torch import Tensor
from torch.nn import functional as F
from transformers.models.conditional_detr.modeling_conditional_detr import ConditionalDetrDecoderCrossAttention

from dense_hf import IOCFormerConfig, IOCFormerForObjectCounting
from dense_hf.counting.density_iocformer import UpsampledConv2d
from dense_hf.counting.transformer_iocformer import IOCFormerCrossAttention


def plain_form(model: IOCFormerForObjectCounting) -> IOCFormerForObjectCounting:
    """The same function of the same weights, computed as it is written in the released code."""

    def upsample_first(conv: UpsampledConv2d, x: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        return F.conv2d(x, conv.weight, conv.bias, padding=1)

    def attend(attention: IOCFormerCrossAttention, hidden_states: Tensor, encoder_hidden_states: Tensor, **kwargs):
        for name in ("query_sine_embed", "encoder_position_embeddings"):
            kwargs[name] = kwargs[name].expand(len(hidden_states), -1, -1)
        return ConditionalDetrDecoderCrossAttention.forward(attention, hidden_states, encoder_hidden_states, **kwargs)

    plain = copy.deepcopy(model)
    for module in plain.modules():
        if isinstance(module, UpsampledConv2d):
            module.forward = upsample_first.__get__(module)
        elif isinstance(module, IOCFormerCrossAttention):
            module.forward = attend.__get__(module)
    return plain


def labels_of_a_crowd(batch_size: int) -> Tensor:
    """50 points a tile, [B, 50, 3]."""
    return torch.rand(batch_size, 50, 3)


def training_step(model: IOCFormerForObjectCounting, pixels: Tensor, labels: Tensor) -> Callable[[], None]:
    """Forward, losses, backward and the optimizer's step."""
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.0)

    def step() -> None:
        model.train()
        optimizer.zero_grad()
        model(pixels, labels=labels).loss.backward()
        optimizer.step()

    return step


def forward(model: torch.nn.Module, pixels: Tensor) -> Callable[[], None]:
    """One forward pass in eval mode."""
    model.eval()

    def run() -> None:
        with torch.no_grad():
            model(pixels)

    return run


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only-memory-of", choices=("forward", "training"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    model = IOCFormerForObjectCounting(IOCFormerConfig())
    pixels, labels = torch.randn(arguments.batch_size, 3, 256, 256), labels_of_a_crowd(arguments.batch_size)

    if arguments.only_memory_of:
        run = forward(model, pixels)
        if arguments.only_memory_of == "training":
            run = training_step(model, pixels, labels)
        run()
        print(resident_mebibytes("VmHWM"))
        return

    print(
        f"batch {arguments.batch_size}, 256 x 256, {model.config.num_queries} queries, fp32, "
        f"{arguments.threads} thread(s), torch {torch.__version__}, {arguments.repeats} pairs"
    )
    backbone = timm.create_model("resnet50", features_only=True, out_indices=[4], output_stride=16)
    plain = plain_form(model)
    for name, ours, theirs in (
        ("forward / backbone", forward(model, pixels), forward(backbone, pixels)),
        ("forward / plain", forward(model, pixels), forward(plain, pixels)),
        ("training step / plain", training_step(model, pixels, labels), training_step(plain, pixels, labels)),
    ):
        compare(name, ours, theirs, arguments.repeats, time.perf_counter)
    for kind in ("forward", "training"):
        command = [sys.executable, __file__, "--batch-size", str(arguments.batch_size), "--only-memory-of", kind]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"peak memory, {kind:12s} {float(done.stdout):.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
