"""How sure a count is: a range that holds the number of objects of, say, 90 of 100 pictures like the calibration ones.

Split conformal prediction (Vovk et al. 2005; Lei et al. 2018). Annotated pictures that the model has not learned from
give scores |n - count| / spread, and a quantile of these, the width, turns the count of a new picture into the range
count -+ width * spread. Whatever the model is, a range of level 0.9 holds the annotated number of 90 % of the pictures
that come from where the calibration pictures came from. That is a promise about pictures, not about each of them, and
none at all about other kinds of pictures: what a picture is unlike in is said.

The spread is how errors grow. Objects that are missed and things that are taken for objects are events of a rate, so
their number varies like the square root of the count; with the plain difference, ranges of sparse pictures would be
far too wide and those of dense ones too narrow. A model with points and a density map has two opinions, and where
they differ, both cannot be right: spread^2 = 1 + count + (points - density)^2, so the range is wider by itself where
a picture confuses the model.
`dense_hf.inference.calibration` finds the widths; this file travels with checkpoints.

T tiles of a picture; h x w its pixels.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers.utils import logging

from .tile_merging import ObjectCount

logger = logging.get_logger(__name__)

# settings of processors that change counts; a calibration is one of a model with these
COUNT_SETTINGS = (
    "threshold",
    "count_by",
    "tile_size",
    "tile_overlap",
    "size_divisor",
    "resize_to_multiple",
    "min_short_side",
    "max_short_side",
    "parts_per_side",
    "max_part_side",
)
_WINDOW = 32
_LOOKED_AT = 256  # rows and columns of a picture for its statistics
STATISTICS = ("brightness", "contrast", "saturation", "sharpness")


def check_calibration(calibration: Any) -> None:
    """Nothing, if it is what `calibrate_counts` makes, or None.

    Raises:
        ValueError: else, with the part that is wrong.
    """
    if calibration is None:
        return
    try:
        rows = calibration["levels"]
        numbers = [float(row[name]) for row in rows for name in ("level", "image", "tile")]
        spans = [float(value) for low, high in calibration["seen"].values() for value in (low, high)]
        pictures, settings = calibration["num_images"], calibration["settings"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"count_calibration must be what `dense-hf calibrate` wrote. Received: {error!r:.200}") from (
            error
        )
    if not rows or not isinstance(settings, Mapping) or not isinstance(pictures, int):
        raise ValueError("count_calibration must have levels, settings and num_images. Received: others")
    if not all(math.isfinite(number) for number in numbers + spans) or min(numbers) < 0:
        raise ValueError(f"count_calibration must have finite numbers. Received: {numbers + spans!r:.200}")
    if not all(0 < row["level"] < 1 for row in rows):
        raise ValueError(f"levels must be above 0 and below 1. Received: {[row['level'] for row in rows]}")


def spread_of(count: float, density_count: float | None = None) -> float:
    """How far off a count may be, up to a factor that is the same for all pictures."""
    difference = 0.0 if density_count is None else count - density_count
    return math.sqrt(1 + max(count, 0.0) + difference**2)


def range_around(count: float, spread: float, width: float) -> tuple[int, int]:
    """The whole numbers within `width * spread` of a count, from 0 on, and the rounded count in any case."""
    reach, rounded = width * spread, max(0, round(count))
    low, high = math.ceil(count - reach - 1e-9), math.floor(count + reach + 1e-9)
    return max(0, min(low, rounded)), max(high, rounded)


def widths_of(processor: Any, level: float | None, threshold: Any = None) -> Mapping[str, float] | None:
    """What a processor was calibrated to: level, and the widths of images and tiles.

    Args:
        processor: with `count_calibration`.
        level: such as 0.9; `None` is the first of the calibration, if there is one that fits.
        threshold: the one that is counted with, if it is not the processor's.

    Returns:
        `None` if no level was asked for and there is no range for these settings.

    Raises:
        ValueError: a level without calibration, another one than those calibrated, or other settings than those.
    """
    calibration = getattr(processor, "count_calibration", None)
    if calibration is None:
        if level is None:
            return None
        raise ValueError(
            "A range needs a model calibrated on annotated pictures: dense-hf calibrate MODEL DATA. Received: "
            f"level={level} for a model that was not"
        )
    settings = dict(calibration["settings"])
    if hasattr(processor, "count_by"):
        settings.setdefault("count_by", "threshold")  # calibrations of before there was another way
    now = {name: getattr(processor, name, None) for name in settings}
    if threshold is not None and "threshold" in now:
        now["threshold"] = threshold
        if "count_by" in now:
            now["count_by"] = "threshold"
    if changed := [f"{name} {now[name]} for {value}" for name, value in settings.items() if now[name] != value]:
        if level is None:
            logger.warning_once(f"No range: the model was calibrated with other settings ({', '.join(changed)}).")
            return None
        raise ValueError(f"A range needs the settings that were calibrated. Received: {', '.join(changed)}")
    rows = calibration["levels"]
    row = rows[0] if level is None else next((row for row in rows if abs(row["level"] - level) < 1e-9), None)
    if row is None:
        known = ", ".join(f"{one['level']:g}" for one in rows)
        raise ValueError(f"The level must be one of those calibrated ({known}). Received: {level}")
    return row


def add_range(result: ObjectCount, pixels: Tensor, widths: Mapping[str, float], processor: Any) -> None:
    """Put "range", "level", "tile_ranges" and "unlike" into a result.

    Args:
        result: of the picture.
        pixels: [3, h, w] of it.
        widths: see `widths_of`.
        processor: with `count_calibration`.
    """
    spread = spread_of(result["exact_count"], second_opinion(result))
    result["range"] = range_around(result["exact_count"], spread, widths["image"])
    result["level"] = widths["level"]
    tiles = [range_around(tile, spread_of(tile), widths["tile"]) for tile in result["tile_counts"].tolist()]
    result["tile_ranges"] = torch.tensor(tiles)
    result["unlike"] = find_unlike(describe_count(result) | describe_picture(pixels), processor.count_calibration)
    if result["unlike"]:
        logger.warning(f"A picture unlike those of the calibration, so its range may not hold: {result['unlike'][0]}.")


def second_opinion(result: ObjectCount) -> float | None:
    """The density count of points that do not come from it; else `None`."""
    return result["density_count"] if result["has_points"] and not result.get("by_density") else None


def describe_count(result: ObjectCount) -> dict[str, float]:
    """The count, and how far the density map differs from it for its size, as numbers that vary alike."""
    count, density_count = result["exact_count"], second_opinion(result)
    numbers = {"count": count}
    if density_count is not None:
        numbers["disagreement"] = abs(count - density_count) / spread_of(count)
    return numbers


def describe_picture(pixels: Any) -> dict[str, float]:
    """What a picture is like, in numbers that people have words for; of at most 256 of its rows and columns.

    Args:
        pixels: [3, h, w], 0 to 255, or floats up to 1; of a `WindowedPixels` 64 small windows are looked at.
    """
    if not isinstance(pixels, Tensor):
        _, height, width = pixels.shape
        side = min(_WINDOW, height, width)
        corners = [[(length - side) * part // 7 for part in range(8)] for length in (height, width)]
        windows = [pixels[:, top : top + side, left : left + side] for top in corners[0] for left in corners[1]]
        pixels = torch.cat(windows, dim=2)
    step = max(1, min(pixels.shape[-2:]) // _LOOKED_AT)
    rows = pixels[:, ::step].float()
    if pixels.is_floating_point() and rows.max() <= 1:
        rows = rows * 255
    sample = rows[..., ::step]
    gray = sample.mean(dim=0)
    # neighbors in the picture itself, not in the sample: that is what a blurred picture lacks
    left, right = rows[..., :-1:step].mean(dim=0), rows[..., 1::step].mean(dim=0)
    sharpness = float((right - left).abs().mean()) if left.numel() else 0.0
    saturation = float((sample.amax(dim=0) - sample.amin(dim=0)).mean())
    numbers = (float(gray.mean()), float(gray.std(correction=0)), saturation, sharpness)
    return dict(zip(STATISTICS, numbers))


def find_unlike(numbers: Mapping[str, float], calibration: Mapping[str, Any]) -> list[str]:
    """In words, which numbers of a picture are outside of what the calibration pictures let expect."""
    return [
        f"{name} {value:.4g}, where the calibration pictures have {low:.4g} to {high:.4g}"
        for name, (low, high) in calibration["seen"].items()
        if (value := numbers.get(name)) is not None and not low <= value <= high
    ]


__all__ = [
    "COUNT_SETTINGS",
    "add_range",
    "check_calibration",
    "describe_count",
    "describe_picture",
    "range_around",
    "second_opinion",
    "spread_of",
    "widths_of",
]
