"""Trained models for other places than this package: repositories of the Hub, ONNX, `torch.export`.

`runtime` uses exported models without torch; importing this package costs nothing.
"""

from typing import TYPE_CHECKING, Any

from ..lazy_names import load_name

if TYPE_CHECKING:
    from .files import export_model as export_model

_NAMES = {"export_model": "dense_hf.export.files:export_model"}


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return load_name(_NAMES[name])


__all__ = ["export_model"]
