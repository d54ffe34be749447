"""PSPNet, OCRNet, TCB and NetWarp: clips, sessions, memories, losses, and what is refused."""

import pytest
import torch
from tiny_dilated import BACKBONE, tiny_config, tiny_model
from tiny_video import random_clip, random_labels
from torch.nn import functional as F
from torch.testing import assert_close
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation
from without_the_package import run_without_the_package

from dense_hf import (
    DilatedVideoImageProcessor,
    InvalidDataError,
    NetWarpForVideoSemanticSegmentation,
    convert_original_checkpoint,
)
from dense_hf.convert import _read_parts
from dense_hf.inference.video_variants import VariantSegmenter, VideoVariant
from dense_hf.video_segmentation.modeling_tcb import released_references
from dense_hf.video_segmentation.optical_flow import DisFlow
from dense_hf.video_segmentation.video_session import reference_frames

CLOSE = {"atol": 1e-4, "rtol": 0}
NAMES = ("pspnet_video", "ocrnet_video", "tcb_ppm", "tcb_ocr", "netwarp")
SINGLE = ("pspnet_video", "ocrnet_video")


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    return request.param


def test_logits_of_any_size_at_an_eighth(name):
    """Rounded up, for images and clips."""
    model = tiny_model(name)
    frames = random_clip(num_frames=1, size=(61, 90))
    with torch.no_grad():
        assert model(frames).logits.shape == (2, 5, 8, 12)
        assert_close(model(frames[:, 0]).logits, model(frames).logits)


@pytest.mark.smoke
def test_streaming_equals_clips(name):
    model = tiny_model(name)
    offsets = model.config.frame_offsets
    video, session = random_clip(num_frames=12, size=(40, 56)), model.new_session()
    for index in range(video.shape[1]):
        references = reference_frames(index, offsets) or ()
        with torch.no_grad():
            expected = model(video[:, [*references, index]]).logits
        assert_close(model.segment_frame(video[:, index], session), expected, **CLOSE)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in SINGLE])
def test_references_matter(name):
    """Guards the test above."""
    model = tiny_model(name)
    video = random_clip(num_frames=4, size=(40, 56))
    offsets = model.config.num_reference_frames
    with torch.no_grad():
        one, other = (model(video[:, [*order, 3]]).logits for order in ([0, 1, 2][-offsets:], [1, 2, 0][-offsets:]))
        alone = model(video[:, [3]]).logits
    assert (one - alone).abs().max() > 1e-3
    if name == "netwarp":  # of TCB the order does not matter
        assert (one - other).abs().max() > 1e-3


def test_a_loss_by_hand(name):
    model = tiny_model(name, loss_upsampling="logits", auxiliary_loss_weight=0.25)
    clip = random_clip(num_frames=1 if name in SINGLE else 2, size=(40, 56))
    labels = random_labels(clip)
    with torch.no_grad():
        outputs = model(clip, labels=labels)

    def mean(logits, truth):
        enlarged = F.interpolate(logits, truth.shape[-2:], mode="bilinear")
        return F.cross_entropy(enlarged, truth, ignore_index=255)

    assert_close(outputs.loss_dict["loss_target"], mean(outputs.logits, labels[:, -1]))
    auxiliary = outputs.auxiliary_logits[:, -1:] if name == "netwarp" else outputs.auxiliary_logits
    judged = labels[:, -auxiliary.shape[1] :]
    assert_close(outputs.loss_dict["loss_auxiliary"], mean(auxiliary.flatten(0, 1), judged.flatten(0, 1)))
    assert_close(outputs.loss, outputs.loss_dict["loss_target"] + 0.25 * outputs.loss_dict["loss_auxiliary"])


@pytest.mark.parametrize("name", SINGLE)
def test_models_of_single_frames_learn_from_every_frame(name):
    model = tiny_model(name).train()
    clip = random_clip(num_frames=3, size=(40, 56))
    labels = random_labels(clip)
    outputs = model(clip, labels=labels)
    outputs.loss.backward()
    assert outputs.logits.shape[:2] == (2, 5)
    ignored = labels.clone()
    ignored[:, 0] = 255
    torch.manual_seed(0)
    first = model(clip, labels=labels).loss_dict["loss_target"]
    torch.manual_seed(0)
    assert model(clip, labels=ignored).loss_dict["loss_target"] != first


def test_clips_without_a_label_have_no_loss():
    clip = random_clip(num_frames=1, size=(32, 32))
    labels = torch.full((2, 1, 32, 32), 255)
    assert tiny_model("pspnet_video")(clip, labels=labels).loss == 0


