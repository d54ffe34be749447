"""Files that visitors bring and take home."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import gradio as gr
from gradio.data_classes import ImageData
from gradio.processing_utils import save_bytes_to_cache
from PIL import Image

from ..data import open_image
from ..errors import InvalidDataError

class UploadedImage(gr.Image):
    """An image of a visitor that an event gets as the path of the file as it was sent.

    Gradio itself would open it, in any format that Pillow knows, and show the server's paths if it cannot.
    """

    def get_block_name(self) -> str:
        """Which part of the page it is."""
        return "image"

    def preprocess(self, payload: ImageData | None) -> str | None:
        """The path; nothing is opened."""
        return None if payload is None else payload.path
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component

def read_upload(path: str | os.PathLike | None, max_pixels: int) -> Image.Image:
    """The image of an uploaded file as upright RGB; see `open_image`.

    Raises:
        InvalidDataError: no image, a broken one, or one with more pixels.
        ValueError: nothing was uploaded.
    """
    if path is None:
        raise ValueError("Choose a picture first.")
    return open_image(path, max_pixels)

@contextmanager
def refusals() -> Generator[None]:
    """Inside, what is wrong with a visitor's file becomes a message on the page, without the server's paths.

    Raises:
        gradio.Error: for InvalidDataError and ValueError.
    """
    try:
        yield
    except InvalidDataError as error:
        message = f"{Path(error.path).name}: expected {error.expected}. Received: {error.received}"
        raise gr.Error(message, duration=None, print_exception=False) from error
    except ValueError as error:
        raise gr.Error(str(error), duration=None, print_exception=False) from error

def saved_download(button: gr.DownloadButton, name: str, content: bytes) -> str:
    """The path of a file of this name that the button offers; it goes with the other files of its visitor."""
    return save_bytes_to_cache(content, name, button.GRADIO_CACHE)
