"""What CFFM promises besides the released numbers."""

import pytest
import torch
from tiny_cffm import tiny_config, tiny_model
from tiny_video import plain_mean, random_clip, random_labels
from torch.nn import functional as F
from torch.testing import assert_close

from dense_hf.video_segmentation.clip_loss import clip_loss
from dense_hf.video_segmentation.configuration_cffm import CFFMConfig
from dense_hf.video_segmentation.context_layout_cffm import context_layout
from dense_hf.video_segmentation.mining_cffm import WindowPooling

CLOSE = {"atol": 1e-5, "rtol": 0}


def test_few_windows_at_a_time_or_all(monkeypatch):
    model, clip = tiny_model(), random_clip(size=(72, 150))
    with torch.no_grad():
        some = model(clip).logits
        monkeypatch.setattr("dense_hf.video_segmentation.mining_cffm.WINDOWS_AT_ONCE", 10**6)
        assert_close(model(clip).logits, some, **CLOSE)
    assert_close(model(clip).logits, some, **CLOSE)  # with gradients


# -- the loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", ["all", "target"])
def test_loss_by_hand(frames):
    model, clip = tiny_model(auxiliary_loss_frames=frames, auxiliary_loss_weight=0.3), random_clip()
    labels = random_labels(clip)
    outputs = model(clip, labels=labels)
    first = 0 if frames == "all" else 3
    expected = plain_mean(outputs.logits[:, None], labels[:, -1:])
    expected = expected + 0.3 * plain_mean(outputs.auxiliary_logits[:, first:], labels[:, first:])
    assert_close(outputs.loss, expected)


def test_several_maps_of_the_target_share_its_labels():
    """MRCFA judges maps of reference frames by the target's labels."""
    config = tiny_config()
    auxiliary, target = torch.randn(2, 4, 5, 8, 8), torch.randn(2, 3, 5, 8, 8)
    labels = random_labels(torch.empty(2, 4, 3, 32, 32))
    expected = plain_mean(target, labels[:, -1:].expand(-1, 3, -1, -1)) + 0.5 * plain_mean(auxiliary, labels)
    loss, terms = clip_loss(config, auxiliary, target, labels)
    assert_close(loss, expected)
    assert_close(terms["loss_target"] + 0.5 * terms["loss_auxiliary"], expected)


def test_the_loss_never_holds_all_enlarged_logits():
    """Enlarged logits are what memory goes to: no more than one map of one clip may wait for the backward pass."""
    kept = []
    logits = torch.randn(1, 4, 5, 8, 8, requires_grad=True)
    labels = random_labels(torch.empty(1, 4, 3, 32, 32))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape) or t, lambda t: t):
        loss, _ = clip_loss(tiny_config(), logits, logits[:, -1:], labels)
    enlarged = [shape for shape in kept if len(shape) == 4 and shape[1] == 5 and shape[-1] == 32]
    assert not enlarged
    loss.backward()
    expected = logits.detach().requires_grad_()
    (plain_mean(expected[:, -1:], labels[:, -1:]) + 0.5 * plain_mean(expected, labels)).backward()
    assert_close(logits.grad, expected.grad)


# -- rows of the tables -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_numbers_of_mining_layers(layers):
    model, clip = tiny_model(num_mining_layers=layers), random_clip()
    model(clip, labels=random_labels(clip)).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_no_mining_layers_is_the_baseline():
    """Table 4.1, SegFormer: every frame alone, and nothing but the loss of single frames."""
    model, clip = tiny_model(num_mining_layers=0), random_clip()
    labels = random_labels(clip)
    outputs = model(clip, labels=labels)
    assert_close(outputs.logits, outputs.auxiliary_logits[:, -1])
    assert_close(outputs.loss, plain_mean(outputs.auxiliary_logits, labels))
    assert_close(model.segment_frame(clip[:, 0], model.new_session()), outputs.auxiliary_logits[:, 0], **CLOSE)


@pytest.mark.parametrize(
    ("offsets", "fields", "poolings"),
    [  # Table 4.4 and beyond
        ([3], [6], [2]),
        ([9], [6], [2]),
        ([6, 3], [20, 6], [4, 2]),
        ([3, 2, 1], [49, 20, 6], [7, 4, 2]),
        ([12, 9, 6, 3], [49, 49, 20, 6], [7, 7, 4, 2]),
    ],
)
def test_any_reference_frames(offsets, fields, poolings):
    model = tiny_model(frame_offsets=offsets)
    assert (model.config.reference_receptive_fields, model.config.reference_pooling) == (fields, poolings)
    clip = random_clip(num_frames=len(offsets) + 1)
    with torch.no_grad():
        logits = model(clip).logits
        for index in range(len(offsets)):
            changed = clip.clone()
            changed[:, index] += torch.randn_like(changed[:, index])
            assert (model(changed).logits - logits).abs().max() > 1e-3


def test_static_contexts():
    """Table 4.5: the target in the place of its references."""
    static, moving, clip = tiny_model(motional_contexts=False), tiny_model(), random_clip()
    with torch.no_grad():
        expected = moving(clip[:, -1:].expand(-1, 4, -1, -1, -1)).logits
        assert_close(static(clip).logits, expected, **CLOSE)
        assert_close(static(clip[:, -1:]).logits, expected, **CLOSE)