def contexts(model, video):
    """What each frame leaves behind."""
    with torch.no_grad():
        return [model.remember(model.extract(frame), frame) for frame in video.unbind(1)]


@pytest.mark.parametrize("head", ["tcb_ppm", "tcb_ocr"])
@pytest.mark.parametrize(
    ("memory", "blended"),
    [
        ("none", {3: [0, 1, 2, 3], 4: [0, 2, 3, 4], 11: [2, 5, 8, 11]}),
        ("anchor", {3: [0, 1, 2, 3], 4: [0, 1, 2, 3, 0, 2, 3, 4], 11: [0, 1, 2, 3, 2, 5, 8, 11]}),
        # at most memory_size before the last: those of frames 9 and 10, less the oldest
        ("rolling", {3: [0, 1, 2, 3], 4: [0, 1, 2, 3, 0, 2, 3, 4], 11: [9, 1, 4, 7, 10, 2, 5, 8, 11]}),
    ],
)
def test_what_a_memory_blends(head, memory, blended):
    """Means of contexts that are counted by hand."""
    model = tiny_model(head, memory=memory)
    video, session = random_clip(num_frames=12, size=(32, 32), batch_size=1), model.new_session()
    known = contexts(model, video)
    for index, frame in enumerate(video.unbind(1)):
        logits = model.segment_frame(frame, session)
        if index in blended:
            states = [known[number] for number in blended[index]]
            mean = tuple(torch.stack(parts).mean(dim=0) for parts in zip(*states))
            with torch.no_grad():
                features = model.extract(frame)
                expected = model.head.classify(model.head.mix(features.prepared, mean))
            assert_close(logits, expected, **CLOSE)


def test_a_memory_is_bounded_and_small():
    model = tiny_model("tcb_ppm", memory="rolling")
    session, sizes = model.new_session(), set()
    for index, frame in enumerate(random_clip(num_frames=30, size=(32, 32), batch_size=1).unbind(1)):
        model.segment_frame(frame, session)
        if index > 12:
            sizes.add(session.num_bytes())
    assert len(sizes) == 1
    numbers = 512 * (1 + 4)  # of a frame: 512 channels of a 10-layer ResNet, in 1 and 4 cells
    assert sizes.pop() <= (9 + 9) * numbers * 4
    twin = session.copy().to(torch.float64)
    assert twin.kept[0][0].dtype == torch.float64
    assert session.kept[0][0].dtype == torch.float32
    session.reset()
    assert session.num_bytes() == 0


@torch.no_grad()
def test_the_released_test_looks_ahead():
    """As an evaluation does it; a stream cannot."""
    model = tiny_model("tcb_ocr", memory="anchor", compat="vspw")
    video = random_clip(num_frames=14, size=(32, 32), batch_size=1)
    segmenter = VariantSegmenter(model, model.new_session(), VideoVariant(), lambda number: video[:, number], 14)
    session = model.new_session()
    for number in range(14):
        clip = video[:, [*released_references(number, 14), number]]
        found = segmenter.segment(video[:, number], number)
        assert_close(found, model(clip, session=session).logits, **CLOSE)
    with pytest.raises(ValueError, match="references come after their frame"):
        model.segment_frame(video[:, 0], model.new_session())


def test_warping_is_along_the_flow():
    """NetWarp adds the frame before, moved; without its weights nothing of it is left."""
    model = tiny_model("netwarp")
    video = random_clip(num_frames=2, size=(40, 56))
    flow = torch.zeros(2, 2, 40, 56)
    with torch.no_grad():
        assert_close(model(video).logits, model(video, flow=model.flow(video[:, 1], video[:, 0])).logits)
        assert (model(video, flow=flow).logits - model(video).logits).abs().max() > 1e-3
        model.feature_weights[1] = model.mixed_weights[1] = 0
        assert_close(model(video).logits, model(video[:, 1:]).logits)


def test_a_saved_model_knows_its_flow(tmp_path):
    tiny_model("netwarp", flow="dis").save_pretrained(tmp_path)
    model = NetWarpForVideoSemanticSegmentation.from_pretrained(tmp_path).eval()
    video = random_clip(num_frames=2, size=(40, 56))
    along = model(video, flow=DisFlow()(video[:, 1], video[:, 0])).logits
    assert_close(model(video).logits, along)
    assert (model(video, flow=torch.zeros(2, 2, 40, 56)).logits - along).abs().max() > 1e-3


