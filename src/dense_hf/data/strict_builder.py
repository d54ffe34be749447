"""A `datasets` builder whose error for a bad file is `InvalidDataError`, in one process and in several."""

import os
from collections.abc import Generator
from typing import Any

import datasets
from datasets.exceptions import DatasetGenerationError

from ..errors import InvalidDataError


class StrictBuilder(datasets.GeneratorBasedBuilder):
    """Base of the builders here.

    Args:
        directory: the folder of the data.
        digest: of its files. Without it the cache would not notice that files of the same folder have changed.
        kwargs: of `datasets.DatasetBuilder`.
    """

    VERSION = datasets.Version("1.0.0")

    def __init__(self, directory: str | os.PathLike, digest: str, **kwargs: Any):
        kwargs.setdefault("hash", digest)
        super().__init__(data_dir=os.path.abspath(directory), **kwargs)

    def split_generators(self, **splits: Any) -> list[datasets.SplitGenerator]:
        """One for each split; `splits` is the argument of `_generate_examples`, split to its list."""
        ((name, lists),) = splits.items()
        # a list in gen_kwargs is what datasets cuts into shards, for num_proc and for shuffling a stream
        return [
            datasets.SplitGenerator(name=split, gen_kwargs={name: list(members)}) for split, members in lists.items()
        ]

    def _prepare_split_single(self, *args: Any, **kwargs: Any) -> Generator:
        """As in the base class, which hides the error of a bad file in another; workers would then lose its type."""
        try:
            yield from super()._prepare_split_single(*args, **kwargs)
        except DatasetGenerationError as error:
            if isinstance(error.__cause__, InvalidDataError):
                raise error.__cause__ from None
            raise
