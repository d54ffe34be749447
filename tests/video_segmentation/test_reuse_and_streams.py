"""What sessions can do besides remembering: reuse of maps, cuts, streams that start and end, prototypes on the way."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tiny_cffm import tiny_model as tiny_cffm
from tiny_cffm_plus import random_prototypes, tiny_plus
from tiny_dilated import tiny_model as tiny_dilated
from tiny_mrcfa import tiny_model as tiny_mrcfa
from tiny_video import random_clip
from torch.nn import functional as F
from torch.testing import assert_close

from dense_hf.video_segmentation.frame_reuse import FrameReuse, squares_over

EXACT = {"atol": 0, "rtol": 0}
CLOSE = {"atol": 1e-4, "rtol": 0}
MODELS = {
    "cffm": tiny_cffm,
    "mrcfa": tiny_mrcfa,
    "cffm_plus": tiny_plus,
    "tcb": lambda: tiny_dilated("tcb_ocr", memory="rolling"),
    "netwarp": lambda: tiny_dilated("netwarp"),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return MODELS[request.param]()


def count_encoder_calls(model):
    """A list that gets the shape of whatever the encoder sees."""
    seen = []
    handle = model.encoder.register_forward_hook(lambda module, inputs, output: seen.append(tuple(inputs[0].shape)))
    return seen, handle


# -- reuse ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["identical", "regions"])
def test_identical_frames_cost_no_encoder_and_change_no_bit(model, mode):
    video = random_clip(num_frames=3, size=(64, 96), batch_size=1)
    order = [0, 0, 1, 1, 1, 2, 0, 0, 1, 2, 2]
    plain, reusing = model.new_session(), model.new_session(reuse=mode)
    expected = [model.segment_frame(video[:, number], plain) for number in order]
    seen, handle = count_encoder_calls(model)
    found = [model.segment_frame(video[:, number].clone(), reusing) for number in order]
    handle.remove()
    assert_close(found, expected, **EXACT)
    assert len(seen) == 1 + sum(a != b for a, b in pairwise(order))
    reusing.reset()
    again = model.segment_frame(video[:, 2], reusing)
    assert_close(again, model.segment_frame(video[:, 2], model.new_session()), **EXACT)


def moving_square(num_frames, size=(160, 224), side=20):
    """A still scene with a square that moves a little."""
    scene = random_clip(num_frames=1, size=size, batch_size=1).expand(-1, num_frames, -1, -1, -1).clone()
    for number in range(num_frames):
        scene[:, number, :, 40 : 40 + side, 40 + number : 40 + number + side] = 2.0
    return scene


def test_only_squares_that_changed_are_computed():
    model, video = tiny_cffm(), moving_square(6)
    video[:, 3:, :, 120:, 190:] = 2.0
    session = model.new_session(reuse="regions")
    seen, handle = count_encoder_calls(model)
    for frame in video.unbind(1):
        model.segment_frame(frame, session)
    handle.remove()
    assert seen[0] == (1, 3, 160, 224)
    # a square of 64 pixels with a halo of 32 around it; in the fourth frame another one, in the same batch
    assert seen[1:] == [(1, 3, 128, 128)] * 2 + [(2, 3, 128, 128)] + [(1, 3, 128, 128)] * 2
    assert session.reuse.frames == 6 * 160 * 224
    assert session.reuse.computed == 160 * 224 + 6 * 128 * 128


def test_what_did_not_change_stays_and_what_did_is_fresh():
    """With a halo as large as the frame a square is computed as in the whole frame."""
    model, video = tiny_cffm(), moving_square(2)
    first, second = (model.encode(frame) for frame in video.unbind(1))
    reuse = FrameReuse("regions", halo=224)
    reuse.maps(video[:, 0], model.encode)
    with torch.no_grad():
        maps = reuse.maps(video[:, 1], model.encode)
    for found, old, new, stride in zip(maps, first, second, (4, 8, 16, 32)):
        rows = columns = slice(32 // stride, 96 // stride)
        assert_close(found[..., rows, columns], new[..., rows, columns], **CLOSE)
        outside = torch.ones(found.shape[-2:], dtype=torch.bool)
        outside[rows, columns] = False
        assert_close(found[..., outside], old[..., outside], **EXACT)


def local_maps(frames, is_padded):
    """Of an encoder that sees nothing but the pixels below each of a map's, of the frame or of whole blocks."""
    height, width = frames.shape[-2:]
    whole = F.pad(frames, (0, -width % 32, 0, -height % 32))
    sizes = [(stride, -(-height // stride), -(-width // stride)) for stride in (1, 2, 4, 8, 16, 32)]
    pooled = [(F.max_pool2d(whole, stride), h, w) for stride, h, w in sizes]
    return tuple(maps if is_padded else maps[..., :h, :w] for maps, h, w in pooled)


@given(
    size=st.tuples(st.integers(20, 200), st.integers(20, 200)),
    halo=st.sampled_from([0, 32, 64]),
    places=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=4),
    is_padded=st.booleans(),
)
def test_maps_of_local_encoders_are_those_of_whole_frames(size, halo, places, is_padded):
    """Two videos at once; many windows."""
    generator = torch.Generator().manual_seed(0)
    frame = torch.randn(2, 3, *size, generator=generator)
    reuse, calls = FrameReuse("regions", threshold=0.0, halo=halo, most_changed=100.0), []

    def encode(frames):
        calls.append(frames.shape)
        return local_maps(frames, is_padded)

    reuse.maps(frame, encode)
    before = reuse.copy()
    other = frame.clone()
    for y, x in places:
        top, left = int(y * (size[0] - 1)), int(x * (size[1] - 1))
        other[1, :, top : top + 9, left : left + 9] += 1.0  # the second video alone
    for found, whole in zip(reuse.maps(other, encode), local_maps(other, is_padded), strict=True):
        assert torch.equal(found, whole)
    assert len(calls) == 1 + bool(places)
    for found, whole in zip(before.maps(frame, encode), local_maps(frame, is_padded), strict=True):
        assert torch.equal(found, whole)
    assert len(calls) == 1 + bool(places)


@given(blocks=arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 7))))
def test_squares_cover_what_changed(blocks):
    squares, covered = squares_over(blocks), np.zeros_like(blocks)
    for row, column in squares:
        assert 0 <= row <= max(blocks.shape[0] - 2, 0)
        assert 0 <= column <= max(blocks.shape[1] - 2, 0)
        assert (blocks & ~covered)[row : row + 2, column : column + 2].any()  # none is for nothing
        covered[row : row + 2, column : column + 2] = True
    assert not (blocks & ~covered).any()


