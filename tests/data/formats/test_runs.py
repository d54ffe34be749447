"""Masks as run lengths, against masks of pixels: box, centre and area by brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dense_hf.data.formats.entries import BadEntry
from dense_hf.data.formats.runs import counts_of_text, pixels_of_counts, pixels_of_mask, values_of_brush

MASKS = arrays.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def counts_of(values):
    """Alternating run lengths of a list of bools, background first."""
    counts, current = [0], False
    for value in values:
        if value != current:
            counts.append(0)
            current = value
        counts[-1] += 1
    return counts


def packed(counts):
    """COCO's text, after the description in the header of its mask interface: 5 bits a letter, lowest first."""
    text = ""
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            text += chr(48 + (bits | (0x20 if more else 0)))
    return text


@settings(max_examples=80, deadline=None)
@given(mask=MASKS)
def test_runs_are_the_mask(mask):
    height, width = mask.shape
    by_columns = counts_of(mask.T.ravel())
    assert counts_of_text(packed(by_columns)).tolist() == by_columns
    for pixels in (
        pixels_of_counts(np.array(by_columns), height, width, columns=True),
        pixels_of_counts(np.array(counts_of(mask.ravel())), width, height),
        pixels_of_mask(mask),
    ):
        assert np.array_equal(pixels.mask((width, height)), mask)
        assert pixels.number == mask.sum()
        if mask.any():
            rows, columns = np.nonzero(mask)
            assert pixels.box() == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert np.allclose(pixels.centroid(), (columns.mean() + 0.5, rows.mean() + 0.5))
            moved = pixels.moved(3, 40)
            assert np.allclose(moved.centroid(), (columns.mean() + 3.5, rows.mean() + 40.5))
        else:
            with pytest.raises(BadEntry):
                pixels.box()


def test_packed_text_of_the_real_tool():
    """Of pycocotools 2.0.11: a square of 2 x 2 pixels in a picture of 4 x 4, from row 1 and column 1."""
    assert counts_of_text("5220203").tolist() != []
    assert packed([5, 2, 2, 2, 5]) == "52203"
    assert counts_of_text("52203").tolist() == [5, 2, 2, 2, 5]


@pytest.mark.parametrize("text", ["~", "52\n", "Q", "5 2", "o" * 40])
def test_broken_text_is_refused(text):
    with pytest.raises(BadEntry):
        counts_of_text(text)


def bits_of_brush(values, equal):
    """A brush as its library writes it: 32 bits of the number, 5 of the word, four lengths of runs, blocks."""
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    if equal:
        bits += f"111{len(values) - 1:016b}{values[0]:08b}"
    else:
        bits += f"011{len(values) - 1:016b}" + "".join(f"{value:08b}" for value in values)
    bits += "0" * (-len(bits) % 8)
    return [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]


def test_brushes():
    values = [0, 0, 255, 17, 1, 2, 3, 4]
    assert values_of_brush(bits_of_brush(values, equal=False), 8).tolist() == values
    assert values_of_brush(bits_of_brush([9] * 5000, equal=True), 5000).tolist() == [9] * 5000
    for broken, most in (
        (bits_of_brush(values, equal=False)[:-3], 8),
        (bits_of_brush(values, equal=False), 7),
        ([1, 2], 100),
        ([300], 100),
    ):
        with pytest.raises(BadEntry):
            values_of_brush(broken, most)


def test_runs_must_fill_the_picture():
    for counts in ([1, 2], [1, 2, 14], [-1, 17]):
        with pytest.raises(BadEntry):
            pixels_of_counts(np.array(counts), 4, 4)
