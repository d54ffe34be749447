"""`pipeline("video-semantic-segmentation")`: a class for every pixel of every frame (thesis chapters 4 and 5).

This file is copied beside a saved pipeline, so it needs nothing of dense_hf but for the decoding of video files.

H, W: height and width of a frame as it came; K: number of labels.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NotRequired, TypedDict

import numpy as np
from PIL import Image
from transformers.utils import logging

from .image_pipeline import ImageProcessorPipeline, class_shares
from .picture_reading import ACCEPTED, PICTURE_SUFFIXES, check_pictures, parse_white, read_picture

logger = logging.get_logger(__name__)


class FrameSegmentation(TypedDict):
    """What the pipeline returns for one frame; see [`VideoSemanticSegmentationPipeline.__call__`]."""

    frame: int
    segmentation: np.ndarray | None
    class_statistics: dict[str, float]
    seconds: NotRequired[float]
    error: NotRequired[str]


class VideoSemanticSegmentationPipeline(ImageProcessorPipeline):
    """
    Segments videos, frame by frame, as long as they are.

    A model with `segment_frame`, like [`CFFMForVideoSemanticSegmentation`], looks back at the frames before; its
    encoder sees every frame once. Any other model for semantic segmentation, like `SegformerForSemanticSegmentation`,
    sees every frame alone; but for VidEoMT, whose queries go from frame to frame (`VideomtFrames` is its processor).

    Example:

    ```python
    >>> import dense_hf
    >>> from transformers import pipeline

    >>> segmenter = pipeline("video-semantic-segmentation", model="org/cffm-b1")
    >>> for result in segmenter("street.mp4"):
    ...     print(result["frame"], result["segmentation"].shape, result["class_statistics"])
    0 (1080, 1920) {'road': 0.41, 'building': 0.33, 'sky': 0.18, 'car': 0.08}
    ```
    """

    model: Any  # for semantic segmentation
    image_processor: Any  # one that has `post_process_semantic_segmentation`

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.model.eval()
        self.streaming = streaming_model(self.model)

    def _sanitize_parameters(  # ty: ignore[incompatible-method-override]
        self,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        return {}, {}, {}

    def __call__(
        self, inputs: Any, page: int | None = None, white: float | str | None = None
    ) -> FrameSegmentation | list[FrameSegmentation] | Iterator[FrameSegmentation]:
        """
        Segment one video.

        Args:
            inputs: One of

                - a video file, an address ("rtsp://...") or a camera ("camera:0"), which
                  `dense_hf.data.VideoReader` decodes (`pip install dense_hf[video]`);
                - a `VideoReader`;
                - a folder of frames, taken in the order of the numbers in their names;
                - any iterator of frames, also an endless one;
                - a list of frames, or an array `[T, H, W, 3]`;
                - one frame.

                A frame is a `PIL.Image`, a uint8 array `[H, W, 3]` (RGB) or `[H, W]`, a uint8 tensor `[3, H, W]`, or
                the path of an image.
            page (`int`, *optional*): Which picture of image files with several, from 0; without it they are damaged
                frames. Pages of a TIFF that are smaller copies or masks of another do not count.
            white (`float` or `str`, *optional*): The gray value of 16 bits, or the floating point value, that is white
                in images, such as 4095, or "99.9%", the value that so many of the pixels do not exceed. Without it
                images of more than 8 bits are damaged frames.

        Return:
            An iterator that takes one frame for each result that is asked for, so memory does not depend on the
            length; for a list or array of frames a list, for one frame its result:

            - **frame** (`int`): Number of the frame, from 0.
            - **segmentation** (uint8 array `[H, W]`, uint16 from 257 labels on): The label of each pixel of the frame.
            - **class_statistics** (`dict`): Name of each class that occurs to its share of the pixels, in (0, 1],
              the largest first.
            - **seconds** (`float`, only of a video file, an address or a camera): When the frame is shown, as the
              video says; frames need not come regularly.
            - **error** (`str`, only for a damaged frame): Why it could not be read. Then `segmentation` is `None` and
              `class_statistics` empty; a warning is logged, and the next frame goes on as if it had not been there.
              An exception in the place of a frame, as `VideoReader.with_errors` gives it, is such a frame; one that
              the iterator raises ends the video.

            A frame of another size than the one before starts anew, with a warning: nothing before it is looked at.

        Raises:
            ValueError: `white` that is none, `page` or `white` of a video, a file that is no video, a folder without
                frames, or a model whose logits are not finite.
            TypeError: something else than the above, such as a list of videos, bytes, or frames of floats; of a list
                before anything is segmented.
        """
        if white is not None:
            parse_white(white)
        if isinstance(inputs, (str, os.PathLike)):
            if not os.path.isdir(inputs):
                _require_pictures(page, white)
                return self._timed(open_video(inputs))
            return self.segment(list_frames(inputs), page=page, white=white)
        if hasattr(inputs, "with_errors"):
            _require_pictures(page, white)
            return self._timed(inputs)
        if isinstance(inputs, Image.Image) or getattr(inputs, "ndim", None) in (2, 3):
            check_pictures([inputs], "frame")
            return next(self.segment([inputs], page=page, white=white))
        if isinstance(inputs, (list, tuple)) or getattr(inputs, "ndim", None) == 4:
            check_pictures(inputs, "frame of a list")  # two videos are two calls
            return list(self.segment(inputs, page=page, white=white))
        if isinstance(inputs, (bytes, bytearray, Mapping)) or not isinstance(inputs, Iterable):
            raise TypeError(
                "A video is its file, an address, a camera, a folder of frames, or a list, an array [T, H, W, 3] or "
                f"an iterator of frames, each {ACCEPTED}. Received: {type(inputs).__name__}"
            )
        return self.segment(iter(inputs), page=page, white=white)

    def _timed(self, video: Any) -> Iterator[FrameSegmentation]:
        """The results of a `VideoReader`, each with the time of its frame."""
        for result in self.segment(video.with_errors()):
            yield FrameSegmentation(**result, seconds=float(video.seconds))

    def segment(
        self,
        frames: Iterable[Any],
        start: int = 0,
        page: int | None = None,
        white: float | str | None = None,
    ) -> Iterator[FrameSegmentation]:
        """One result for each frame, when it is asked for; see `__call__`. The number of the first is `start`."""
        session, size = self._new_session(), None
        for index, frame in enumerate(frames, start):
            try:
                image = read_picture(frame, page, white)
            except TypeError:  # not damaged, but what cannot be a frame
                raise
            except Exception as error:  # a broken picture makes Pillow raise OSError, SyntaxError, struct.error, ...
                reason = str(error) or type(error).__name__
                logger.warning(f"frame {index} is left out: {reason}")
                yield FrameSegmentation(frame=index, segmentation=None, class_statistics={}, error=reason)
                continue
            if size not in (None, image.size):
                logger.warning(f"frame {index} is {_by(image.size)}, not {_by(size)}: a new video starts with it")
                session = self._new_session()
            size = image.size
            labels = self.forward(self.preprocess(image), session=session)
            yield self.postprocess({"frame": index, **labels})

    def _new_session(self) -> Any:
        """What the model remembers of a video; None for a model that remembers nothing."""
        return self.streaming.new_session() if hasattr(self.streaming, "new_session") else None

    def preprocess(  # ty: ignore[incompatible-method-override]
        self, image: Image.Image
    ) -> dict[str, Any]:
        """Pixel values [1, 3, h, w]; a processor of clips returns a clip of one frame."""
        pixels = self.image_processor(image, return_tensors="pt")["pixel_values"]
        return {"pixel_values": pixels.flatten(0, -4), "size": [image.height, image.width]}

    def _forward(  # ty: ignore[incompatible-method-override]
        self, inputs: dict[str, Any], session: Any = None
    ) -> dict[str, Any]:
        """Labels [H, W]. They are found on the device of the model: the logits of a large frame are a gigabyte."""
        pixels = inputs["pixel_values"].to(self.model.dtype)
        logits = self.model(pixels).logits if session is None else self.streaming.segment_frame(pixels, session)
        if not logits.isfinite().all():
            raise ValueError("The logits must be finite. Received: NaN or infinity; the weights are broken")
        outputs = SimpleNamespace(logits=logits)
        (labels,) = self.image_processor.post_process_semantic_segmentation(outputs, [tuple(inputs["size"])])
        return {"labels": labels}

    def postprocess(  # ty: ignore[incompatible-method-override]
        self, result: dict[str, Any]
    ) -> FrameSegmentation:
        """Labels as an array, and what each class takes of the frame."""
        names: Mapping[int, str] = self.model.config.id2label
        labels = result["labels"].numpy().astype(np.uint8 if len(names) <= 256 else np.uint16)
        shares = class_shares(labels, names)
        return FrameSegmentation(frame=result["frame"], segmentation=labels, class_statistics=shares)


def streaming_model(model: Any) -> Any:
    """What segments frame by frame: VidEoMT of transformers has no sessions of its own, all others are it themselves.

    Raises:
        ImportError: dense_hf is missing.
    """
    if model.config.model_type != "videomt":
        return model
    try:
        from dense_hf.video_segmentation.streaming_videomt import StreamingVideomt
    except ImportError as error:
        raise ImportError("VidEoMT frame by frame needs dense_hf: pip install dense_hf") from error
    return StreamingVideomt(model)


def _require_pictures(page: int | None, white: float | str | None) -> None:
    if page is not None or white is not None:
        raise ValueError(f"page and white are for pictures, not for a video. Received: page={page}, white={white}")


def open_video(source: str | os.PathLike) -> Any:
    """The `VideoReader` of a video file, an address or a camera.

    Raises:
        ValueError: a file that is no video.
        ImportError: if dense_hf or PyAV is missing.
    """
    try:
        from dense_hf.data import VideoReader
    except ImportError as error:
        raise ImportError(
            "Decoding a video needs dense_hf: pip install dense_hf[video]. Frames that are decoded already can be "
            "given as an iterator"
        ) from error
    return VideoReader(source)


def list_frames(folder: str | os.PathLike) -> list[Path]:
    """The images of a folder in the order of the numbers in their names, so that frame9 is before frame10.

    Raises:
        ValueError: if there are none.
    """
    paths = [path for path in Path(folder).iterdir() if path.suffix.lower() in PICTURE_SUFFIXES]
    paths = [path for path in paths if not path.name.startswith(".") and path.is_file()]
    if not paths:
        raise ValueError(f"{os.fspath(folder)!r} has no frames, files such as 00000001.jpg or .png")

    def numbers(path: Path) -> list[str | int]:
        # text and numbers take turns, so that numbers are only compared with each other
        return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"(\d+)", path.name))]

    return sorted(paths, key=numbers)


def _by(size: tuple[int, int] | None) -> str:
    return " x ".join(map(str, size or ()))
