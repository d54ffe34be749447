"""Video files, addresses and cameras in, frame by frame; H.264 files out. On PyAV: `pip install dense_hf[video]`.

H, W: height and width of a frame as it is seen, in pixels. Frames are uint8 RGB arrays [H, W, 3].
"""

import os
import stat
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers.utils import logging

from ..errors import InvalidDataError
from .files import check_regular_file
from .images import DEFAULT_MAX_PIXELS

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

logger = logging.get_logger(__name__)

# What a file may be. FFmpeg also "plays" text files, and playlists that point to other files of the machine.
_FORMATS = (
    "3gp,asf,avi,dv,flv,gif,h264,hevc,ivf,m4v,matroska,mjpeg,mov,mp4,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,rm,"
    "webm,yuv4mpegpipe"
)
_WRITTEN = frozenset((".mp4", ".m4v", ".mov", ".mkv"))
_DEFAULT_FPS = Fraction(25)
_BT709, _LIMITED_RANGE = 1, 1  # numbers of FFmpeg
_KEY_FRAME_SECONDS = 2


class VideoReader(AbstractContextManager):
    """Frames of a video, one after the other, decoded as they are asked for.

    ```python
    with VideoReader("street.mp4") as video:
        print(video.fps, video.size, video.num_frames)
        for frame in video:     # uint8 [H, W, 3]
            ...
    ```

    It is its own iterator: a second loop goes on where the first one stopped. A damaged frame raises
    `InvalidDataError`, and the next call of `next` goes on behind it, as `with_errors` does; `frame_index` says which
    frame is next.

    Args:
        source: A video file; an address, such as "rtsp://..." or "https://..."; or a camera: "camera:0", or its device
            on Linux, "/dev/video0". (On macOS the number is that of the system, on Windows it is the name of the
            camera, "camera:NAME". Cameras have not been tried: the machines this was written on have none.)
        max_pixels: the most pixels of a frame.
        timeout: seconds to wait for an address.

    Attributes:
        fps (`Fraction`): frames per second, on average where they come irregularly; 25, with a warning, if the source
            does not tell.
        size (`tuple[int, int]`): (width, height) of the first frame as it is seen: turned as a phone says. A video may
            change its size later; frames always have their own.
        num_frames (`int` or `None`): as the file says, which need not be true; `None` if it does not.
        frame_index (`int`): number, from 0, of the next frame.

    Raises:
        InvalidDataError: if it is missing, no video, too large, or has no frame that can be decoded.
        ImportError: without PyAV.
    """

    fps: Fraction
    size: tuple[int, int]
    num_frames: int | None

    def __init__(self, source: str | os.PathLike, max_pixels: int = DEFAULT_MAX_PIXELS, timeout: float | None = 30.0):
        self._av = import_av()
        self.source = os.fspath(source)
        self.max_pixels = max_pixels
        self.frame_index = 0
        self._ready: deque[VideoFrame | Exception] = deque()  # in the order in which they are given out
        file, arguments = _input(self.source)
        try:
            self._container = self._av.open(file, mode="r", metadata_errors="replace", timeout=timeout, **arguments)
        except (self._av.FFmpegError, OSError, ValueError) as error:
            raise InvalidDataError(self.source, "a video that can be read", self._reason(error)) from error
        try:
            self._read_header()
        except BaseException:
            self.close()
            raise

    def _read_header(self) -> None:
        if not self._container.streams.video:
            raise InvalidDataError(self.source, "a file with pictures", "one without a video stream")
        self._stream = self._container.streams.video[0]
        if (context := self._stream.codec_context) is None:
            received = "one of an unknown or unsupported codec"
            raise InvalidDataError(self.source, "a video stream that can be decoded", received)
        self._check_size(context.width, context.height)
        self._packets = self._container.demux(self._stream)
        first = self._look_ahead()
        width, height = (first.height, first.width) if first.rotation % 180 else (first.width, first.height)
        self.size = (width, height)
        self.num_frames = self._stream.frames or None
        fps = self._stream.average_rate or self._stream.guessed_rate
        if not fps:
            logger.warning(f"{self.source} does not say how many frames it has per second; taken as {_DEFAULT_FPS}.")
        self.fps = Fraction(fps or _DEFAULT_FPS)

    def _look_ahead(self) -> "VideoFrame":
        """The first frame that can be decoded. It, and what is damaged before it, stays to be read."""
        seen: deque[VideoFrame | Exception] = deque()
        while True:
            try:
                frame = self._decode()
            except StopIteration:
                reason = self._reason(seen[0]) if seen else "no frame"
                raise InvalidDataError(self.source, "a video with frames that can be decoded", reason) from None
            except self._av.FFmpegError as error:
                seen.append(error)
            else:
                self._ready.extendleft([frame, *reversed(seen)])
                return frame

    def __iter__(self) -> Iterator[np.ndarray]:
        return self

    def __next__(self) -> np.ndarray:
        """The next frame, uint8 [H, W, 3].

        Raises:
            InvalidDataError: if it is damaged; the call after this one gives the frame behind it.
        """
        index = self.frame_index
        try:
            frame = self._decode()
            self.frame_index += 1
            if frame.is_corrupt:
                raise InvalidDataError(self.source, f"a whole frame {index}", "a damaged one")
            self._check_size(frame.width, frame.height)
            pixels = frame.to_ndarray(format="rgb24")
        except self._av.FFmpegError as error:
            self.frame_index = index + 1
            raise InvalidDataError(self.source, f"a frame {index} that can be decoded", self._reason(error)) from error
        # the angle is counterclockwise, as that of numpy; what is no quarter turn is left to the player
        return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))

    def with_errors(self) -> Iterator[np.ndarray | InvalidDataError]:
        """The frames, with the error in the place of a damaged one. The source is closed at the end."""
        with self:
            while True:
                try:
                    yield next(self)
                except StopIteration:
                    return
                except InvalidDataError as error:
                    yield error

    def skip(self, num_frames: int) -> int:
        """Pass over frames, faster than by reading them. Returns how many there were; fewer at the end of the video.

        They are decoded, because others are made from them, so that frame numbers stay exact.
        """
        for number in range(num_frames):
            try:
                self._decode()
            except StopIteration:
                return number
            except self._av.FFmpegError:
                logger.warning(f"{self.source}: frame {self.frame_index}, which is skipped, cannot be decoded.")
            self.frame_index += 1
        return num_frames

    def _decode(self) -> "VideoFrame":
        """One frame; a packet may hold none or several, and the last one, which is empty, what is still kept back."""
        while not self._ready:
            self._ready.extend(next(self._packets).decode())
        frame = self._ready.popleft()
        if isinstance(frame, Exception):
            raise frame
        return frame

    def _reason(self, error: object) -> str:
        """What is wrong, without the number and the path that FFmpeg puts around it."""
        if is_camera(self.source) or is_address(self.source):
            return str(error)
        size = os.path.getsize(self.source) if os.path.isfile(self.source) else 0
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return f"{said} ({size} bytes)" if size else "an empty file"

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self.max_pixels:
            raise InvalidDataError(self.source, f"frames of at most {self.max_pixels} pixels", f"{width} x {height}")

    def close(self) -> None:
        """Let go of the file or camera; there are no more frames then."""
        self._ready.clear()
        self._packets = iter(())  # PyAV 18.1 reads on in a closed file and crashes the process
        self._container.close()

    def __exit__(self, *error: object) -> None:
        self.close()


