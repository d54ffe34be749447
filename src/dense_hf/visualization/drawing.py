"""What pictures of different tasks are made of: text that fits, on a panel that makes it readable."""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# How much of what matters lies in a box (left, top, right, bottom) of the image
Hidden = Callable[[int, int, int, int], float]


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
    """Write a line of text into the upper corner where it hides less."""
    font = fitting_font(canvas.size, text, 0.045)
    left, top, right, bottom = font.getbbox(text)
    pad = 0.4 * (bottom - top)
    x, y = draw_panel(canvas, right - left + 2 * pad, bottom - top + 2 * pad, False, hidden)
    ImageDraw.Draw(canvas).text((x + pad - left, y + pad - top), text, fill="white", font=font)


def most_of(amounts: np.ndarray, count: int) -> list[int]:
    """The labels, at most `count`, with the largest amounts [K] above 0; sorted."""
    order = np.argsort(-amounts, kind="stable")[:count]
    return sorted(order[amounts[order] > 0].tolist())
