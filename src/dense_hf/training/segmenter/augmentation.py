"""Random training crops of the segmenter (thesis section 3.3.3; the numbers are those of the released prototxt).

H, W: image. All randomness comes from the one `numpy.random.Generator` that a caller passes in.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from ...options import option

RELEASED_SCALES = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)


@dataclass
class SegmenterAugmentation:
    """What may happen to a training image. The defaults are the released recipe.

    Raises:
        ValueError: A number is out of range; the message lists all of them.
    """

    crop_size: int = option(321, "Side of the squares that are learned from, in pixels; smaller images are padded.")
    scales: list[float] = option(list(RELEASED_SCALES), "Factors of an image's sides, one of which is drawn.")
    horizontal_flip: float = option(0.5, "Probability of mirroring left and right.")

    def __post_init__(self):
        problems = []
        if self.crop_size < 1:
            problems.append(f"crop_size must be at least 1, received {self.crop_size}")
        if not (self.scales and all(0 < scale < np.inf for scale in self.scales)):
            problems.append(f"scales must be one or more positive numbers, received {self.scales}")
        if not 0 <= self.horizontal_flip <= 1:
            problems.append(f"horizontal_flip must be a probability in [0, 1], received {self.horizontal_flip}")
        if problems:
            raise ValueError("; ".join(problems))


def random_crop(
    image: np.ndarray, labels: np.ndarray, augmentation: SegmenterAugmentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Scale an image and its labels, cut out a square, and perhaps mirror it.

    Args:
        image: uint8 [H, W, 3].
        labels: uint8 [H, W]; scaled without mixing numbers.
        augmentation: what may happen.
        rng: where all randomness comes from.

    Returns:
        uint8 [h, w, 3] and [h, w]; h and w are `crop_size`, or less where the scaled image is smaller.
    """
    height, width = labels.shape
    scale = float(rng.choice(augmentation.scales))
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    if size != (width, height):
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
        labels = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    side = augmentation.crop_size
    y = int(rng.integers(max(size[1] - side, 0) + 1))
    x = int(rng.integers(max(size[0] - side, 0) + 1))
    window = slice(y, y + side), slice(x, x + side)
    step = -1 if rng.random() < augmentation.horizontal_flip else 1
    return image[window][:, ::step], labels[window][:, ::step]
