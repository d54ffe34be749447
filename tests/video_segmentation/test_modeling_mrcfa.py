"""What MRCFA promises besides the released numbers, and besides what all video models promise."""

import pytest
import torch
from tiny_mrcfa import tiny_model
from tiny_video import plain_mean, random_clip, random_labels
from torch.nn import functional as F
from torch.testing import assert_close

from dense_hf.video_segmentation import affinity_mrcfa
from dense_hf.video_segmentation.configuration_mrcfa import MRCFAConfig

CLOSE = {"atol": 1e-5, "rtol": 0}
# rows of the tables that are about the model, and what the release has besides
VARIANTS = {
    "one reference": {"frame_offsets": (1,)},  # Table 5.1
    "two references": {"frame_offsets": (9, 6)},
    "four references": {"frame_offsets": (9, 6, 3, 1)},
    "p = 100 %": {"token_selection_ratio": 1},  # Table 5.2
    "p = 10 %": {"token_selection_ratio": 0.1},
    "L = 1": {"num_scales": 1},  # Table 5.3
    "L = 2": {"num_scales": 2},
    "L = 2, as released": {"num_scales": 2, "affinity_width": 1},
    "feature pyramid": {"mining": "feature_pyramid"},  # Table 5.4
    "only SAR": {"use_maa": False},
    "only MAA": {"use_sar": False},
    "only MAA, as released": {"use_sar": False, "affinity_width": 1},
    "n = 1": {"importance_topk": 1},  # Table 5.5
    "n = 100": {"importance_topk": 100},
    "average": {"importance": "mean"},
    "Video Swin": {"mining": "video_swin", "num_swin_layers": 2, "num_swin_heads": 4},  # Table 5.9
    "3D convolutions": {"affinity_convolution": "3d"},  # Eq. 5.4
    "finer grid": {"reference_stride": 16},
    "finer grid, feature pyramid": {"reference_stride": 16, "mining": "feature_pyramid"},
}


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def variant(request):
    return request.param


def test_every_variant_learns(variant):
    model = tiny_model(**variant)
    clip = random_clip(num_frames=len(model.config.frame_offsets) + 1, size=(128, 160))
    model.train()(clip, labels=random_labels(clip)).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        # a norm over one channel takes the bias before it away again
        assert "convolution.bias" in name or parameter.grad.abs().sum() > 0, name


def test_every_variant_frame_by_frame(variant):
    model = tiny_model(**variant)
    offsets = model.config.frame_offsets
    video = random_clip(num_frames=offsets[0] + 2, size=(64, 90))
    session = model.new_session()
    streamed = [model.segment_frame(frame, session) for frame in video.unbind(1)]
    for index in (offsets[0], offsets[0] + 1):
        frames = [index - offset for offset in offsets] + [index]
        with torch.no_grad():
            assert_close(streamed[index], model(video[:, frames]).logits, atol=1e-4, rtol=0)


def test_every_reference_matters(variant):
    model = tiny_model(**variant)
    num_references = len(model.config.frame_offsets)
    clip = random_clip(num_frames=num_references + 1, size=(96, 128))
    with torch.no_grad():
        logits = model(clip).logits
        for index in range(num_references):
            changed = clip.clone()
            changed[:, index] += torch.randn_like(changed[:, index])
            assert (model(changed).logits - logits).abs().max() > 1e-3


def test_saved_and_loaded_variants(variant, tmp_path):
    model = tiny_model(**variant)
    clip = random_clip(num_frames=len(model.config.frame_offsets) + 1)
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    with torch.no_grad():
        assert_close(loaded(clip).logits, model(clip).logits, atol=1e-6, rtol=0)


# -- the loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", ["all", "target"])
def test_loss_by_hand(frames):
    """The target's labels also judge what it would be by each reference alone."""
    model, clip = tiny_model(auxiliary_loss_frames=frames, auxiliary_loss_weight=0.3), random_clip()
    labels = random_labels(clip)
    outputs = model(clip, labels=labels)
    assert outputs.retrieved_logits.shape == (2, 3, 5, 16, 24)
    first = 0 if frames == "all" else 3
    judged = torch.cat([outputs.retrieved_logits, outputs.logits[:, None]], dim=1)
    expected = plain_mean(judged, labels[:, -1:].expand(-1, 4, -1, -1))
    expected = expected + 0.3 * plain_mean(outputs.auxiliary_logits[:, first:], labels[:, first:])
    assert_close(outputs.loss, expected)


def test_every_term_of_the_loss_moves_its_own_head():
    model, clip = tiny_model(), random_clip()
    outputs = model(clip, labels=random_labels(clip))
    heads = [model.classifier, *model.auxiliary_classifiers, model.decoder.classifier]
    logits = [outputs.logits, *outputs.retrieved_logits.unbind(1), outputs.auxiliary_logits]
    assert len(heads) == len(logits) == 5
    for own, term in zip(heads, logits):
        for head in heads:
            (gradient,) = torch.autograd.grad(term.square().mean(), head.weight, retain_graph=True, allow_unused=True)
            assert (gradient is not None and gradient.abs().sum() > 0) == (head is own)
    outputs.loss.backward()
    assert all(head.weight.grad.abs().sum() > 0 for head in heads)


