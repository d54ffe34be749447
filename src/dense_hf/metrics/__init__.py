"""Metrics that keep sums, not pictures.

`CountingMetrics`, `LocalizationMetrics`, `MeanIoU`, `PseudoLabelQuality` and `VideoConsistency` are plain classes. The
same numbers, except those of pseudo labels, through the `evaluate` library, without a network:
`evaluate.load(dense_hf.metrics.path("counting"))`.
"""

from pathlib import Path

from .consistency import VideoConsistency
from .counting import CountingMetrics
from .density_ranges import DENSITY_RANGES, density_range
from .localization import LocalizationMetrics
from .pseudo_labels import PseudoLabelQuality
from .segmentation import MeanIoU

__all__ = [
    "DENSITY_RANGES",
    "CountingMetrics",
    "LocalizationMetrics",
    "MeanIoU",
    "PseudoLabelQuality",
    "VideoConsistency",
    "density_range",
    "path",
]

_EVALUATE_MODULES = {
    "counting": "counting_error",
    "localization": "point_localization",
    "mean_iou": "mean_iou",
    "video_consistency": "video_consistency",
}


def path(name: str) -> str:
    """The folder to give to `evaluate.load`: "counting", "localization", "mean_iou" or "video_consistency"."""
    if name not in _EVALUATE_MODULES:
        raise ValueError(f"name must be one of {sorted(_EVALUATE_MODULES)}. Received: {name!r}")
    return str(Path(__file__).parent / _EVALUATE_MODULES[name])
