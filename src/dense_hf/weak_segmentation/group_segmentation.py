"""From related images and their classes to maps and masks in one go (thesis section 3.3.2), for users of a model.

K classes, H x W pixels of an image.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import torch
from PIL import Image

from .image_group import ImageGroup
from .localization import LocalizationSettings, Localizer, evaluating
from .pseudo_labels import PseudoLabelSettings, default_background_score

if TYPE_CHECKING:
    from .modeling_mcis import MCISForImageClassification


class ImageMasks(TypedDict):
    """What is known about one image: class ids, a map uint8 [H, W] of each, and the pseudo label uint8 [H, W].

    `remark` says if the label has nothing but 255, see [`remark_of`]; else it is empty.
    """

    labels: list[int]
    maps: dict[int, np.ndarray]
    segmentation: np.ndarray
    remark: str


def find_classes(
    model: "MCISForImageClassification", processor: Any, image: Image.Image, threshold: float = 0.5
) -> list[int]:
    """The classes that the classifier sees in an image on its own: those whose sigmoid is at least `threshold`.

    Raises:
        ValueError: a threshold outside [0, 1], or logits that are not finite.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be in [0, 1]. Received: {threshold}")
    pixel_values = processor(image, return_tensors="pt")["pixel_values"].to(model.device, model.dtype)
    with evaluating(model), torch.no_grad():
        logits = model(pixel_values).logits[0].float()
    if not logits.isfinite().all():
        raise ValueError("The logits must be finite. Received: NaN or infinity; the weights are broken")
    return torch.where(logits.sigmoid() >= threshold)[0].tolist()


def segment_group(
    model: "MCISForImageClassification",
    processor: Any,
    sources: Sequence[Any],
    read: Callable[[Any], Image.Image],
    labels: Sequence[Sequence[int] | None],
    saliency: Sequence[np.ndarray] | None = None,
    threshold: float = 0.5,
    **settings: Any,
) -> Iterator[ImageMasks]:
    """Maps and masks of images that are each other's references.

    Args:
        model, processor: a trained classifier and its `MCISImageProcessor`, which imports this file.
        sources: what stands for the images, N of them; they are opened when they are needed.
        read: a source -> its picture.
        labels: N times the ids of the classes, or None: those that `find_classes` finds.
        saliency: N arrays, see [`make_pseudo_label`].
        threshold: of `find_classes`.
        settings: fields of [`LocalizationSettings`] and [`PseudoLabelSettings`]; `background_score` is by default that
            of the model's configuration.

    Raises:
        ValueError: settings or labels that cannot be.
    """
    known = {field.name for field in fields(LocalizationSettings)}
    localization = LocalizationSettings(**{name: value for name, value in settings.items() if name in known})
    given: Any = {name: value for name, value in settings.items() if name not in known}
    given.setdefault("background_score", default_background_score(model.config, localization.num_references))
    rules = PseudoLabelSettings(**given)
    if saliency is not None:
        rules.check_with_saliency()
    # the names decide which references are drawn
    pictures = {f"{number:06d}": source for number, source in enumerate(sources)}
    classes = {
        name: find_classes(model, processor, read(source), threshold) if given is None else sorted(set(given))
        for (name, source), given in zip(pictures.items(), labels)
    }
    group = ImageGroup(classes, lambda name: read(pictures[name]))
    num_labels: int = model.config.num_labels  # ty: ignore[invalid-assignment]  never None after __init__
    with Localizer(model, processor, group, localization) as localizer:
        for number, (name, source) in enumerate(pictures.items()):
            picture, salient = read(source), None if saliency is None else saliency[number]
            if salient is not None and salient.shape != (picture.height, picture.width):
                raise ValueError(
                    f"saliency must have the size of its image, {[picture.height, picture.width]}. Received: "
                    f"{list(salient.shape)} for image {number}"
                )
            maps = localizer.attention(name)
            label = rules(maps, salient, num_labels, picture)
            remark = rules.remark_of(label)
            yield ImageMasks(labels=classes[name], maps=maps, segmentation=label, remark=remark)
