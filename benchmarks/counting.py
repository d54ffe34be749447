"""What counters cost: ratios measured in one run, and peak memory.

    python benchmarks/counting.py                  # forward and training step, batch 8, 256 x 256, 700 queries
    python benchmarks/counting.py --batch-size 2 --repeats 3
    python benchmarks/counting.py --only classes   # these rows alone
    python benchmarks/counting.py --counters       # those of Table 2.3, at full width, one picture of 512 x 512
    python benchmarks/counting.py --counters --size 1080 1920 --only dmcount p2pnet lwcc --repeats 1

Times of this machine mean little, ratios do. Each row is measured in turn with what it is compared to (A B A B ...)
and prints the median of the ratios, with the lowest and the highest.

- forward / backbone: the whole model in eval mode against its timm ResNet-50 (output stride 16) alone (at most 2.7).
  The authors' released code is at 4.5 on the same sizes (measured elsewhere, one thread).
- forward / plain, training step / plain: against the same weights in the plain form, which upsamples before the first
  density convolution, lets attention do without the fused kernels where queries and values differ in width and
  without what is made for dropout on a CPU, keeps channels first, and steps with Adam as PyTorch has it by default
  (training at most 0.75).
- photo / VGG-16: a photo of --photo height and width, from pixels to a count, against the features of torchvision's
  VGG-16 of the same photo (at most 1.31).
- With --bf16, IOCFormer computes as in `dense-hf count --bf16` in the rows forward / backbone, photo / VGG-16 and
  forward / without the option; for CPUs with instructions for it. With --compile it is compiled there (minutes).
- ..., 8 classes / 1: the same model with 8 classes against that with one; the same 50 points, spread over the classes.
- --counters: each counter against its plain form (plain_counters.py), which must give the same numbers; DM-Count also
  against the graph of lwcc 0.0.7, if that is installed. The watershed of LCFCN's loss, of a map of this size and 100
  points, against the loop that is used where scikit-image is not installed, if it is. Peak memory of DSSI-Net and MAN,
  and of their plain forms: --counters --size 1080 1920 --only memory.
- peak memory: highest resident size of a fresh process that does nothing else (Linux).
"""

import argparse
import copy
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import timm
import torch
from measuring import compare, resident_mebibytes
from plain_counters import plain_form
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F
from torchvision.models import vgg16
from transformers.models.conditional_detr.modeling_conditional_detr import ConditionalDetrDecoderCrossAttention

from dense_hf import IOCFormerConfig, IOCFormerForObjectCounting, IOCFormerImageProcessor
from dense_hf.bfloat16 import in_bfloat16
from dense_hf.counting.attention_iocformer import (
    IOCFormerCrossAttention,
    IOCFormerDecoderSelfAttention,
    IOCFormerEncoderSelfAttention,
    IOCFormerMLP,
)
from dense_hf.counting.baseline_losses import flood, flood_by_heap
from dense_hf.counting.configuration_density_counter import METHODS
from dense_hf.counting.counting_backbone import FrozenNorm
from dense_hf.counting.modeling_iocformer import UpsampledConv2d
from dense_hf.methods import method_of
from dense_hf.training.optimizers import in_one_pass

COUNTERS_WITH_MEMORY = ("dssinet", "man")  # whose plain forms keep what grows faster than the picture