def test_any_backbone_with_two_maps():
    """One that is not dilated has maps of two sizes."""
    plain = BACKBONE | {"output_stride": 32, "out_indices": [1, 2, 3, 4]}
    for name in ("ocrnet_video", "tcb_ppm"):
        model = tiny_model(name, backbone_config=plain)
        outputs = model(random_clip(num_frames=1), labels=random_labels(random_clip(num_frames=1)))
        assert outputs.logits.shape[-2:] == (2, 3)
        assert outputs.auxiliary_logits.shape[-2:] == (2, 3)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("pspnet_video", {"loss_upsampling": "sum"}, "loss_upsampling must be .* received 'sum'"),
        ("pspnet_video", {"pool_sizes": []}, "pool_sizes must be .* received"),
        ("tcb", {"head": "fcn"}, "head must be .* received 'fcn'"),
        ("tcb", {"memory": "all"}, "memory must be .* received 'all'"),
        ("tcb", {"compat": "v1"}, "compat must be .* received 'v1'"),
        ("tcb", {"frame_offsets": [3, 6]}, "frame_offsets must be positive and fall"),
        ("tcb", {"head": "ocr", "frame_weights": "aligned"}, "frame_weights are for head='ppm'"),
        ("netwarp", {"flow_hidden_sizes": []}, "flow_hidden_sizes must be"),
        ("netwarp", {"flow": "dos"}, "flow must be 'raft' or 'dis', received 'dos'"),
    ],
)
def test_settings_that_cannot_work(name, fields, message):
    with pytest.raises(Exception, match=message):
        tiny_config(name, **fields)


def test_clips_and_flows_of_other_shapes(name):
    model = tiny_model(name)
    with pytest.raises(ValueError, match=r"pixel_values must be .*Received: \[3, 40, 56\]"):
        model(torch.zeros(3, 40, 56))
    with pytest.raises(ValueError, match=r"labels must be \[1, 1, 40, 56\]. Received: \[1, 1, 5, 7\]"):
        model(torch.zeros(1, 1, 3, 40, 56), labels=torch.zeros(1, 1, 5, 7))
    if name not in SINGLE:
        with pytest.raises(ValueError, match=r"1 to [24] frames. Received: \[1, 5,"):
            model(torch.zeros(1, 5, 3, 40, 56))
    if name == "netwarp":
        with pytest.raises(ValueError, match=r"flow must be \[1, 2, 40, 56\]. Received: \[1, 2, 5, 7\]"):
            model(torch.zeros(1, 2, 3, 40, 56), flow=torch.zeros(1, 2, 5, 7))


def test_a_checkpoint_in_two_files(tmp_path):
    """As the released code saves PSPNet and OCRNet; a folder without them says what is missing."""
    with pytest.raises(InvalidDataError, match=r"one file encoder\*.pth.*none"):
        convert_original_checkpoint(tmp_path, "pspnet")
    torch.save({"conv1.weight": torch.ones(2)}, tmp_path / "encoder_epoch_120.pth")
    torch.save({"module.conv_last_.4.bias": torch.zeros(3)}, tmp_path / "decoder_epoch_120.pth")
    assert sorted(_read_parts(tmp_path)) == ["decoder.conv_last_.4.bias", "encoder.conv1.weight"]
    with pytest.raises(InvalidDataError, match="ResNet of 50, 101 or 152 layers"):
        convert_original_checkpoint(tmp_path, "pspnet")


WITHOUT_THE_PACKAGE = """
import sys, torch
from transformers import AutoImageProcessor, AutoModel
for folder in sys.argv[1:]:
    model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
    processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)
    assert processor.size_divisor == 1
    session = model.new_session(reuse="identical")
    logits = model.segment_frame(torch.ones(1, 3, 32, 32), session)
    torch.save(logits, f"{folder}.pt")
"""


@pytest.mark.slow
def test_checkpoints_bring_their_code(tmp_path):
    """One of each class and head, in an interpreter without dense_hf; and by name in one that has it."""
    for name in NAMES:
        tiny_model(name).save_pretrained(tmp_path / name)
        DilatedVideoImageProcessor().save_pretrained(tmp_path / name)
        assert type(AutoImageProcessor.from_pretrained(tmp_path / name)) is DilatedVideoImageProcessor
    run_without_the_package(WITHOUT_THE_PACKAGE, tmp_path, *NAMES)
    for name in NAMES:
        model = AutoModelForSemanticSegmentation.from_pretrained(tmp_path / name).eval()
        with torch.no_grad():
            logits = model(torch.ones(1, 1, 3, 32, 32)).logits
        assert_close(torch.load(tmp_path / f"{name}.pt"), logits, **CLOSE)
