"""Label maps as PNG files that anybody can look at: class numbers with a palette."""

import numpy as np
from PIL import Image

from .images import png_bytes


def label_map_png(numbers: np.ndarray) -> bytes:
    """The content of a PNG file whose palette indices are the class numbers uint8 [H,W]."""
    image = Image.fromarray(numbers, mode="P")
    image.putpalette(distinct_colours(256).flatten().tolist())
    return png_bytes(image)


def distinct_colours(count: int) -> np.ndarray:
    """uint8 [count,3]: the colours of PASCAL VOC. Bits 0, 3 and 6 of the number are the highest of red, and so on."""
    numbers = np.arange(count)[:, None]
    colours = np.zeros((count, 3), dtype=np.int64)
    for bit in range(8):
        colours |= ((numbers >> (3 * bit + np.arange(3))) & 1) << (7 - bit)
    return colours.astype(np.uint8)
