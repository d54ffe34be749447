"""Localisation maps of labelled images from a trained classifier (thesis section 3.3.2).

K classes, C channels, R references; h x w features of an image, H x W its pixels, V maps of one class in one image.
Nothing is hooked into the model: maps are made of its features and its own layers.
"""

import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from .feature_cache import DEFAULT_BYTES, FeatureCache
from .image_group import ImageGroup
from .pseudo_labels import aggregate_maps, resize_map

if TYPE_CHECKING:  # the processor brings this file along with it
    from .modeling_mcis import MCISForImageClassification


@dataclass(frozen=True)
class LocalizationSettings:
    """How maps are made; the defaults are those of the released code.

    Raises:
        ValueError: values that cannot work.
    """

    num_references: int = field(
        default=3,
        metadata={
            "help": "Images with the same class that each image is compared with, per class (Table 3.5). 0 is the "
            "single-round map S_n, from the image alone."
        },
    )
    with_replacement: bool = field(default=True, metadata={"help": "Whether an image may be drawn more than once."})
    allow_self: bool = field(default=True, metadata={"help": "Whether an image may be its own reference."})
    use_views: bool = field(
        default=True,
        metadata={
            "help": "Whether the image is also compared with its mirror image and itself at other sizes, as the "
            "model's config says (released). Without, it is the thesis: references only."
        },
    )
    use_contrastive: bool = field(
        default=False,
        metadata={
            "help": "Whether one more map counts, of what the image does not share with as many images that do not "
            "have the class (Table 3.2; the thesis does not say with which images, this is our reading)."
        },
    )
    min_probability: float = field(
        default=0.1,
        metadata={"help": "A map, other than the first, counts only if its class is more probable than this in it."},
    )
    seed: int = field(default=0, metadata={"help": "Of the references."})

    def __post_init__(self):
        if self.num_references < 0 or self.seed < 0:
            raise ValueError(
                f"num_references and seed must be at least 0. Received: {self.num_references} and {self.seed}"
            )
        if self.use_contrastive and not self.num_references:
            raise ValueError("use_contrastive compares with other images. Received: num_references=0")


