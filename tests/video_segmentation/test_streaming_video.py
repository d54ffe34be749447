"""Frame by frame is the same as clip by clip, for every method (`tiny_model`, see conftest)."""

import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_video import random_clip
from torch.testing import assert_close

from dense_hf.video_segmentation.video_session import VideoSession, reference_frames

CLOSE = {"atol": 1e-4, "rtol": 0}
# what the released code reads at the start of a video, written out
RELEASED = {
    0: [],
    1: [],
    2: [],
    3: [0, 1, 2],
    4: [0, 2, 3],
    5: [0, 2, 4],
    6: [0, 2, 4],
    7: [0, 3, 5],
    8: [0, 3, 6],
    9: [0, 3, 6],
    10: [1, 4, 7],
    11: [2, 5, 8],
    12: [3, 6, 9],
}


def clip_logits(model, video: torch.Tensor, references: list[int], index: int) -> torch.Tensor:
    with torch.no_grad():
        return model(video[:, [*references, index]]).logits


def test_a_video_from_its_first_frame(tiny_model):
    model = tiny_model()
    video = random_clip(num_frames=len(RELEASED), size=(61, 90))
    session = model.new_session()
    for index, references in RELEASED.items():
        streamed = model.segment_frame(video[:, index], session)
        assert_close(streamed, clip_logits(model, video, references, index), **CLOSE)
    assert session.num_frames == len(RELEASED)


def test_references_matter(tiny_model):
    """Guards the test above: another reference frame changes the result by far more than its tolerance."""
    model, video = tiny_model(), random_clip(num_frames=5)
    difference = clip_logits(model, video, [0, 1, 2], 4) - clip_logits(model, video, [3, 1, 2], 4)
    assert difference.abs().max() > 0.01


@pytest.mark.parametrize("offsets", [(3,), (3, 2, 1), (6, 2), (5, 4, 3, 2, 1)])
def test_any_offsets(tiny_model, offsets):
    model = tiny_model(frame_offsets=offsets)
    video = random_clip(num_frames=offsets[0] + 3)
    session = model.new_session()
    for index in range(video.shape[1]):
        references = [index - offset for offset in offsets] if index >= offsets[0] else []
        streamed = model.segment_frame(video[:, index], session)
        assert_close(streamed, clip_logits(model, video, references, index), **CLOSE)


@given(st.integers(0, 40), st.lists(st.integers(1, 12), min_size=1, unique=True))
def test_references_lie_in_the_past_and_not_beyond_their_offsets(index, offsets):
    offsets = sorted(offsets, reverse=True)
    for chosen in (offsets, (9, 6, 3)):
        frames = reference_frames(index, chosen)
        if frames is not None:
            assert all(0 <= index - frame <= offset for frame, offset in zip(frames, chosen))
            assert all(frame < index for frame in frames)
        else:
            assert index < max(chosen)


def test_each_frame_is_encoded_once(tiny_model):
    model, seen = tiny_model(), []
    model.encoder.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    session = model.new_session()
    for frame in random_clip(num_frames=12).unbind(1):
        model.segment_frame(frame, session)
    assert seen == [2] * 12


def test_memory_is_bounded(tiny_model):
    model, session, sizes = tiny_model(), None, []
    session = model.new_session()
    for frame in random_clip(num_frames=30, size=(32, 32)).unbind(1):
        model.segment_frame(frame, session)
        sizes.append(session.num_bytes())
    assert sizes == sorted(sizes)
    assert len(set(sizes[8:])) == 1
    assert not any(tensor.requires_grad for states in session._states for state in states for tensor in state)


@pytest.mark.slow
def test_a_thousand_frames(smallest_model):
    """Neither the session nor the process grows."""
    model = smallest_model()
    session = model.new_session()
    frames, resident, sizes = torch.randn(4, 1, 3, 32, 32), [], set()
    for number in range(1000):
        model.segment_frame(frames[number % 4], session)
        if number >= 100:
            sizes.add(session.num_bytes())
            status = Path("/proc/self/status")
            if status.exists():
                resident.append(next(int(line.split()[1]) for line in status.open() if line.startswith("VmRSS")))
    assert len(sizes) == 1
    if resident:
        assert max(resident[-100:]) - max(resident[:100]) < 4096  # KiB


def test_videos_of_one_batch_do_not_mix(tiny_model):
    model, video = tiny_model(), random_clip(num_frames=11, batch_size=3)
    together = model.new_session()
    alone = [model.new_session() for _ in video]
    for index in range(11):
        logits = model.segment_frame(video[:, index], together)
        for number, session in enumerate(alone):
            assert_close(model.segment_frame(video[number, index][None], session)[0], logits[number], **CLOSE)


def test_copies_go_their_own_way(tiny_model):
    model, video = tiny_model(), random_clip(num_frames=12)
    session = model.new_session()
    for index in range(10):
        model.segment_frame(video[:, index], session)
    twin, stored = session.copy(), pickle.loads(pickle.dumps(session))
    expected = model.segment_frame(video[:, 10], session)
    model.segment_frame(video[:, 11], session)
    for other in (twin, stored):
        assert other.num_frames == 10
        assert_close(model.segment_frame(video[:, 10], other), expected, atol=0, rtol=0)


def test_reset(tiny_model):
    model, video = tiny_model(), random_clip(num_frames=5)
    session = model.new_session()
    first = [model.segment_frame(frame, session) for frame in video.unbind(1)]
    session.reset()
    assert session.num_bytes() == session.num_frames == 0
    again = [model.segment_frame(frame, session) for frame in video.unbind(1)]
    assert_close(first, again, atol=0, rtol=0)
    session.reset()
    model.segment_frame(random_clip(size=(40, 40))[:, 0], session)  # another size is another video


def test_moved_and_cast(tiny_model):
    model, video = tiny_model(), random_clip(num_frames=10)
    session = model.new_session()
    for frame in video[:, :9].unbind(1):
        model.segment_frame(frame, session)
    exact = session.copy()
    size = session.num_bytes()
    assert session.to("cpu", torch.bfloat16).num_bytes() * 2 == size  # what roles share stays shared
    session.to(torch.float32)
    close = model.segment_frame(video[:, 9], session)
    assert_close(close, model.segment_frame(video[:, 9], exact), atol=0.05, rtol=0)
    assert exact.to("meta").references()[0][0].device.type == "meta"


def test_frames_that_do_not_belong(tiny_model):
    model = tiny_model()
    session = model.new_session()
    model.segment_frame(torch.randn(1, 3, 64, 64), session)
    with pytest.raises(ValueError, match=r"are \[1, 3, 64, 64\].*Received: \[1, 3, 64, 96\]"):
        model.segment_frame(torch.randn(1, 3, 64, 96), session)
    with pytest.raises(ValueError, match=r"Received: \[2, 3, 64, 64\]"):
        model.segment_frame(torch.randn(2, 3, 64, 64), session)
    with pytest.raises(ValueError, match=r"Received: \[3, 64, 64\]"):
        model.segment_frame(torch.randn(3, 64, 64), session)
    assert session.num_frames == 1
    with pytest.raises(ValueError, match="training mode"):
        model.train().segment_frame(torch.randn(1, 3, 64, 64), session)


def test_a_session_knows_nothing_of_models():
    session = VideoSession((2, 1))
    for number in range(4):
        state = (torch.tensor([number]),)
        references = session.references()
        expected = None if number < 2 else [number - 2, number - 1]
        assert references is None if expected is None else [int(s[0]) for s in references] == expected
        session.append([state, state], torch.Size([1, 3, 4, 4]))
    assert session.num_bytes() == 16  # two states, which both roles share: frames 2 and 3
