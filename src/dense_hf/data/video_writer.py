"""Frames into video files, with the sound of another file if wanted. On PyAV: `pip install dense_hf[video]`.

H, W: height and width of a frame in pixels. Frames are uint8 RGB arrays [H, W, 3].
"""

import os
from contextlib import AbstractContextManager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from transformers.utils import logging

from ..errors import InvalidDataError
from .video_files import SHORTEST_TICK, VideoReader, import_av, open_input

logger = logging.get_logger(__name__)

# per ending: encoder, its pixels, its options, and those of the container.
# "hybrid": readable while it is being written, and an ordinary file once it is closed; without negative offsets it
# would start two frames late, because H.264 stores frames in another order. "mbtree": on processors with AVX-512 this
# step of x264 (in PyAV 18.1) gives the same frames other bytes every time, 8 different files of 25
_H264 = ("libx264", "yuv420p", {"preset": "fast", "mbtree": "0"})
_VP9 = ("libvpx-vp9", "yuv420p", {"b": "0", "deadline": "realtime", "cpu-used": "6"})
_MOVFLAGS = {"movflags": "hybrid_fragmented+negative_cts_offsets"}
_WRITTEN: dict[str, tuple[str, str, dict[str, str], dict[str, str]]] = {
    ".gif": ("gif", "pal8", {}, {}),
    ".m4v": (*_H264, _MOVFLAGS),
    ".mkv": (*_H264, {}),
    ".mov": (*_H264, _MOVFLAGS),
    ".mp4": (*_H264, _MOVFLAGS),
    ".webm": (*_VP9, {}),
}
VIDEO_SUFFIXES = tuple(_WRITTEN)
_SLOWEST = 1e-5  # frames per second, one in 28 hours; MP4 has 32 bits for the time between two
_BT709, _LIMITED_RANGE = 1, 1  # numbers of FFmpeg
_KEY_FRAME_SECONDS = 2


