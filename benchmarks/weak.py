"""What sharing features saves in MCIS: ratios measured in one run, and memory.

    python benchmarks/weak.py                      # VGG-16 at 96 x 96: a few minutes on one thread
    python benchmarks/weak.py --size 256           # the released size: half an hour or more
    python benchmarks/weak.py --only encoder       # the rows whose names have this text

Times of this machine mean little, ratios do. Each row is measured in turn with what it is compared to (A B A B ...)
and prints the median of the ratios of CPU time, with the lowest and the highest. What both give is compared first:
maps must be equal bit for bit, losses and gradients up to rounding.

- training step / plain: a batch of pairs with its mirror image and two other sizes. The features of an image are
  computed once for its four pairs; the plain form, that of the released code, computes them for every pair.
- localisation / no cache: all maps of a group in which every image has the same class, three references each, with
  views (released) and without (thesis). Features are kept, or computed again for every reference.
- localisation / encoder: the same, from pictures to maps, and nothing but one encoder pass per image and view.
- peak memory: by how much the largest size of a process of its own exceeds that of the model alone (Linux).
"""

import argparse
import copy
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import torch
from measuring import compare, resident_mebibytes
from PIL import Image
from torch import Tensor

from dense_hf import MCISConfig, MCISForImageClassification, MCISImageProcessor
from dense_hf.weak_segmentation.feature_cache import DEFAULT_BYTES
from dense_hf.weak_segmentation.image_group import ImageGroup
from dense_hf.weak_segmentation.localization import LocalizationSettings, Localizer
from dense_hf.weak_segmentation.loss_mcis import mcis_loss

Step = Callable[[], Tensor]
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-5, 1e-3  # relative: sums in another order


def make_model(seed: int = 0) -> MCISForImageClassification:
    """The released sizes, random weights."""
    torch.manual_seed(seed)
    return MCISForImageClassification(MCISConfig())


def make_batch(config: MCISConfig, batch_size: int, size: int) -> dict[str, Tensor | list[Tensor]]:
    """Random pairs with a common class each, and the views of their first images."""
    torch.manual_seed(1)
    images = torch.randn(batch_size, 3, size, size)
    labels, paired_labels = torch.zeros(2, batch_size, config.num_labels)
    labels[:, :2], paired_labels[:, 1:3] = 1, 1
    views = [torch.randn(batch_size, 3, int(scale * size), int(scale * size)) for scale in config.scale_views]
    return {
        "pixel_values": images,
        "paired_pixel_values": torch.randn_like(images),
        "labels": labels,
        "paired_labels": paired_labels,
        "view_pixel_values": [images.flip(-1), *views],
    }


def shared_step(model: MCISForImageClassification, batch: dict) -> Step:
    """Loss and gradients; features of an image are computed once."""

    def step() -> Tensor:
        model.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        return loss.detach()

    return step


def plain_step(model: MCISForImageClassification, batch: dict) -> Step:
    """The same function of the same weights, one pass of both images per pair."""
    images, labels = batch["pixel_values"], batch["labels"]

    def step() -> Tensor:
        model.zero_grad()
        outputs = model(images, batch["paired_pixel_values"])
        views = [model(images, view) for view in batch["view_pixel_values"]]
        loss, _ = mcis_loss(outputs, views, labels, batch["paired_labels"], model.config)
        loss.backward()
        return loss.detach()

    return step


def localization(
    model: MCISForImageClassification, num_images: int, size: int, cached: bool, use_views: bool = True
) -> Callable[[], list[np.ndarray]]:
    """All maps of a group of random images with one class."""
    rng = np.random.default_rng(0)
    images = {
        f"image_{index}": Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8))
        for index in range(num_images)
    }
    group = ImageGroup(labels=dict.fromkeys(images, (0,)), read_image=images.__getitem__)
    processor = MCISImageProcessor(size={"height": size, "width": size})
    settings = LocalizationSettings(use_views=use_views)

    def run() -> list[np.ndarray]:
        with Localizer(model, processor, group, settings, DEFAULT_BYTES if cached else 0) as localizer:
            return [values.numpy() for name in images for values in localizer.maps(name).values()]

    return run


