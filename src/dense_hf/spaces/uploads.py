"""Files that visitors bring and take home."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData
from gradio.processing_utils import save_bytes_to_cache
from PIL import Image

from ..data import open_image
from ..errors import InvalidDataError


def image_upload(**options: Any) -> gr.Image:
    """A place for an image, which an event gets as the path of the file as it was sent.

    Gradio itself would open it, in any format that Pillow knows, and show the server's paths if it cannot. (No
    subclass: beside the file of each one, Gradio writes a stub.)
    """
    image = gr.Image(type="filepath", sources=["upload"], **options)

    def path_of(payload: ImageData | None) -> str | None:
        return None if payload is None else payload.path

    image.preprocess = path_of
    return image


def read_upload(path: str | os.PathLike | None, max_pixels: int) -> Image.Image:
    """The image of an uploaded file as upright RGB; see `open_image`.

    Raises:
        InvalidDataError: no image, a broken one, or one with more pixels.
        ValueError: nothing was uploaded.
    """
    return open_image(uploaded(path, "picture"), max_pixels)


def uploaded(path: str | os.PathLike | None, what: str) -> str | os.PathLike:
    """The path of an uploaded file. Gradio makes the folder that the server runs in of an empty one.

    Raises:
        ValueError: nothing was uploaded.
    """
    if not path or Path(path).is_dir():
        raise ValueError(f"Choose a {what} first.")
    return path


def number_between(value: object, least: float, most: float) -> float:
    """What a slider gives. The page keeps to its ends; whoever calls the server may send NaN, text or nothing.

    Raises:
        ValueError: no number, or one beyond the ends.
    """
    if not isinstance(value, int | float) or not least <= value <= most:
        raise ValueError(f"Choose a number from {least:g} to {most:g}.")
    return value


@contextmanager
def refusals() -> Generator[None]:
    """Inside, what is wrong with a visitor's file becomes a message on the page, without the server's paths.

    Raises:
        gradio.Error: for InvalidDataError and ValueError.
    """
    try:
        yield
    except InvalidDataError as error:
        name = Path(error.path).name
        message = f"{name}: expected {error.expected}. Received: {str(error.received).replace(error.path, name)}"
        raise gr.Error(message, duration=None, print_exception=False) from error
    except ValueError as error:
        raise gr.Error(str(error), duration=None, print_exception=False) from error


def saved_download(button: gr.DownloadButton, name: str, content: bytes) -> str:
    """The path of a file of this name that the button offers; it goes with the other files of its visitor."""
    return save_bytes_to_cache(content, name, button.GRADIO_CACHE)
