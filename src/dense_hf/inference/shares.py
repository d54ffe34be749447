"""Work over a data set in several processes: each takes every n-th item, and process 0 shows one bar, of its share."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from accelerate import PartialState
from tqdm.auto import tqdm

T = TypeVar("T")


def own_share(items: Sequence[T]) -> Sequence[T]:
    """What of the items, the same in every process, is for this one: every n-th. No item is repeated."""
    state = PartialState()
    return items[state.process_index :: state.num_processes]


def share_bar(description: str, unit: str, progress: bool, **options: Any) -> tqdm:
    """A progress bar that process 0 shows, if it shall.

    Args:
        description, unit: what is written beside it.
        progress: whether to show one.
        options: others of tqdm.
    """
    return tqdm(desc=description, unit=unit, disable=not (progress and PartialState().is_main_process), **options)


def each_of_share(items: Sequence[T], description: str, unit: str, progress: bool) -> Iterator[T]:
    """One after the other of this process' share, with a bar; arguments as above."""
    yield from share_bar(description, unit, progress, iterable=own_share(items))
