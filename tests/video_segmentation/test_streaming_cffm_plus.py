"""Frame by frame with prototypes is the same as clip by clip with prototypes."""

import pickle

import pytest
import torch
from test_streaming_video import RELEASED
from tiny_cffm_plus import random_prototypes, tiny_plus
from tiny_video import random_clip
from torch.testing import assert_close

CLOSE = {"atol": 1e-4, "rtol": 0}


def test_a_video_from_its_first_frame():
    model, prototypes = tiny_plus(), random_prototypes()
    video, calls = random_clip(num_frames=len(RELEASED), size=(61, 90)), []
    session = model.new_session(prototypes)
    model.prototype_attention.key_value.register_forward_hook(lambda *hooked: calls.append(1))
    streamed = [model.segment_frame(video[:, index], session) for index in RELEASED]
    assert not calls, "keys and values of the prototypes are computed once, in `new_session`"
    for index, references in RELEASED.items():
        with torch.no_grad():
            expected = model(video[:, [*references, index]], prototypes=prototypes).logits
        assert_close(streamed[index], expected, **CLOSE)


@pytest.mark.parametrize("offsets", [(3,), (3, 2, 1), (6, 2)])
def test_any_offsets(offsets):
    model, prototypes = tiny_plus(frame_offsets=offsets), random_prototypes()
    video, session = random_clip(num_frames=offsets[0] + 2), model.new_session(prototypes)
    for index in range(video.shape[1]):
        references = [index - offset for offset in offsets] if index >= offsets[0] else []
        streamed = model.segment_frame(video[:, index], session)
        with torch.no_grad():
            assert_close(streamed, model(video[:, [*references, index]], prototypes=prototypes).logits, **CLOSE)
        if references:  # and training takes the branch for what it is with one reference, too
            model.train()(video[:, [*references, index]], prototypes=prototypes)
            model.eval()


def test_without_prototypes_a_session_is_that_of_cffm():
    model, video = tiny_plus(), random_clip(num_frames=10)
    session = model.new_session()
    for frame in video.unbind(1):
        streamed = model.segment_frame(frame, session)
    with torch.no_grad():
        assert_close(streamed, model(video[:, [0, 3, 6, 9]]).logits, **CLOSE)


def test_copies_pickles_and_casts():
    model, prototypes, video = tiny_plus(), random_prototypes(), random_clip(num_frames=11)
    session = model.new_session(prototypes)
    for frame in video[:, :10].unbind(1):
        model.segment_frame(frame, session)
    twin, stored = session.copy(), pickle.loads(pickle.dumps(session))
    size, held = session.num_bytes(), prototypes.numel() * 2 * 4
    expected = model.segment_frame(video[:, 10], session)
    assert session.num_bytes() == size > held
    for other in (twin, stored):
        assert_close(model.segment_frame(video[:, 10], other), expected, atol=0, rtol=0)
    assert session.to(torch.bfloat16).num_bytes() * 2 == size
    assert session.references()[-1][0].dtype == torch.bfloat16
    assert twin.references()[-1][0].dtype == torch.float32


def test_prototypes_go_with_their_video():
    model, video = tiny_plus(), random_clip(num_frames=4)
    session = model.new_session(random_prototypes())
    session.reset()
    for frame in video.unbind(1):
        streamed = model.segment_frame(frame, session)
    with torch.no_grad():
        assert_close(streamed, model(video).logits, **CLOSE)
    assert model.new_session(random_prototypes()).num_bytes() == random_prototypes().numel() * 2 * 4


def test_as_many_videos_as_prototypes():
    model = tiny_plus()
    session = model.new_session(random_prototypes(batch_size=3))
    with pytest.raises(ValueError, match=r"prototypes of 3 videos\. Received: 2 frames"):
        model.segment_frame(random_clip()[:, 0], session)
    assert session.num_frames == 0
    with pytest.raises(ValueError, match=r"Received: \[6, 32\]"):
        model.new_session(random_prototypes()[0])
