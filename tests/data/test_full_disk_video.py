"""A disk that gets full while a video is written: the frames that are whole can be played, or there is no file."""

import os
import traceback
from pathlib import Path

import numpy as np
import pytest
from killed_runs import empty_disk, fill_disk

from dense_hf.data import VideoReader, VideoWriter

FRAMES = np.random.default_rng(0).integers(0, 256, (120, 32, 48, 3), dtype=np.uint8)


def written(path: Path, limit: int) -> str:
    """What a process says that cannot write more than `limit` bytes to a file (RLIMIT_FSIZE, also for FFmpeg)."""
    reading, writing = os.pipe()
    if not (child := os.fork()):
        told = "no error"
        try:
            fill_disk(limit=limit)
            with VideoWriter(path, 25, (48, 32)) as video:
                for frame in FRAMES:
                    video.write(frame)
        except OSError as error:
            told = str(error)
        except BaseException:
            told = traceback.format_exc()
        os.write(writing, told.encode())
        empty_disk()
        os._exit(0)
    os.close(writing)
    with open(reading) as stream:
        told = stream.read()
    assert os.waitpid(child, 0)[1] == 0, "it was ended by a signal"
    return told


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("limit", [0, 10, 1000, 20_000, 100_000])  # before the head, in it, then in the first frames
def test_a_full_disk_leaves_whole_frames_or_no_video(tmp_path, suffix, limit):
    path = tmp_path / f"a{suffix}"
    assert "File too large" in written(path, limit)
    if path.exists():
        with VideoReader(path) as video:
            frames = list(video.with_errors())
        assert 0 < len(frames) < len(FRAMES)
        assert not any(isinstance(frame, Exception) for frame in frames)
    assert path.exists() == (limit == 100_000 or (limit == 20_000 and suffix == ".mkv"))
    assert [other for other in tmp_path.iterdir() if other != path] == []
