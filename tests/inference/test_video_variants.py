"""Damaged frames, other references and averages in an evaluation, against plain loops over clips."""

import struct

import numpy as np
import pytest
import tiny_cffm
import tiny_mrcfa
import torch
from PIL import Image
from torch.nn import functional as F
from torch.testing import assert_close

from dense_hf import InvalidDataError
from dense_hf.data import generate_miniature_videos, read_video_folder
from dense_hf.data.flow_files import FlowFolder, read_flow
from dense_hf.data.frame_damage import DAMAGES
from dense_hf.inference.video_label_maps import evaluate_videos, segment_video
from dense_hf.inference.video_variants import VariantSegmenter, VideoVariant
from dense_hf.methods import method_of
from dense_hf.metrics import TemporalConsistency
from dense_hf.video_segmentation.image_processing_clip import ClipImageProcessor

PROCESSOR = ClipImageProcessor(size={"longest_edge": 40, "shortest_edge": 40})  # 48 x 36 -> 64 x 32


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """One video of 18 frames."""
    folder = tmp_path_factory.mktemp("variants") / "set"
    generate_miniature_videos(folder, 0, 1, 0, num_frames=18, frame_size=(48, 36), disable_progress=True)
    return read_video_folder(folder)


@pytest.fixture(scope="module", params=[tiny_cffm.tiny_model, tiny_mrcfa.tiny_model], ids=["cffm", "mrcfa"])
def model(request):
    return request.param(frame_offsets=[2, 1])


def pixels_of(videos):
    (video,) = videos.splits["validation"]
    return PROCESSOR([Image.open(frame.image_path) for frame in video.frames], return_tensors="pt")["pixel_values"][0]


def segmenter(model, frames, **options):
    session = model.new_session() if hasattr(model, "new_session") else None
    return VariantSegmenter(model, session, VideoVariant(**options), lambda number: frames[number, None], len(frames))


@torch.no_grad()
def test_the_target_as_its_own_reference(model, videos):
    frames = pixels_of(videos)[:4]
    made = segmenter(model, frames, references="own")
    for number, frame in enumerate(frames):
        expected = model(frame.expand(1, 3, -1, -1, -1)).logits
        assert_close(made.segment(frame[None], number), expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_shuffled_references_are_frames_of_the_video(model, videos):
    """Each result is that of a clip with two frames of the video; of which two, the number of the target decides."""
    frames = pixels_of(videos)[:3]
    first, second = (segmenter(model, frames, references="shuffled") for _ in range(2))
    made = {number: first.segment(frames[number, None], number) for number in (2, 0, 1)}
    seen = set()
    for number, logits in made.items():
        clips = {(a, b): frames[[a, b, number]] for a in range(3) for b in range(3)}
        near = [pair for pair, clip in clips.items() if (model(clip[None]).logits - logits).abs().max() < 1e-4]
        assert near
        seen.update(near)
        assert torch.equal(second.segment(frames[number, None], number), logits)
    assert len(seen) > 1


@torch.no_grad()
@pytest.mark.parametrize("method", ["cffm", "segformer"])
def test_averages_of_the_last_three_frames(videos, method):
    frames = pixels_of(videos)[:5]
    if method == "cffm":
        model = tiny_cffm.tiny_model(num_mining_layers=0)
        alone = [model(frame[None, None]).logits.softmax(dim=1) for frame in frames]
    else:
        fields = {"hidden_sizes": [8, 8, 16, 16], "depths": [1] * 4, "decoder_hidden_size": 16}
        model = method_of(method).model_class(method_of(method).make_config("b0", fields)).eval()
        alone = [model(frame[None]).logits.softmax(dim=1) for frame in frames]
    made = segmenter(model, frames, average_frames=3)
    for number, frame in enumerate(frames):
        expected = torch.stack(alone[max(number - 2, 0) : number + 1]).mean(dim=0)
        assert_close(made.segment(frame[None], number), expected)


@torch.no_grad()
def test_every_fourth_frame_is_black_and_judged_apart(videos):
    """Against a loop that makes the frames black itself; frames 3, 7, 11 and 15 of 18."""
    model = tiny_cffm.tiny_model(num_mining_layers=1, frame_offsets=[2, 1])
    (video,) = videos.splits["validation"]
    variant = VideoVariant(damage="black", damage_every=4)
    results = evaluate_videos(model, PROCESSOR, videos, [video], progress=False, variant=variant)
    clean = evaluate_videos(model, PROCESSOR, videos, [video], progress=False)
    assert "damaged_mean_iou" not in clean
    pictures = [Image.open(frame.image_path).convert("RGB") for frame in video.frames]
    pictures = [Image.new("RGB", one.size) if n in (3, 7, 11, 15) else one for n, one in enumerate(pictures)]
    session, maps = model.new_session(), []
    for picture in pictures:
        pixels = PROCESSOR([picture], return_tensors="pt")["pixel_values"][:, 0]
        logits = F.interpolate(model.segment_frame(pixels, session), size=pixels.shape[-2:], mode="bilinear")
        maps.append(F.interpolate(logits, size=(36, 48), mode="bilinear")[0].argmax(dim=0).numpy())
    truth = np.stack([np.asarray(Image.open(frame.mask_path)) for frame in video.frames]).astype(int) - 1
    for key, chosen in (("mean_iou", slice(None)), ("damaged_mean_iou", slice(3, None, 4))):
        labels, found = truth[chosen], np.stack(maps)[chosen]
        known = (labels >= 0) & (labels < 5)
        ious = [
            ((found == k) & (labels == k)).sum() / (((found == k) & known) | (labels == k)).sum()
            for k in range(5)
            if (labels == k).any()
        ]
        assert results[key] == pytest.approx(np.mean(ious))
    assert results["mean_iou"] != clean["mean_iou"]


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damage_is_a_function_of_the_number_of_the_frame(kind):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (36, 48, 3), dtype=np.uint8))
    variant = VideoVariant(damage=kind, damage_every=2)
    assert variant.show(picture, 2) is picture
    first = np.asarray(variant.show(picture, 3))
    assert (first != np.asarray(picture)).any()
    assert (first == np.asarray(VideoVariant(damage=kind).show(picture, 3))).all()


