"""Images with classes as pairs to train on, and pairs as batches (thesis section 3.3.1).

Which image a partner is drawn from is the released code's rule (`PairDrawer`).

B pairs; K classes; s side of a processed image, and s_v of its view v.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from ...data.images import open_image
from ...data.weak_folder import WeakImage
from ..decoded_cache import DecodedCache
from ..epoch_sampler import SampleKey, sample_generator
from .augmentation import WeakAugmentation, flip_at_random, jitter_colors

if TYPE_CHECKING:
    from ...data.weak_folder import WeakFolder
    from ...weak_segmentation.image_processing_mcis import MCISImageProcessor


class WeakTrainingSet(Dataset):
    """Pairs of images that share a class. A sample is a function of (seed, epoch, index) and nothing else.

    Index i is image i and a partner (see `PairDrawer`); indices past the end (they complete the last batch of an
    epoch, see `EpochSampler`) are a random image and its partner.

    Both images are resized to a square and change their colours. The views of the first image are made of the image as
    it is in the file (perhaps mirrored), with its own colours (released).

    Args:
        folder: the images, of one or several domains.
        processor: gives pixels the values that the model sees in inference too.
        config: of the model: which views there are, and whether domains count.
        augmentation: what may happen to an image.
        seed: seed of the run.
        image_cache_size: decoded images that are kept in memory, per loader process. For sets that fit.

    Raises:
        ValueError: classes or domains that the model has not, or a negative size of the cache.
    """

    def __init__(
        self,
        folder: "WeakFolder",
        processor: "MCISImageProcessor",
        config: Any,
        augmentation: WeakAugmentation,
        seed: int,
        image_cache_size: int = 0,
    ):
        if len(folder.class_names) != config.num_labels:
            raise ValueError(
                f"The model must have the {len(folder.class_names)} classes of the images. Received: num_labels="
                f"{config.num_labels}"
            )
        num_domains = getattr(config, "num_domains", 1)
        beyond = {image.domain for image in folder.images if not 0 <= image.domain < num_domains}
        if num_domains > 1 and beyond:
            raise ValueError(
                f"Domains must be from 0 to {num_domains - 1} (num_domains={num_domains}). Received: {sorted(beyond)}"
            )
        self.images = folder.images
        self.processor = processor
        self.num_labels = config.num_labels or 0
        self.with_domains = num_domains > 1
        # a classifier that compares an image with nothing has no views
        self.flip_view, self.scale_views = getattr(config, "flip_view", False), getattr(config, "scale_views", ())
        self.augmentation = augmentation
        self.seed = seed
        self.pairs = PairDrawer(folder.images)
        self._cache: DecodedCache[int, Image.Image] = DecodedCache(image_cache_size)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: SampleKey) -> dict[str, Any]:
        """The pair of an (epoch, index) key.

        Returns:
            `pixel_values` and `paired_pixel_values` float [3, s, s]; `labels` and `paired_labels` float [K];
            `view_pixel_values`, a list of float [3, s_v, s_v]; `epoch`, an int; and, if the model has several domains,
            `domains` and `paired_domains`, ints.
        """
        epoch, number = index
        rng = sample_generator(self.seed, index)
        if number >= len(self.images):
            number = int(rng.integers(len(self.images)))
        partner = self.pairs.draw(number, rng)
        image = flip_at_random(self._load(number), self.augmentation, rng)
        paired = flip_at_random(self._load(partner), self.augmentation, rng)
        sample = {
            "pixel_values": self._jittered(image, rng),
            "paired_pixel_values": self._jittered(paired, rng),
            "labels": self._label_vector(self.images[number]),
            "paired_labels": self._label_vector(self.images[partner]),
            "view_pixel_values": self._views(image),
            "epoch": epoch,
        }
        if self.with_domains:
            sample |= {"domains": self.images[number].domain, "paired_domains": self.images[partner].domain}
        return sample

    def _jittered(self, image: Image.Image, rng: np.random.Generator) -> Tensor:
        """Resized first, as released: fewer pixels to change."""
        resized = self.processor(image, do_rescale=False, do_normalize=False)["pixel_values"][0]
        changed = jitter_colors(Image.fromarray(resized.transpose(1, 2, 0)), self.augmentation, rng)
        return self.processor(changed, do_resize=False, return_tensors="pt")["pixel_values"][0]

    def _views(self, image: Image.Image) -> list[Tensor]:
        """The mirror image and the other sizes, in the order of the configuration."""
        views = []
        if self.flip_view:
            views.append(self.processor(image, return_tensors="pt")["pixel_values"][0].flip(-1))
        for scale in self.scale_views:
            size = self.processor.view_size(scale)
            views.append(self.processor(image, size=size, return_tensors="pt")["pixel_values"][0])
        return views

    def _label_vector(self, image: WeakImage) -> Tensor:
        labels = torch.zeros(self.num_labels)
        labels[list(image.labels)] = 1
        return labels

    def _load(self, number: int) -> Image.Image:
        return self._cache.get(number, lambda: open_image(self.images[number].path))


def collate_pairs(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Samples of one epoch as a batch, by the names that `MCISForImageClassification` and its like take.

    Returns:
        Tensors [B, ...] by name, a list of them for the views (no views: an empty list), and `epoch`, one int.
    """
    first = samples[0]
    names = ("pixel_values", "paired_pixel_values", "labels", "paired_labels")
    batch: dict[str, Any] = {name: torch.stack([sample[name] for sample in samples]) for name in names}
    batch["view_pixel_values"] = [
        torch.stack(views) for views in zip(*(sample["view_pixel_values"] for sample in samples))
    ]
    for name in ("domains", "paired_domains"):
        if name in first:
            batch[name] = torch.tensor([sample[name] for sample in samples])
    return batch | {"epoch": first["epoch"]}


class PairDrawer:
    """Draws a partner that shares a class.

    One of the classes of an image is drawn, then one of the images that have it: each with the same probability, the
    image itself among them, so that a class with one image is paired with itself (`WeakFolder` warns of those). Images
    of all domains are candidates, so pairs across domains occur in both orders.

    The released lists have no image without a class. Here such an image gets any image as its partner: nothing is
    common, which the co-attention then learns as for any class that only one of two has.
    """

    def __init__(self, images: Sequence[WeakImage]):
        self.images = images
        members: dict[int, list[int]] = {}
        for number, image in enumerate(images):
            for label in image.labels:
                members.setdefault(label, []).append(number)
        self._members = {label: np.array(numbers) for label, numbers in members.items()}

    def draw(self, number: int, rng: np.random.Generator) -> int:
        """The number of a partner for image `number`."""
        labels = self.images[number].labels
        if not labels:
            return int(rng.integers(len(self.images)))
        candidates = self._members[labels[int(rng.integers(len(labels)))]]
        return int(candidates[int(rng.integers(len(candidates)))])
