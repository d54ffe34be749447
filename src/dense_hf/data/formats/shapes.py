"""Boxes around turned shapes. Angles are degrees, clockwise on the screen (y is down)."""

import math
from collections.abc import Sequence

from .entries import BadEntry

Box = tuple[float, float, float, float]


def turned(point: tuple[float, float], about: tuple[float, float], degrees: float) -> tuple[float, float]:
    """A point, turned about another."""
    angle = math.radians(degrees)
    x, y = point[0] - about[0], point[1] - about[1]
    return (
        about[0] + x * math.cos(angle) - y * math.sin(angle),
        about[1] + x * math.sin(angle) + y * math.cos(angle),
    )


def around(points: Sequence[tuple[float, float]]) -> Box:
    """The box (xmin, ymin, xmax, ymax) around points.

    Raises:
        BadEntry: no points.
    """
    if not points:
        raise BadEntry("at least one point", "none")
    xs, ys = zip(*points)
    return min(xs), min(ys), max(xs), max(ys)


def around_turned_box(box: Box, about: tuple[float, float], degrees: float) -> Box:
    """The box around a box that was turned about a point."""
    left, top, right, bottom = box
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return around([turned(corner, about, degrees) for corner in corners])


def around_ellipse(x: float, y: float, radius_x: float, radius_y: float, degrees: float = 0.0) -> Box:
    """The box around an ellipse that was turned about its centre."""
    angle = math.radians(degrees)
    half_width = math.hypot(radius_x * math.cos(angle), radius_y * math.sin(angle))
    half_height = math.hypot(radius_x * math.sin(angle), radius_y * math.cos(angle))
    return x - half_width, y - half_height, x + half_width, y + half_height


def centre_of(box: Box) -> tuple[float, float]:
    """The centre of a box."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
