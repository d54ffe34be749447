"""Video files: what is written is read again, what is damaged is named, and memory does not grow with the length."""

import builtins
import gzip
import os
import signal
import subprocess
import sys
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import av
import numpy as np
import pytest

from dense_hf import InvalidDataError
from dense_hf.data import VideoReader, VideoWriter
from dense_hf.data.video_files import is_address, is_camera

NTSC = Fraction(30000, 1001)


def moving(number: int, width: int = 96, height: int = 64) -> np.ndarray:
    """Smooth colors that drift, so that compression loses little."""
    rows, columns = np.mgrid[:height, :width]
    channels = (2 * columns + 3 * number, 3 * rows, 128 + columns - rows - 2 * number)
    return np.stack([128 + 100 * np.sin(channel / 40) for channel in channels], axis=-1).astype(np.uint8)


def write(path: Path, num_frames: int = 30, fps: Fraction | float = NTSC, size: tuple[int, int] = (96, 64)) -> Path:
    with VideoWriter(path, fps, size) as video:
        for number in range(num_frames):
            video.write(moving(number, *size))
    return path


def read(path: Path) -> list[np.ndarray]:
    with VideoReader(path) as video:
        return list(video)


@pytest.fixture
def tar(tmp_path):
    """By Python's own program: a video, what stands around it, and what is no file."""
    write(tmp_path / "a.mp4")
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "a.mp4").read_bytes()[:900])
    (tmp_path / "notes.txt").write_text("a calm day")
    (tmp_path / "link.mp4").symlink_to("/etc/passwd")
    names = ["notes.txt", "a.mp4", "cut.mp4", "link.mp4"]
    subprocess.run([sys.executable, "-m", "tarfile", "-c", "clips.tar", *names], cwd=tmp_path, check=True)
    return tmp_path / "clips.tar"


def test_a_video_in_a_tar_is_the_video(tar):
    with VideoReader(tar / "a.mp4") as inside, VideoReader(tar.parent / "a.mp4") as outside:
        assert (inside.fps, inside.size, inside.num_frames) == (outside.fps, outside.size, outside.num_frames)
        assert inside.skip(11) == 11
        assert outside.skip(11) == 11
        np.testing.assert_array_equal(list(inside), list(outside))
    (tar.parent / "folder.tar").mkdir()  # a folder may have any name
    assert len(read((tar.parent / "a.mp4").rename(tar.parent / "folder.tar" / "a.mp4"))) == 30


@pytest.mark.parametrize(
    ("member", "received"),
    [
        ("b.mp4", "nothing of that name"),
        ("link.mp4", "something else"),
        ("cut.mp4", "900 bytes"),
        ("notes.txt", "10 bytes"),
    ],
)
def test_what_is_no_video_in_a_tar(tar, member, received):
    with pytest.raises(InvalidDataError, match=rf"{tar.name}.*{received}"):
        VideoReader(tar / member)
    tar.write_bytes(gzip.compress(tar.read_bytes()))
    with pytest.raises(InvalidDataError, match="a tar that is not compressed"):
        VideoReader(tar / "a.mp4")


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".m4v"])
@pytest.mark.parametrize("fps", [NTSC, 10, 12.5, Fraction(1, 2)])
def test_round_trip(tmp_path, suffix, fps):
    path = write(tmp_path / f"a{suffix}", fps=fps)
    with VideoReader(path) as video:
        assert video.fps == Fraction(fps)
        assert video.size == (96, 64)
        assert video.num_frames == (None if suffix == ".mkv" else 30)
        frames = list(video)
        assert video.frame_index == 30
    assert len(frames) == 30
    for number, frame in enumerate(frames):
        assert frame.dtype == np.uint8
        assert frame.shape == (64, 96, 3)
        own = np.abs(frame.astype(int) - moving(number)).mean()
        assert own < 3  # a neighbour differs more
        assert own < min(np.abs(frame.astype(int) - moving(number + step)).mean() for step in (-1, 1))


def test_colors_are_kept(tmp_path):
    """Of large areas, to what 8-bit YUV can tell; mixed up matrices or ranges miss by 10 and more."""
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (90, 140, 40)]
    with VideoWriter(tmp_path / "a.mp4", 25, (64, 64), crf=5) as video:
        for color in colors:
            video.write(np.full((64, 64, 3), color, np.uint8))
    for color, frame in zip(colors, read(tmp_path / "a.mp4"), strict=True):
        np.testing.assert_allclose(frame.mean(axis=(0, 1)), color, atol=4)


