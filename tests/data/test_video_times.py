"""When frames are shown, which stream is taken, and how wide pixels are: files of each kind, written with FFmpeg."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from dense_hf import InvalidDataError
from dense_hf.data import VideoReader, VideoWriter

SIZE = (64, 48)
MILLISECONDS = [0, 40, 80, 500, 520, 900, 1300, 2000, 2040, 6200]  # of a phone, a screen recorder, a camera at night


def picture(number: int) -> av.VideoFrame:
    frame = np.full((*SIZE[::-1], 3), 25 * number, np.uint8)
    return av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuv420p")


def write(path: Path, times=MILLISECONDS, codec="libx264", ratio=Fraction(1), before=None, rotation=0) -> Path:
    """A video whose frames come at these milliseconds; `before` adds a stream before its own."""
    with av.open(str(path), "w") as container:
        packets = [] if before is None else before(container)
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.sample_aspect_ratio = ratio
        if rotation:
            stream.set_display_rotation(rotation)
        container.mux(packets)
        for number, time in enumerate(times):
            frame = picture(number)
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def times_of(path: Path) -> list[float]:
    """By FFmpeg itself, from the beginning that a player shows: 0."""
    with av.open(str(path)) as container:
        return [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".ts"])
def test_frames_that_come_irregularly_have_their_own_times(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}")
    with VideoReader(path) as video:
        seconds = [(frame.mean(), float(video.seconds)) for frame in video]
    np.testing.assert_allclose([second for _, second in seconds], np.array(MILLISECONDS) / 1000, atol=6e-4)
    np.testing.assert_allclose([gray for gray, _ in seconds], 25 * np.arange(10), atol=6)
    with VideoReader(path) as video:
        assert video.skip(9) == 9
        next(video)
        assert float(video.seconds) == pytest.approx(6.2, abs=1e-3)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".m4v", ".mkv"])
def test_what_is_written_keeps_its_times_and_begins_at_once(tmp_path, suffix):
    with VideoWriter(tmp_path / f"a{suffix}", 25, SIZE, time_base=Fraction(1, 1000)) as video:
        for number, time in enumerate(MILLISECONDS):
            video.write(np.full((*SIZE[::-1], 3), 25 * number, np.uint8), Fraction(time, 1000))
    np.testing.assert_allclose(times_of(tmp_path / f"a{suffix}"), np.array(MILLISECONDS) / 1000, atol=1e-4)
    with VideoWriter(tmp_path / f"b{suffix}", 25, SIZE) as video:
        for number in range(10):
            video.write(np.full((*SIZE[::-1], 3), 25 * number, np.uint8))
    np.testing.assert_allclose(times_of(tmp_path / f"b{suffix}"), np.arange(10) / 25, atol=1e-3)
    with av.open(str(tmp_path / f"b{suffix}")) as container:
        assert container.start_time == 0


def test_times_that_do_not_grow_become_the_next_ones(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 10, SIZE) as video:
        for time in (0, 0, Fraction(1, 10), 5, 1):
            video.write(np.zeros((*SIZE[::-1], 3), np.uint8), Fraction(time))
    np.testing.assert_allclose(times_of(tmp_path / "a.mp4"), [0, 0.1, 0.2, 5, 5.1], atol=1e-6)


def test_frames_without_a_time_come_by_their_rate(tmp_path):
    """Raw H.264 has none."""
    with (
        av.open(str(write(tmp_path / "a.mp4", range(0, 400, 40)))) as source,
        av.open(str(tmp_path / "a.h264"), "w") as copy,
    ):
        stream = copy.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    with VideoReader(tmp_path / "a.h264") as video:
        seconds = [float(video.seconds) for _ in video]
    np.testing.assert_allclose(seconds, np.arange(10) / float(video.fps))


def test_covers_and_thumbnails_are_not_the_video(tmp_path):
    """The cover of a podcast or a music video may stand before the film, or alone with the sound."""

    def add_cover(container: av.container.OutputContainer) -> list[av.Packet]:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuvj420p"
        stream.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame.from_image(Image.new("RGB", (16, 16), "red")).reformat(format="yuvj420p")
        return [*stream.encode(frame), *stream.encode(None)]

    with VideoReader(write(tmp_path / "a.mp4", before=add_cover)) as video:
        assert (video.size, len(list(video))) == (SIZE, 10)
    with av.open(str(tmp_path / "sound.m4a"), "w", format="mp4") as container:
        cover = add_cover(container)
        sound = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux([*cover, *sound.encode(frame), *sound.encode(None)])
    with pytest.raises(InvalidDataError, match="cover"):
        VideoReader(tmp_path / "sound.m4a")


def test_the_best_stream_is_taken(tmp_path):
    """As players do; a small preview may come first."""

    def add_preview(container: av.container.OutputContainer) -> list[av.Packet]:
        preview = container.add_stream("libx264", rate=1)
        preview.width, preview.height, preview.pix_fmt = 16, 16, "yuv420p"
        frame = picture(0).reformat(16, 16)
        frame.pts = 0
        return [*preview.encode(frame), *preview.encode(None)]

    with VideoReader(write(tmp_path / "a.mkv", before=add_preview)) as video:
        assert (video.size, len(list(video))) == (SIZE, 10)


@pytest.mark.parametrize(("rotation", "seen"), [(0, Fraction(4, 3)), (90, Fraction(3, 4))])
def test_wide_pixels_are_told_and_written(tmp_path, rotation, seen):
    with VideoReader(write(tmp_path / "a.mp4", ratio=Fraction(4, 3), rotation=rotation)) as video:
        assert video.sample_aspect_ratio == seen
        assert video.size == (SIZE if rotation == 0 else SIZE[::-1])
    with VideoWriter(tmp_path / "b.mp4", 25, SIZE, sample_aspect_ratio=seen) as video:
        video.write(np.zeros((*SIZE[::-1], 3), np.uint8))
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == seen