def plain_iocformer(model: IOCFormerForObjectCounting) -> IOCFormerForObjectCounting:
    """The same function of the same weights, computed as it is written in the released code."""

    def upsample_first(conv: UpsampledConv2d, x: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        return F.conv2d(x, conv.weight, conv.bias, padding=1)

    def attend(attention: IOCFormerCrossAttention, hidden_states: Tensor, encoder_hidden_states: Tensor, **kwargs):
        for name in ("query_sine_embed", "encoder_position_embeddings"):
            kwargs[name] = kwargs[name].expand(len(encoder_hidden_states), -1, -1)
        hidden_states = hidden_states.expand(len(encoder_hidden_states), -1, -1)
        return ConditionalDetrDecoderCrossAttention.forward(attention, hidden_states, encoder_hidden_states, **kwargs)

    plain = copy.deepcopy(model)
    plain.backbone.register_forward_pre_hook(lambda backbone, inputs: tuple(x.contiguous() for x in inputs))
    for module in plain.modules():
        if isinstance(module, UpsampledConv2d):
            module.forward = upsample_first.__get__(module)
        elif isinstance(module, IOCFormerCrossAttention):
            module.forward = attend.__get__(module)
        else:  # as the parent class computes it
            ours = (FrozenNorm, IOCFormerEncoderSelfAttention, IOCFormerDecoderSelfAttention, IOCFormerMLP)
            if isinstance(module, ours):
                module.forward = type(module).__base__.forward.__get__(module)
    return plain


def labels_of_a_crowd(batch_size: int) -> Tensor:
    """50 points a tile, [B, 50, 3]."""
    return torch.rand(batch_size, 50, 3)


def training_step(
    model: IOCFormerForObjectCounting, pixels: Tensor, labels: Tensor, is_plain: bool = False
) -> Callable[[], None]:
    """Forward, losses, backward and the step of the recipe's optimizer, or of Adam as PyTorch has it by default."""
    groups = [{"params": [p for p in model.parameters() if p.requires_grad], "lr": 0.0}]
    optimizer = torch.optim.Adam(groups, fused=None if is_plain else in_one_pass(groups))

    def step() -> None:
        model.train()
        optimizer.zero_grad()
        classes = torch.arange(labels.shape[1]).expand(len(labels), -1) % (model.config.num_labels or 1)
        model(pixels, labels=labels, class_labels=classes).loss.backward()
        optimizer.step()

    return step


def forward(model: torch.nn.Module, pixels: Tensor) -> Callable[[], None]:
    """One forward pass in eval mode."""
    model.eval()

    def run() -> None:
        with torch.no_grad():
            model(pixels)

    return run


def measure_counters(size: list[int], only: list[str], repeats: int) -> None:
    """Print the rows of the counters of Table 2.3."""
    print(
        f"one picture of {size[0]} x {size[1]}, fp32, {torch.get_num_threads()} thread(s), torch {torch.__version__}"
    )
    pixels = torch.randn(1, 3, *size)
    for name in (*METHODS, "mcnn", "man", "dssinet", "mspsnet", "lcfcn", "p2pnet"):
        if not any(text in name for text in only):
            continue
        model = counter(name)
        plain = plain_form(model)

        def run_plain(plain: Callable = plain) -> torch.Tensor:
            with torch.no_grad():
                return plain(pixels)

        with torch.no_grad():
            output = model(pixels)
        if name != "p2pnet":  # whose proposals in the padding are left out
            found = output.blob_logits if name == "lcfcn" else output.density_map
            torch.testing.assert_close(found, run_plain(), rtol=1e-3, atol=1e-5)
        compare(f"{name} / plain", forward(model, pixels), run_plain, repeats)
        if name == "dmcount" and any(text in "lwcc" for text in only):
            try:
                from lwcc.models.DMCount import VGG, cfg, make_layers
            except ImportError as error:
                print(f"no comparison to lwcc: {error}")
            else:
                compare("dmcount / lwcc", forward(model, pixels), forward(VGG(make_layers(cfg["E"])), pixels), repeats)
    if any(text in "flood" for text in only):
        measure_flood(size, repeats)
    for name in COUNTERS_WITH_MEMORY if any(text in "memory" for text in only) else ():
        ours, theirs = (memory_of(kind, "--size", *map(str, size)) for kind in (name, f"plain {name}"))
        print(f"memory, {name:18s} {ours}, plain {theirs}", flush=True)


def counter(name: str) -> torch.nn.Module:
    """A counter of Table 2.3 at full width, in eval mode, random weights."""
    row = method_of("density_counter" if name in METHODS else name)
    fields = {"initializer_range": 0.05} if name == "dssinet" else {}  # 1e-6 as released: numbers near 0 are slow
    config = row.config_class.from_method(name) if name in METHODS else row.config_class(**fields)
    return row.model_class(config).eval()


def memory_of(kind: str, *words: str) -> str:
    """Highest resident size of a process that does this one thing, or why it did not, such as too little memory."""
    command = [sys.executable, __file__, "--only-memory-of", kind, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"failed: {(done.stderr.strip() or f'exit status {done.returncode}').splitlines()[-1]}"
    return f"{float(done.stdout):.0f} MiB"


def measure_flood(size: list[int], repeats: int) -> None:
    """Print the row of the watershed: a map of blobs of coarse scores, enlarged, and points anywhere."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=[side // 8 + 1 for side in size])
    blobs = ndimage.gaussian_filter(ndimage.zoom(coarse, 8, order=1)[: size[0], : size[1]], 2)
    relief = ndimage.black_tophat((1 / (1 + np.exp(-4 * blobs))).astype(np.float32), 7)
    sources = np.zeros(size, dtype=int)
    sources.flat[np.sort(rng.choice(sources.size, 100, replace=False))] = np.arange(1, 101)
    ours, everywhere = partial(flood, relief, sources > 0), np.ones(size, dtype=bool)
    by_heap = partial(flood_by_heap, relief, sources, everywhere)
    if not (ours() == by_heap()).all():
        raise RuntimeError("the two ways of flooding differ")
    compare("flood / by heap", ours, by_heap, repeats)


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=[""], metavar="TEXT", help="rows whose names have one in them")
    parser.add_argument("--counters", action="store_true", help="the counters of Table 2.3")
    parser.add_argument("--size", type=int, nargs=2, default=[512, 512], help="height and width of their picture")
    parser.add_argument("--photo", type=int, nargs=2, default=[1080, 1920], help="height and width of the photo")
    parser.add_argument("--bf16", action="store_true", help="IOCFormer's forward pass in bfloat16")
    parser.add_argument("--compile", action="store_true", help="IOCFormer's forward pass by torch.compile")
    parser.add_argument("--only-memory-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    if arguments.counters:
        measure_counters(arguments.size, arguments.only, arguments.repeats)
        return
    if (kind := arguments.only_memory_of) and (name := kind.removeprefix("plain ")) in COUNTERS_WITH_MEMORY:
        model = counter(name)
        with torch.no_grad():
            (plain_form(model) if kind.startswith("plain") else model)(torch.randn(1, 3, *arguments.size))
        print(resident_mebibytes("VmHWM"))
        return
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
    plain = plain_iocformer(model)
    photo = torch.randint(0, 256, (3, *arguments.photo), dtype=torch.uint8)
    vgg, processor = vgg16(weights=None).features, IOCFormerImageProcessor()
    classes = IOCFormerForObjectCounting(IOCFormerConfig(num_labels=8))
    fast = in_bfloat16(copy.deepcopy(model)) if arguments.bf16 else model
    fast = torch.compile(fast) if arguments.compile else fast
    changed = arguments.bf16 or arguments.compile
    kind = "forward / without the option" if changed else "forward / plain"
    for name, ours, theirs in (
        ("forward / backbone", forward(fast, pixels), forward(backbone, pixels)),
        (kind, forward(fast, pixels), forward(model if changed else plain, pixels)),
        ("photo / VGG-16", partial(processor.count_objects, fast, photo), forward(vgg, photo[None] / 255)),
        (
            "training step / plain",
            training_step(model, pixels, labels),
            training_step(plain, pixels, labels, is_plain=True),
        ),
        ("forward, 8 classes / 1", forward(classes, pixels), forward(model, pixels)),
        ("training step, 8 classes / 1", training_step(classes, pixels, labels), training_step(model, pixels, labels)),
    ):
        if any(text in name for text in arguments.only):
            compare(name, ours, theirs, arguments.repeats)
    for kind in ("forward", "training") if any(text in "peak memory" for text in arguments.only) else ():
        peak = memory_of(kind, "--batch-size", str(arguments.batch_size))
        print(f"peak memory, {kind:12s} {peak}", flush=True)


if __name__ == "__main__":
    main()
