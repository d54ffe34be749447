"""What AffinityNet learns from: the places where localisation maps are certain (thesis section 3.4.4, [143]).

H x W pixels of an image, h x w cells, K classes that the image has.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .dense_crf import DenseCRF
from .pseudo_labels import IGNORED, scaled

# of the released code, whose CRF sees RGB
AFFINITY_CRF = DenseCRF(10, gaussian_compat=3, bilateral_srgb=13, bilateral_compat=10, channel_order="rgb")


@dataclass(frozen=True)
class CertainLabels:
    """Labels of the pixels of an image that its maps are certain about.

    The score of the background is (1 - highest score of a class) ^ power; a dense CRF compares the scores with the
    image, and the highest wins. A pixel has a class if that is so with `low_power`, for which much is background; it
    is background if that is so with `high_power`, for which little is. All others are not known.

    Raises:
        ValueError: powers that are not positive, or not in this order.
    """

    low_power: float = field(default=4.0, metadata={"help": "Of a large background: what is left has a class."})
    high_power: float = field(default=32.0, metadata={"help": "Of a small background: what it takes is background."})
    crf: bool = field(default=True, metadata={"help": "Whether a dense CRF compares the scores with the image."})

    def __post_init__(self):
        if not 0 < self.low_power <= self.high_power:
            raise ValueError(
                "low_power must be positive and not above high_power. Received: "
                f"low_power={self.low_power}, high_power={self.high_power}"
            )

    def __call__(self, attention: Mapping[int, np.ndarray], image: np.ndarray) -> np.ndarray:
        """The labels of one image.

        Args:
            attention: class id -> map, uint8 [H, W]. An image without classes is background, as its label says.
            image: uint8 [H, W, 3].

        Returns:
            uint8 [H, W]: 0 for background, class id + 1, 255 for pixels that are not known.
        """
        if not attention:
            return np.zeros(image.shape[:2], np.uint8)
        class_ids = sorted(attention)
        numbers = np.array([0, *(class_id + 1 for class_id in class_ids)], np.uint8)
        scores = np.stack([scaled(attention[class_id]) for class_id in class_ids])
        low, high = (numbers[self._winner(scores, power, image)] for power in (self.low_power, self.high_power))
        return np.where(low > 0, low, np.where(high == 0, 0, IGNORED)).astype(np.uint8)

    def _winner(self, scores: np.ndarray, power: float, image: np.ndarray) -> np.ndarray:
        """Index of the highest score of each pixel, the background's first, [H, W]."""
        background = (1 - scores.max(axis=0)) ** np.float32(power)
        every = np.concatenate([background[None], scores])
        return (AFFINITY_CRF(image, every) if self.crf else every).argmax(axis=0)


def labels_of_cells(labels: np.ndarray, stride: int) -> np.ndarray:
    """Labels of the cells of a grid: what more than half of a cell's pixels are; else it is not known.

    Args:
        labels: of pixels, uint8 [H, W]; 255 for those that are not known.
        stride: side of a cell. Cells that stand over the edge of the image have unknown pixels there.

    Returns:
        uint8 [ceil(H / stride), ceil(W / stride)]
    """
    below, beside = (-side % stride for side in labels.shape)
    padded = np.pad(labels, ((0, below), (0, beside)), constant_values=IGNORED)
    height, width = (side // stride for side in padded.shape)
    pixels = padded.reshape(height, stride, width, stride)
    cells = np.full((height, width), IGNORED, np.uint8)
    for number in np.unique(labels):
        cells[(pixels == number).mean(axis=(1, 3)) > 0.5] = number
    return cells
