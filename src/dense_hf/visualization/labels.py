"""Pictures of labels: every class in its color over the image, with a legend of the names.

H, W: height and width of the image; K: number of labels.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .drawing import draw_panel, most_of

_FONT_SHARE = 0.03  # of the shorter side of the image
_LEGEND_SHARE = 0.6, 0.4  # of the height and the width of the image, the most that a legend takes
_LINE = 1.35  # height of a line, in heights of the font
_FIRST_COLOUR = (17, 119, 187)


@lru_cache
def _distinct_colors(num_labels: int) -> tuple[tuple[int, int, int], ...]:
    steps = np.arange(0, 256, 17)
    colors = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = _to_lab(colors)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    fit = (chroma > 35) & (chroma < 80) & (lab[:, 0] > 35) & (lab[:, 0] < 88)
    colors, lab = colors[fit], lab[fit]
    chosen = [int(np.abs(colors - _FIRST_COLOUR).sum(axis=1).argmin())]
    distance = np.full(len(lab), np.inf)
    while len(chosen) < min(num_labels, len(lab)):
        distance = np.minimum(distance, np.linalg.norm(lab - lab[chosen[-1]], axis=1))
        chosen.append(int(distance.argmax()))
    return tuple(tuple(colors[chosen[label % len(chosen)]].tolist()) for label in range(num_labels))


def label_palette(num_labels: int) -> np.ndarray:
    """Colors uint8 [K, 3] for K labels, always the same ones; a smaller K has the first of them.

    Each is the one farthest, to the eye (CIELAB), from those before it. Grays, the very dark and the very bright are
    left out, because they are hard to tell from the image, and the glaring ones. They repeat after 2,000 or so.

    Raises:
        ValueError: a K below 1.
    """
    if num_labels < 1:
        raise ValueError(f"num_labels must be at least 1. Received: {num_labels}")
    return np.array(_distinct_colors(num_labels), dtype=np.uint8)


def draw_labels(
    image: Image.Image,
    labels: np.ndarray,
    names: Sequence[str] | None = None,
    palette: np.ndarray | None = None,
    opacity: float = 0.5,
    legend: Sequence[int] | None = None,
) -> Image.Image:
    """A copy of the image with the color of its label over each pixel, stronger at the borders of regions.

    The legend stands in the upper left corner and takes at most 60 % of the height and 40 % of the width; what does
    not fit is left out (`legend_lines` says how many do). A thumbnail that is too small for text has none.

    Args:
        image: any mode.
        labels: whole numbers [H, W], below K; 255 and others from K on stay without color.
        names: of the K labels, for the legend; without them there is none.
        palette: uint8 [K, 3]; by default `label_palette`.
        opacity: of the colors, from 0 (only the image) to 1.
        legend: labels that it lists, in this order; by default the largest of the image, by number.

    Raises:
        ValueError: labels of another size than the image, or an opacity outside [0, 1].
    """
    if labels.shape != (image.height, image.width):
        received = " x ".join(map(str, labels.shape))
        raise ValueError(
            f"The labels must be as large as the image, {image.height} x {image.width}. Received: {received}"
        )
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must be in [0, 1]. Received: {opacity}")
    if palette is None:
        palette = label_palette(len(names) if names else int(labels.max()) + 1)
    known = labels < len(palette)
    indices = np.where(known, labels, 0)
    strength = np.full(labels.shape, opacity)
    strength[_borders(labels, max(1, round(min(image.size) / 540)))] = min(1.0, 2 * opacity)
    mask = Image.fromarray(np.where(known, 255 * strength, 0).round().astype(np.uint8))
    canvas = Image.composite(Image.fromarray(palette[indices]), image.convert("RGB"), mask)
    if names:
        if legend is None:
            legend = largest_labels(np.bincount(labels[known], minlength=len(palette)), image.size)
        _draw_legend(canvas, [(names[label], tuple(palette[label].tolist())) for label in legend])
    return canvas


def largest_labels(pixels: np.ndarray, size: tuple[int, int]) -> list[int]:
    """The labels with the most pixels, [K], as many as a legend in an image of (width, height) has lines; sorted."""
    return most_of(pixels, legend_lines(size))


def legend_lines(size: tuple[int, int]) -> int:
    """How many classes a legend in an image of (width, height) can name."""
    return int(_LEGEND_SHARE[0] * size[1] / (_LINE * _font_size(size)) - 0.5)


def _font_size(size: tuple[int, int]) -> float:
    return max(10.0, _FONT_SHARE * min(size))


def _borders(labels: np.ndarray, thickness: int) -> np.ndarray:
    """Which pixels [H, W] have another label to the right of them or below."""
    borders = np.zeros(labels.shape, dtype=bool)
    borders[:, :-thickness] |= labels[:, :-thickness] != labels[:, thickness:]
    borders[:-thickness] |= labels[:-thickness] != labels[thickness:]
    return borders


def _draw_legend(canvas: Image.Image, entries: Sequence[tuple[str, tuple[int, ...]]]) -> None:
    """One line for each (name, color), on a panel in the upper left corner: videos do not move it about."""
    entries = entries[: legend_lines(canvas.size)]
    widest = _LEGEND_SHARE[1] * canvas.width
    height = _font_size(canvas.size)
    if not entries or widest < 4 * height:
        return
    font = ImageFont.load_default(height)
    line, swatch, pad = _LINE * height, round(0.8 * height), 0.4 * height
    names = [_shortened(name, font, widest - swatch - 3 * pad) for name, _ in entries]
    width = max(font.getlength(name) for name in names) + swatch + 3 * pad
    left, top = draw_panel(canvas, width, line * len(entries) + pad, False, lambda *box: 0)
    draw = ImageDraw.Draw(canvas)
    for number, (name, (_, color)) in enumerate(zip(names, entries)):
        middle = round(top + pad / 2 + (number + 0.5) * line)
        x, y = round(left + pad), middle - swatch // 2
        draw.rectangle((x, y, x + swatch - 1, y + swatch - 1), fill=color)
        draw.text((x + swatch + pad, middle), name, fill="white", font=font, anchor="lm")


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    """The text, or as much of its beginning as is not wider than `width` with an ellipsis."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


def _to_lab(colors: np.ndarray) -> np.ndarray:
    """sRGB [n, 3] in 0..255 -> CIELAB (D65) [n, 3], where equal distances look equally far apart."""
    share = colors / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ to_xyz.T / (0.9505, 1.0, 1.089)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)
