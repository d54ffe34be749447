"""Calibrate a counter on annotated pictures, so that its counts have ranges (`counting/count_ranges.py` has the idea).

n calibration pictures, T tiles of a picture.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats
from tqdm.auto import tqdm

from ..counting.count_ranges import COUNT_SETTINGS, describe_count, describe_picture, second_opinion, spread_of
from ..counting.tiling import PartLayout, TileLayout
from ..data.files import read_bytes, write_file
from ..errors import InvalidDataError
from .finite_outputs import judging, require_finite

if TYPE_CHECKING:
    from ..data.counting_examples import CountingExample

LEVELS = (0.9, 0.8, 0.95)  # the first is what is told where nobody asks for another
PROCESSOR_FILE, KEY = "preprocessor_config.json", "count_calibration"
# Of pictures like those of the calibration, so many may be called unlike them, over all statistics together
FALSE_ALARMS = 0.01
_POSITIVE = ("count", "disagreement", "contrast", "saturation", "sharpness")  # compared by their logarithms
_MAX_BYTES = 2**24


def pictures_needed(level: float) -> int:
    """The least number of calibration pictures of which a range of this level can be made: 9 for 0.9.

    Raises:
        ValueError: a level that is not above 0 and below 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"A level must be above 0 and below 1, such as 0.9. Received: {level}")
    return max(1, math.ceil(level / (1 - level) - 1e-9))


def conformal_quantile(scores: Sequence[np.ndarray], level: float) -> float:
    """The width of which the ranges of `level` hold what they promise, also of few pictures.

    With one score per picture it is the ceil((n + 1) level)-th smallest: of n + 1 pictures in random order, the last
    has one of the so many smallest scores with at least that probability. With several (of tiles, which are alike
    within a picture) each has the weight 1 / (number of its picture), and the promise is for a tile drawn from a new
    picture (Lee, Barber and Willett 2023, "Distribution-free inference with hierarchical data").

    Args:
        scores: of each picture, at least one.
        level: above 0 and below 1.

    Raises:
        ValueError: too few pictures for the level.
    """
    if len(scores) < (needed := pictures_needed(level)):
        raise ValueError(
            f"Ranges of level {level:g} need at least {needed} calibration pictures. Received: {len(scores)}"
        )
    values = np.concatenate(scores)
    weights = np.concatenate([np.full(len(one), 1 / len(one)) for one in scores])
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) >= level * (len(scores) + 1) - 1e-6
    return float(values[order][int(np.argmax(reached)) if reached.any() else -1])


def tile_of(layout: TileLayout | PartLayout, points: np.ndarray) -> np.ndarray:
    """Which tile owns each point [n, 2] (x, y) of an image, int64 [n]."""
    if isinstance(layout, TileLayout):
        row, column = (
            np.searchsorted([span.core_start for span in spans[1:]], values, side="right")
            for spans, values in ((layout.rows, points[:, 1]), (layout.columns, points[:, 0]))
        )
        return row * layout.num_columns + column
    scale = np.array([layout.resized[1] / layout.width, layout.resized[0] / layout.height])
    x, y = (points.astype(np.float64) * scale).T
    owner = np.zeros(len(points), dtype=np.int64)
    for index, (top, left, height, width) in enumerate(layout.boxes):
        owner[(x >= left) & (x < left + width) & (y >= top) & (y < top + height)] = index
    return owner


