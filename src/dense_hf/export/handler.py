"""`EndpointHandler` of an Inference Endpoint: images, videos and batches in; plain JSON out.

This file is copied beside every pushed model as handler.py, where an endpoint looks for it. It imports nothing of
dense_hf: the model, its processor and its pipeline are files beside it. Videos need PyAV. The service of
`dense-hf serve` gives the same answers, by `Answers`.
"""

import base64
import binascii
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from transformers import pipeline

_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")  # readers of rare formats stay out of reach
# FFmpeg also "plays" playlists that name other files and addresses
_CONTAINERS = {"format_whitelist": "avi,flv,gif,matroska,mov,mp4,mpeg,mpegts,ogg,webm", "protocol_whitelist": "file"}
_COUNTING, _WEAK, _VIDEO = "object-counting", "weakly-supervised-segmentation", "video-semantic-segmentation"
_OF_PICTURES = {_COUNTING: {"threshold"}, _WEAK: {"labels"}}
_OF_VIDEOS = {"every", "max_frames"}


class Limits(NamedTuple):
    """What a request may have at most: pictures, frames of a video that are segmented, pixels and bytes of each."""

    pictures: int = 64
    frames: int = 1000
    pixels: int = 89_478_485
    bytes: int = 2**26


class Answers:
    """What a pipeline says of pictures and videos, as plain JSON.

    Args:
        task: of the pipeline.
        pipeline: of a checkpoint.
        limits: of a request.
        watch: called before each picture and frame; what it raises ends the answer.
    """

    def __init__(
        self, task: str, pipeline: Any, limits: Limits | None = None, watch: Callable[[], None] = lambda: None
    ):
        self.task, self.pipeline, self.limits, self.watch = task, pipeline, limits or Limits(), watch

    def of_pictures(
        self, pictures: Iterable[Image.Image], number: int, parameters: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """A dictionary for each picture.

        Args:
            pictures: taken one by one, so that one of them is in memory, unless they are compared with each other.
            number: how many there are.
            parameters: of the task.

        Raises:
            ValueError: too many pictures, too large ones, or parameters that cannot be.
        """
        _check_names(parameters, _OF_PICTURES.get(self.task, set()))
        if not 1 <= number <= self.limits.pictures:
            raise ValueError(f"A request has 1 to {self.limits.pictures} pictures. Received: {number}")
        if self.task == _WEAK:
            labels = parameters.get("labels")
            if labels is not None and not (isinstance(labels, (list, tuple)) and all(map(_are_names, labels))):
                raise ValueError(f"labels has a list of names for each picture. Received: {labels!r:.100}")
            return [_plain(result) for result in self.pipeline(self._together(pictures), labels)]
        settings = {}
        if "threshold" in parameters:
            several = isinstance(parameters["threshold"], (list, tuple))
            given = list(parameters["threshold"]) if several else [parameters["threshold"]]
            found = [_number("threshold", one, 0, 1) for one in given]
            settings["threshold"] = found if several else found[0]
        results = []
        for picture in pictures:  # for a model of videos each is a video of its own
            self.watch()
            results.append(_plain(self.pipeline(picture, **settings)))
        return results

    def of_video(self, frames: Iterable[Any], parameters: Mapping[str, Any], number: int | None = None) -> list[Any]:
        """A dictionary for each frame that is segmented.

        Args:
            frames: those of the video, uint8 [H, W, 3], or an exception in the place of one.
            parameters: `every` (1) and `max_frames`.
            number: how many there are, if that is known.

        Raises:
            ValueError: a model that is for pictures, too many frames, or parameters that cannot be.
        """
        if self.task != _VIDEO:
            raise ValueError("Videos are for models that segment video. Received: a video")
        _check_names(parameters, _OF_VIDEOS)
        every = int(_number("every", parameters.get("every", 1), 1, 10**6))
        most = int(_number("max_frames", parameters.get("max_frames", self.limits.frames), 1, self.limits.frames))
        is_cut = "max_frames" in parameters
        too_many = f"A video has at most {most} frames, or max_frames or every says which. Received: more"
        if not is_cut and number is not None and number > most * every:
            raise ValueError(too_many)
        results = []
        for result in self.pipeline(self._every(frames, every)):
            if len(results) == most:
                if not is_cut:
                    raise ValueError(too_many)
                break
            results.append(_plain({**result, "frame": result["frame"] * every}))
        return results

    def _together(self, pictures: Iterable[Image.Image]) -> list[Image.Image]:
        held: list[Image.Image] = []
        for picture in pictures:
            self.watch()
            held.append(picture)
            if sum(one.width * one.height for one in held) > self.limits.pixels:
                raise ValueError(f"Pictures of a group have at most {self.limits.pixels} pixels. Received: more")
        return held

    def _every(self, frames: Iterable[Any], every: int) -> Iterator[Any]:
        for number, frame in enumerate(frames):
            self.watch()
            if number % every == 0:
                yield frame


class EndpointHandler:
    """Answers requests with the pipeline of a checkpoint.

    Args:
        path: its folder.

    A request is `{"inputs": ..., "parameters": {...}}`. `inputs` is a picture, a list of them, or `{"video": ...}`;
    a picture or a video is its bytes or the base64 of them. An answer is a dictionary; a list of them for a list or a
    video. Addresses and paths are refused: an endpoint does not fetch what strangers name.

    - Counting: `count`, `points`, `density_count`. Parameter `threshold`.
    - Segmentation: `segmentation`, the base64 of a PNG whose gray values are labels, `class_statistics` and `frame`.
      Parameters of a video: `every` (1) and `max_frames` (without it longer videos than 1000 frames are refused).
    - Weak labels: `maps` by class, as base64 PNGs. Parameter `labels`, a list of names for each picture.
    """

    def __init__(self, path: str = ""):
        config = json.loads(Path(path, "config.json").read_text(encoding="utf-8"))
        own = list(config.get("custom_pipelines") or {})
        task = own[0] if own else "image-segmentation"
        device = 0 if torch.cuda.is_available() else -1
        self.answers = Answers(task, pipeline(task, model=path or ".", trust_remote_code=True, device=device))

    def __call__(self, data: Mapping[str, Any]) -> Any:
        """The answer to a request.

        Raises:
            ValueError: a request that is none; an endpoint tells its text.
        """
        if not isinstance(data, Mapping) or "inputs" not in data:
            raise ValueError('A request is {"inputs": ..., "parameters": {...}}. Received: no inputs')
        inputs, parameters, limits = data["inputs"], data.get("parameters") or {}, self.answers.limits
        if not isinstance(parameters, Mapping):
            raise ValueError(f"parameters are names and values. Received: {type(parameters).__name__}")
        if isinstance(inputs, Mapping):
            if set(inputs) != {"video"}:
                raise ValueError(f'inputs with a name are {{"video": ...}}. Received: {sorted(inputs)!r:.200}')
            content = _content(inputs["video"], limits.bytes)
            return self.answers.of_video(_frames(content, limits.pixels), parameters)
        single = not isinstance(inputs, (list, tuple))
        pictures = [inputs] if single else list(inputs)
        decoded = (_picture(one, limits) for one in pictures)
        results = self.answers.of_pictures(decoded, len(pictures), parameters)
        return results[0] if single else results


def _frames(content: bytes, max_pixels: int) -> Iterator[np.ndarray]:
    """The frames of a video, uint8 [H, W, 3]."""
    import av

    try:
        with av.open(io.BytesIO(content), mode="r", options=_CONTAINERS) as container:
            for frame in container.decode(video=0):
                if frame.width * frame.height > max_pixels:
                    raise ValueError(f"at most {max_pixels} pixels, not {frame.width} x {frame.height}")
                yield np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise ValueError(f"A video must be one that FFmpeg reads. Received: {error}") from error


def _check_names(parameters: Mapping[str, Any], known: set[str]) -> None:
    if unknown := set(parameters) - known:
        told = ", ".join(sorted(known)) or "none"
        raise ValueError(f"Parameters here are {told}. Received: {sorted(map(str, unknown))!r:.200}")


def _are_names(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value)


def _number(name: str, value: Any, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise ValueError(f"{name} is a number from {least} to {most}. Received: {value!r:.100}")
    return value


def _content(value: Any, most: int) -> bytes:
    """Bytes of a picture or a video."""
    if isinstance(value, str):
        try:
            value = base64.b64decode(value.partition(",")[2] if value.startswith("data:") else value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"A picture or video is its bytes or their base64. Received: {error}") from error
    if not isinstance(value, (bytes, bytearray)) or not 1 <= len(value) <= most:
        received = len(value) if isinstance(value, (bytes, bytearray)) else type(value).__name__
        raise ValueError(f"A picture or video is 1 to {most} bytes. Received: {received}")
    return bytes(value)


def _picture(value: Any, limits: Limits) -> Image.Image:
    """A picture of a request; an endpoint gives an image in the body of a request as a picture already."""
    if isinstance(value, Image.Image):
        return value
    try:
        image = Image.open(io.BytesIO(_content(value, limits.bytes)), formats=_FORMATS)
        if image.width * image.height > limits.pixels:
            raise ValueError(f"at most {limits.pixels} pixels, not {image.width} x {image.height}")
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
