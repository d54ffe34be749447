"""Random crops, or whole images, of counters that learn density maps (the baselines of Table 2.3).

What the released recipes do: an image gets the size at which it is counted (`CounterImageProcessor.resize_image`), a
square is cut out of it, or a share of its sides, or nothing, and a point is kept if enough of its surroundings is
visible. IOCFormer's tiles, with their own rules, are in `augmentation.py`.

H, W image; N points of a sample. Points are (x right, y down). All that is random comes from the generator.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as tvF

from ...counting.density_targets import BOX_LIMITS, neighbor_distances, visible_shares
from ..decoded_cache import DecodedCache
from ..epoch_sampler import SampleKey, sample_generator
from .augmentation import CountingAugmentation, add_noise

if TYPE_CHECKING:
    from ...counting.image_processing_counter import CounterImageProcessor
    from ...data.counting_examples import CountingExample


@dataclass(frozen=True)
class CropRule:
    """What of an image is a sample.

    Attributes:
        size: side of a square in pixels; an image whose shorter side is less is enlarged.
        share: of the sides, where there is no size; 1 is the whole image.
        multiple: what the sides of a share are multiples of, by leaving out what is over.
        least_visible: share of a point's box that a crop must show to keep it; `None`: the point must be inside.
        corners: whether the first four crops of an image in an epoch are its corners.
    """

    size: int | None = None
    share: float = 1.0
    multiple: int = 1
    least_visible: float | None = None
    corners: bool = False


def draw_crop(
    image: Tensor,
    points: Tensor,
    rule: CropRule,
    augmentation: CountingAugmentation,
    rng: np.random.Generator,
    number: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, int]:
    """A crop of an image, and the labels of its points.

    Args:
        image: uint8 [3, H, W], at the size at which it is counted.
        points: float32 [n, 2] in its pixels, or [n, 3] with classes.
        rule: what is cut out.
        augmentation: what may happen.
        rng: where all randomness comes from.
        number: of the crop among those of the image in an epoch; `None`: one more, to fill a batch.

    Returns:
        uint8 [3, h, w]; float32 [N, 4], pixels of the crop and of distances: x, y, mean distance to the 3 nearest
        points of the image, visible share, with classes a fifth column; float32 [2 + n, 2 or 3], pixels of the crop:
        two corners and all points of the image; its shorter side in pixels.
    """
    image, points = _scaled(image, points, rule, augmentation, rng)
    height, width = image.shape[-2:]
    sides = [rule.size] * 2 if rule.size else [int(side * rule.share) for side in (height, width)]
    # a share below the multiple: all of a small image, which padding makes a multiple
    h, w = (side - side % rule.multiple or min(rule.multiple, whole) for side, whole in zip(sides, (height, width)))
    top, left = (int(rng.integers(side - cut + 1)) for side, cut in ((height, h), (width, w)))
    if rule.corners and number is not None and number < 4:
        top, left = (number // 2) * (height - h), (number % 2) * (width - w)
    crop = image[:, top : top + h, left : left + w]
    points, classes = points[:, :2], points[:, 2:]
    distances = neighbor_distances(points, BOX_LIMITS[1]).float()
    shares = visible_shares(points, distances, (left, top, left + w, top + h))
    local = points - points.new_tensor([left, top])
    kept = ((local >= 0) & (local < local.new_tensor([w, h]))).all(dim=1)
    if rule.least_visible is not None:
        kept = shares >= rule.least_visible
    labels = torch.cat([local, distances[:, None], shares[:, None], classes], dim=1)[kept]
    corners = points.new_tensor([[0, 0, -1], [width, height, -1]])[:, : 2 + classes.shape[1]]
    around = torch.cat([corners, torch.cat([points, classes], dim=1)])
    around[:, :2] -= points.new_tensor([left, top])
    crop, labels, around = _turned(crop, labels, around, augmentation, rng)
    if rng.random() < augmentation.grayscale:
        crop = tvF.rgb_to_grayscale(crop, num_output_channels=3)
    return crop.contiguous(), labels, around, min(height, width)


def _scaled(
    image: Tensor, points: Tensor, rule: CropRule, augmentation: CountingAugmentation, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """The image scaled by a rate, if one is drawn that leaves room for a crop; enlarged where there is no room."""
    short, needed = min(image.shape[-2:]), rule.size or 1
    rate = max(1.0, needed / short)
    if rng.random() < augmentation.scale:
        span = augmentation.scale_range
        drawn = float(rng.choice(augmentation.scale_rates) if span is None else rng.uniform(span[0], span[1]))
        rate = drawn if short * drawn >= needed else rate
    if rate == 1:
        return image, points
    height, width = (max(needed, round(side * rate)) for side in image.shape[-2:])
    scale = points.new_tensor([width / image.shape[-1], height / image.shape[-2], 1.0])[: points.shape[1]]
    return tvF.resize(image, [height, width], antialias=True), points * scale


def _turned(
    crop: Tensor, labels: Tensor, around: Tensor, augmentation: CountingAugmentation, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Mirrored and turned; x becomes w - x, as released, so that a point at a border stays at one."""
    tables = [labels.clone(), around.clone()]
    flips = rng.random(2) < (augmentation.horizontal_flip, augmentation.vertical_flip)
    for axis, flip in enumerate(flips):
        if flip:
            crop = crop.flip(-1 - axis)
            for table in tables:
                table[:, axis] = crop.shape[-1 - axis] - table[:, axis]
    quarter_turns = int(rng.integers(1, 4)) if rng.random() < augmentation.rotation else 0
    for _ in range(quarter_turns):  # each one counter-clockwise: the right edge becomes the top
        width = crop.shape[-1]
        tables = [torch.cat([table[:, 1:2], width - table[:, :1], table[:, 2:]], dim=1) for table in tables]
        crop = crop.rot90(dims=(-2, -1))
    return crop, tables[0], tables[1]


