"""What may befall a frame of a video: noise, flicker, blur, a lost picture, something in front of the camera.

Sizes are relative to the frame, so that a frame and a smaller copy of it are damaged alike. Training damages frames at
random, evaluation those that a rule names, both with the same functions. H x W pixels of a frame.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

NOISE = 25.0  # standard deviation, of 255 levels
FLICKER = (0.4, 1.6)  # range of the factor of all pixels
BLUR = 1 / 60  # standard deviation, of the short side
OCCLUDED = (0.4, 0.7)  # range of the sides of what is in front, of the sides of the frame
GRAY = 127


def _noise(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _clipped(pixels + rng.normal(0, NOISE, pixels.shape))


def _flicker(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _clipped(pixels * rng.uniform(*FLICKER))


def _blur(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    radius = BLUR * min(pixels.shape[:2])
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def _black(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.zeros_like(pixels)


def _occlusion(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    damaged = pixels.copy()
    height, width = (max(round(side * rng.uniform(*OCCLUDED)), 1) for side in pixels.shape[:2])
    top, left = (int(rng.integers(side - part + 1)) for side, part in zip(pixels.shape[:2], (height, width)))
    damaged[top : top + height, left : left + width] = GRAY
    return damaged


def _clipped(values: np.ndarray) -> np.ndarray:
    return values.round().clip(0, 255).astype(np.uint8)


DAMAGES: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "noise": _noise,
    "flicker": _flicker,
    "blur": _blur,
    "black": _black,
    "occlusion": _occlusion,
}


def damage_frame(pixels: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """A damaged copy of a frame.

    Args:
        pixels: uint8 [H,W,3].
        kind: a name of `DAMAGES`.
        rng: where all randomness comes from.

    Returns:
        uint8 [H,W,3].
    """
    return DAMAGES[kind](pixels, rng)