@pytest.mark.parametrize("size", [(95, 63), (96, 63), (95, 64), (1, 1), (17, 301)])
def test_odd_sides_grow_by_one(tmp_path, size):
    path = write(tmp_path / "a.mp4", 3, size=size)
    width, height = size
    even = (width + width % 2, height + height % 2)
    for number, frame in enumerate(read(path)):
        assert frame.shape[1::-1] == even
        expected = np.pad(moving(number, *size), ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        assert np.abs(frame.astype(int) - expected).mean() < 8


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (-90, -1), (180, 2)])
def test_phones_turn_their_videos(tmp_path, degrees, turns):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.set_display_rotation(degrees)
        for packet in stream.encode(av.VideoFrame.from_ndarray(moving(0), format="rgb24")):
            container.mux(packet)
        container.mux(stream.encode(None))
    with VideoReader(tmp_path / "a.mp4") as video:
        (frame,) = video
        expected = np.rot90(moving(0), turns)  # counterclockwise, as players do
        assert video.size == expected.shape[1::-1]
    # 601 and 709 differ here, because nothing is said about the colors; the place of things is what counts
    assert np.abs(frame.astype(int) - expected).mean() < 15
    assert np.abs(frame.astype(int) - np.rot90(expected, 2)).mean() > 30


def test_frames_are_decoded_when_they_are_asked_for(tmp_path):
    with VideoReader(write(tmp_path / "a.mp4")) as video:
        assert video.frame_index == 0
        first = next(video)
        assert video.frame_index == 1
        assert video.skip(9) == 9
        eleventh = next(video)
        rest = list(video)
        assert len(rest) == 19
        assert list(video) == []
        assert video.skip(5) == 0
    assert np.abs(first.astype(int) - moving(0)).mean() < 3
    assert np.abs(eleventh.astype(int) - moving(10)).mean() < 3
    assert list(video) == []  # closed


def test_names_with_a_colon_and_frames_that_last_hours(tmp_path):
    path = tmp_path / "12:30 http:street.mp4"
    for fps in (Fraction(1, 7200), 1e-5, Fraction(1, 1001), 0.3):
        with VideoReader(write(path, 3, fps)) as video:
            times = [video.seconds for _ in video]
            assert times == pytest.approx([0, 1 / fps, 2 / fps], rel=1e-3)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "source",
    [
        "subfile,,start,0,end,0,,:http://127.0.0.1:1/a.mp4",
        "concat:http://127.0.0.1:1/a.mp4|/etc/passwd",
        "file:///etc/passwd",
        "crypto+http://127.0.0.1:1/a.mp4",
        "gopher://127.0.0.1:1/a.mp4",
        "FTP://127.0.0.1:1/a.mp4",
    ],
)
def test_addresses_of_other_protocols_are_refused(source):
    with pytest.raises(InvalidDataError, match="an address that begins with http://, https://"):
        VideoReader(source)


@pytest.mark.parametrize("source", ["concat:a.mp4|b.mp4", "subfile,,start,0,end,0,,:a.mp4", "pipe:0", "data:,x"])
def test_protocols_without_an_address_are_names_of_files(source):
    with pytest.raises(InvalidDataError, match="existing file"):
        VideoReader(source)


def test_a_playlist_behind_an_address_reaches_no_file(tmp_path):
    video = write(tmp_path / "secret.mp4", 10)
    lists = {
        "/a.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{video}\n#EXT-X-ENDLIST\n",
        "/a.ffconcat": f"ffconcat version 1.0\nfile 'file:{video}'\n",
    }

    class Lists(BaseHTTPRequestHandler):
        def do_GET(self):
            content = video.read_bytes() if self.path == "/a.mp4" else lists[self.path].encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Lists) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        with VideoReader(f"{address}/a.mp4", timeout=5) as reader:
            assert len(list(reader)) == 10
        for name in lists:
            with pytest.raises(InvalidDataError):
                VideoReader(address + name, timeout=5)
        server.shutdown()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("text.mp4", b"not a video\n" * 100, "a video that can be read"),
        ("text.txt", b"FFmpeg would play this as a screen of letters\n" * 100, "a video that can be read"),
        ("list.mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n", "can be read"),
        ("list.ffconcat", b"ffconcat version 1.0\nfile other.mp4\n", "can be read"),
        ("empty.mp4", b"", "a video that can be read"),
    ],
)
def test_what_is_no_video(tmp_path, name, content, reason):
    write(tmp_path / "other.mp4", 2)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidDataError, match=reason) as caught:
        VideoReader(tmp_path / name)
    assert name in str(caught.value)