def encoder_passes(model: MCISForImageClassification, num_images: int, size: int) -> Callable[[], None]:
    """One pass for each image, its mirror image, and each other size; one at a time, as localisation has them."""
    sides = [size, size, *(int(scale * size) for scale in model.config.scale_views)]
    pixels = [torch.randn(1, 3, side, side) for side in sides]

    def run() -> None:
        with torch.no_grad():
            for values in pixels * num_images:
                model.extract_features(values)

    return run


def check_steps(model: MCISForImageClassification, batch: dict) -> None:
    """Both forms give the same loss and gradients.

    Raises:
        ValueError: if they do not.
    """
    plain = copy.deepcopy(model)
    losses = shared_step(model, batch)(), plain_step(plain, batch)()
    torch.testing.assert_close(*losses, rtol=LOSS_TOLERANCE, atol=0)
    for (name, one), other in zip(model.named_parameters(), plain.parameters()):
        difference = (one.grad - other.grad).norm() / other.grad.norm().clamp(min=1e-12)
        if difference > GRADIENT_TOLERANCE:
            raise ValueError(
                f"the gradients of both forms must be equal. Received: {name} differs by {difference:.1e}"
            )


def check_maps(ours: Callable[[], list[np.ndarray]], theirs: Callable[[], list[np.ndarray]]) -> None:
    """The same maps, bit for bit.

    Raises:
        ValueError: if they are not.
    """
    if not all(map(np.array_equal, ours(), theirs())):
        raise ValueError("maps with and without a cache must be equal. Received: maps that differ")


def peak_mebibytes(kind: str, batch_size: int, num_images: int, size: int) -> float:
    """By how much this process grows in one run of `kind`, above the model alone."""
    torch.set_num_threads(1)
    model = make_model()
    run: Callable[[], object]
    if kind.startswith("training"):
        make_step = plain_step if kind.endswith("plain") else shared_step
        run = make_step(model, make_batch(model.config, batch_size, size))
    else:
        run = localization(model, num_images, size, cached=not kind.endswith("no cache"))
    before = resident_mebibytes()
    run()
    return resident_mebibytes("VmHWM") - before


def main() -> None:
    """Compare, measure, print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=96, help="of an image, in pixels (default: 96; released: 256)")
    parser.add_argument("--batch-size", type=int, default=1, help="pairs (default: 1; released: 5)")
    parser.add_argument("--images", type=int, default=6, help="of the group (default: 6)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose names have it")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model, size, count = make_model(), arguments.size, arguments.images
    batch = make_batch(model.config, arguments.batch_size, size)
    print(
        f"VGG-16, {arguments.batch_size} pair(s) a step, groups of {count} images, {size} x {size}, fp32, "
        f"{arguments.threads} thread(s), torch {torch.__version__}, {arguments.repeats} pairs of runs"
    )
    passes = encoder_passes(model, count, size)
    rows: list[tuple[str, Callable, Callable, Callable[[], None]]] = [
        (
            "training step / plain",
            shared_step(model, batch),
            plain_step(model, batch),
            partial(check_steps, model, batch),
        )
    ]
    for name, use_views in (("localisation / no cache", True), ("  without views", False)):
        ours, theirs = (localization(model, count, size, cached, use_views) for cached in (True, False))
        rows.append((name, ours, theirs, partial(check_maps, ours, theirs)))
    rows.append(("localisation / encoder", rows[1][1], passes, lambda: None))
    for name, ours, theirs, check in rows:
        if arguments.only in name:
            check()
            compare(name, ours, theirs, arguments.repeats)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn, max_tasks_per_child=1) as pool:
        for kind in ("training step", "training step, plain", "localisation", "localisation, no cache"):
            if arguments.only not in f"peak memory, {kind}":
                continue
            peak = pool.submit(peak_mebibytes, kind, arguments.batch_size, count, size).result()
            print(f"peak memory, {kind:24s} {peak:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
