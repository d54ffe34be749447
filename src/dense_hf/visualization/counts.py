"""Pictures of a count, of the size of the image: dots on the objects, and a heat map of their density.

Coordinates are pixels of the image, (x right, y down). Everything that is drawn scales with the image, so a dot on a
photo of 24 megapixels is seen as well as one on a thumbnail.
"""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from .drawing import Hidden, draw_label, draw_panel, fitting_font
from .heat import glow, heat_colors

_DOT_COLOUR = (255, 214, 10)  # yellow: far from the blues, greens and browns under water, and from gray
_OVERSAMPLING = 8  # of the dot, because Pillow draws without smoothing edges
_UNIT_AREA = 100 * 100  # pixels; densities per pixel are too small to read


def draw_points(image: Image.Image, points: np.ndarray | Sequence[Sequence[float]], label: str = "") -> Image.Image:
    """A copy of the image with a dot on each point.

    The dots are yellow with a black ring in a white one, so they show on any background. In crowds they shrink.

    Args:
        image: any mode.
        points: [n, 2] (x, y) in pixels of the image.
        label: text for an upper corner, such as "128 objects"; the one where it hides less.

    Raises:
        ValueError: points of another shape, or not finite.
    """
    points = np.asarray(points, dtype=np.float64) if len(points) else np.zeros((0, 2))
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points must have the shape [n, 2]. Received: {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("points must be finite. Received: NaN or infinity")
    canvas = image.convert("RGB").copy()
    radius = _dot_radius(canvas.size, points)
    dot = _dot(radius)
    for x, y in points:
        canvas.paste(dot, (round(x - dot.width / 2), round(y - dot.height / 2)), dot)
    if label:

        def hidden(left: int, top: int, right: int, bottom: int) -> float:
            return ((points >= (left, top)) & (points < (right, bottom))).all(axis=1).sum()

        draw_label(canvas, label, hidden)
    return canvas


def draw_density(image: Image.Image, density_map: np.ndarray, label: str = "") -> Image.Image:
    """A copy of the image, darkened, with the density glowing on it and a legend in objects per 100 x 100 px.

    Args:
        image: any mode.
        density_map: [height, width], objects per pixel of the image.
        label: text for an upper corner, such as "density: 131.4".

    Raises:
        ValueError: a map of another size than the image.
    """
    if density_map.shape != (image.height, image.width):
        raise ValueError(
            f"The density map must be as large as the image, {image.height} x {image.width}. "
            f"Received: {' x '.join(map(str, density_map.shape))}"
        )
    # For the eye, cells are averaged and joined smoothly; numbers are taken from the map, not from this picture.
    block = max(1, round(max(image.size) / 64))
    coarse_size = (math.ceil(image.width / block), math.ceil(image.height / block))
    density = Image.fromarray(np.ascontiguousarray(density_map, dtype=np.float32))
    coarse = np.asarray(density.resize(coarse_size, Image.Resampling.BOX)) * _UNIT_AREA
    highest = float(coarse.max())
    levels = Image.fromarray(
        np.round(255 * coarse / highest).astype(np.uint8) if highest > 0 else np.zeros(coarse.shape, np.uint8)
    )
    levels = levels.resize(image.size, Image.Resampling.BICUBIC)

    canvas = glow(image, levels)

    def hidden(left: int, top: int, right: int, bottom: int) -> float:
        return float(density_map[top:bottom, left:right].sum())

    _draw_legend(canvas, highest, hidden)
    if label:
        draw_label(canvas, label, hidden)
    return canvas


def _dot_radius(size: tuple[int, int], points: np.ndarray) -> float:
    """1/150 of the shorter side, less where it is crowded, never too small to see."""
    radius = min(size) / 150
    if len(points):
        cells = np.clip(points * 16 // np.array(size), 0, 15).astype(np.int64)
        per_cell = np.bincount(cells[:, 1] * 16 + cells[:, 0], minlength=256)
        crowd = np.percentile(per_cell[per_cell > 0].repeat(per_cell[per_cell > 0]), 75)  # as most points see it
        radius = min(radius, math.sqrt(size[0] * size[1] / 256 / crowd) / 4)
    return max(2.0, radius)


def _dot(radius: float) -> Image.Image:
    """A smooth RGBA stamp: a yellow disc of this radius, a black ring and a thin white one around it."""
    ring = max(1.0, 0.35 * radius)
    halo = max(1.0, 0.2 * radius)
    side = 2 * math.ceil(radius + ring + halo) + 1
    large = Image.new("RGBA", (side * _OVERSAMPLING, side * _OVERSAMPLING), (255, 255, 255, 0))
    draw = ImageDraw.Draw(large)
    centre = large.width / 2
    for r, color in ((radius + ring + halo, (255,) * 3), (radius + ring, (0,) * 3), (radius, _DOT_COLOUR)):
        reach = r * _OVERSAMPLING
        draw.ellipse([centre - reach, centre - reach, centre + reach, centre + reach], fill=(*color, 255))
    return large.resize((side, side), Image.Resampling.BOX)


def _format(value: float) -> str:
    """Two digits that matter, never in powers of ten: legends are read by people."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _draw_legend(canvas: Image.Image, highest: float, hidden: Hidden) -> None:
    """A color bar with its values in a lower corner; none on a thumbnail, which it would cover."""
    title = "objects per 100 x 100 px"
    font = fitting_font(canvas.size, title, 0.03)
    left, top, right, bottom = font.getbbox(title)
    line = bottom - top
    pad = 0.5 * line
    width, height = right - left + 2 * pad, 3 * line + 4 * pad
    if width > canvas.width or height > canvas.height / 2:
        return
    x, y = draw_panel(canvas, width, height, True, hidden)
    draw = ImageDraw.Draw(canvas)
    draw.text((x + pad - left, y + pad - top), title, fill="white", font=font)
    bar_size = (max(1, round(width - 2 * pad)), max(1, round(line)))
    bar = Image.fromarray(heat_colors()[None]).resize(bar_size, Image.Resampling.BILINEAR)
    canvas.paste(bar, (round(x + pad), round(y + 2 * pad + line)))
    below = y + 3 * pad + 2 * line - top
    for share, anchor in ((0.0, "la"), (0.5, "ma"), (1.0, "ra")):
        draw.text((x + pad + share * (width - 2 * pad), below), _format(share * highest), "white", font, anchor)
