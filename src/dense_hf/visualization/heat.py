"""Pictures of how strong something is where: colors of heat over a darkened image."""

import numpy as np
from PIL import Image

from .drawing import draw_label

# Black body to white: dark is little, bright is much, in gray print and for color-blind eyes, too ("inferno")
_ANCHORS = ((0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164))


def draw_attention(image: Image.Image, attention: np.ndarray, label: str = "") -> Image.Image:
    """A copy of the image, darkened, with a localisation map glowing on it.

    Args:
        image: any mode.
        attention: uint8 [height, width], 255 is the strongest evidence.
        label: text for an upper corner, such as the name of the class.

    Raises:
        ValueError: a map of another size than the image, or of another type.
    """
    if attention.shape != (image.height, image.width) or attention.dtype != np.uint8:
        raise ValueError(
            f"attention must be uint8, as large as the image, {image.height} x {image.width}. "
            f"Received: {attention.dtype} {' x '.join(map(str, attention.shape))}"
        )
    canvas = glow(image, Image.fromarray(attention))
    if label:
        draw_label(canvas, label, lambda left, top, right, bottom: float(attention[top:bottom, left:right].sum()))
    return canvas


def glow(image: Image.Image, levels: Image.Image) -> Image.Image:
    """A copy of the image, darkened, with colors over it for levels from 0 to 255, an image of mode L as large."""
    gray = image.convert("L").convert("RGB")
    background = Image.blend(gray, image.convert("RGB"), 0.4).point([round(0.6 * v) for v in range(256)] * 3)
    heat = levels.copy()
    heat.putpalette(heat_colors().flatten().tolist())
    opacity = levels.point([round(235 * min(1.0, v / 80)) for v in range(256)])
    return Image.composite(heat.convert("RGB"), background, opacity)


def heat_colors() -> np.ndarray:
    """uint8 [256, 3]: the anchors, joined by straight lines."""
    anchors = np.array(_ANCHORS, dtype=np.float64)
    places = np.linspace(0, 255, len(anchors))
    return np.stack([np.interp(np.arange(256), places, channel) for channel in anchors.T], axis=1).round().astype("u1")