def calibrate_counts(
    model: Any,
    processor: Any,
    examples: Sequence["CountingExample"],
    levels: Sequence[float] = LEVELS,
    batch_size: int = 8,
    progress: bool = True,
) -> dict[str, Any]:
    """Count annotated pictures, and find how wide ranges must be.

    Args:
        model: any counter, trained on other pictures than these: it counts those that it knows too well.
        processor: its settings, the threshold above all, are those that the calibration is for.
        examples: the pictures.
        levels: of the ranges; the first is what results have if nobody asks for another one.
        batch_size: tiles per forward pass.
        progress: whether to show a bar.

    Returns:
        The setting `count_calibration` of a processor: "levels" (each with the widths of images and of tiles),
        "num_images", "num_tiles", "settings" of the processor, and "seen", what the pictures are like: of each number
        the span of what is not called unlike them.

    Raises:
        InvalidDataError: a picture that cannot be used.
        ValueError: too few pictures for a level, or outputs of the model that are not finite.
    """
    if not levels:
        raise ValueError("Calibration is for at least one level. Received: none")
    for level in levels:  # before the work
        conformal_quantile([np.zeros(1)] * len(examples), level)
    images: list[np.ndarray] = []
    tiles: list[np.ndarray] = []
    numbers: list[dict[str, float]] = []
    for example in tqdm(examples, desc="Calibrating", unit="image", disable=not progress):
        pixels = processor.to_pixels(example.open())
        with judging(example.path, model):
            result = processor.count_objects(model, pixels, batch_size=batch_size)
            require_finite(result["exact_count"])
        described = describe_count(result)
        density_count = second_opinion(result)
        error = abs(len(example.points) - result["exact_count"])
        images.append(np.array([error / spread_of(result["exact_count"], density_count)]))
        layout = processor.tile_layout(pixels.shape[-2], pixels.shape[-1])
        annotated = np.bincount(tile_of(layout, example.points), minlength=len(layout))
        counted = result["tile_counts"].numpy()
        tiles.append(np.abs(annotated - counted) / [spread_of(count) for count in counted])
        numbers.append(described | describe_picture(pixels))
    return {
        "levels": [
            {
                "level": float(level),
                "image": conformal_quantile(images, level),
                "tile": conformal_quantile(tiles, level),
            }
            for level in levels
        ],
        "num_images": len(examples),
        "num_tiles": sum(map(len, tiles)),
        "settings": {name: getattr(processor, name) for name in COUNT_SETTINGS if hasattr(processor, name)},
        "seen": {name: expected_span([one[name] for one in numbers], name) for name in numbers[0]},
    }


def expected_span(values: Sequence[float], name: str = "", alarms: float | None = None) -> list[float]:
    """Where a number of one more picture of this kind lies, but for few: all that was seen, and around it.

    The span is that of the prediction interval of one more value of a normal distribution, so it is wider the fewer
    pictures there are; of numbers from 0 on, of their logarithms. What was seen is inside in any case.

    Args:
        values: of the calibration pictures.
        name: of the number.
        alarms: how many of such pictures may be outside; default is the share of one of all statistics.
    """
    alarms = FALSE_ALARMS / 6 if alarms is None else alarms
    found = np.asarray(values, dtype=np.float64)
    transformed = np.log1p(found.clip(min=0)) if name in _POSITIVE else found
    reach = 0.0
    if len(found) > 1:
        factor = float(stats.t.ppf(1 - alarms / 2, len(found) - 1)) * math.sqrt(1 + 1 / len(found))
        reach = factor * float(transformed.std(ddof=1))
    middle = float(transformed.mean())
    ends = [middle - reach, middle + reach]
    if name in _POSITIVE:
        ends = [math.expm1(max(0.0, ends[0])), math.expm1(min(ends[1], 25.0))]
    return [min(float(found.min()), ends[0]), max(float(found.max()), ends[1])]


def read_processor_settings(folder: Path) -> dict[str, Any]:
    """The settings that a model folder has for its processor.

    Raises:
        InvalidDataError: no folder of a model.
    """
    path = folder / PROCESSOR_FILE
    try:
        settings = json.loads(read_bytes(path, _MAX_BYTES))
    except (OSError, ValueError) as error:
        raise InvalidDataError(path, "the settings of an image processor", error) from error
    if not isinstance(settings, dict):
        raise InvalidDataError(path, "the settings of an image processor", f"{settings!r:.100}")
    return settings


def write_calibration(folder: Path, calibration: Mapping[str, Any]) -> None:
    """Put a calibration into the processor settings of a model folder; all else of the file stays.

    Raises:
        InvalidDataError: no folder of a model.
        OSError: it cannot be written.
    """
    settings = read_processor_settings(folder) | {KEY: dict(calibration)}
    write_file(folder / PROCESSOR_FILE, (json.dumps(settings, indent=2) + "\n").encode())