def test_squares_are_few():
    blocks = np.zeros((4, 6), dtype=bool)
    blocks[0, 2] = blocks[1, 1:3] = blocks[3, 4:] = True
    assert squares_over(blocks) == [(0, 1), (2, 4)]


def test_flicker_of_single_pixels_is_no_change():
    model, frame = tiny_cffm(), torch.zeros(1, 3, 64, 96)
    session = model.new_session(reuse="regions")
    model.segment_frame(frame, session)
    seen, handle = count_encoder_calls(model)
    frame[..., ::8, ::8] = 3.0
    model.segment_frame(frame, session)
    assert not seen
    frame[..., :4, :4] = 3.0
    model.segment_frame(frame, session)
    handle.remove()
    assert len(seen) == 1


@pytest.mark.parametrize("size", [(61, 90), (100, 40)])
@pytest.mark.parametrize("make", [tiny_cffm, lambda: tiny_dilated("pspnet_video")], ids=["cffm", "pspnet"])
def test_regions_at_the_borders_of_any_size(make, size):
    model = make()
    video = random_clip(num_frames=1, size=size, batch_size=1).expand(-1, 3, -1, -1, -1).clone()
    video[:, 1, :, -3:, -3:] += 3
    video[:, 2, :, :2, :2] += 3
    session = model.new_session(reuse=FrameReuse("regions", halo=0, most_changed=2.0))
    for frame in video.unbind(1):
        logits = model.segment_frame(frame, session)
        assert logits.isfinite().all()
        assert logits.shape == model(frame[:, None]).logits.shape