class CropTrainingSet(Dataset):
    """Crops of annotated images. A sample is a function of (seed, epoch, index) and nothing else.

    Index i is a crop of image i modulo the number of images; indices past the end (they complete the last batch of an
    epoch, see `EpochSampler`) are crops of a random image.

    Args:
        examples: The images.
        processor: Gives pixels the values and images the sizes that the model sees in inference too.
        rule: What of an image is a sample.
        augmentation: What may happen to an image.
        seed: Seed of the run.
        samples_per_image: Crops of each image in an epoch.
        image_cache_size: Decoded images that are kept in memory, per loader process.
        fixed: Whether a sample is a function of (seed, index) alone: all epochs are the first one.
        with_image_points: Whether the model learns from density maps of whole images, see `Surroundings`.

    Raises:
        ValueError: `samples_per_image` below 1, or below 4 where the first four are corners.
    """

    def __init__(
        self,
        examples: Sequence["CountingExample"],
        processor: "CounterImageProcessor",
        rule: CropRule,
        augmentation: CountingAugmentation,
        seed: int,
        samples_per_image: int = 1,
        image_cache_size: int = 0,
        fixed: bool = False,
        with_image_points: bool = False,
    ):
        least = 4 if rule.corners else 1
        if samples_per_image < least:
            raise ValueError(f"samples_per_image must be at least {least}. Received: {samples_per_image}")
        self.examples, self.processor, self.rule = examples, processor, rule
        self.augmentation, self.seed, self.samples_per_image = augmentation, seed, samples_per_image
        self.fixed, self.with_image_points = fixed, with_image_points
        self._cache: DecodedCache[int, tuple[Tensor, Tensor]] = DecodedCache(image_cache_size)

    def __len__(self) -> int:
        return len(self.examples) * self.samples_per_image

    def __getitem__(self, index: SampleKey) -> dict[str, Tensor]:
        """`pixel_values` [c, h, w], `labels` [N, 4] as the models take them, `image_short_sides` a number.

        With "class_labels", int64 [N], where the images have classes, and "image_points" [2 + n, 2 or 3] where the
        model wants them.
        """
        rng = sample_generator(self.seed, (0, index[1]) if self.fixed else index)
        of_image, number = divmod(index[1], len(self.examples))
        if index[1] >= len(self):
            of_image, number = None, int(rng.integers(len(self.examples)))
        image, points = self._cache.get(number, lambda: self._load(number))
        crop, labels, around, short_side = draw_crop(image, points, self.rule, self.augmentation, rng, of_image)
        pixels = add_noise(self.processor.normalize_part(crop), self.augmentation, rng)
        divisor = self.processor.size_divisor
        height, width = pixels.shape[-2:]
        pixels = F.pad(pixels, (0, -width % divisor, 0, -height % divisor))
        height, width = pixels.shape[-2:]
        sides = labels.new_tensor([width, height, min(height, width), 1.0])
        sample = {
            "pixel_values": pixels,
            "labels": labels[:, :4] / sides,
            "image_short_sides": torch.tensor(float(short_side)),
        }
        if self.with_image_points:
            around[:, :2] /= sides[:2]
            sample["image_points"] = around
        if labels.shape[1] > 4:
            sample["class_labels"] = labels[:, 4].long()
        return sample

    def _load(self, number: int) -> tuple[Tensor, Tensor]:
        """Pixels uint8 [3, H, W] at the size at which they are counted, points float32 [n, 2 or 3] in these."""
        example = self.examples[number]
        pixels = self.processor.to_pixels(example.open())
        resized = self.processor.resize_image(pixels)
        scale = torch.tensor([resized.shape[-1] / pixels.shape[-1], resized.shape[-2] / pixels.shape[-2]])
        points = torch.from_numpy(np.asarray(example.points, dtype=np.float32)) * scale
        if example.classes is not None:
            points = torch.cat([points, torch.from_numpy(example.classes)[:, None].float()], dim=1)
        return resized, points
