"""What pictures of different tasks are made of: text that fits, on a panel that makes it readable, and heat."""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# How much of what matters lies in a box (left, top, right, bottom) of the image
Hidden = Callable[[int, int, int, int], float]
# Black body to white: dark is few, bright is many, also in gray print and for colour-blind eyes. Anchors of "inferno".
_HEAT_ANCHORS = ((0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164))


def fitting_font(image_size: tuple[int, int], text: str, share: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A font with a height of `share` of the shorter side, smaller if `text` would be wider than half of the image."""
    size = max(9.0, share * min(image_size))
    width = ImageFont.load_default(size).getlength(text)
    return ImageFont.load_default(max(7.0, size * min(1.0, 0.5 * image_size[0] / max(1.0, width))))


def draw_panel(canvas: Image.Image, width: float, height: float, at_bottom: bool, hidden: Hidden) -> tuple[int, int]:
    """Darken a corner, so that white text is readable there: the left or right one, where less is hidden.

    Returns its upper left pixel.
    """
    panel_width, panel_height = min(math.ceil(width), canvas.width), min(math.ceil(height), canvas.height)
    top = canvas.height - panel_height if at_bottom else 0
    places = [(left, top, left + panel_width, top + panel_height) for left in (0, canvas.width - panel_width)]
    box = min(places, key=lambda place: hidden(*place))  # the left one, if equal
    area = canvas.crop(box)
    canvas.paste(Image.blend(area, Image.new("RGB", (area.width, area.height)), 0.72), box)
    return box[0], box[1]


def draw_label(canvas: Image.Image, text: str, hidden: Hidden) -> None:
    """Write the text into an upper corner, where less is hidden."""
    font = fitting_font(canvas.size, text, 0.045)
    left, top, right, bottom = font.getbbox(text)
    pad = 0.4 * (bottom - top)
    x, y = draw_panel(canvas, right - left + 2 * pad, bottom - top + 2 * pad, False, hidden)
    ImageDraw.Draw(canvas).text((x + pad - left, y + pad - top), text, fill="white", font=font)


def heat_colours() -> np.ndarray:
    """uint8 [256, 3]: the anchors, joined by straight lines."""
    anchors = np.array(_HEAT_ANCHORS, dtype=np.float64)
    places = np.linspace(0, 255, len(anchors))
    return np.stack([np.interp(np.arange(256), places, channel) for channel in anchors.T], axis=1).round().astype("u1")


def glow(image: Image.Image, levels: Image.Image) -> Image.Image:
    """A copy of the image, darkened, with levels (mode "L", of its size) glowing on it; 0 lets the image through."""
    gray = image.convert("L").convert("RGB")
    background = Image.blend(gray, image.convert("RGB"), 0.4).point([round(0.6 * v) for v in range(256)] * 3)
    heat = levels.copy()
    heat.putpalette(heat_colours().flatten().tolist())
    opacity = levels.point([round(235 * min(1.0, v / 80)) for v in range(256)])
    return Image.composite(heat.convert("RGB"), background, opacity)
