"""Metrics that keep sums, not pictures.

`CountingMetrics` and `LocalizationMetrics` are plain classes. The same numbers through the `evaluate` library, without
a network: `evaluate.load(dense_hf.metrics.path("counting"))`.
"""

from pathlib import Path

from .counting import CountingMetrics
from .density_ranges import DENSITY_RANGES, density_range
from .localization import LocalizationMetrics

__all__ = ["DENSITY_RANGES", "CountingMetrics", "LocalizationMetrics", "density_range", "path"]

_EVALUATE_MODULES = {"counting": "counting_error", "localization": "point_localization"}


def path(name: str) -> str:
    """The folder to give to `evaluate.load` for the metric `name`: "counting" or "localization"."""
    if name not in _EVALUATE_MODULES:
        raise ValueError(f"name must be one of {sorted(_EVALUATE_MODULES)}. Received: {name!r}")
    return str(Path(__file__).parent / _EVALUATE_MODULES[name])
