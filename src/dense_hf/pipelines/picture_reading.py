"""Pictures as users give them to a pipeline. This file is copied beside saved pipelines."""

import os
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

PICTURE_FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")  # readers of rare ones stay out of reach of a stranger's file


def read_picture(picture: Any) -> Image.Image:
    """RGB of a `PIL.Image`, a uint8 array `[H, W, 3]` (RGB) or `[H, W]`, a uint8 tensor `[3, H, W]` or a path.

    Orientation tags are applied.

    Raises:
        Exception: if it is none. An exception that is given is raised.
    """
    if isinstance(picture, Exception):
        raise picture
    if isinstance(picture, (str, os.PathLike)):
        picture = Image.open(picture, formats=PICTURE_FORMATS)
    elif isinstance(picture, torch.Tensor):
        picture = (picture.permute(1, 2, 0) if picture.ndim == 3 else picture).cpu().numpy()
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or not (picture.ndim == 2 or picture.shape[2:] == (3,)) or not picture.size:
            raise ValueError(
                f"a picture is uint8 [H, W, 3] or [H, W]. Received: {picture.dtype} {list(picture.shape)}"
            )
        return Image.fromarray(picture).convert("RGB")
    if not isinstance(picture, Image.Image):
        raise TypeError(f"a picture is an image, an array or a path. Received: {type(picture).__name__}")
    if picture.mode == "F" or picture.mode.startswith("I"):
        raise ValueError(f"a picture has 8 bits per colour. Received: mode {picture.mode}, which must be scaled first")
    return ImageOps.exif_transpose(picture).convert("RGB")
