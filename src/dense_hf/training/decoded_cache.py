"""Decoded pictures that are kept in memory, for sets that fit or for few large files."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Decoded = TypeVar("Decoded")


class DecodedCache(Generic[Key, Decoded]):
    """What was decoded last; the least recently used is forgotten first. Each loader process has its own.

    Args:
        size: how many are kept; 0 keeps none.
        name: of the option that `size` comes from.

    Raises:
        ValueError: a negative size.
    """

    def __init__(self, size: int, name: str = "image_cache_size"):
        if size < 0:
            raise ValueError(f"{name} must be at least 0. Received: {size}")
        self.size = size
        self._kept: OrderedDict[Key, Decoded] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Key, decode: Callable[[], Decoded]) -> Decoded:
        """What `decode` gives, or gave when the key was last asked for."""
        if key not in self._kept:
            self._kept[key] = decode()
        self._kept.move_to_end(key)
        found = self._kept[key]
        while len(self._kept) > self.size:
            self._kept.popitem(last=False)
        return found