def test_nothing_changed_is_the_evaluation_as_ever(videos):
    model = tiny_cffm.tiny_model(num_mining_layers=1, frame_offsets=[2, 1])
    (video,) = videos.splits["validation"]
    plain = list(segment_video(model, PROCESSOR, videos, video, range(5), {}))
    frames = pixels_of(videos)
    with torch.no_grad():
        session = model.new_session()
        logits = [model.segment_frame(frame[None], session) for frame in frames[:5]]
    for (_, labels, _), one in zip(plain, logits, strict=True):
        enlarged = F.interpolate(one, size=frames.shape[-2:], mode="bilinear")
        assert (labels == F.interpolate(enlarged, size=(36, 48), mode="bilinear")[0].argmax(dim=0).numpy()).all()


def test_what_cannot_be_is_said(videos):
    (video,) = videos.splits["validation"]
    fields = {"hidden_sizes": [8, 8, 16, 16], "depths": [1] * 4, "decoder_hidden_size": 16, "num_labels": 5}
    single = method_of("segformer").model_class(method_of("segformer").make_config("b0", fields)).eval()
    with pytest.raises(ValueError, match=r"only memory is earlier frames. Received: segformer"):
        evaluate_videos(single, PROCESSOR, videos, [video], progress=False, variant=VideoVariant(references="own"))
    for options, message in (
        ({"damage": "rain"}, "damage must be one of noise, flicker, blur, black, occlusion, received rain"),
        ({"damage_every": 0}, "damage_every must be at least 1"),
        ({"average_frames": 0}, "average_frames must be at least 1"),
        ({"references": "none"}, "references must be one of earlier, own, shuffled"),
    ):
        with pytest.raises(ValueError, match=message):
            VideoVariant(**options)


def write_flow(path, flow):
    """As other tools do it, with struct and loops."""
    height, width = flow.shape[1:]
    content = struct.pack("<fii", 202021.25, width, height)
    for row in range(height):
        for column in range(width):
            content += struct.pack("<ff", *flow[:, row, column])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_tc_is_that_of_a_plain_loop_over_frames(videos, tmp_path):
    model, (video,) = tiny_cffm.tiny_model(frame_offsets=[2, 1]), videos.splits["validation"]
    rng = np.random.default_rng(0)
    flows = rng.normal(0, 3, size=(17, 2, 36, 48)).astype(np.float32)
    for frame, flow in zip(video.frames[1:], flows):
        write_flow(tmp_path / video.video_id / f"{frame.frame_id}.flo", flow)
    found = evaluate_videos(model, PROCESSOR, videos, [video], progress=False, flow=FlowFolder(tmp_path))
    maps = {number: labels for number, labels, _ in segment_video(model, PROCESSOR, videos, video, range(18), {})}
    metric = TemporalConsistency(videos.rule.num_labels)
    assert found["tc"] == metric.update(np.stack([*maps.values()]), flows).compute()["tc"]
    assert "tc" not in evaluate_videos(model, PROCESSOR, videos, [video], progress=False)


def test_flow_files_that_are_none_are_named(tmp_path):
    good = tmp_path / "good.flo"
    write_flow(good, np.full((2, 3, 4), 1.5))
    assert (read_flow(good, (4, 3)) == 1.5).all()
    content = good.read_bytes()
    for wrong in (content[:-4], content[:10], b"PNG!" + content[4:], content[:-4] + struct.pack("<f", 1e10), b""):
        path = tmp_path / "wrong.flo"
        path.write_bytes(wrong)
        with pytest.raises(InvalidDataError, match=r"wrong\.flo"):
            read_flow(path, (4, 3))
    with pytest.raises(InvalidDataError, match="4 x 4"):
        read_flow(good, (4, 4))
