"""Small charts as SVG text: lines, and points beside a diagonal."""

from collections.abc import Mapping, Sequence
from html import escape

Points = Sequence[tuple[float, float]]
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _LEGEND = 640, 360, 56, 40, 210
_COLORS = ("#0b6e99", "#d9730d", "#0f7b6c", "#ad1a72", "#6940a5", "#dfab01", "#e03e3e", "#64473a", "#787774")
_DASHES = ("", "6 3", "2 3")  # for more series than colors


def chart(series: Mapping[str, Points], x_title: str, y_title: str, lines: bool = True, diagonal: bool = False) -> str:
    """A picture of series of (x, y), none below 0, with axes that begin at 0 and a legend.

    Args:
        series: name to its points.
        x_title, y_title: of the axes.
        lines: whether points are joined; else each is a dot.
        diagonal: whether x = y is drawn, and both axes have one length.
    """
    most_x = max((x for points in series.values() for x, _ in points), default=0) or 1
    most_y = max((y for points in series.values() for _, y in points), default=0) or 1
    if diagonal:
        most_x = most_y = max(most_x, most_y)

    def place(x: float, y: float) -> str:
        across = _LEFT + x / most_x * (_WIDTH - _LEFT - _LEGEND)
        return f"{across:.1f},{_HEIGHT - _BOTTOM - max(0.0, y) / most_y * (_HEIGHT - _BOTTOM - 12):.1f}"

    right, top = place(most_x, 0), place(0, most_y)
    parts = [f'<polyline points="{top} {place(0, 0)} {right}" fill="none" stroke="#999"/>']
    if diagonal:
        parts.append(
            f'<polyline points="{place(0, 0)} {place(most_x, most_y)}" stroke="#999" stroke-dasharray="3 3"/>'
        )
    for share in (0, 0.5, 1):
        x, y = place(share * most_x, 0).split(",")
        parts.append(_text(x, float(y) + 16, f"{share * most_x:.3g}", "middle"))
        x, y = place(0, share * most_y).split(",")
        parts.append(_text(float(x) - 6, float(y) + 4, f"{share * most_y:.3g}", "end"))
    parts.append(_text((_LEFT + _WIDTH - _LEGEND) / 2, _HEIGHT - 6, x_title, "middle"))
    parts.append(_text(4, 10, y_title, "start"))
    for number, (name, points) in enumerate(series.items()):
        color, dash = _COLORS[number % len(_COLORS)], _DASHES[number // len(_COLORS) % len(_DASHES)]
        if lines:
            joined = " ".join(place(x, y) for x, y in points)
            drawn = f'fill="none" stroke="{color}" stroke-width="1.6" stroke-dasharray="{dash}"'
            parts.append(f'<polyline points="{joined}" {drawn}/>')
        else:
            dots = (place(x, y).split(",") for x, y in points)
            parts += [f'<circle cx="{x}" cy="{y}" r="2.4" fill="{color}" fill-opacity="0.6"/>' for x, y in dots]
        across, down = _WIDTH - _LEGEND + 10, 20 + 17 * number
        parts.append(f'<rect x="{across}" y="{down - 8}" width="14" height="4" fill="{color}"/>')
        parts.append(_text(across + 20, down, name, "start"))
    height = max(_HEIGHT, 30 + 17 * len(series))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}"'
    return f'{head} font-family="sans-serif" font-size="11">' + "".join(parts) + "</svg>\n"


def _text(x: float | str, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
