"""Metrics that keep sums, not pictures.

`CountingMetrics`, `LocalizationMetrics`, `MeanIoU`, `PseudoLabelQuality`, `TemporalConsistency` and `VideoConsistency`
are plain classes. The same numbers, except those of pseudo labels and TC, through the `evaluate` library, without a
network: `evaluate.load(dense_hf.metrics.path("counting"))`. Public names load on first use.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

_PUBLIC_NAMES = {
    "DENSITY_RANGES": "density_ranges",
    "CountingMetrics": "counting",
    "LocalizationMetrics": "localization",
    "MeanIoU": "segmentation",
    "PseudoLabelQuality": "pseudo_labels",
    "TemporalConsistency": "temporal_consistency",
    "VideoConsistency": "consistency",
    "density_range": "density_ranges",
}

__all__ = [*_PUBLIC_NAMES, "path"]

if TYPE_CHECKING:
    from .consistency import VideoConsistency as VideoConsistency
    from .counting import CountingMetrics as CountingMetrics
    from .density_ranges import DENSITY_RANGES as DENSITY_RANGES
    from .density_ranges import density_range as density_range
    from .localization import LocalizationMetrics as LocalizationMetrics
    from .pseudo_labels import PseudoLabelQuality as PseudoLabelQuality
    from .segmentation import MeanIoU as MeanIoU
    from .temporal_consistency import TemporalConsistency as TemporalConsistency

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


def __getattr__(name: str):
    if name not in _PUBLIC_NAMES:
        raise AttributeError(f"module 'dense_hf.metrics' has no attribute '{name}'")
    return getattr(import_module(f".{_PUBLIC_NAMES[name]}", __name__), name)


def __dir__():
    return sorted(__all__)