def test_other_things_that_are_no_video(tmp_path):
    with pytest.raises(InvalidDataError, match="existing file"):
        VideoReader(tmp_path / "absent.mp4")
    with pytest.raises(InvalidDataError, match="regular file"):
        VideoReader(tmp_path)
    os.mkfifo(tmp_path / "pipe.mp4")  # nobody writes to it
    with pytest.raises(InvalidDataError, match="regular file"):
        VideoReader(tmp_path / "pipe.mp4")
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    with pytest.raises(InvalidDataError, match="without a video stream"):
        VideoReader(tmp_path / "sound.mp4")
    with pytest.raises(InvalidDataError, match=r"at most 1000 pixels.*96 x 64"):
        VideoReader(write(tmp_path / "a.mp4", 2), max_pixels=1000)
    with pytest.raises(InvalidDataError, match="can be read"):
        VideoReader("https://127.0.0.1:1/street.mp4", timeout=5)


@pytest.mark.parametrize("codec", [b"xxxx", b"vp99", b"\0\0\0\0"])
def test_an_unknown_codec_is_named(tmp_path, codec):
    content = write(tmp_path / "a.mp4", 3).read_bytes()
    (tmp_path / "b.mp4").write_bytes(content.replace(b"avc1", codec))
    with pytest.raises(InvalidDataError, match=r"a video stream that can be decoded.*codec"):
        VideoReader(tmp_path / "b.mp4")


@pytest.mark.parametrize("size", [0, 1, 100, -1000])
def test_empty_and_cut_files_are_told_in_words(tmp_path, size):
    path = write(tmp_path / "a.mp4", 3)
    content = path.read_bytes()
    path.write_bytes(content[:size])
    with pytest.raises(InvalidDataError, match=r"an empty file|\(\d+ bytes\)|frames") as raised:
        VideoReader(path)
    assert "Errno" not in str(raised.value)


def test_a_video_without_frames(tmp_path):
    content = bytearray(write(tmp_path / "a.mp4", 3).read_bytes())
    start = content.index(b"mdat") + 4
    content[start : content.rindex(b"moov") - 4] = bytes(content.rindex(b"moov") - 4 - start)
    (tmp_path / "zeros.mp4").write_bytes(content)
    with pytest.raises(InvalidDataError, match="frames that can be decoded"):
        VideoReader(tmp_path / "zeros.mp4")


def remux(path: Path, target: Path) -> Path:
    """The same packets in MPEG-TS, which can be cut anywhere."""
    with av.open(str(path)) as source, av.open(str(target), "w") as copy:
        stream = copy.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    return target


