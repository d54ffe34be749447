"""Classes and functions as text, "module:name"; a module of this package if it begins with a dot."""

from importlib import import_module
from importlib.util import resolve_name
from typing import Any


def split_name(name: str) -> tuple[str, str]:
    """("dense_hf.counting.x", "Y") of ".counting.x:Y"."""
    module, _, attribute = name.partition(":")
    return resolve_name(module, __package__), attribute


def load_name(name: str) -> Any:
    """What the text stands for; its module is imported."""
    module, attribute = split_name(name)
    return getattr(import_module(module), attribute)
