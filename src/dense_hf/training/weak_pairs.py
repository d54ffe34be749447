"""Which images are compared in training (thesis section 3.3.1; how they are drawn is the released code's)."""

from collections.abc import Sequence

import numpy as np

from ..data.weak_folder import WeakImage


class PairDrawer:
    """Draws a partner that shares a class.

    One of the classes of an image is drawn, then one of the images that have it: each with the same probability, the
    image itself among them, so that a class with one image is paired with itself (`WeakFolder` warns of those). Images
    of all domains are candidates, so pairs across domains occur in both orders.

    The released lists have no image without a class. Here such an image gets any image as its partner: nothing is
    common, which the co-attention then learns as for any class that only one of two has.

    Args:
        images: all images of a training set.
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