def test_drift_is_seen_and_refreshed():
    """Steps below the threshold add up against the pixels that maps were made of; and every n-th frame is whole."""
    model = tiny_cffm()
    frames = [torch.zeros(1, 3, 64, 160) for _ in range(5)]
    for number, frame in enumerate(frames):
        frame[..., :20, :20] = 0.1 * number
    session = model.new_session(reuse=FrameReuse("regions", threshold=0.15))
    seen, handle = count_encoder_calls(model)
    for frame in frames:
        model.segment_frame(frame, session)
    assert [shape[-2:] for shape in seen] == [(64, 160), (64, 128), (64, 128)]  # frames 0, 2 and 4
    seen.clear()
    session = model.new_session(reuse=FrameReuse("regions", refresh_every=3))
    for _ in range(7):
        model.segment_frame(frames[0], session)
    handle.remove()
    assert len(seen) == 3


def test_a_buffer_that_is_written_again_is_another_frame():
    """As cameras do it."""
    for model in (tiny_cffm(), tiny_dilated("netwarp")):
        video, plain = random_clip(num_frames=3, size=(64, 96), batch_size=1), model.new_session()
        session, buffer = model.new_session(reuse="identical"), torch.empty(1, 3, 64, 96)
        for frame in video.unbind(1):
            buffer.copy_(frame)
            assert_close(model.segment_frame(buffer, session), model.segment_frame(frame, plain), **EXACT)


def test_streams_share_no_reuse():
    model, video = tiny_cffm(), random_clip(num_frames=1, size=(32, 32))
    streams = model.new_streams(2, reuse=FrameReuse("identical"))
    assert streams.sessions[0].reuse is not streams.sessions[1].reuse
    seen, handle = count_encoder_calls(model)
    for _ in range(3):
        model.segment_frame(video[:, 0], streams)
    handle.remove()
    assert len(seen) == 2


def test_much_change_is_computed_whole():
    reuse, seen = FrameReuse("regions"), []

    def encode(frames):
        seen.append(frames.shape[-2:])
        return (frames[..., ::4, ::4],)

    for _ in range(2):
        reuse.maps(torch.randn(1, 3, 96, 96), encode)
    assert seen == [(96, 96)] * 2


@pytest.mark.parametrize(
    "settings", [{"mode": "some"}, {"mode": "regions", "halo": 5}, {"mode": "regions", "refresh_every": 0}]
)
def test_settings_of_reuse_that_cannot_work(settings):
    with pytest.raises(ValueError, match="Received"):
        FrameReuse(**settings)


# -- cuts -------------------------------------------------------------------------------------------------------------


def test_a_cut_begins_another_video():
    """Two scenes of blocks, with a little motion in each."""
    model = tiny_cffm()

    def scene(seed):
        torch.manual_seed(seed)
        blocks = torch.randn(1, 3, 8, 12).repeat_interleave(8, 2).repeat_interleave(8, 3)
        return [blocks.roll(number, dims=3) + 0.1 * torch.randn(1, 3, 64, 96) for number in range(6)]

    session, other = model.new_session(cut_threshold=0.5), model.new_session()
    for frame in scene(0):
        model.segment_frame(frame, session)
    assert session.num_frames == 6
    for frame in scene(1):
        assert_close(model.segment_frame(frame, session), model.segment_frame(frame, other), **EXACT)
    assert session.num_frames == other.num_frames == 6


# -- streams ----------------------------------------------------------------------------------------------------------


def test_streams_start_reset_and_end_one_by_one(model):
    """Each is as if it were alone."""
    video = random_clip(num_frames=14, size=(40, 56), batch_size=3)
    streams, alone = model.new_streams(1), {0: model.new_session()}
    names = [0]  # of the streams, in order
    for index in range(14):
        if index in (2, 5):
            names.append(streams.start() if index == 2 else 2)
            alone[names[-1]] = model.new_session()
            if index == 5:
                streams.start()
        if index == 8:
            streams.reset(0)
            alone[0].reset()
        if index == 11:
            streams.end(1)
            names.remove(1)
        present = [place for place in range(len(names)) if (place + index) % 4 or len(names) == 1]
        frames = [video[names[place], index] for place in present]
        found = model.segment_streams(frames, streams.select(present))
        for place, frame, logits in zip(present, frames, found):
            assert_close(logits, model.segment_frame(frame[None], alone[names[place]])[0], **CLOSE)
    assert [session.num_frames for session in streams.sessions] == [alone[name].num_frames for name in names]


