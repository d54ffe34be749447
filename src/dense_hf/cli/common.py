"""What the commands that run a model have in common."""

import argparse
import logging
import os
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..inference.console import say, shown
from ..inference.image_files import tell_left_out
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
        help=f"folder for the results (default: {default}); those of an earlier run are replaced, other files never",
    )
    add_earlier_results_options(parser)


def add_earlier_results_options(parser: argparse.ArgumentParser) -> None:
    """`--resume` and `--overwrite`."""
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with what a stopped run of the same command has left, also one that was killed",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace files that no earlier run of this command has written, too"
    )


def add_picture_options(parser: argparse.ArgumentParser) -> None:
    """`--page` and `--white`, which `open_image` takes."""
    parser.add_argument(
        "--page",
        type=int,
        metavar="N",
        help="which picture of files with several (stacks, animations), from 0; without it such files are refused",
    )
    parser.add_argument(
        "--white",
        type=white,
        metavar="VALUE",
        help="value of white in files of 16 bits or floats, such as 4095 of a 12-bit camera, or 99.9%%: the value "
        "that so many of the pixels of an image do not exceed (default: 65535; floats are refused)",
    )


def white(text: str) -> str:
    """A value of `--white`."""
    from ..counting.picture_values import check_white

    try:
        check_white(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def numbers(text: str) -> list[float]:
    """The value of an option: a number, or several with commas between them."""
    try:
        return [float(one) for one in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"a number, or several as in 0.3,0.4. Received: {text!r:.100}") from error


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """`--device`."""
    parser.add_argument("--device", help='where to compute, e.g. "cpu" or "cuda:1" (default: a GPU if there is one)')


def add_bf16_option(parser: argparse.ArgumentParser) -> None:
    """`--bf16`."""
    parser.add_argument(
        "--bf16",
        action="store_true",
        help="compute in bfloat16: faster on GPUs and on CPUs with instructions for it (avx512_bf16, amx_bf16), much "
        "slower on others; numbers move a little",
    )


def check_device(name: str | None) -> None:
    """Nothing, if a model can be put there.

    Raises:
        CommandError: there is no such device.
    """
    import torch

    if name is None:
        return
    try:
        torch.empty(1, device=name).cpu()
    except (RuntimeError, AssertionError, ValueError, NotImplementedError) as error:  # torch has its own for each
        found = [f"cuda:{number}" for number in range(torch.cuda.device_count())] + [
            kind for kind, there in (("mps", torch.backends.mps), ("xpu", torch.xpu)) if there.is_available()
        ]
        received = f"{shown(name)} ({shown(str(error)).splitlines()[0][:200]})"
        raise CommandError(f"--device: this machine has {', '.join(['cpu', *found])}. Received: {received}") from error


@contextmanager
def loading(name: str) -> Generator[None]:
    """Inside, the model that `--model` names is loaded.

    Raises:
        CommandError: for what is wrong with it.
    """
    try:
        yield
    except ValueError as error:
        raise CommandError(f"--model {shown(name)} cannot be loaded: {shown(str(error))}") from error


@contextmanager
def writing() -> Generator[None]:
    """Inside, results are written.

    Raises:
        CommandError: a full disk, a folder without permission.
    """
    try:
        yield
    except OSError as error:
        raise CommandError(f"cannot write the results: {shown(str(error))}") from error


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
        raise CommandError(shown(str(error))) from error


def report_left_out(left_out: Counter[str]) -> None:
    """Say what of a folder is no picture, by kind."""
    for sentence in tell_left_out(left_out):
        say(sentence, error=True)


def stamp_of(path: Path) -> list[int]:
    """What tells that a file is as it was when its result was made: its size and the time of its last change."""
    if (stamp := getattr(path, "stamp", None)) is not None:  # of a `StoredPicture`
        return stamp
    try:
        status = os.stat(path)
    except OSError:  # reading it tells
        return []
    return [status.st_size, status.st_mtime_ns]


def hash_of_model(name: str, model: Any, processor: Any) -> dict[str, Any]:
    """What results depend on: the name of the model, and a hash of its weights and its processor."""
    from ..inference.result_folders import describe_maker

    described = describe_maker(name, model, processor)
    return {"model": described["model"], "model_hash": described["hash"]}