class VideoWriter(AbstractContextManager):
    """Writes frames to an H.264 file that any player shows (yuv420p, BT.709).

    ```python
    with VideoWriter("overlay.mp4", fps=25, size=(640, 480)) as video:
        video.write(frame)      # uint8 [480, 640, 3]
    ```

    The file is complete when the block ends, also by an error or Ctrl-C: with the frames that were written. Even if
    the process is killed, MP4 and MOV files keep all but the last seconds. Without any frame there is no file.

    Players need even sides, because colors are stored for 2 x 2 pixels. An odd side is written one pixel longer, its
    last row or column twice.

    Args:
        path: where to; MP4, M4V, MOV or MKV by its ending. A file that is there is replaced.
        fps: frames per second.
        size: (width, height) of the frames.
        crf: quality, from 0 (without loss but for the colors, which not all players show) to 51; a small number is
            large and good.

    Raises:
        ValueError: another ending, or numbers that cannot be.
        OSError: if the file cannot be written.
        ImportError: without PyAV.
    """

    def __init__(self, path: str | os.PathLike, fps: Fraction | float, size: tuple[int, int], crf: int = 18):
        self._av = import_av()
        self.path, self.size = Path(path), (int(size[0]), int(size[1]))
        suffix = self.path.suffix.lower()
        if suffix not in _WRITTEN:
            raise ValueError(f"path must end with one of {', '.join(sorted(_WRITTEN))}. Received: {path}")
        if not 0 < fps < 100_000 or min(self.size) < 1 or not 0 <= crf <= 51:
            raise ValueError(
                f"fps and size must be positive and crf within 0 to 51. Received: {fps}, {tuple(size)}, {crf}"
            )
        self.num_frames = 0
        rate = Fraction(fps).limit_denominator(1001)
        # "hybrid": readable while it is being written, and an ordinary file once it is closed
        options = {"flush_packets": "1"} | ({} if suffix == ".mkv" else {"movflags": "hybrid_fragmented"})
        open(self.path, "wb").close()  # PyAV opens it with the first frame; that it cannot be, one wants to know now
        self._container: Any = self._av.open(str(self.path), mode="w", options=options)
        self._stream = self._container.add_stream("libx264", rate=rate, options={"crf": str(crf), "preset": "fast"})
        self._stream.width, self._stream.height = (side + side % 2 for side in self.size)
        self._stream.pix_fmt = "yuv420p"
        self._stream.gop_size = max(1, round(_KEY_FRAME_SECONDS * rate))
        context = self._stream.codec_context
        context.time_base = 1 / rate
        context.color_range = _LIMITED_RANGE
        context.colorspace = context.color_primaries = context.color_trc = _BT709

    def write(self, frame: np.ndarray) -> None:
        """Append a frame, uint8 [H, W, 3].

        Raises:
            ValueError: another shape or type.
        """
        width, height = self.size
        if frame.dtype != np.uint8 or frame.shape != (height, width, 3):
            raise ValueError(
                f"A frame must be uint8 of the shape {(height, width, 3)}. Received: {frame.dtype} {frame.shape}"
            )
        even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        picture = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24").reformat(
            format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED_RANGE
        )
        picture.pts, picture.time_base = self.num_frames, self._stream.codec_context.time_base
        self.num_frames += 1
        self._container.mux(self._stream.encode(picture))

    def close(self) -> None:
        """Complete the file; a second call does nothing."""
        container, self._container = self._container, None
        if container is None:
            return
        try:
            if self.num_frames:
                container.mux(self._stream.encode(None))
        finally:
            container.close()
            if not self.num_frames:
                self.path.unlink(missing_ok=True)

    def __exit__(self, *error: object) -> None:
        self.close()


def import_av() -> ModuleType:
    """PyAV, or an `ImportError` that says how to get it."""
    try:
        import av
    except ImportError as error:
        raise ImportError("Video files need PyAV: pip install dense_hf[video]") from error
    return av


def is_camera(source: str | os.PathLike) -> bool:
    """Whether it is "camera:..." or a device such as /dev/video0."""
    source = os.fspath(source)
    try:
        return source.startswith("camera:") or stat.S_ISCHR(os.stat(source).st_mode)
    except (OSError, ValueError):
        return False


def is_address(source: str | os.PathLike) -> bool:
    """Whether it is a URL."""
    return "://" in os.fspath(source)


def _input(source: str) -> tuple[str, Mapping[str, Any]]:
    """What FFmpeg calls the source, and how to open it."""
    if is_camera(source):
        name = source.removeprefix("camera:")
        if sys.platform == "darwin":
            return name, {"format": "avfoundation"}
        if sys.platform == "win32":
            return f"video={name}", {"format": "dshow"}
        return f"/dev/video{name}" if name.isdigit() else name, {"format": "v4l2"}
    if is_address(source):
        return source, {}
    check_regular_file(source, sys.maxsize)
    # "file:" because a name may contain a colon
    return f"file:{source}", {"options": {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}}
