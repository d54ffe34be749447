"""The model, its selection, its affinities and its loss against numbers that the authors' released code computed."""

import pytest
import torch
from released_mrcfa import (
    features_of,
    from_features,
    from_pixels,
    meta_of,
    official_state_dict,
)
from torch.testing import assert_close

from dense_hf import convert_original_checkpoint
from dense_hf.video_segmentation import affinity_mrcfa
from dense_hf.video_segmentation.affinity_mrcfa import token_importance
from dense_hf.video_segmentation.configuration_mrcfa import MRCFAConfig
from dense_hf.video_segmentation.modeling_mrcfa import MRCFAForVideoSemanticSegmentation

CLOSE = {"atol": 1e-4, "rtol": 0}


def mask_of(indices: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Numbers [B, R, S] of tokens -> mask [B, R, N]."""
    return torch.zeros_like(like, dtype=torch.uint8).scatter(2, indices, 1)


@pytest.fixture(scope="module", params=["mrcfa_tiny", "mrcfa_b0"])
def converted(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("released") / "iter_160000.pth"
    torch.save({"meta": {"CLASSES": ["wall"]}, "state_dict": official_state_dict(request.param)}, path)
    case = from_pixels(request.param)
    ratio, count = case.meta["token_selection_ratio"], case.meta["importance_topk"]
    model = convert_original_checkpoint(path, "mrcfa", token_selection_ratio=ratio, importance_topk=count)
    return model, case


def test_from_pixels(converted):
    model, case = converted
    with torch.no_grad():
        outputs = model(case.pixels, labels=case.labels)
        plain = model(case.pixels)
    assert_close(outputs.logits, case.golden["logits"], **CLOSE)
    assert_close(plain.logits, case.golden["logits"], **CLOSE)
    assert_close(outputs.loss, case.golden["loss"][0], **CLOSE)
    assert plain.auxiliary_logits is plain.retrieved_logits is plain.loss is None
    if "training_logits" in case.golden:
        released = [outputs.auxiliary_logits, outputs.retrieved_logits, outputs.logits[:, None]]
        assert_close(torch.cat(released, dim=1), case.golden["training_logits"], **CLOSE)


def test_a_frame_alone(converted):
    model, case = converted
    with torch.no_grad():
        for num_frames in (1, 3):
            logits = model(case.pixels[:, -num_frames:]).logits
            assert_close(logits, case.golden["single_frame_logits"], **CLOSE)


def test_selected_tokens(converted, monkeypatch):
    model, case = converted
    seen = []
    monkeypatch.setattr(
        affinity_mrcfa, "token_importance", lambda *args: seen.append(token_importance(*args)) or seen[-1]
    )
    gather, indices = affinity_mrcfa.gather_tokens, []
    monkeypatch.setattr(
        affinity_mrcfa, "gather_tokens", lambda tokens, chosen: indices.append(chosen) or gather(tokens, chosen)
    )
    with torch.no_grad():
        model(case.pixels)
    assert_close(seen[0], case.golden["token_importance"], atol=1e-4, rtol=1e-5)
    assert_close(mask_of(indices[0], seen[0]), case.golden["selection_mask"].to(torch.uint8))


# -- from encoder maps: both decoders, both grids of the reference, another n -----------------------------------------

HEADS = ["head_b1_p50", "head_b0_p80", "head_b1_ref16_p50"]


@pytest.mark.parametrize("name", HEADS)
def test_logits_of_all_classifiers(name):
    case = from_features(name)
    with torch.no_grad():
        outputs = case.model(case.pixels, labels=case.labels)
        alone = case.model(case.pixels[:, -1:]).logits
    released = [outputs.auxiliary_logits, outputs.retrieved_logits, outputs.logits[:, None]]
    assert_close(torch.cat(released, dim=1), case.golden["out.logits_all"], **CLOSE)
    assert_close(outputs.loss, case.golden["out.loss_vspw"][0], **CLOSE)
    assert_close(alone, case.golden["out.logits_all"][:, case.meta["T"] - 1], **CLOSE)


@pytest.mark.parametrize("name", HEADS)
def test_loss_where_only_the_target_has_labels(name):
    case = from_features(name, auxiliary_loss_frames="target")
    labels = case.labels.clone()
    labels[:, :-1] = 255
    with torch.no_grad():
        loss = case.model(case.pixels, labels=labels).loss
    assert_close(loss, case.golden["out.loss_cityscapes"][0], **CLOSE)


@pytest.mark.parametrize("name", [*HEADS, "hyper_T3"])
@torch.no_grad()
def test_what_happens_to_affinities(name, monkeypatch):
    monkeypatch.setattr(affinity_mrcfa, "PIXELS_AT_ONCE", 1000)
    case = from_features(name)
    mining, golden = case.model.mining, case.golden
    *references, target = features_of(case)
    *keys, _ = (torch.stack(tokens, dim=1) for tokens in zip(*map(mining.remember, references)))
    affinities, indices = mining.selected_affinities(target, keys)
    assert_close(mask_of(indices, golden["out.selection_mask"]), golden["out.selection_mask"].to(torch.uint8))
    refined = mining.refine(target, *affinities)
    assert_close(refined.transpose(1, 2), golden["out.refined_affinity"], **CLOSE)
    if "out.importance" in golden:
        importance = token_importance(mining.coarse_affinity(target, keys[0]), case.model.config)
        assert_close(mining.to_reference_grid(importance, target), golden["out.importance"], **CLOSE)
        for scale, maps, tokens in zip((4, 3, 2), target.maps[:0:-1], affinities):
            affinity = tokens  # at 1/32 the affinities themselves, at finer scales the selected keys
            if scale < 4:
                affinity = mining.affinity(maps, tokens.flatten(1, 2)).unflatten(2, tokens.shape[1:3])
            expected = golden[f"out.affinity_s{scale}"]  # [B, R, S, h, w]
            assert_close(affinity.permute(0, 2, 3, 1), expected.flatten(3), **CLOSE)


# -- sizes ------------------------------------------------------------------------------------------------------------


def count(backbone: str, auxiliary: bool = False, **fields) -> int:
    with torch.device("meta"):
        model = MRCFAForVideoSemanticSegmentation(MRCFAConfig.from_backbone(backbone, **fields))
    return sum(p.numel() for name, p in model.named_parameters() if auxiliary or "auxiliary" not in name)


@pytest.mark.parametrize("backbone", ["b0", "b1", "b2", "b5"])
@pytest.mark.parametrize("num_labels", [124, 19])
def test_numbers_of_parameters(backbone, num_labels):
    """Those of the released code less its classifier that nothing uses; Table 5.6 to its rounding."""
    expected = meta_of("param_counts")[f"{backbone}_{num_labels}"]
    ours = count(backbone, auxiliary=True, num_labels=num_labels)
    assert ours == expected["total"] - expected["unused_conv_seg"]
    inference = count(backbone, num_labels=num_labels)
    assert ours - inference == 3 * 257 * num_labels
    if num_labels == 124:
        assert round(inference / 1e6, 1) == {"b0": 5.2, "b1": 16.2, "b2": 27.3, "b5": 84.5}[backbone]


@pytest.mark.parametrize(("backbone", "millions"), [("b0", 4.2), ("b1", 14.9)])
def test_numbers_of_parameters_on_cityscapes(backbone, millions):
    """Table 5.7 fits the finer grid of references."""
    assert round(count(backbone, num_labels=19, reference_stride=16, frame_offsets=[2, 1]) / 1e6, 1) == millions


def test_layers_of_video_swin():
    """Table 5.9: each layer adds 0.8 M."""
    one, two, three = (count("b1", num_labels=124, mining="video_swin", num_swin_layers=n) for n in (1, 2, 3))
    assert three - two == two - one == pytest.approx(0.8e6, rel=0.01)
