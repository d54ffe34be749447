"""`dense-hf segment` of what cameras and players have: sound, other containers, pipes, streams that are lost, HDR."""

import csv
import sys
import threading
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from dense_hf import InvalidDataError
from dense_hf.cli import main
from dense_hf.cli.live_frames import NamedFrame, NewestFrames, reconnected
from dense_hf.data import VideoReader, VideoWriter
from dense_hf.data.miniature_videos import draw_video

NUM_FRAMES, RATE = 12, 48_000


@pytest.fixture(scope="module")
def frames():
    return draw_video(np.random.default_rng(0), (96, 64), NUM_FRAMES, noise=5)[0]


def write(path, frames, fps=6, codec="aac"):
    """A video with a tone that becomes louder, from 0.1 on by 0.2 a second."""
    layout = {"aac": ("fltp", 1024), "libopus": ("flt", 960)}[codec]
    with av.open(str(path), "w") as container:
        picture, sound = container.add_stream("libx264", rate=fps), container.add_stream(codec, rate=RATE)
        picture.width, picture.height, picture.pix_fmt = 96, 64, "yuv420p"
        for number, frame in enumerate(frames):
            image = av.VideoFrame.from_ndarray(frame, format="rgb24")
            image.pts, image.time_base = number, Fraction(1, fps)
            container.mux(picture.encode(image))
        for start in range(0, RATE * len(frames) // fps, layout[1]):
            times = np.arange(start, start + layout[1]) / RATE
            wave = ((0.1 + 0.2 * times) * np.sin(2 * np.pi * 440 * times)).astype(np.float32)
            part = av.AudioFrame.from_ndarray(wave[None], format=layout[0], layout="mono")
            part.rate, part.pts, part.time_base = RATE, start, Fraction(1, RATE)
            container.mux(sound.encode(part))
        container.mux(picture.encode(None))
        container.mux(sound.encode(None))


@pytest.fixture(scope="module")
def loud(frames, tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "loud.mkv"
    write(path, frames)
    return path


@pytest.fixture
def segment(segmenter_checkpoint):
    return lambda *arguments: main(["segment", *map(str, arguments), "--model", segmenter_checkpoint])


def heard(path):
    """Samples of the sound."""
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


def table(path):
    return [(int(row["frame"]), row["seconds"]) for row in csv.DictReader(open(path, encoding="utf-8"))]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_sound_is_copied_from_the_first_frame_to_the_last(suffix, segment, loud, tmp_path):
    """Of the second from 0.5 to 1.5 s, as loud as it was there."""
    overlay = tmp_path / f"overlay{suffix}"
    assert segment(loud, "--start", 3, "--max-frames", 6, "--keep-audio", "--output", overlay) == 0
    samples = heard(overlay)
    assert len(samples) / RATE == pytest.approx(1.0, abs=2 * 1024 / RATE)
    whole = heard(loud)
    part = slice(RATE // 4, 3 * RATE // 4)
    before = whole[RATE // 2 :][part]
    assert np.abs(samples[part]).max() == pytest.approx(np.abs(before).max(), rel=0.05)
    assert len(list(VideoReader(overlay))) == 6


def test_sound_that_does_not_fit_or_is_not_there(segment, loud, frames, tmp_path, caplog, capsys):
    assert segment(loud, "--keep-audio", "--output", tmp_path / "overlay.webm") == 2
    assert "a sound that .webm can hold (.mkv holds most). Received: aac" in capsys.readouterr().err
    assert not (tmp_path / "overlay.webm").exists()
    with VideoWriter(tmp_path / "mute.mp4", 6, (96, 64)) as writer:
        writer.write(frames[0])
    assert segment(tmp_path / "mute.mp4", "--keep-audio", "--output", tmp_path / "overlay.mp4") == 0
    assert "has no sound" in caplog.text


def test_webm_holds_opus(segment, frames, tmp_path):
    write(tmp_path / "loud.mkv", frames[:6], codec="libopus")
    assert segment(tmp_path / "loud.mkv", "--keep-audio", "--output", tmp_path / "overlay.webm") == 0
    with av.open(str(tmp_path / "overlay.webm")) as container:
        assert [stream.codec_context.name for stream in container.streams] == ["vp9", "opus"]
    assert len(heard(tmp_path / "overlay.webm")) / RATE == pytest.approx(1.0, abs=0.05)


def test_a_gif_has_colors_and_times(frames, tmp_path):
    """256 colors a frame are near the others; times are those of the frames, in hundredths of a second."""
    with VideoWriter(tmp_path / "a.gif", 8, (96, 64)) as writer:
        for frame in frames:
            writer.write(frame)
    with VideoReader(tmp_path / "a.gif") as reader:
        seconds, shown = [], []
        for frame in reader:
            seconds.append(float(reader.seconds))
            shown.append(frame)
    assert seconds == pytest.approx([number / 8 for number in range(NUM_FRAMES)], abs=0.00501)
    assert all(np.abs(np.int16(one) - other).mean() < 8 for one, other in zip(shown, frames))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--every", 0], "--every is at least 1"),
        (["--latest"], "--latest and --reconnect are for a camera or an address"),
        (["--reconnect", 5], "--latest and --reconnect are for a camera or an address"),
        (["--keep-audio", "--table", "t.csv"], "--keep-audio is for a video file"),
        (["--keep-audio", "--output", "a.gif"], "--keep-audio is for a video file"),
    ],
)
def test_what_cannot_be(options, message, segment, loud, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert segment(loud, *options, *([] if len(options) > 2 else ["--table", "t.csv"])) == 2
    assert message in capsys.readouterr().err


def test_every_third_frame_keeps_its_number_and_time(segment, loud, frames, tmp_path):
    assert (
        segment(loud, "--every", 3, "--start", 1, "--table", tmp_path / "t.csv", "--output", tmp_path / "o.mp4") == 0
    )
    assert [number for number, _ in table(tmp_path / "t.csv")] == [1, 4, 7, 10]
    assert [float(seconds) for _, seconds in table(tmp_path / "t.csv")] == pytest.approx(
        [1 / 6, 4 / 6, 7 / 6, 10 / 6], abs=2e-3
    )
    with VideoReader(tmp_path / "o.mp4") as overlay:
        assert (overlay.fps, len(list(overlay))) == (2, 4)


def test_every_third_frame_is_what_the_model_sees(segment, loud, frames, tmp_path):
    """The labels are those of a video that has no other frames."""
    assert segment(loud, "--every", 3, "--labels-dir", tmp_path / "labels") == 0
    folder = tmp_path / "thinned"
    folder.mkdir()
    with VideoReader(loud) as video:
        for number, frame in enumerate(video):
            if number % 3 == 0:
                Image.fromarray(frame).save(folder / f"{number:08}.png")
    assert segment(folder, "--labels-dir", tmp_path / "expected") == 0
    masks = sorted((tmp_path / "labels" / "data" / "loud" / "mask").iterdir())
    assert len(masks) == 4
    for mask in masks:
        assert mask.read_bytes() == (tmp_path / "expected" / "data" / "thinned" / "mask" / mask.name).read_bytes()


def test_a_pipe(segment, loud, tmp_path, monkeypatch):
    assert segment(loud, "--table", tmp_path / "file.csv") == 0
    with open(loud, "rb", buffering=0) as raw:
        pipe = SimpleNamespace(read=raw.read)  # nothing else: a pipe cannot go back
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=pipe))
        assert segment("-", "--table", tmp_path / "pipe.csv") == 0
    assert (tmp_path / "pipe.csv").read_text() == (tmp_path / "file.csv").read_text()


def test_a_stream(segment, loud, tmp_path, capsys):
    """The last frame of an address is never stale; what was overtaken is said."""
    handler = partial(SimpleHTTPRequestHandler, directory=loud.parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/loud.mkv"
        assert segment(address, "--latest", "--table", tmp_path / "t.csv") == 0
        server.shutdown()
    numbers = [number for number, _ in table(tmp_path / "t.csv")]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == NUM_FRAMES - 1
    if len(numbers) < NUM_FRAMES:
        assert f"{NUM_FRAMES - len(numbers)} frames were dropped" in capsys.readouterr().out


class Camera:
    """A reader of so many frames, one a second."""

    source = "rtsp://192.0.2.7/stream"

    def __init__(self, number):
        self.number, self.seconds = number, Fraction(0)

    def with_errors(self):
        for index in range(self.number):
            self.seconds = Fraction(index)
            yield np.zeros((2, 2, 3), np.uint8)

    def skip(self, number):
        assert number == 0
        return 0


def test_a_lost_stream_is_opened_again_until_patience_ends(capsys):
    """Numbers and times go on; pauses double, and a frame brings patience back."""
    now, pauses = [100.0], []
    answers = iter([None, None, Camera(2), Camera(1), *[None] * 99])

    def wait(seconds):
        pauses.append(seconds)
        now[0] += seconds

    def again(source):
        assert source == Camera.source
        if (camera := next(answers)) is None:
            raise InvalidDataError(source, "a video that can be read", "nothing")
        return camera

    frames = list(reconnected(Camera(3), 20, clock=lambda: now[0], wait=wait, again=again))
    assert [frame.number for frame in frames] == [0, 1, 2, 3, 4, 5]
    assert [float(frame.seconds) for frame in frames] == [0, 1, 2, 2 + 7, 3 + 7, 3 + 7 + 1]
    assert pauses == [1, 2, 4, 1, 1, 2, 4, 8]
    assert "no frames any more; trying again for 20 s" in capsys.readouterr().err


def test_the_newest_frame_is_given_and_the_others_are_counted(capsys):
    """Three come before the first is asked for, then one, then the end."""
    may, came = [threading.Event() for _ in range(2)], [threading.Event() for _ in range(2)]

    def camera():
        for number in range(3):
            yield NamedFrame(number, str(number), Fraction(number), np.zeros((2, 2, 3), np.uint8))
        came[0].set()
        may[0].wait()
        yield NamedFrame(3, "3", Fraction(3), np.zeros((2, 2, 3), np.uint8))
        may[1].wait()
        raise OSError("the cable")

    frames = NewestFrames(camera())
    came[0].wait()
    assert next(frames).number == 2
    may[0].set()
    assert next(frames).number == 3
    may[1].set()
    with pytest.raises(OSError, match="the cable"):
        next(frames)
    assert frames.dropped == 2


def test_hdr_is_said(frames, tmp_path, caplog):
    with av.open(str(tmp_path / "hdr.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.color_trc = 16
        container.mux(stream.encode(av.VideoFrame.from_ndarray(frames[0], format="rgb24")))
        container.mux(stream.encode(None))
    with VideoReader(tmp_path / "hdr.mp4") as video:
        assert next(video).shape == (64, 96, 3)
    assert "is HDR video (PQ)" in caplog.text
