"""From localisation maps to pseudo masks (thesis section 3.3.2, "Learning Semantic Segmentation Network").

Functions on arrays, with the released rules and numbers as defaults, and the choice among them as a value that is
checked and stored (`PseudoLabelSettings`). V maps of one class, h x w cells, H x W pixels.
A localisation map ("attention") is uint8: 255 is the strongest evidence. A pseudo label is 0 for background,
class id + 1 for a class, 255 for a pixel that nobody should learn from.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.special import expit
from torch.nn import functional as F

from .dense_crf import DenseCRF

IGNORED = 255
EPSILON = 1e-8  # of the released normalisations: a map without evidence stays 0


def aggregate_maps(maps: Any, min_probability: float = 0.1) -> np.ndarray:
    """One map out of several of one class in one image.

    Each is cut at 0 and divided by its maximum. All but the first count only if the class is likely in them, but the
    divisor is the number of all: evidence that was refused makes the others weaker (released code).

    Args:
        maps: floats [V, h, w], the strongest source first.
        min_probability: the sigmoid of a later map's mean must be above it.

    Returns:
        uint8 [h, w], rounded down.

    Raises:
        ValueError: if the shape is another or a number is not finite.
    """
    values = np.asarray(maps, dtype=np.float32)
    if values.ndim != 3 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"maps must be finite numbers [V, h, w], none of them 0. Received: {list(values.shape)}")
    total = np.zeros(values.shape[1:], np.float32)
    for index, one in enumerate(values):
        if index == 0 or expit(one.mean()) > min_probability:
            positive = np.maximum(one, 0)
            total += positive / (positive.max() + np.float32(EPSILON)) * 255
    return (total / len(values)).astype(np.uint8)


def resize_map(attention: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A localisation map uint8 [h, w] at the size (H, W) of its image: bicubic, of the uint8 values, rounded.

    The released code uses OpenCV, which differs by at most one level (measured, in 6 of 100,000 pixels).
    """
    cells = torch.from_numpy(np.asarray(attention, dtype=np.float32))[None, None]
    pixels = F.interpolate(cells, size=size, mode="bicubic", align_corners=False)
    return pixels[0, 0].round().clamp(0, 255).byte().numpy()


