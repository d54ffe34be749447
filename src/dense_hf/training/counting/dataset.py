"""Images with points as training samples, and samples as batches (thesis section 2.5.1).

Letters: B batch; t side of a tile; N points of a crop. Points are (x right, y down).
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from ...counting.counter_interface import LABEL_PADDING
from ...errors import InvalidDataError
from ..decoded_cache import DecodedCache
from ..epoch_sampler import SampleKey, sample_generator
from .augmentation import CountingAugmentation, add_noise, random_tile, unique_pixels

if TYPE_CHECKING:
    from ...counting.image_processing_iocformer import IOCFormerImageProcessor
    from ...data.counting_examples import CountingExample

# Too full crops in 20 images in a row: the data needs more queries, not more patience.
MAX_IMAGES_PER_SAMPLE = 20


class CountingTrainingSet(Dataset):
    """Random tiles of annotated images. A sample is a function of (seed, epoch, index) and nothing else.

    Index i is a crop of image i modulo the number of images; indices past the end (they complete the last batch of an
    epoch, see `EpochSampler`) are crops of a random image. An image smaller than a tile is replaced by a random other
    one, as released.

    Args:
        examples: The images.
        processor: Gives pixels the values that the model sees in inference too, and says how large a tile is.
        num_queries: Of the model; crops hold fewer points than that. None for a model without queries.
        augmentation: What may happen to an image.
        seed: Seed of the run.
        samples_per_image: Crops of each image in an epoch.
        image_cache_size: Decoded images that are kept in memory, per loader process. For few large images.
        fixed: Whether a sample is a function of (seed, index) alone: all epochs are the first one.

    Raises:
        ValueError: No image is large enough, or numbers below their least value.
    """

    def __init__(
        self,
        examples: Sequence["CountingExample"],
        processor: "IOCFormerImageProcessor",
        num_queries: int | None,
        augmentation: CountingAugmentation,
        seed: int,
        samples_per_image: int = 1,
        image_cache_size: int = 0,
        fixed: bool = False,
    ):
        if samples_per_image < 1:
            raise ValueError(f"samples_per_image must be at least 1. Received: {samples_per_image}")
        self.examples = examples
        self.processor = processor
        self.tile_size = processor.tile_size
        self.num_queries = math.inf if num_queries is None else num_queries
        self.augmentation = augmentation
        self.seed = seed
        self.samples_per_image = samples_per_image
        self.fixed = fixed
        self.large_enough = [i for i, example in enumerate(examples) if min(example.size) >= self.tile_size]
        if not self.large_enough:
            raise ValueError(
                f"No training image is at least {self.tile_size} x {self.tile_size} pixels (tile_size). Received: "
                f"{len(examples)} images, the largest {max((example.size for example in examples), default=None)}"
            )
        self._cache: DecodedCache[int, tuple[np.ndarray, np.ndarray]] = DecodedCache(image_cache_size)

    def __len__(self) -> int:
        return len(self.examples) * self.samples_per_image

    def __getitem__(self, index: SampleKey) -> dict[str, torch.Tensor]:
        """`{"pixel_values": float [3, t, t], "labels": float [N, 3]}` of an (epoch, index) pair.

        With "class_labels", int64 [N], where the images have classes.
        """
        rng = sample_generator(self.seed, (0, index[1]) if self.fixed else index)
        number = index[1] % len(self.examples)
        if index[1] >= len(self) or min(self.examples[number].size) < self.tile_size:
            number = self._random_image(rng)
        for _ in range(MAX_IMAGES_PER_SAMPLE):
            image, points = self._load(number)
            sample = random_tile(image, points, self.tile_size, self.num_queries, self.augmentation, rng)
            if sample is not None:
                crop, labels = sample
                pixel_values = self.processor(crop, return_tensors="pt")["pixel_values"][0]
                pixel_values = add_noise(pixel_values, self.augmentation, rng)
                sample = {"pixel_values": pixel_values, "labels": torch.from_numpy(labels[:, :3])}
                if self.examples[number].classes is not None:
                    sample["class_labels"] = torch.from_numpy(labels[:, 3]).long()
                return sample
            number = self._random_image(rng)
        raise InvalidDataError(
            self.examples[number].path,
            f"crops with fewer points than the model has queries (num_queries={self.num_queries})",
            f"fuller crops only, in {MAX_IMAGES_PER_SAMPLE} images",
        )

    def _random_image(self, rng: np.random.Generator) -> int:
        return self.large_enough[int(rng.integers(len(self.large_enough)))]

    def _load(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Pixels uint8 [H, W, 3] and points int64 [n, 2 or 3] of an image."""
        example = self.examples[number]
        return self._cache.get(
            number, lambda: (np.asarray(example.open()), unique_pixels(example.points, example.classes))
        )


def collate_crops(samples: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Samples as a batch.

    Returns:
        `pixel_values` float [B, c, h, w], `labels` float [B, max(N, 1), 3 or 4], filled up with -100, and where
        samples have that `class_labels` int64 [B, max(N, 1)], likewise, `image_short_sides` float [B], and
        `image_points` float [B, M, 2 or 3], filled up with NaN.

    Raises:
        ValueError: samples of different sizes, as whole images are.
    """
    sizes = {tuple(sample["pixel_values"].shape) for sample in samples}
    if len(sizes) > 1:
        raise ValueError(
            "Images of one size make a batch: give a crop_size, or per_device_train_batch_size=1. "
            f"Received: {', '.join(' x '.join(map(str, size[1:])) for size in sorted(sizes))}"
        )
    longest = max(1, *(len(sample["labels"]) for sample in samples))
    labels = torch.full((len(samples), longest, samples[0]["labels"].shape[-1]), LABEL_PADDING)
    for row, sample in zip(labels, samples):
        row[: len(sample["labels"])] = sample["labels"]
    batch = {"labels": labels}
    if "class_labels" in samples[0]:
        batch["class_labels"] = torch.full(labels.shape[:2], int(LABEL_PADDING))
        for row, sample in zip(batch["class_labels"], samples):
            row[: len(sample["class_labels"])] = sample["class_labels"]
    if "image_points" in samples[0]:
        batch["image_points"] = pad_sequence(
            [sample["image_points"] for sample in samples], batch_first=True, padding_value=math.nan
        )
    stacked = [name for name in ("pixel_values", "image_short_sides") if name in samples[0]]
    return {name: torch.stack([sample[name] for sample in samples]) for name in stacked} | batch
