"""Pictures of several methods beside each other, each with a line of text."""

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

_GAP, _TEXT_SIZE = 6, 13


def draw_sheet(panels: Sequence[tuple[Image.Image, str]], width: int = 240, columns: int | None = None) -> Image.Image:
    """Panels in rows, their captions above them.

    Args:
        panels: pictures, and what they show.
        width: of each, in pixels; heights follow.
        columns: panels of a row; by default about as many as there are rows, and at most 5.

    Raises:
        ValueError: no panels.
    """
    if not panels:
        raise ValueError("A sheet needs panels. Received: none")
    columns = columns or min(5, math.ceil(math.sqrt(len(panels))))
    rows = math.ceil(len(panels) / columns)
    height = max(round(image.height * width / image.width) for image, _ in panels)
    line = _TEXT_SIZE + _GAP
    size = (columns * (width + _GAP) + _GAP, rows * (height + line + _GAP) + _GAP)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for number, (image, text) in enumerate(panels):
        left = _GAP + number % columns * (width + _GAP)
        top = _GAP + number // columns * (height + line + _GAP)
        draw.text((left, top), text, fill="black", font=_fitting(text, width))
        scaled = image.convert("RGB").resize((width, max(1, round(image.height * width / image.width))))
        sheet.paste(scaled, (left, top + line))
    return sheet


def _fitting(text: str, width: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A font in which the text is not wider than its panel."""
    wide = ImageFont.load_default(_TEXT_SIZE).getlength(text)
    return ImageFont.load_default(max(7.0, _TEXT_SIZE * min(1.0, width / max(1.0, wide))))
