"""A picture of a whole video: how much of each frame every class takes, in the colors of its overlay.

T: number of frames; K: number of labels; h, w: height and width of the plot inside its margins.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .drawing import most_of

_BACKGROUND, _INK, _NO_FRAME = (255, 255, 255), (60, 64, 72), (226, 228, 232)


def draw_timeline(
    shares: np.ndarray,
    names: Sequence[str],
    palette: np.ndarray,
    size: tuple[int, int] = (960, 240),
    marker: int | None = None,
) -> Image.Image:
    """Stacked shares, frame 0 at the left, the first label at the bottom, with a legend at the right.

    Classes that never occur are not in the legend; if it has no room for all others, the largest are named. Each
    column of pixels shows one frame, so of a video with more frames than columns some are not seen.

    Args:
        shares: [T, K], in each row numbers that sum to 1, or NaN for a frame that could not be read.
        names: of the K labels.
        palette: uint8 [K, 3].
        size: (width, height) of the picture in pixels.
        marker: number of a frame that gets a line.

    Raises:
        ValueError: no frames, shares of another shape than the names, or a size without room for a plot.
    """
    shares = np.asarray(shares, dtype=np.float64)
    if shares.ndim != 2 or not len(shares) or shares.shape[1] != len(names):
        raise ValueError(f"shares must be [T, {len(names)}], with at least one frame. Received: {list(shares.shape)}")
    font = ImageFont.load_default(max(10.0, size[1] / 16))
    line = 1.5 * font.getbbox("Ag")[3]
    entries = most_of(np.nansum(shares, axis=0), int((size[1] - line) // line))
    left, top = round(font.getlength("100 %") + line / 2), round(line / 2)
    right = round(size[0] - 2 * line - max((font.getlength(names[label]) for label in entries), default=0))
    bottom = round(size[1] - 1.4 * line)
    if right - left < 16 or bottom - top < 16:
        raise ValueError(f"the size must have room for a plot beside its legend. Received: {size[0]} x {size[1]}")

    canvas = Image.new("RGB", size, _BACKGROUND)
    canvas.paste(Image.fromarray(_areas(shares, palette, right - left, bottom - top)), (left, top))
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((left - 1, top - 1, right, bottom), outline=_INK)
    for share, text in ((0.0, "0 %"), (0.5, "50 %"), (1.0, "100 %")):
        draw.text((left - line / 4, bottom - share * (bottom - top)), text, _INK, font, "rm")
    draw.text((left, bottom + line / 4), "frame 0", _INK, font, "la")
    draw.text((right, bottom + line / 4), str(len(shares) - 1), _INK, font, "ra")
    for row, label in enumerate(reversed(entries)):  # from top to bottom, as the areas lie
        y = top + row * line
        side = 0.6 * line
        draw.rectangle((right + line / 2, y, right + line / 2 + side, y + side), fill=tuple(palette[label].tolist()))
        draw.text((right + line / 2 + side + line / 4, y + side / 2), names[label], _INK, font, "lm")
    if marker is not None:
        _draw_marker(draw, left + (marker + 0.5) / len(shares) * (right - left), top, bottom)
    return canvas


def _areas(shares: np.ndarray, palette: np.ndarray, width: int, height: int) -> np.ndarray:
    """uint8 [h, w, 3]."""
    frames = np.minimum((np.arange(width) + 0.5) / width * len(shares), len(shares) - 1).astype(int)
    tops = np.cumsum(shares, axis=1)[frames]  # [w, K]
    heights = 1 - (np.arange(height) + 0.5) / height
    labels = (heights[:, None, None] > tops[None]).sum(axis=-1)  # [h, w]
    areas = palette[np.minimum(labels, len(palette) - 1)]
    areas[:, np.isnan(tops).any(axis=1)] = _NO_FRAME
    return areas


def _draw_marker(draw: ImageDraw.ImageDraw, x: float, top: float, bottom: float) -> None:
    """A dark line in a bright one: seen on every color."""
    draw.line((x, top - 4, x, bottom + 4), fill=_BACKGROUND, width=5)
    draw.line((x, top - 4, x, bottom + 4), fill=_INK, width=2)
