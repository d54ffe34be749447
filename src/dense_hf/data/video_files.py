"""Video files, addresses and cameras in, frame by frame. On PyAV: `pip install dense_hf[video]`.

H, W: height and width of a frame as it is seen, in pixels. Frames are uint8 RGB arrays [H, W, 3].
"""

import os
import stat
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from fractions import Fraction
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers.utils import logging

from ..errors import InvalidDataError
from ..reading import TarMember, check_regular_file, tar_and_member
from .images import DEFAULT_MAX_PIXELS

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

logger = logging.get_logger(__name__)

# What a file may be. FFmpeg also "plays" text files, and playlists that point to other files of the machine.
_FORMATS = (
    "3gp,asf,avi,dv,flv,gif,h264,hevc,ivf,m4v,matroska,mjpeg,mov,mp4,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,rm,"
    "webm,yuv4mpegpipe"
)
# What an address may begin with, and what FFmpeg may use for it. A playlist behind an address reaches no file here.
_SCHEMES = ("http", "https", "rtmp", "rtmps", "rtp", "rtsp", "rtsps", "srt", "tcp", "udp")
_PROTOCOLS = "crypto,http,httpproxy,https,rtmp,rtmps,rtp,srt,srtp,tcp,tls,udp"
STANDARD_INPUT = "-"
_DEFAULT_FPS = Fraction(25)
_HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics, numbers of FFmpeg
SHORTEST_TICK = Fraction(1, 90_000)  # of MPEG's clock


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
        source: A video file, also one in a tar, "FILE.tar/MEMBER"; an address, such as "rtsp://..." or
            "https://..."; or a camera: "camera:0", or its device on Linux, "/dev/video0". (On macOS the number is that
            of the system, on Windows it is the name of the camera, "camera:NAME". Cameras have not been tried: the
            machines this was written on have none.) "-" is the standard input, of a format that can be read from its
            beginning to its end (an MP4 file whose index comes last cannot).
        max_pixels: the most pixels of a frame.
        timeout: seconds to wait for an address.

    Attributes:
        fps (`Fraction`): frames per second, on average where they come irregularly; 25, with a warning, if the source
            does not tell.
        size (`tuple[int, int]`): (width, height) of the first frame as it is seen: turned as a phone says. A video may
            change its size later; frames always have their own.
        num_frames (`int` or `None`): as the file says, which need not be true; `None` if it does not.
        frame_index (`int`): number, from 0, of the next frame.
        seconds (`Fraction`): when the frame that was given out last is shown, from the start of the video: as the
            file says, not by `fps`; only where it says nothing for a frame, that much later than the one before.
        time_base (`Fraction`): seconds of a tick, of which the times of all frames are multiples.
        sample_aspect_ratio (`Fraction`): width of a pixel / its height, as the video is seen; nearly always 1. Frames
            are not stretched.

    Raises:
        InvalidDataError: if it is missing, no video, too large, or has no frame that can be decoded.
        ImportError: without PyAV.
    """

    fps: Fraction
    size: tuple[int, int]
    num_frames: int | None
    seconds: Fraction
    time_base: Fraction
    sample_aspect_ratio: Fraction

    def __init__(self, source: str | os.PathLike, max_pixels: int = DEFAULT_MAX_PIXELS, timeout: float | None = 30.0):
        self._av = import_av()
        self.source = os.fspath(source)
        self.max_pixels = max_pixels
        self.frame_index = 0
        # frames and what is damaged, in the order in which they are given out, each with its time in ticks
        self._ready: deque[tuple[VideoFrame | Exception, int | None]] = deque()
        self._file, arguments = open_input(self.source)
        options = {"metadata_errors": "replace", "timeout": timeout, **arguments}
        try:
            self._container = self._av.open(self._file, mode="r", **options)
        except (self._av.FFmpegError, OSError, ValueError) as error:
            self._let_go_of_tar()
            raise InvalidDataError(self.source, "a video that can be read", self._reason(error)) from error
        try:
            self._read_header()
        except BaseException:
            self.close()
            raise

    def _read_header(self) -> None:
        # players show the best stream, too; covers and thumbnails are none
        covers = self._av.stream.Disposition.attached_pic | self._av.stream.Disposition.timed_thumbnails
        streams = [stream for stream in self._container.streams.video if not stream.disposition & covers]
        if not streams:
            received = "one with a cover only" if self._container.streams.video else "one without a video stream"
            raise InvalidDataError(self.source, "a file with pictures", received)
        best = self._container.streams.best("video")
        self._stream = best if best in streams else streams[0]
        if (context := self._stream.codec_context) is None:
            received = "one of an unknown or unsupported codec"
            raise InvalidDataError(self.source, "a video stream that can be decoded", received)
        self._check_size(context.width, context.height)
        if curve := _HDR.get(context.color_trc):
            logger.warning(
                f"{self.source} is HDR video ({curve}). Its frames are read without tone mapping: they are paler than "
                "a player shows them, and than pictures that models have learned from. Convert it to SDR first."
            )
        self._packets = self._container.demux(self._stream)
        self.time_base = Fraction(self._stream.time_base or SHORTEST_TICK)
        first, ticks = self._look_ahead()
        sideways = first.rotation % 180
        self.size = (first.height, first.width) if sideways else (first.width, first.height)
        ratio = Fraction(self._stream.sample_aspect_ratio or 1)
        self.sample_aspect_ratio = 1 / ratio if sideways else ratio
        self.num_frames = self._stream.frames or None
        fps = self._stream.average_rate or self._stream.guessed_rate
        if not fps:
            logger.warning(f"{self.source} does not say how many frames it has per second; taken as {_DEFAULT_FPS}.")
        self.fps = Fraction(fps or _DEFAULT_FPS)
        start = self._container.start_time
        if start is None or is_live(self.source):  # whose clocks began before
            self._start = (ticks or 0) * self.time_base
        else:
            self._start = max(Fraction(0), Fraction(start, self._av.time_base))
        self.seconds = -1 / self.fps

    def _look_ahead(self) -> "tuple[VideoFrame, int | None]":
        """The first frame that can be decoded, and its time. It, and what is damaged before it, stays to be read."""
        seen: list[tuple[VideoFrame | Exception, int | None]] = []
        while True:
            try:
                frame, ticks = self._decode()
            except StopIteration:
                reason = self._reason(seen[0][0]) if seen else "no frame"
                raise InvalidDataError(self.source, "a video with frames that can be decoded", reason) from None
            seen.append((frame, ticks))
            if not isinstance(frame, Exception):
                self._ready.extendleft(reversed(seen))
                return frame, ticks

    def __iter__(self) -> Iterator[np.ndarray]:
        return self

    def __next__(self) -> np.ndarray:
        """The next frame, uint8 [H, W, 3].

        Raises:
            InvalidDataError: if it is damaged; the call after this one gives the frame behind it.
        """
        index, frame = self.frame_index, self._take()
        try:
            if isinstance(frame, Exception):
                raise frame
            if frame.is_corrupt:
                raise InvalidDataError(self.source, f"a whole frame {index}", "a damaged one")
            self._check_size(frame.width, frame.height)
            pixels = frame.to_ndarray(format="rgb24")
        except self._av.FFmpegError as error:
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
                frame = self._take()
            except StopIteration:
                return number
            if isinstance(frame, Exception):
                logger.warning(f"{self.source}: frame {self.frame_index - 1}, which is skipped, cannot be decoded.")
        return num_frames

    def _take(self) -> "VideoFrame | Exception":
        """The next frame, or what is wrong with it."""
        frame, ticks = self._decode()
        self.frame_index += 1
        self.seconds = self.seconds + 1 / self.fps if ticks is None else ticks * self.time_base - self._start
        return frame

    def _decode(self) -> "tuple[VideoFrame | Exception, int | None]":
        """One frame and its time in ticks, if it is known, or what is wrong with it.

        A packet may hold none or several, and the last one, which is empty, what is still kept back.
        """
        while not self._ready:
            try:
                self._ready.extend((frame, frame.pts) for frame in next(self._packets).decode())
            except self._av.FFmpegError as error:  # packets come in another order than frames, so its time is no help
                self._ready.append((error, None))
        return self._ready.popleft()

    def _reason(self, error: object) -> str:
        """What is wrong, without the number and the path that FFmpeg puts around it."""
        if is_live(self.source):
            return str(error)
        if isinstance(self._file, TarMember):
            size = self._file.size
        else:
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
        self._let_go_of_tar()

    def _let_go_of_tar(self) -> None:
        if isinstance(self._file, TarMember):
            self._file.close()

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


def is_live(source: str | os.PathLike) -> bool:
    """Whether its frames come once: a camera, an address or the standard input."""
    return os.fspath(source) == STANDARD_INPUT or is_camera(source) or is_address(source)


def open_input(source: str) -> tuple[Any, Mapping[str, Any]]:
    """What PyAV opens of a source, and how."""
    if source == STANDARD_INPUT:
        return sys.stdin.buffer, {"options": {"format_whitelist": _FORMATS}}
    if is_camera(source):
        name = source.removeprefix("camera:")
        if sys.platform == "darwin":
            return name, {"format": "avfoundation"}
        if sys.platform == "win32":
            return f"video={name}", {"format": "dshow"}
        return f"/dev/video{name}" if name.isdigit() else name, {"format": "v4l2"}
    if is_address(source):
        if (scheme := source.partition("://")[0].lower()) not in _SCHEMES:
            expected = f"a file, or an address that begins with {'://, '.join(_SCHEMES)}://"
            raise InvalidDataError(source, expected, f"{scheme}://")
        return source, {"options": {"protocol_whitelist": _PROTOCOLS}}
    if tar_and_member(source) is not None:
        return TarMember(source), {"options": {"format_whitelist": _FORMATS}}
    check_regular_file(source, sys.maxsize)
    # "file:" because a name may contain a colon
    return f"file:{source}", {"options": {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}}
