"""Images with label maps as training samples of a segmenter (thesis section 3.3.3). c: side of a crop."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from ...data.images import open_image
from ...data.labels import IGNORED
from ...data.weak_folder import WeakFolder
from ...data.weak_source import mask_rule, read_weak_mask
from ..decoded_cache import DecodedCache
from ..epoch_sampler import SampleKey, sample_generator
from .augmentation import SegmenterAugmentation, random_crop


class SegmenterTrainingSet(Dataset):
    """Random crops of labelled images. A sample is a function of (seed, epoch, index) and nothing else.

    Index i is a crop of image i; indices past the end (they complete the last batch of an epoch, see `EpochSampler`)
    are crops of random images.

    Args:
        folder: images with label maps, as from `with_pseudo_labels`.
        processor: gives pixels the values that the model sees in inference, too. 0 must be the mean colour.
        augmentation: what may happen to an image.
        seed: seed of the run.
        image_cache_size: decoded images, with their labels, that are kept in memory, per loader process. For few
            images: 1000 of 128 x 128 are 66 MB.

    Raises:
        ValueError: `image_cache_size` is negative.
    """

    def __init__(
        self,
        folder: WeakFolder,
        processor: Callable[..., Any],
        augmentation: SegmenterAugmentation,
        seed: int,
        image_cache_size: int = 0,
    ):
        self.images = folder.images
        self.rule = mask_rule(folder.class_names)
        self.processor = processor
        self.augmentation = augmentation
        self.seed = seed
        self._cache: DecodedCache[int, tuple[np.ndarray, np.ndarray]] = DecodedCache(image_cache_size)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: SampleKey) -> dict[str, Tensor]:
        """`{"pixel_values": float [3, c, c], "labels": int64 [c, c]}` of an (epoch, index) pair.

        Crops of small images stand in the upper left corner, with the mean colour and 255 around them.

        Raises:
            InvalidDataError: the file of an image is broken.
        """
        rng = sample_generator(self.seed, index)
        number = index[1] if index[1] < len(self) else int(rng.integers(len(self)))
        image, labels = random_crop(*self._load(number), self.augmentation, rng)
        inputs = self.processor(image, do_resize=False, input_data_format="channels_last", return_tensors="pt")
        side = self.augmentation.crop_size
        missing = (0, side - labels.shape[1], 0, side - labels.shape[0])
        return {
            "pixel_values": F.pad(inputs["pixel_values"][0], missing),
            "labels": F.pad(torch.from_numpy(labels.astype(np.int64)), missing, value=IGNORED),
        }

    def _load(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """uint8 [H, W, 3] and [H, W] of an image."""
        image = self.images[number]
        return self._cache.get(number, lambda: (np.asarray(open_image(image.path)), read_weak_mask(image, self.rule)))
