"""What a model says of a picture must be finite: otherwise NaN becomes the first class, or no object, and a score.

Every evaluation and every command that runs a model over pictures goes through here.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from ..errors import InvalidDataError


def require_finite(outputs: Any) -> None:
    """Nothing, if a tensor or an array of outputs of a model has finite numbers only.

    Raises:
        ValueError: else, with how many are not.
    """
    values = outputs if isinstance(outputs, torch.Tensor) else torch.from_numpy(np.asarray(outputs))
    bad = int((~values.isfinite()).sum())
    if bad:
        raise ValueError(
            f"The model's outputs must be finite. Received: NaN or infinity in {bad} of {values.numel()} numbers. The "
            "weights are broken (diverged training, a damaged file), or half precision overflowed: try float32"
        )


@contextmanager
def judging(picture: str | os.PathLike, model: Any = None) -> Generator[None]:
    """Inside, a model is run on a picture: what is wrong with its outputs is said with the names of both.

    Args:
        picture: its file or name.
        model: the model, if it is known.

    Raises:
        ValueError: raised inside, with the names before it; an `InvalidDataError` has a name already.
    """
    try:
        yield
    except InvalidDataError:
        raise
    except ValueError as error:
        name = getattr(getattr(model, "config", None), "name_or_path", "")
        of = f" ({type(model).__name__}{f' of {name}' if name else ''})" if model is not None else ""
        raise ValueError(f"{os.fspath(picture)}{of}: {error}") from error
