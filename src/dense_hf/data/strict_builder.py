"""A `datasets` builder whose error for a bad file is `InvalidDataError`, in one process and in several."""

from collections.abc import Generator
from typing import Any

import datasets
from datasets.exceptions import DatasetGenerationError

from ..errors import InvalidDataError


class StrictBuilder(datasets.GeneratorBasedBuilder):
    """Base of the builders here."""

    def _prepare_split_single(self, *args: Any, **kwargs: Any) -> Generator:
        """As in the base class, which hides the error of a bad file in another; workers would then lose its type."""
        try:
            yield from super()._prepare_split_single(*args, **kwargs)
        except DatasetGenerationError as error:
            if isinstance(error.__cause__, InvalidDataError):
                raise error.__cause__ from None
            raise