def test_truncated_files(tmp_path):
    whole = write(tmp_path / "a.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])  # the index of an MP4 is at its end
    with pytest.raises(InvalidDataError, match=r"cut\.mp4"):
        VideoReader(tmp_path / "cut.mp4")
    whole = remux(tmp_path / "a.mp4", tmp_path / "a.ts").read_bytes()
    (tmp_path / "cut.ts").write_bytes(whole[: len(whole) // 2])
    with VideoReader(tmp_path / "cut.ts") as video:
        got = list(video.with_errors())
    frames = [frame for frame in got if isinstance(frame, np.ndarray)]
    assert 5 < len(frames) < 30
    assert np.abs(frames[3].astype(int) - moving(3)).mean() < 3


def test_damaged_frames_are_named_and_passed_over(tmp_path):
    path = write(tmp_path / "a.mp4", fps=Fraction(1, 2))  # every frame is a key frame
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for position, size in (packets[7], packets[12]):
        content[position + 4 : position + size] = b"\xff" * (size - 4)
    (tmp_path / "hit.mp4").write_bytes(content)
    with VideoReader(tmp_path / "hit.mp4") as video:
        got = list(video.with_errors())
    damaged = [number for number, frame in enumerate(got) if isinstance(frame, InvalidDataError)]
    assert damaged == [7, 12]
    assert "hit.mp4" in str(got[7])
    assert "frame 7" in str(got[7])
    assert len(got) == 30
    for number in set(range(30)) - {7, 12}:
        assert np.abs(got[number].astype(int) - moving(number)).mean() < 3
    with VideoReader(tmp_path / "hit.mp4") as video:
        assert video.skip(7) == 7
        with pytest.raises(InvalidDataError, match="frame 7"):
            next(video)
        assert np.abs(next(video).astype(int) - moving(8)).mean() < 3
        assert video.skip(4) == 4
        assert video.frame_index == 13


def test_a_damaged_first_frame_is_not_left_out(tmp_path):
    path = write(tmp_path / "a.mp4", fps=Fraction(1, 2))
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packet = next(container.demux(video=0))
        content[packet.pos + 4 : packet.pos + packet.size] = b"\xff" * (packet.size - 4)
    (tmp_path / "hit.mp4").write_bytes(content)
    with VideoReader(tmp_path / "hit.mp4") as video:
        got = list(video.with_errors())
    assert isinstance(got[0], InvalidDataError)
    assert len(got) == 30


def test_a_file_is_complete_after_an_error(tmp_path):
    def fail_after(num_frames: int, error: type[BaseException]) -> None:
        with VideoWriter(tmp_path / "a.mp4", 25, (96, 64)) as video:
            for number in range(num_frames):
                video.write(moving(number))
            raise error

    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error):
            fail_after(17, error)
        assert len(read(tmp_path / "a.mp4")) == 17
    with pytest.raises(RuntimeError):
        fail_after(0, RuntimeError)
    assert not (tmp_path / "a.mp4").exists()


@pytest.mark.slow
def test_a_killed_process_leaves_a_readable_file(tmp_path):
    """It never closes the file: all but what the encoder still held, and a fragment, can be read."""
    program = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from test_video_files import moving
from dense_hf.data import VideoWriter
video = VideoWriter(sys.argv[1], 10, (96, 64))
for number in range(200):
    video.write(moving(number))
os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    arguments = [sys.executable, "-c", program, tmp_path / "a.mp4", Path(__file__).parent]
    run = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    assert run.returncode == -signal.SIGKILL, run.stderr
    frames = read(tmp_path / "a.mp4")
    assert 100 < len(frames) < 200
    assert np.abs(frames[50].astype(int) - moving(50)).mean() < 3


def test_wrong_frames_and_wrong_numbers(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 25, (96, 64)) as video:
        video.write(moving(0))
        for wrong in (moving(0)[:-1], moving(0).astype(np.float32), moving(0)[..., 0]):
            with pytest.raises(ValueError, match=r"Received: (uint8|float32) \("):
                video.write(wrong)
    assert len(read(tmp_path / "a.mp4")) == 1
    for arguments, message in (
        (("a.avi", 25, (96, 64)), "a.avi"),
        (("a", 25, (96, 64)), "must end with"),
        (("b.mp4", 0, (96, 64)), "Received: 0"),
        (("b.mp4", 25, (96, 0)), r"Received: 25, \(96, 0\)"),
    ):
        with pytest.raises(ValueError, match=message):
            VideoWriter(tmp_path / arguments[0], *arguments[1:])
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    with pytest.raises(OSError, match="absent"):
        VideoWriter(tmp_path / "absent" / "a.mp4", 25, (96, 64))


def test_what_is_a_camera():
    assert is_camera("camera:0")
    assert is_camera("/dev/null")  # a device, though none that films
    assert not is_camera("street.mp4")
    assert not is_camera("rtsp://camera:0/street")
    assert is_address("rtsp://camera:0/street")
    with pytest.raises(InvalidDataError, match="can be read"):
        VideoReader("/dev/null")


def test_without_pyav_the_message_says_what_to_install(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4", 1)
    imported = builtins.__import__

    def without_av(name, *arguments, **settings):
        if name == "av":
            raise ImportError("No module named 'av'")
        return imported(name, *arguments, **settings)

    monkeypatch.setattr(builtins, "__import__", without_av)
    for attempt in (lambda: VideoReader(path), lambda: VideoWriter(tmp_path / "b.mp4", 25, (96, 64))):
        with pytest.raises(ImportError, match=r"pip install dense_hf\[video\]"):
            attempt()


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_does_not_grow_with_the_length(tmp_path):
    """Frames of 320 x 240 are 0.23 MB: kept, the last 500 of 600 would be 115 MB."""
    program = """
import re, sys
import numpy as np
from dense_hf.data import VideoReader, VideoWriter

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024

frame = np.zeros((240, 320, 3), np.uint8)
with VideoWriter(sys.argv[1], 25, (320, 240)) as video:
    for number in range(600):
        frame[number % 240] = number % 256
        video.write(frame)
        if number == 100:
            writing = resident()
    writing = resident() - writing
with VideoReader(sys.argv[1]) as video:
    for number, _ in enumerate(video):
        if number == 100:
            reading = resident()
    reading = resident() - reading
print(number, writing, reading)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    run = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "a.mp4"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    number, writing, reading = map(int, run.stdout.split())
    assert number == 599
    assert writing < 30, f"{writing} MB more"
    assert reading < 30, f"{reading} MB more"
