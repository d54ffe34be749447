"""What the commands that run a model have in common."""

import argparse
import logging
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from .errors import CommandError


def add_model_option(parser: argparse.ArgumentParser, of: str = "") -> None:
    """`--model`; `of` is what it must be a checkpoint of."""
    parser.add_argument("--model", required=True, help=f"folder of a checkpoint{of}, or its name on the Hub")


def add_output_option(parser: argparse.ArgumentParser, default: str) -> None:
    """`--output`, a folder."""
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(default),
        metavar="DIR",
        help=f"folder for the results (default: {default}); files of an earlier run are replaced",
    )


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """`--device`."""
    parser.add_argument("--device", help='where to compute, e.g. "cpu" or "cuda:1" (default: a GPU if there is one)')


@contextmanager
def loading(name: str) -> Generator[None]:
    """Inside, the model that `--model` names is loaded.

    Raises:
        CommandError: for what is wrong with it.
    """
    try:
        yield
    except ValueError as error:
        raise CommandError(f"--model {name} cannot be loaded: {error}") from error


@contextmanager
def writing() -> Generator[None]:
    """Inside, results are written.

    Raises:
        CommandError: a full disk, a folder without permission.
    """
    try:
        yield
    except OSError as error:
        raise CommandError(f"cannot write the results: {error}") from error


@contextmanager
def computing(hint: str = "") -> Generator[None]:
    """Inside, a model computes, with a progress bar; warnings of this package appear above the bar, not through it.

    Args:
        hint: what helps against too little memory.

    Raises:
        CommandError: too little memory, or a ValueError, such as for outputs of the model that are not finite.
    """
    import torch
    from tqdm.contrib.logging import logging_redirect_tqdm

    try:
        with logging_redirect_tqdm([logging.getLogger("dense_hf")]):
            yield
    except torch.OutOfMemoryError as error:
        raise CommandError(f"out of memory{hint}: {error}") from error
    except ValueError as error:
        raise CommandError(str(error)) from error