def test_static_contexts_frame_by_frame():
    model = tiny_model(motional_contexts=False)
    video = random_clip(num_frames=3)
    session = model.new_session()
    for frame in video.unbind(1):
        with torch.no_grad():
            expected = model(frame[:, None].expand(-1, 4, -1, -1, -1)).logits
        assert_close(model.segment_frame(frame, session), expected, **CLOSE)


def test_assembling_without_mining():
    """Weights of context tokens that depend on where they lie and not on what they are."""
    model, clip = tiny_model(cross_frame_mining=False), random_clip()
    assert not any("query" in name for name, _ in model.named_parameters())
    model(clip, labels=random_labels(clip)).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_eager_attention_is_the_same():
    clip = random_clip()
    plain, fused = tiny_model(), tiny_model()
    plain.set_attn_implementation("eager")
    with torch.no_grad():
        assert_close(plain(clip).logits, fused(clip).logits, **CLOSE)


# -- parts against brute force ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "cells"), [(7, 1), (7, 2), (7, 3), (7, 7), (8, 3), (5, 2)])
def test_pooling_shrinks_the_whole_map_first(window, cells):
    """The released code resizes the padded map and then multiplies cells; we have one matrix per window."""
    pooling = WindowPooling(window, cells)
    torch.nn.init.normal_(pooling.weight)
    torch.nn.init.normal_(pooling.bias)
    rows, columns, width = 2, 3, 4
    padded = torch.randn(1, width, rows * window, columns * window)
    side = window // cells
    shrunk = F.interpolate(padded, (rows * cells * side, columns * cells * side), mode="bilinear")
    kernel = pooling.weight.view(1, 1, side, side).expand(width, 1, side, side)
    expected = F.conv2d(shrunk, kernel, stride=side, groups=width) + pooling.bias
    windows = padded.view(width, rows, window, columns, window).permute(1, 3, 2, 4, 0).reshape(1, -1, window**2, width)
    tokens = pooling(windows).view(rows, columns, cells, cells, width)
    assert_close(tokens.permute(4, 0, 2, 1, 3).reshape(expected.shape), expected, **CLOSE)


def test_layout_pixel_by_pixel():
    height, width, window, sources = 10, 15, 7, [(1, 5), (2, 5), (3, 3)]
    layout = context_layout(height, width, window, sources, torch.device("cpu"))
    rows, columns = 2, 3
    padding, nothing = height * width, height * width + 1

    def number(y: int, x: int) -> int:
        return y * width + x if y < height and x < width else padding

    for row in range(rows):
        for column in range(columns):
            index = row * columns + column
            own = [number(row * 7 + i, column * 7 + j) for i in range(7) for j in range(7)]
            assert layout.windows[index * 49 : (index + 1) * 49].tolist() == own
            expected = [
                number((row * 7 + i) % 14, (column * 7 + j) % 21) for i in range(-3, 10) for j in range(-3, 10)
            ]
            begin = padding + 2
            for cells, taps in sources:
                # cells lie window by window
                grid = torch.arange(rows * columns * cells**2).view(rows, columns, cells, cells).transpose(1, 2)
                grid = F.pad(grid.reshape(rows * cells, columns * cells) + begin, (taps,) * 4, value=nothing)
                top, left = row * cells - taps // 2 + taps, column * cells - taps // 2 + taps
                expected += grid[top : top + taps, left : left + taps].flatten().tolist()
                begin += rows * columns * cells**2
            assert layout.contexts[index].tolist() == expected
            assert layout.outside[index].tolist() == [token == nothing for token in expected]
    assert layout.windows[layout.pixels].tolist() == list(range(height * width))


# -- config -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"frame_offsets": []}, "frame_offsets must be positive"),
        ({"frame_offsets": [3, 6]}, "fall from oldest to newest"),
        ({"frame_offsets": [3, 0]}, "frame_offsets must be positive"),
        ({"auxiliary_loss_frames": "none"}, "received 'none'"),
        ({"reference_pooling": [7]}, "one value for each of 3 reference frames"),
        ({"reference_receptive_fields": [48, 20, 6]}, "multiples of the pooling"),
        ({"num_attention_heads": 3}, "multiple of num_attention_heads"),
        ({"num_mining_layers": -1}, "num_mining_layers must be at least 0"),
    ],
)
def test_configs_that_cannot_work(fields, message):
    with pytest.raises(Exception, match=message):
        CFFMConfig(**fields)


def test_backbones():
    config = CFFMConfig.from_backbone("b5", num_labels=19, frame_offsets=[3])
    assert (config.encoder_config.depths, config.num_mining_layers, config.num_labels) == ([3, 6, 40, 3], 4, 19)
    assert CFFMConfig.from_backbone("b1", num_mining_layers=4).num_mining_layers == 4
    with pytest.raises(ValueError, match=r"one of \['b0', 'b1', 'b2', 'b5'\]. Received: 'b9'"):
        CFFMConfig.from_backbone("b9")
