"""The class that is largest at a pixel: the same as after enlarging all of them, with less work."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from dense_hf.video_segmentation import largest_class as module
from dense_hf.video_segmentation.largest_class import largest_class


def plain(logits, steps):
    """As the released code says it."""
    for size in steps:
        logits = F.interpolate(logits[None].float(), size=size, mode="bilinear")[0]
    return logits.argmax(dim=0)


SIDE = st.integers(1, 40)


@st.composite
def scenes(draw):
    """Smooth maps, noise, few levels with many ties, and constants; one or two resizings up or down."""
    height, width, classes = draw(SIDE), draw(SIDE), draw(st.integers(1, 12))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    coarse = torch.randn(1, classes, -(-height // 8), -(-width // 8), generator=generator)
    smooth = F.interpolate(coarse, size=(height, width), mode="bilinear")[0]
    noise = torch.randn(classes, height, width, generator=generator)
    kinds = {
        "smooth": smooth,
        "noise": noise,
        "both": smooth + 0.1 * noise,
        "levels": smooth.round(),
        "constant": 0 * noise,
    }
    logits = kinds[draw(st.sampled_from(sorted(kinds)))] * draw(st.sampled_from([1.0, 30.0, 1e-3])) + draw(
        st.sampled_from([0.0, 5.0])
    )
    sides = st.integers(1, 200)
    steps = draw(st.lists(st.tuples(sides, sides), min_size=1, max_size=2))
    return logits, [(4 * height, 4 * width), steps[-1]] if draw(st.booleans()) else steps


@settings(max_examples=150, deadline=None)
@given(scenes())
def test_labels_are_those_of_the_plain_computation(scene):
    logits, steps = scene
    assert torch.equal(largest_class(logits, steps), plain(logits, steps))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("classes", "height", "width"), [(9, 9, 14), (4, 5, 32), (3, 9, 14), (19, 10, 15), (243, 9, 14)]
)
def test_three_classes_are_enlarged_as_all_are(classes, height, width, threads):
    """With one thread PyTorch rounds maps of three channels otherwise: here labels of near ties hang on that."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for seed in range(12 if threads == 1 else 3):  # two threads beside another process wait for each other
            generator = torch.Generator().manual_seed(seed)
            coarse = torch.randn(1, classes, -(-height // 8), -(-width // 8), generator=generator)
            logits = F.interpolate(coarse, size=(height, width), mode="bilinear")[0] * 1e-3 + 5
            steps = [(150 + seed, 170)]
            expected = plain(logits, steps)
            assert torch.equal(largest_class(logits, steps), expected)
            assert torch.equal(module.largest_of_all(logits, steps), expected)
    finally:
        torch.set_num_threads(before)


def street(classes: int, height: int, width: int) -> torch.Tensor:
    """Few classes compete, the others are far below, as of a trained network."""
    generator = torch.Generator().manual_seed(0)
    coarse = 4 * torch.randn(1, classes, height // 20, width // 20, generator=generator)
    logits = F.interpolate(coarse, size=(height, width), mode="bicubic")[0]
    logits[8:] -= 12
    return logits + 0.1 * torch.randn(logits.shape, generator=generator)


@pytest.mark.parametrize("steps", [[(240, 424)], [(240, 424), (405, 720)], [(240, 424), (240, 424)], [(136, 106)]])
def test_few_classes_are_enlarged(steps, monkeypatch):
    """Equal labels at a size where rounding decides somewhere, and the whole map of no class is made."""
    logits = street(40, 60, 106)
    expected = plain(logits, steps)
    monkeypatch.setattr(module, "largest_of_all", None)
    assert torch.equal(largest_class(logits, steps), expected)


def test_single_rows_are_those_of_the_whole_map():
    maps = street(5, 60, 106)
    steps = [(240, 424), (405, 720)]
    rows = module.Rows(maps, steps)
    whole = rows._whole(2)
    assert all(torch.equal(rows.row(number, 2), whole[:, number]) for number in range(405))


def test_numbers_that_are_not_finite_are_left_to_the_plain_computation():
    logits = street(5, 20, 40)
    logits[2, 3, 4] = torch.inf
    assert torch.equal(largest_class(logits, [(80, 160)]), plain(logits, [(80, 160)]))


def test_half_precision():
    logits = street(8, 20, 40).bfloat16()
    assert torch.equal(largest_class(logits, [(80, 160)]), plain(logits, [(80, 160)]))