class Localizer:
    """Localisation maps for a group of related images.

    ```python
    with Localizer(model, processor, group) as localizer:
        for name in group.labels:
            attention = localizer.attention(name)  # {class id: uint8 [H, W]}, for make_pseudo_label
    ```

    The features of an image are computed once, when it or an image that it is a reference of comes first, and kept
    within `cache_bytes`; the maps are those that computing them anew would give. A view of an image is needed once,
    for the image itself. The weights must not change meanwhile.

    Args:
        model: is evaluated without gradients; its mode is restored after every call. Any classifier with
            `extract_features` and a `classifier` that makes maps of them; single-round maps need no more.
        processor: an `MCISImageProcessor`; prepares pictures, at `processor.size` and at the sizes of the views.
        group: images and labels.
        settings: how maps are made.
        cache_bytes: of main memory for features (2 MiB per image at the released size).
        cache_folder: where features go that do not fit; without it they are computed again.

    Raises:
        ValueError: settings that the model has no layers for, or labels that it does not know.
    """

    def __init__(
        self,
        model: "MCISForImageClassification",
        processor: Any,
        group: ImageGroup,
        settings: LocalizationSettings | None = None,
        cache_bytes: int = DEFAULT_BYTES,
        cache_folder: str | os.PathLike | None = None,
    ):
        self.model, self.processor, self.group = model, processor, group
        self.settings = settings or LocalizationSettings()
        config = model.config
        if self.settings.num_references and not getattr(config, "use_co_attention", False):
            raise ValueError(
                "a model without co-attention has single-round maps only (num_references=0). "
                f"Received: num_references={self.settings.num_references}"
            )
        if self.settings.use_contrastive and not getattr(config, "use_contrastive_co_attention", False):
            raise ValueError("the model has no contrastive co-attention. Received: use_contrastive=True")
        known = range(len(config.id2label or ()))
        for name, classes in group.labels.items():
            if any(class_id not in known for class_id in classes):
                raise ValueError(f"{name}: class ids must be from 0 to {len(known) - 1}. Received: {classes}")
        num_domains = getattr(config, "num_domains", 1)
        for name, domain in group.domains.items():
            if not 0 <= domain < num_domains:
                raise ValueError(f"{name}: domain must be from 0 to {num_domains - 1}. Received: {domain}")
        self.cache = FeatureCache(cache_bytes, cache_folder)

    def __enter__(self) -> "Localizer":
        return self

    def __exit__(self, *_: Any) -> None:
        self.cache.close()

    def attention(self, name: str) -> dict[int, np.ndarray]:
        """The localisation map of each class of an image, at the image's size.

        Returns:
            class id -> uint8 [H, W]; empty for an image without a label.

        Raises:
            ValueError: a name that the group does not have.
        """
        image = self._read(name)
        maps = self.maps(name, image)
        return {
            class_id: resize_map(aggregate_maps(values, self.settings.min_probability), (image.height, image.width))
            for class_id, values in maps.items()
        }

    def maps(
        self, name: str, image: Image.Image | None = None, references: Mapping[int, Sequence[str]] | None = None
    ) -> dict[int, Tensor]:
        """The maps that an image's localisation is made of, before they are put together.

        Args:
            name: of the image.
            image: its picture, if it is open already.
            references: class id -> names of images of the group, for every class of the image. Drawn, if not given.

        Returns:
            class id -> [V, h, w], on the CPU. From the image alone V is 1. Else these maps of the class, in the order
            of the released code: of the image with its mirror image, of the mirror image, of the other sizes, the mean
            over the references and, if asked for, the mean over the images without the class (where there are any).

        Raises:
            ValueError: a name that the group does not have, or a class without references.
        """
        image = image if image is not None else self._read(name)
        classes = sorted(set(self.group.labels[name]))
        settings, model = self.settings, self.model
        with evaluating(model), torch.no_grad():
            features = self._features(name, image)
            if not settings.num_references and references is None:
                maps = model.classifier(features)[0]
                return {class_id: maps[class_id, None].float().cpu() for class_id in classes}
            views = self._view_maps(name, image, features) if settings.use_views and classes else []
            found = {}
            for class_id in classes:
                terms = [view[class_id] for view in views]
                terms.append(self._reference_map(name, class_id, features, references))
                if settings.use_contrastive and (others := self._contrasts(name, class_id)):
                    terms.append(self._contrastive_map(name, class_id, features, others))
                found[class_id] = torch.stack(terms).float().cpu()
        return found

    def _reference_map(
        self, name: str, class_id: int, features: Tensor, references: Mapping[int, Sequence[str]] | None
    ) -> Tensor:
        """L_{n,k}: the mean of S_{n,k} over the references, [h, w]."""
        if references is not None:
            names = list(references.get(class_id, ()))
            if not names:
                raise ValueError(f"references of {name} must name images for class {class_id}. Received: none")
        else:
            s = self.settings
            names = self.group.references(name, class_id, s.num_references, s.with_replacement, s.allow_self, s.seed)
        return self.model.common_maps(self._common(name, features, names)).mean(dim=0)[class_id]

    def _contrasts(self, name: str, class_id: int) -> list[str]:
        settings = self.settings
        return self.group.contrasts(name, class_id, settings.num_references, settings.with_replacement, settings.seed)

    def _contrastive_map(self, name: str, class_id: int, features: Tensor, others: list[str]) -> Tensor:
        """The mean of the contrastive maps S_{n,k} against images without the class, [h, w]."""
        rest = self.model.contrastive_features(features, self._common(name, features, others))
        return self.model.common_maps(rest).mean(dim=0)[class_id]

    def _common(self, name: str, features: Tensor, others: list[str]) -> Tensor:
        """The co-attentive features of an image with each of `others`, [R, C, h, w]."""
        theirs = torch.cat([self._features(other) for other in others])
        own = features.expand(len(others), -1, -1, -1)
        domains = self._domains([name] * len(others), others)
        affinity = self.model.co_attention.affinity(own, theirs, *domains)
        return self.model.co_attention.common(own, theirs, affinity.transpose(1, 2))

    def _view_maps(self, name: str, image: Image.Image, features: Tensor) -> list[Tensor]:
        """Maps [K, h, w] of the image compared with changed copies of itself, on the grid of the image."""
        model, config, size = self.model, self.model.config, features.shape[-2:]
        domains = self._domains([name], [name])
        maps = []
        if config.flip_view:
            flipped = model.extract_features(self._pixels(image).flip(-1))
            common, flipped_common = model.co_attention(features, flipped, *domains)
            maps += [model.common_maps(common), model.common_maps(flipped_common).flip(-1)]
        for scale in config.scale_views:
            view = model.extract_features(self._pixels(image, size=self.processor.view_size(scale)))
            affinity = model.co_attention.affinity(features, view, *domains)
            view_maps = model.common_maps(model.co_attention.common(view, features, affinity))
            maps.append(F.interpolate(view_maps, size=size, mode="bicubic", align_corners=False))
        return [view[0] for view in maps]

    def _features(self, name: str, image: Image.Image | None = None) -> Tensor:
        """F of an image of the group, [1, C, h, w]. One image at a time: a batch may differ in the last bit."""

        def compute() -> Tensor:
            return self.model.extract_features(self._pixels(image if image is not None else self._read(name)))

        return self.cache.get(name, compute).to(self.model.device)

    def _pixels(self, image: Image.Image, **changes: Any) -> Tensor:
        pixel_values = self.processor(image, return_tensors="pt", **changes)["pixel_values"]
        return pixel_values.to(self.model.device, self.model.dtype)

    def _domains(self, names: list[str], others: list[str]) -> list[Tensor | None]:
        if self.model.config.num_domains == 1:
            return [None, None]
        known = self.group.domains
        return [
            torch.tensor([known.get(name, 0) for name in some], device=self.model.device) for some in (names, others)
        ]

    def _read(self, name: str) -> Image.Image:
        if name not in self.group.labels:
            raise ValueError(f"the group has no image of this name. Received: {name!r}")
        return self.group.read_image(name)


@contextmanager
def evaluating(model: nn.Module) -> Generator[None]:
    """Evaluation mode inside, the mode of before after it."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