def test_classifiers_of_references_do_not_run_without_labels():
    model, clip, ran = tiny_model(), random_clip(), []
    for head in model.auxiliary_classifiers:
        head.register_forward_hook(lambda *_: ran.append(1))
    with torch.no_grad():
        assert model(clip).retrieved_logits is None
        session = model.new_session()
        for frame in clip.unbind(1):
            model.segment_frame(frame, session)
        assert not ran
        assert model(clip, output_auxiliary_logits=True).retrieved_logits.shape[1] == len(ran) == 3


# -- selection and memory ---------------------------------------------------------------------------------------------


def test_all_tokens_need_no_importance():
    clip = random_clip()
    some, other = (tiny_model(token_selection_ratio=1, importance_topk=n) for n in (1, 5))
    with torch.no_grad():
        assert_close(some(clip).logits, other(clip).logits, **CLOSE)


def test_fewer_tokens_and_other_tokens_change_the_result():
    clip = random_clip(size=(96, 128))
    with torch.no_grad():
        logits = [
            tiny_model(**fields).eval()(clip).logits
            for fields in (
                {},
                {"token_selection_ratio": 0.3},
                {"importance_topk": 1},
                {"importance": "mean"},
            )
        ]
    for other in logits[1:]:
        assert (other - logits[0]).abs().max() > 1e-3


def test_few_images_at_a_time_or_all(monkeypatch):
    model, clip = tiny_model(), random_clip(size=(96, 160))
    with torch.no_grad():
        monkeypatch.setattr(affinity_mrcfa, "PIXELS_AT_ONCE", 500)
        some = model(clip).logits
        monkeypatch.setattr(affinity_mrcfa, "PIXELS_AT_ONCE", 10**9)
        assert_close(model(clip).logits, some, **CLOSE)
    assert_close(model(clip).logits, some, **CLOSE)  # with gradients


def test_roles_share_what_a_frame_leaves_behind():
    model = tiny_model()
    session = model.new_session()
    for frame in random_clip(num_frames=12).unbind(1):
        model.segment_frame(frame, session)
    state = session.references()[0]
    assert session.num_bytes() == 9 * sum(tensor.numel() * tensor.element_size() for tensor in state)


# -- own designs by hand ----------------------------------------------------------------------------------------------


@torch.no_grad()
def test_feature_pyramid_by_hand():
    model, clip = tiny_model(mining="feature_pyramid", frame_offsets=(3,)), random_clip(num_frames=2)
    mining = model.mining
    _, features = model.extract(clip.flatten(0, 1))
    reference, target = (features.of_frame(index, 2) for index in range(2))
    values = mining.values(reference.halved).flatten(2).transpose(1, 2)
    total = 0
    for scale in range(3):
        keys = reference.maps[-1 - scale]
        keys = mining.reductions[scale - 1](keys) if scale else keys
        key = mining.keys[scale](keys.flatten(2).transpose(1, 2))
        maps = target.maps[-1 - scale]
        query = mining.queries[scale](maps.flatten(2).transpose(1, 2))
        retrieved = F.scaled_dot_product_attention(query, key, values).transpose(1, 2).unflatten(2, maps.shape[-2:])
        if scale:
            total = F.interpolate(total, maps.shape[-2:], mode="bilinear")
        total = total + retrieved
    merged, _ = mining(target, [mining.remember(reference)])
    assert_close(merged, total / 3 + target.halved, atol=1e-4, rtol=0)


# -- config -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"token_selection_ratio": 0}, r"in \(0, 1\], received 0"),
        ({"token_selection_ratio": 80}, r"in \(0, 1\], received 80"),
        ({"importance": "median"}, "importance must be one of 'topk', 'mean', received 'median'"),
        ({"importance_topk": 0}, "importance_topk must be at least 1"),
        ({"num_scales": 4}, "num_scales must be one of 1, 2, 3, received 4"),
        ({"use_sar": False, "use_maa": False}, "several scales to aggregate"),
        ({"use_sar": False, "num_scales": 1}, "several scales to aggregate"),
        ({"affinity_kernel_sizes": [3, 4, 5]}, "an odd size for each of 3 scales"),
        ({"affinity_kernel_sizes": [3]}, "an odd size for each of 3 scales"),
        ({"reference_stride": 8}, "reference_stride must be one of 16, 32"),
        ({"mining": "none"}, "mining must be one of"),
        ({"mining": "video_swin", "num_swin_heads": 3}, "multiple of num_swin_heads"),
        ({"frame_offsets": []}, "frame_offsets must be positive"),
    ],
)
def test_configs_that_cannot_work(fields, message):
    with pytest.raises(Exception, match=message):
        MRCFAConfig(**fields)


@pytest.mark.parametrize(
    ("backbone", "ratio", "depth"), [("b0", 0.8, 1), ("b1", 0.5, 2), ("b2", 0.5, 1), ("b5", 0.5, 1)]
)
def test_backbones(backbone, ratio, depth):
    config = MRCFAConfig.from_backbone(backbone, num_labels=124)
    assert (config.token_selection_ratio, config.affinity_depth, config.affinity_width) == (ratio, depth, depth)
    assert (config.importance_topk, config.num_scales, config.num_labels) == (5, 3, 124)
    assert MRCFAConfig.from_backbone(backbone, token_selection_ratio=0.7).token_selection_ratio == 0.7
