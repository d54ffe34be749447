"""TIFF files as microscopes and maps write them, put together here byte by byte."""

import struct

import numpy as np
import pytest

from dense_hf.data import open_image

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
SHORT, LONG, LONG8 = 3, 4, 16


def tiff(pixels: np.ndarray, big: bool, planar: bool, order: str) -> bytes:
    """An uncompressed file of one strip, or of one for each channel."""
    height, width, channels = pixels.shape
    strips = [pixels[..., channel].tobytes() for channel in range(channels)] if planar else [pixels.tobytes()]
    head = struct.calcsize("=2sHHHQ" if big else "=2sHI")
    starts = [head + sum(map(len, strips[:number])) for number in range(len(strips))]
    size = LONG8 if big else LONG
    tags = [
        (256, LONG, [width]),
        (257, LONG, [height]),
        (258, SHORT, [8] * channels),
        (259, SHORT, [1]),
        (262, SHORT, [2]),
        (273, size, starts),
        (277, SHORT, [channels]),
        (278, LONG, [height]),
        (279, size, [len(strip) for strip in strips]),
        (284, SHORT, [2 if planar else 1]),
    ]
    letters = {SHORT: "H", LONG: "I", LONG8: "Q"}
    place = 8 if big else 4  # bytes for a value in the list of tags; longer ones stand behind it
    directory = starts[-1] + len(strips[-1])
    behind_list = directory + (16 + 20 * len(tags) if big else 6 + 12 * len(tags))
    entries, behind = b"", b""
    for tag, kind, values in tags:
        content = struct.pack(f"{order}{len(values)}{letters[kind]}", *values)
        if len(content) > place:
            where = struct.pack(order + ("Q" if big else "I"), behind_list + len(behind))
            behind += content
            content = where
        entries += struct.pack(order + ("HHQ" if big else "HHI"), tag, kind, len(values)) + content.ljust(place, b"\0")
    mark = b"II" if order == "<" else b"MM"
    start = (mark, 43, 8, 0, directory) if big else (mark, 42, directory)
    start = struct.pack(order + ("2sHHHQ" if big else "2sHI"), *start)
    count = struct.pack(order + ("Q" if big else "H"), len(tags))
    end = bytes(8 if big else 4)
    assert behind_list == directory + len(count) + len(entries) + len(end)
    return start + b"".join(strips) + count + entries + end + behind


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize(("big", "order"), [(False, "<"), (False, ">"), (True, "<")])  # Pillow reads no (True, ">")
def test_big_and_planar_files(tmp_path, big, planar, order):
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(PIXELS, big, planar, order))
    np.testing.assert_array_equal(np.asarray(open_image(path)), PIXELS)
