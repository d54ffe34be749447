"""Pictures of where a class is, before it is decided: a localisation map glowing on its image (thesis section 3.3.2).

H, W: height and width of the image.
"""

import numpy as np
from PIL import Image

from .drawing import draw_label, glow


def draw_attention(image: Image.Image, attention: np.ndarray, label: str = "") -> Image.Image:
    """A copy of the image, darkened, with a localisation map glowing on it, the brighter the surer.

    Args:
        image: any mode.
        attention: uint8 [H, W], 255 for the strongest evidence.
        label: text for an upper corner, such as "person"; the one where it hides less.

    Raises:
        ValueError: a map of another size than the image, or not uint8.
    """
    if attention.shape != (image.height, image.width) or attention.dtype != np.uint8:
        raise ValueError(
            f"The map must be uint8 and as large as the image, {image.height} x {image.width}. "
            f"Received: {attention.dtype}, {' x '.join(map(str, attention.shape))}"
        )
    canvas = glow(image, Image.fromarray(attention))
    if label:
        draw_label(canvas, label, lambda left, top, right, bottom: float(attention[top:bottom, left:right].sum()))
    return canvas
