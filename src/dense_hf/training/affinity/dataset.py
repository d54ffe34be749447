"""What AffinityNet learns from, as files and as training samples (thesis section 3.4.4, reference [143]).

LABELS/NAME.png         0 background, class id + 1, 255 for pixels that the maps are not certain about
LABELS/settings.json    what they are made with; written first

H x W: size of an image. c: side of a crop; h x w its cells.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ...data.labels import IGNORED
from ...data.weak_folder import WeakFolder
from ...options import option
from ...weak_segmentation.affinity_labels import labels_of_cells
from ..classifier.augmentation import WeakAugmentation, jitter_colors
from ..epoch_sampler import SampleKey, sample_generator
from ..segmenter.augmentation import SegmenterAugmentation, random_crop
from ..segmenter.dataset import SegmenterTrainingSet


@dataclass
class AffinityAugmentation(WeakAugmentation):
    """What may happen to a training image. The defaults are those of the released AffinityNet.

    Raises:
        ValueError: a number is out of range; the message lists all of them.
    """

    crop_size: int = option(448, "Side of the squares that are learned from, in pixels; smaller ones are padded.")
    horizontal_flip: float = option(0.5, "Probability of mirroring left and right.")

    def crops(self) -> SegmenterAugmentation:
        """The part of it that moves pixels: crops and mirror images, without scaling."""
        return SegmenterAugmentation(self.crop_size, [1.0], self.horizontal_flip)

    def __post_init__(self):
        super().__post_init__()
        self.crops()


class AffinityTrainingSet(SegmenterTrainingSet):
    """Random crops of images with certain labels. A sample is a function of (seed, epoch, index) and nothing else.

    Args:
        folder: images with label maps, as from `with_pseudo_labels`.
        processor: gives pixels the values that the model sees in inference, too. 0 must be the mean colour.
        augmentation: what may happen to an image.
        stride: side of a cell in pixels.
        seed: seed of the run.
        image_cache_size: as for [`SegmenterTrainingSet`].
    """

    def __init__(
        self,
        folder: WeakFolder,
        processor: Callable[..., Any],
        augmentation: AffinityAugmentation,
        stride: int,
        seed: int,
        image_cache_size: int = 0,
    ):
        super().__init__(folder, processor, augmentation.crops(), seed, image_cache_size)
        self.colours = augmentation
        self.stride = stride

    def __getitem__(self, index: SampleKey) -> dict[str, Tensor]:
        """`{"pixel_values": float [3, c, c], "labels": int64 [h, w]}` of an (epoch, index) pair."""
        rng = sample_generator(self.seed, index)
        number = index[1] if index[1] < len(self) else int(rng.integers(len(self)))
        image, labels = random_crop(*self._load(number), self.augmentation, rng)
        picture = jitter_colors(Image.fromarray(np.ascontiguousarray(image)), self.colours, rng)
        side = self.augmentation.crop_size
        below, beside = side - labels.shape[0], side - labels.shape[1]
        labels = np.pad(labels, ((0, below), (0, beside)), constant_values=IGNORED)
        return {
            "pixel_values": F.pad(
                self.processor(picture, return_tensors="pt")["pixel_values"][0], (0, beside, 0, below)
            ),
            "labels": torch.from_numpy(labels_of_cells(labels, self.stride).astype(np.int64)),
        }
