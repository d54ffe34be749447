"""What happens to the images of a pair (released code of chapter 3; the thesis does not mention any of it).

Everything random comes from the one `numpy.random.Generator` that a caller passes in.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from torchvision.transforms import functional

from ...options import option

# Property of a picture -> what changes it by a factor; Pillow does, as the annotations there do not say
FACTORS: dict[str, Callable[[Any, float], Any]] = {
    "brightness": functional.adjust_brightness,
    "contrast": functional.adjust_contrast,
    "saturation": functional.adjust_saturation,
    "hue": functional.adjust_hue,
}


@dataclass
class WeakAugmentation:
    """How much the images of a pair may change. The defaults are the released recipe.

    Raises:
        ValueError: a number is out of range; the message lists all of them.
    """

    brightness: float = option(0.3, "Brightness is multiplied by 1 - this to 1 + this.")
    contrast: float = option(0.3, "The same for the contrast.")
    saturation: float = option(0.3, "The same for the saturation.")
    hue: float = option(0.1, "The hue is turned by up to this share of the circle.")
    horizontal_flip: float = option(
        0.0, "Probability of mirroring an image left and right, with its views; 0 is released."
    )

    def __post_init__(self):
        problems = [
            f"{name} must be in [0, {most:g}], received {getattr(self, name)}"
            for name, most in (
                ("brightness", 1), ("contrast", 1), ("saturation", 1), ("hue", 0.5), ("horizontal_flip", 1)
            )
            if not 0 <= getattr(self, name) <= most
        ]  # fmt: skip
        if problems:
            raise ValueError("; ".join(problems))


def jitter_colors(image: Image.Image, augmentation: WeakAugmentation, rng: np.random.Generator) -> Image.Image:
    """Brightness, contrast, saturation and hue by random factors, in random order; the size stays."""
    for name in rng.permutation(list(FACTORS)):
        reach = getattr(augmentation, name)
        middle = 0 if name == "hue" else 1
        # drawn even if it changes nothing, so that switching one off leaves the others as they were
        factor = rng.uniform(middle - reach, middle + reach)
        if reach > 0:
            image = FACTORS[name](image, factor)
    return image


def flip_at_random(image: Image.Image, augmentation: WeakAugmentation, rng: np.random.Generator) -> Image.Image:
    """The image, or its mirror image."""
    return ImageOps.mirror(image) if rng.random() < augmentation.horizontal_flip else image