def test_a_batch_of_streams_is_encoded_at_once():
    model = tiny_cffm()
    streams, video = model.new_streams(3), random_clip(num_frames=10, size=(32, 32), batch_size=3)
    seen, handle = count_encoder_calls(model)
    for frame in video.unbind(1):
        model.segment_frame(frame, streams)
    handle.remove()
    assert seen == [(3, 3, 32, 32)] * 10


def test_a_frame_of_another_size_restarts_its_stream():
    model = tiny_cffm()
    streams, video = model.new_streams(2), random_clip(num_frames=10, size=(32, 32))
    for frame in video.unbind(1):
        model.segment_frame(frame, streams)
    wide = torch.randn(3, 32, 64)
    found = model.segment_streams([video[0, 0], wide], streams)
    assert_close(found[1], model.segment_frame(wide[None], model.new_session())[0], **CLOSE)
    assert [session.num_frames for session in streams.sessions] == [11, 1]
    with pytest.raises(ValueError, match=r"each of 2 streams. Received: \[\[3, 32, 64\]\]"):
        model.segment_streams([wide], streams)
    for wrong in ([2], [0, 0], [-1]):
        with pytest.raises(ValueError, match=r"from 0 to 1. Received"):
            streams.select(wrong)


def test_videos_of_a_batch_can_be_selected(model):
    video, session = random_clip(num_frames=12, size=(40, 56), batch_size=3), model.new_session()
    for frame in video[:, :10].unbind(1):
        model.segment_frame(frame, session)
    some = session.select([2, 0])
    assert some.frame_shape == (2, 3, 40, 56)
    assert some.num_bytes() < session.num_bytes()
    for index in (10, 11):
        whole = model.segment_frame(video[:, index], session)
        assert_close(model.segment_frame(video[[2, 0], index], some), whole[[2, 0]], **CLOSE)
    with pytest.raises(ValueError, match=r"from 0 to 2. Received: \[3\]"):
        session.select([3])


# -- prototypes on the way --------------------------------------------------------------------------------------------


def test_frozen_prototypes_are_those_of_the_offline_method():
    model, video, centres = tiny_plus(), random_clip(num_frames=6, size=(40, 56)), random_prototypes()
    offline, online = model.new_session(centres), model.new_session(centres, memory="prototypes", frozen=True)
    for frame in video.unbind(1):
        assert_close(model.segment_frame(frame, online), model.segment_frame(frame, offline), **EXACT)
    assert torch.equal(online.clusters[0], centres)


def test_prototypes_follow_what_was_seen():
    """After one frame again and again, the mean distance of its pixels to the nearest centre is that of k-means."""
    model, frame = tiny_plus(), random_clip(num_frames=1, size=(64, 64), batch_size=1)[:, 0]
    session = model.new_session(random_prototypes(batch_size=1), memory="prototypes")
    with torch.no_grad():
        points = model.extract(frame)[1].halved[0].flatten(1).T

    def distance():
        return torch.cdist(points, session.clusters[0][0]).min(dim=1).values.mean()

    before, sizes = distance(), set()
    for number in range(40):
        model.segment_frame(frame, session)
        if number >= 9:
            sizes.add(session.num_bytes())
    assert distance() < 0.7 * before
    assert len(sizes) == 1
    twin = session.copy().to(torch.float64)
    assert twin.clusters[0].dtype == torch.float64
    session.reset()
    assert session.clusters is None
    plain = model.new_session()  # the first frames look back at nothing
    assert_close(model.segment_frame(frame, session), model.segment_frame(frame, plain), **EXACT)


def test_prototypes_matter_and_videos_do_not_mix():
    model, video = tiny_plus(), random_clip(num_frames=6, size=(40, 56))
    together, plain = model.new_session(memory="prototypes"), model.new_session()
    alone = [model.new_session(memory="prototypes") for _ in video]
    for frame in video.unbind(1):
        logits, without = model.segment_frame(frame, together), model.segment_frame(frame, plain)
        for row, session in enumerate(alone):
            assert_close(model.segment_frame(frame[row][None], session)[0], logits[row], **CLOSE)
    assert (logits - without).abs().max() > 1e-3


def test_memories_that_cannot_be():
    model = tiny_plus()
    with pytest.raises(ValueError, match="Received: 'ring', False"):
        model.new_session(memory="ring")
    with pytest.raises(ValueError, match=r"known beforehand. Received: none"):
        model.new_session(memory="prototypes", frozen=True)
