"""Which pictures should be annotated next: those that the model is unsure of, and that are unlike each other.

N pictures; D numbers that describe one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..counting.count_ranges import describe_count, describe_picture
from ..inference.finite_outputs import judging, require_finite

# What is told of a picture: how far points and density map differ for the size of the count, how wide the range is for
# it, and what share of the points is hardly sure. Each counts alike, by its rank among the pictures.
SIGNALS = ("disagreement", "width", "uncertain")
NEAR_THRESHOLD = 0.1
DIVERSITY = 0.1  # 0 errs as little on pictures of many places (docs/results.md); this is for many of one place
LEAST_UNSURE = 0.05  # so that distances decide between pictures that the model is sure of


@dataclass
class UnseenPicture:
    """A picture without annotation, and what a model says of it.

    Attributes:
        path: of the file.
        size: (width, height).
        count: how many objects the model found.
        points: [n, 2] (x, y) in pixels.
        labels: the name of each point's class; None of a model with one.
        signals: name to value; what the model cannot say is not there.
        features: [D], what the picture looks like to the model.
        rank: from 1 on, in which it should be annotated.
        unsure: 0 to 1, the mean rank of the signals.
    """

    path: Path
    size: tuple[int, int]
    count: int
    points: np.ndarray
    labels: list[str | None]
    signals: dict[str, float]
    features: np.ndarray = field(repr=False)
    rank: int = 0
    unsure: float = 0.0


def look_at(
    path: Path,
    image: Any,
    model: Any,
    processor: Any,
    batch_size: int = 8,
    on_batch: Callable[[int], object] | None = None,
    names: Sequence[str] = (),
) -> UnseenPicture:
    """Count a picture, and keep what ranking asks for.

    Args:
        path: of it, for messages.
        image: what the processor takes.
        model: any counter.
        processor: of it.
        batch_size: tiles per forward pass.
        on_batch: called with the number of tiles after each forward pass.
        names: of the model's classes, if it has several.

    Raises:
        ValueError: outputs of the model that are not finite.
    """
    pixels = processor.to_pixels(image)
    pooled: list[np.ndarray] = []
    backbone = getattr(model, "backbone", None)
    handle = None if backbone is None else backbone.register_forward_hook(_pooling_into(pooled))
    try:
        with judging(path, model):
            result = processor.count_objects(model, pixels, batch_size=batch_size, on_batch=on_batch)
            require_finite(result["exact_count"])
    finally:
        if handle is not None:
            handle.remove()
    described = describe_count(result)
    signals = {"disagreement": described["disagreement"]} if "disagreement" in described else {}
    if "range" in result:
        low, high = result["range"]
        signals["width"] = (high - low) / (1 + described["count"]) ** 0.5
    scores = result["scores"].numpy()
    if len(scores):
        threshold = np.mean(getattr(processor, "threshold", 0.5))
        signals["uncertain"] = float((scores < threshold + NEAR_THRESHOLD).mean())
    looks = np.array([*describe_picture(pixels).values()])
    return UnseenPicture(
        path=path,
        size=(int(pixels.shape[-1]), int(pixels.shape[-2])),
        count=result["count"],
        points=result["points"].numpy().astype(float),
        labels=[names[number] for number in result["classes"].tolist()] if names else [None] * len(result["points"]),
        signals=signals,
        features=np.concatenate(pooled).mean(axis=0) if pooled else looks,
    )


def _pooling_into(pooled: list[np.ndarray]) -> Callable[[Any, Any, Any], None]:
    def keep(module: Any, inputs: Any, output: Any) -> None:
        maps = output.feature_maps[-1] if hasattr(output, "feature_maps") else output[-1]
        pooled.append(maps.detach().float().mean(dim=(-2, -1)).cpu().numpy())

    return keep


def unsureness(signals: Sequence[dict[str, float]]) -> np.ndarray:
    """The mean of each picture's ranks in all signals, float [N] from 0 to 1; 0.5 where the model says nothing."""
    ranks = np.full((len(signals), len(SIGNALS)), np.nan)
    for column, name in enumerate(SIGNALS):
        known = [index for index, one in enumerate(signals) if name in one]
        values = np.array([signals[index][name] for index in known])
        if len(known) > 1:
            below = (values[:, None] > values).sum(axis=1) + 0.5 * ((values[:, None] == values).sum(axis=1) - 1)
            ranks[known, column] = below / (len(known) - 1)
    counted = np.isfinite(ranks).sum(axis=1)
    return np.where(counted > 0, np.nansum(ranks, axis=1) / np.maximum(counted, 1), 0.5)


def order_to_annotate(
    features: np.ndarray, unsure: np.ndarray, known: np.ndarray | None = None, diversity: float = DIVERSITY
) -> list[int]:
    """The most unsure first, the less so the nearer a picture is to those before it.

    Args:
        features: [N, D]
        unsure: [N], from 0 to 1.
        known: [M, D] of pictures that are annotated already.
        diversity: the exponent of the distance to the nearest picture before; 0 is unsureness alone, and with a large
            one it is farthest first.

    Returns:
        The numbers of all pictures.
    """
    if not len(features):
        return []
    both = features if known is None or not len(known) else np.concatenate([features, known])
    scale = both.std(axis=0)
    scale = np.where(scale > 0, scale, 1)
    scaled, number = features / scale, len(features)
    value, nearest = LEAST_UNSURE + unsure, np.ones(number)
    if known is not None and len(known):
        nearest = np.min([_distances(scaled, one) for one in known / scale], axis=0)
    left, order = np.ones(number, bool), []
    while left.any():
        chosen = int(np.where(left, value * nearest**diversity, -1).argmax())
        left[chosen] = False
        distances = _distances(scaled, scaled[chosen])
        nearest = np.minimum(nearest, distances) if order or known is not None else distances
        order.append(chosen)
    return order


def _distances(features: np.ndarray, one: np.ndarray) -> np.ndarray:
    return ((features - one) ** 2).sum(axis=1) ** 0.5


def rank_pictures(pictures: Sequence[UnseenPicture], known: Sequence[UnseenPicture] = ()) -> list[UnseenPicture]:
    """The pictures in the order in which they should be annotated.

    Args:
        pictures: without annotation; they get `rank` and `unsure`.
        known: pictures that are annotated already.
    """
    if not pictures:
        return []
    unsure = unsureness([picture.signals for picture in pictures])
    seen = np.stack([picture.features for picture in known]) if known else None
    order = order_to_annotate(np.stack([picture.features for picture in pictures]), unsure, seen)
    for rank, index in enumerate(order):
        pictures[index].rank, pictures[index].unsure = rank + 1, float(unsure[index])
    return [pictures[index] for index in order]