class VideoWriter(AbstractContextManager):
    """Writes frames to a file that any player shows: H.264 or, as WebM, VP9 (yuv420p, BT.709), or a GIF.

    ```python
    with VideoWriter("overlay.mp4", fps=25, size=(640, 480)) as video:
        video.write(frame)      # uint8 [480, 640, 3]
    ```

    The file is complete when the block ends, also by an error or Ctrl-C: with the frames that were written. Even if
    the process is killed, MP4 and MOV files keep all but the last seconds. Without any frame there is no file.

    Players need even sides, because colors are stored for 2 x 2 pixels. An odd side is written one pixel longer, its
    last row or column twice. Each frame of a GIF has 256 colors of its own, and times in hundredths of a second.

    Args:
        path: where to; MP4, M4V, MOV, MKV, WebM or GIF by its ending. A file that is there is replaced.
        fps: frames per second, on average if `write` is told their times.
        size: (width, height) of the frames.
        crf: quality, from 0 (without loss but for the colors, which not all players show) to 51; a small number is
            large and good.
        time_base: of the times that `write` is told, which are rounded to it, such as `VideoReader.time_base`; MKV
            has milliseconds. 1 / `fps` by default.
        sample_aspect_ratio: width of a pixel / its height, for players.
        audio: a file whose sound is copied, as far as there are frames. Where it has none, that is warned about.
        audio_start: the time in that file at which the frames begin, as `VideoReader.seconds` says it.

    Raises:
        ValueError: another ending, or numbers that cannot be.
        InvalidDataError: a sound that files of this ending cannot hold.
        OSError: if the file cannot be written.
        ImportError: without PyAV.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        fps: Fraction | float,
        size: tuple[int, int],
        crf: int = 18,
        time_base: Fraction | None = None,
        sample_aspect_ratio: Fraction = Fraction(1),
        audio: str | os.PathLike | None = None,
        audio_start: Fraction = Fraction(0),
    ):
        self._av = import_av()
        self.path, self.size = Path(path), (int(size[0]), int(size[1]))
        suffix = self.path.suffix.lower()
        if suffix not in _WRITTEN:
            raise ValueError(f"path must end with one of {', '.join(sorted(_WRITTEN))}. Received: {path}")
        if not _SLOWEST <= fps < 100_000 or min(self.size) < 1 or not 0 <= crf <= 51:
            raise ValueError(
                f"fps must be at least {_SLOWEST}, size positive and crf within 0 to 51. "
                f"Received: {fps}, {tuple(size)}, {crf}"
            )
        self.num_frames = 0
        self._interval = 1 / Fraction(fps)
        self._ticks: int | None = None  # of the frame before, and its time before it was rounded
        self._seconds: Fraction | None = None
        rate = max(Fraction(fps).limit_denominator(1001), Fraction(1, 1001))
        codec, pixels, settings, container = _WRITTEN[suffix]
        open(self.path, "wb").close()  # PyAV opens it with the first frame; that it cannot be, one wants to know now
        # "file:" because a name may contain a colon
        self._container: Any = self._av.open(f"file:{self.path}", mode="w", options={"flush_packets": "1"} | container)
        quality = {} if codec == "gif" else {"crf": str(crf)}
        self._stream = self._container.add_stream(codec, rate=rate, options=quality | settings)
        self._stream.width, self._stream.height = (side + side % 2 for side in self.size)
        self._stream.pix_fmt = pixels
        self._stream.gop_size = max(1, round(_KEY_FRAME_SECONDS * rate))
        context = self._stream.codec_context
        # what a source says may be anything; its frames need ticks that are neither too long nor too short for H.264
        slow = self._interval > 1 / rate  # a frame in hours: ticks of a millisecond, for MP4 counts them in 32 bits
        usable = time_base is not None and SHORTEST_TICK <= time_base <= 1 / rate
        default = SHORTEST_TICK if time_base is not None else Fraction(1, 1000) if slow else 1 / rate
        context.time_base = time_base if usable else default
        context.sample_aspect_ratio = sample_aspect_ratio
        self._palette = None
        if codec == "gif":
            context.time_base = Fraction(1, 100)
            self._palette = self._palette_of_each_frame()
        else:
            context.color_range = _LIMITED_RANGE
            context.colorspace = context.color_primaries = context.color_trc = _BT709
        self._audio = None
        if audio is not None:
            try:
                self._audio = AudioCopy(audio, audio_start, self._container, suffix)
            except BaseException:
                self._container.close()
                self.path.unlink()
                raise

    def write(self, frame: np.ndarray, seconds: Fraction | None = None) -> None:
        """Append a frame, uint8 [H, W, 3].

        Args:
            frame: the picture.
            seconds: when it is shown, at least one tick later than the one before; else 1 / `fps` later.

        Raises:
            ValueError: another shape or type.
        """
        width, height = self.size
        if frame.dtype != np.uint8 or frame.shape != (height, width, 3):
            raise ValueError(
                f"A frame must be uint8 of the shape {(height, width, 3)}. Received: {frame.dtype} {frame.shape}"
            )
        even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        picture = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        if self._palette is not None:
            self._palette.push(picture)
            picture = self._palette.pull()
        else:
            picture = picture.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED_RANGE)
        tick = self._stream.codec_context.time_base
        if seconds is None:
            seconds = Fraction(0) if self._seconds is None else self._seconds + self._interval
        self._seconds = seconds
        ticks = round(seconds / tick)
        self._ticks = ticks if self._ticks is None else max(ticks, self._ticks + 1)
        picture.pts, picture.time_base = self._ticks, tick
        self.num_frames += 1
        try:
            if self._audio is not None:
                self._audio.copy_until(self._ticks * tick)
            self._container.mux(self._stream.encode(picture))
        except OSError:
            self._give_up()
            raise

    def _palette_of_each_frame(self) -> Any:
        """A filter of FFmpeg: RGB in, 256 colors chosen for the frame out."""
        graph = self._av.filter.Graph()
        width, height = self._stream.width, self._stream.height
        start = graph.add_buffer(width=width, height=height, format="rgb24", time_base=Fraction(1, 100))
        split, end = graph.add("split"), graph.add("buffersink")
        colors, use = graph.add("palettegen", "stats_mode=single"), graph.add("paletteuse", "new=1")
        start.link_to(split)
        split.link_to(use, 0, 0)
        split.link_to(colors, 1, 0)
        colors.link_to(use, 0, 1)
        use.link_to(end)
        graph.configure()
        return graph

    def close(self) -> None:
        """Complete the file; a second call does nothing."""
        if self._container is None:
            return
        try:
            if self.num_frames:
                if self._audio is not None and self._ticks is not None:
                    self._audio.copy_until(self._ticks * self._stream.codec_context.time_base + self._interval)
                self._container.mux(self._stream.encode(None))
            self._container.close()
        except OSError:
            self._give_up()
            raise
        self._container = None
        if self._audio is not None:
            self._audio.close()
        if not self.num_frames:
            self.path.unlink(missing_ok=True)

    def _give_up(self) -> None:
        """After a failure to write, such as a full disk: keep the frames that are whole; no file if there are none.

        FFmpeg crashes if it is given more frames after it could not write the head of a file.
        """
        container, self._container = self._container, None
        with suppress(OSError):
            container.close()
        try:
            if self.path.suffix.lower() in (".m4v", ".mov", ".mp4"):
                os.truncate(self.path, _whole_boxes(self.path))
            with VideoReader(self.path) as video:
                next(iter(video))
        except (InvalidDataError, StopIteration):
            self.path.unlink(missing_ok=True)

    def __exit__(self, *error: object) -> None:
        self.close()


class AudioCopy:
    """The sound of a file, copied as it is into another one.

    Args:
        source: the file.
        begin: the time in it at which the other one begins, as `VideoReader.seconds` says it.
        output: an open container of PyAV, to which nothing has been written.
        suffix: its ending, for messages.

    Raises:
        InvalidDataError: no file that can be read, or a sound that the container cannot hold.
    """

    def __init__(self, source: str | os.PathLike, begin: Fraction, output: Any, suffix: str):
        av = import_av()
        self._output, self._packets, self._next = output, iter(()), None
        file, arguments = open_input(os.fspath(source))
        try:
            self._input = av.open(file, mode="r", metadata_errors="replace", **arguments)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise InvalidDataError(source, "a file with sound that can be read", error) from error
        stream = self._input.streams.best("audio")
        if stream is None:
            logger.warning(f"{source} has no sound.")
            return
        name = stream.codec_context.name if stream.codec_context is not None else "one of an unknown codec"
        if stream.codec_context is None or not _can_hold(output, stream):
            self.close()
            raise InvalidDataError(source, f"a sound that {suffix} can hold (.mkv holds most)", name)
        self._stream = output.add_stream_from_template(stream)
        self._tick = Fraction(stream.time_base)
        start = Fraction(self._input.start_time or 0, av.time_base)
        self._offset = round((max(start, Fraction(0)) + begin) / self._tick)
        self._packets = self._input.demux(stream)

    def copy_until(self, seconds: Fraction) -> None:
        """Write what is heard until a time of the other file."""
        while True:
            packet = next(self._packets, None) if self._next is None else self._next
            self._next = None
            if packet is None or packet.size == 0:  # the last one is empty
                return
            if packet.pts is None or packet.pts < self._offset:
                continue
            if (packet.pts - self._offset) * self._tick >= seconds:
                self._next = packet
                return
            packet.pts -= self._offset
            packet.dts = packet.pts
            packet.stream = self._stream
            self._output.mux(packet)

    def close(self) -> None:
        """Let go of the file."""
        self._packets = iter(())
        self._input.close()


def _can_hold(output: Any, stream: Any) -> bool:
    return stream.codec_context.name in output.supported_codecs


def _whole_boxes(path: Path) -> int:
    """How many bytes of an MP4 file are whole: it is a row of boxes, each with its size in front."""
    size = path.stat().st_size
    end = 0
    with open(path, "rb") as file:
        while len(head := file.read(16)) >= 8:
            length = int.from_bytes(head[:4])
            if length == 1:  # the size did not fit
                length = int.from_bytes(head[8:])
            if length < 8 or end + length > size:
                break
            end += length
            file.seek(end)
    return end
