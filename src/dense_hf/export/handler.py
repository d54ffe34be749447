"""`EndpointHandler` of an Inference Endpoint: images, videos and batches in; plain JSON out.

This file is copied beside every pushed model as handler.py, where an endpoint looks for it. It imports nothing of
dense_hf: the model, its processor and its pipeline are files beside it. Videos need PyAV.
"""

import base64
import binascii
import io
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import pipeline

MAX_BATCH, MAX_BYTES, MAX_FRAMES, MAX_PIXELS = 64, 2**26, 1000, 89_478_485
_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")  # readers of rare formats stay out of reach
_PARAMETERS = {"threshold", "labels", "every", "max_frames"}


class EndpointHandler:
    """Answers requests with the pipeline of a checkpoint.

    Args:
        path: its folder.

    A request is `{"inputs": ..., "parameters": {...}}`. `inputs` is a picture, a list of them, or `{"video": ...}`;
    a picture or a video is its bytes or the base64 of them. An answer is a dictionary; a list of them for a list or a
    video. Addresses and paths are refused: an endpoint does not fetch what strangers name.

    - Counting: `count`, `points`, `density_count`. Parameter `threshold`.
    - Segmentation: `segmentation`, the base64 of a PNG whose gray values are labels, and `class_statistics`; of a
      video also `frame`. Parameters `every` (1) and `max_frames` (1000).
    - Weak labels: `maps` by class, as base64 PNGs. Parameter `labels`, a list of names for each picture.
    """

    def __init__(self, path: str = ""):
        config = json.loads(Path(path, "config.json").read_text(encoding="utf-8"))
        own = list(config.get("custom_pipelines") or {})
        self.task = own[0] if own else "image-segmentation"
        device = 0 if torch.cuda.is_available() else -1
        self.pipeline: Any = pipeline(self.task, model=path or ".", trust_remote_code=True, device=device)

    def __call__(self, data: Mapping[str, Any]) -> Any:
        """The answer to a request.

        Raises:
            ValueError: a request that is none; an endpoint tells its text.
        """
        if not isinstance(data, Mapping) or "inputs" not in data:
            raise ValueError('A request is {"inputs": ..., "parameters": {...}}. Received: no inputs')
        inputs, parameters = data["inputs"], dict(data.get("parameters") or {})
        if unknown := set(parameters) - _PARAMETERS:
            raise ValueError(f"parameters are {', '.join(sorted(_PARAMETERS))}. Received: {sorted(unknown)!r:.200}")
        if isinstance(inputs, Mapping):
            return self._video(inputs, parameters)
        single = not isinstance(inputs, (list, tuple))
        pictures = [inputs] if single else list(inputs)
        if not 1 <= len(pictures) <= MAX_BATCH:
            raise ValueError(f"inputs are 1 to {MAX_BATCH} pictures. Received: {len(pictures)}")
        results = self._pictures([_picture(one) for one in pictures], parameters)
        return results[0] if single else results

    def _pictures(self, pictures: list[Image.Image], parameters: dict[str, Any]) -> list[Any]:
        if self.task == "object-counting":
            settings = {"threshold": parameters["threshold"]} if "threshold" in parameters else {}
            return [_plain(result) for result in self.pipeline(pictures, **settings)]
        if self.task == "weakly-supervised-segmentation":
            labels = parameters.get("labels")
            return [_plain(result) for result in self.pipeline(pictures, *([] if labels is None else [labels]))]
        return [_plain(self.pipeline(picture)) for picture in pictures]  # each is a video of its own

    def _video(self, inputs: Mapping[str, Any], parameters: dict[str, Any]) -> list[Any]:
        if self.task != "video-semantic-segmentation" or set(inputs) != {"video"}:
            raise ValueError('inputs of a model for video may be {"video": ...}. Received: another mapping, or model')
        every, most = int(parameters.get("every", 1)), int(parameters.get("max_frames", MAX_FRAMES))
        if every < 1 or not 1 <= most <= MAX_FRAMES:
            raise ValueError(f"every is from 1 on, max_frames 1 to {MAX_FRAMES}. Received: {every} and {most}")
        results = []
        with tempfile.NamedTemporaryFile() as file:
            file.write(_content(inputs["video"]))
            file.flush()
            frames = _frames(file.name)
            chosen = (frame for number, frame in enumerate(frames) if number % every == 0)
            for result in self.pipeline(chosen):
                results.append(_plain({**result, "frame": result["frame"] * every}))
                if len(results) == most:
                    break
        return results


def _frames(path: str) -> Any:
    """The frames of a video file, uint8 [H, W, 3]."""
    import av

    try:
        with av.open(path) as container:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"A video must be one that FFmpeg reads. Received: {error}") from error


def _content(value: Any) -> bytes:
    """Bytes of a picture or a video."""
    if isinstance(value, str):
        try:
            value = base64.b64decode(value.partition(",")[2] if value.startswith("data:") else value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"A picture or video is its bytes or their base64. Received: {error}") from error
    if not isinstance(value, (bytes, bytearray)) or not 1 <= len(value) <= MAX_BYTES:
        received = len(value) if isinstance(value, (bytes, bytearray)) else type(value).__name__
        raise ValueError(f"A picture or video is 1 to {MAX_BYTES} bytes. Received: {received}")
    return bytes(value)


def _picture(value: Any) -> Image.Image:
    """A picture of a request; an endpoint gives an image in the body of a request as a picture already."""
    if isinstance(value, Image.Image):
        image = value
    else:
        try:
            image = Image.open(io.BytesIO(_content(value)), formats=_FORMATS)
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"at most {MAX_PIXELS} pixels, not {image.width} x {image.height}")
            image.load()
        except Exception as error:  # broken files make Pillow raise anything
            raise ValueError(f"A picture must be a complete {', '.join(_FORMATS)}. Received: {error}") from error
    return image


def _plain(value: Any) -> Any:
    """What JSON has: arrays of whole numbers as PNG, of others as lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, torch.Tensor):
        value = value.numpy(force=True)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        value = Image.fromarray(value) if value.ndim == 2 and value.dtype in (np.uint8, np.uint16) else value.tolist()
    if isinstance(value, Image.Image):
        buffer = io.BytesIO()
        value.save(buffer, format="PNG")
        return base64.b64encode(buffer.getvalue()).decode()
    return value