def make_pseudo_label(
    attention: Mapping[int, np.ndarray],
    saliency: np.ndarray | None,
    num_labels: int,
    *,
    min_attention: float = 0.3,
    certain_attention: float = 0.95,
    conflict_score: float = 0.99,
    min_saliency: int = 32,
    min_object_share: float = 0.01,
    background_score: float = 0.2,
    background_power: float | None = None,
    refine: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """The pseudo mask of one image.

    Every class has the score of its attention, scaled to [0, 1] over the image, and the highest score wins, the
    background on a tie.

    - With `saliency`, the background's score is 1 - saliency. Scores below `min_attention` count as 0. What is salient
      or certain, but got no class, is ignored.
    - Without it, the background's score is the constant `background_score` (thesis section 3.4.4) or, with
      `background_power` P, (1 - highest score of a class) ^ P at each pixel.

    Where more than one score is above `conflict_score`, the pixel is ignored. If the classes have less than
    `min_object_share` of the pixels, all of them are.

    Args:
        attention: class id -> uint8 [H, W]. Classes that are not in the image, or have no map, are left out.
        saliency: uint8 [H, W], 255 for what stands out. The released code skips images that have none.
        num_labels: classes of the classifier, without the background; ids must be below.
        refine: float32 scores [1 + classes with a map, H, W], the background's first -> scores of the same shape, of
            which the highest wins; a [`DenseCRF`] of the image, for example. Conflicts are those of the scores before.
            Only without saliency, whose rules compare scores with numbers.

    Returns:
        uint8 [H, W].

    Raises:
        ValueError: arrays that are not uint8 or not of one size, nothing to tell a size by, or ids out of range.
    """
    if not 1 <= num_labels < IGNORED:
        raise ValueError(f"num_labels must be from 1 to {IGNORED - 1}. Received: {num_labels}")
    unknown = sorted(class_id for class_id in attention if not 0 <= class_id < num_labels)
    if unknown:
        raise ValueError(f"class ids must be from 0 to {num_labels - 1}. Received: {unknown}")
    if refine is not None and saliency is not None:
        raise ValueError("scores are refined without saliency only. Received: refine and saliency")
    named = {f"attention[{class_id}]": np.asarray(array) for class_id, array in sorted(attention.items())}
    saliency = None if saliency is None else np.asarray(saliency)
    _check_arrays(named | ({} if saliency is None else {"saliency": saliency}))

    class_ids = sorted(attention)
    scores = np.stack([np.zeros_like(next(iter(named.values()), saliency), np.float32), *map(scaled, named.values())])
    if saliency is not None:
        scores[0] = 1 - saliency.astype(np.float32) / 255
        certain = (scores[1:] > certain_attention).any(axis=0)
        scores[scores < np.float32(min_attention)] = 0
    elif background_power is not None:
        scores[0] = (1 - scores[1:].max(axis=0)) ** background_power
    else:
        scores[0] = background_score

    conflicts = (scores > conflict_score).sum(axis=0) > 1
    if refine is not None:
        scores = refine(scores)
    # a class without a map has the score 0, which never beats the background
    label = np.array([0, *(class_id + 1 for class_id in class_ids)], np.uint8)[scores.argmax(axis=0)]
    label[conflicts] = IGNORED
    if saliency is not None:
        label[((saliency >= min_saliency) | certain) & (label == 0)] = IGNORED
    if ((label > 0) & (label < IGNORED)).mean() < min_object_share:
        label[:] = IGNORED
    return label


def scaled(attention: np.ndarray) -> np.ndarray:
    """From the least to the largest value of the image, to [0, 1]; a constant map is 0 everywhere."""
    values = attention.astype(np.float64)
    low, high = values.min(), values.max()
    return ((values - low) / (high - low + EPSILON)).astype(np.float32)


def _check_arrays(arrays: Mapping[str, np.ndarray]) -> None:
    """All uint8 [H, W] of one size, and at least one."""
    if not arrays:
        raise ValueError("an image needs saliency or at least one class with attention. Received: neither")
    first = next(iter(arrays))
    for name, array in arrays.items():
        if array.dtype != np.uint8 or array.ndim != 2 or not array.size:
            raise ValueError(f"{name} must be a uint8 array [H, W]. Received: {array.dtype} {list(array.shape)}")
        if array.shape != arrays[first].shape:
            raise ValueError(
                f"{name} must have the size of {first}, {list(arrays[first].shape)}. Received: {list(array.shape)}"
            )


def default_background_score(config: Any, num_references: int) -> float:
    """The score that belongs to a classifier and its maps; the released one for a configuration without it.

    Args:
        config: of the classifier.
        num_references: with which the maps are made; 0 are those of single images.
    """
    single_round = None if num_references else getattr(config, "single_round_background_score", None)
    if single_round is not None:
        return single_round
    return getattr(config, "background_score", PseudoLabelSettings.background_score)


@dataclass(frozen=True)
class PseudoLabelSettings:
    """The numbers of [`make_pseudo_label`]; the defaults are the released ones.

    Raises:
        ValueError: values that cannot work; the message lists all.
    """

    min_attention: float = field(default=0.3, metadata={"help": "With saliency: lower scores count as 0."})
    certain_attention: float = field(
        default=0.95, metadata={"help": "With saliency: pixels above it that got no class are ignored."}
    )
    conflict_score: float = field(
        default=0.99, metadata={"help": "A pixel with more than one score above it is ignored."}
    )
    min_saliency: int = field(default=32, metadata={"help": "Salient pixels (0 to 255) without a class are ignored."})
    min_object_share: float = field(
        default=0.01, metadata={"help": "An image whose classes have less of its pixels is ignored as a whole."}
    )
    background_score: float = field(
        default=0.2, metadata={"help": "Without saliency: the score of the background (section 3.4.4)."}
    )
    background_power: float | None = field(
        default=None,
        metadata={"help": "Without saliency, instead of the score: (1 - highest score of a class) ^ this."},
    )
    crf: bool = field(
        default=False, metadata={"help": "Without saliency: a dense CRF makes the scores follow the image's edges."}
    )

    def __post_init__(self):
        shares = ("min_attention", "certain_attention", "conflict_score", "min_object_share", "background_score")
        problems = [
            f"{name} must be in [0, 1], received {getattr(self, name)}"
            for name in shares
            if not 0 <= getattr(self, name) <= 1
        ]
        if not 0 <= self.min_saliency <= 255:
            problems.append(f"min_saliency must be from 0 to 255, received {self.min_saliency}")
        if self.background_power is not None and not self.background_power > 0:
            problems.append(f"background_power must be positive, received {self.background_power}")
        if self.crf and self.background_power is None and not self.background_score:
            problems.append("crf needs a background_score above 0, received 0")
        if problems:
            raise ValueError("; ".join(problems))

    def check_with_saliency(self) -> None:
        """Raise ValueError for settings that have no meaning with saliency."""
        if self.crf or self.background_power is not None:
            raise ValueError("crf and background_power are for labels without saliency. Received: both")

    def remark_of(self, label: np.ndarray) -> str:
        """What to say about a pseudo label, uint8 [H, W], that has nothing but 255; nothing about any other."""
        if not (label == IGNORED).all():
            return ""
        return (
            f"all of it is undecided ({IGNORED}): its classes have less than {100 * self.min_object_share:g} % of the "
            "pixels (min_object_share), or conflict everywhere; a lower background score makes them larger"
        )

    def __call__(
        self, attention: Mapping[int, np.ndarray], saliency: np.ndarray | None, num_labels: int, image: Image.Image
    ) -> np.ndarray:
        """The pseudo label, uint8 [H, W]; arguments as in [`make_pseudo_label`], and the picture.

        Without saliency an image without classes is all background: that none of them is there is what its label
        says.
        """
        if not attention and saliency is None:
            return np.zeros((image.height, image.width), np.uint8)
        numbers = asdict(self)
        crf = DenseCRF() if numbers.pop("crf") else None
        refine = None if crf is None else lambda scores: crf(np.asarray(image), scores)
        return make_pseudo_label(attention, saliency, num_labels, **numbers, refine=refine)
