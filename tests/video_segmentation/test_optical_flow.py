"""Warping, RAFT as a flow, and the loss of ETC against what the released code computed."""

import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from released_dilated import array, case, given_flow
from torch.testing import assert_close
from torchvision.models.optical_flow import raft_small

from dense_hf import NetWarpConfig
from dense_hf.video_segmentation.optical_flow import (
    FLOWS,
    DisFlow,
    RaftFlow,
    TemporalConsistencyLoss,
    normalized,
    resize_flow,
    shades,
    warp,
)

CLOSE = {"atol": 1e-5, "rtol": 0}


@given(st.integers(-4, 4), st.integers(-4, 4))
@settings(max_examples=20, deadline=None)
def test_whole_steps_move_whole_pixels(right, down):
    maps = torch.randn(1, 2, 7, 9)
    flow = torch.tensor([right, down]).float()[None, :, None, None].expand(1, 2, 7, 9)
    moved = warp(maps, flow)
    for row in range(7):
        for column in range(9):
            inside = 0 <= row + down < 7 and 0 <= column + right < 9
            expected = maps[..., row + down, column + right] if inside else torch.zeros(1, 2)
            assert_close(moved[..., row, column], expected, **CLOSE)


def test_a_flow_of_another_size_is_in_its_pixels():
    flow = torch.full((1, 2, 16, 24), 8.0)
    assert_close(resize_flow(flow, (4, 3)), torch.tensor([1.0, 2.0])[None, :, None, None].expand(1, 2, 4, 3))


def test_raft_of_any_size():
    """Random weights: shapes and what it is shown."""
    seen = []
    torch.manual_seed(0)
    network = raft_small(weights=None)
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
    flow = RaftFlow(network, num_updates=1)
    frames = torch.zeros(1, 3, 90, 131)
    assert flow(frames, frames).shape == (1, 2, 90, 131)
    assert seen[0][0].shape == (1, 3, 128, 136)
    assert_close(shades(frames)[0, :, 0, 0], torch.tensor([0.485, 0.456, 0.406]))
    assert not network.training


@pytest.mark.parametrize("size", [(64, 90), (91, 97)])
@pytest.mark.parametrize("step", [(3, -2), (-1, 0), (0, 3), (-3, -3), (0, 0)])
def test_dense_inverse_search_finds_where_a_pattern_was(size, step):
    """`warp` along it gives the current frame again. Cells of the pattern are larger than the steps."""
    coarse = torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    pattern = torch.nn.functional.interpolate(coarse, size=[side + 6 for side in size], mode="bicubic").clamp(0, 1)
    current, previous = (
        normalized(pattern[..., 3 + down :, 3 + right :][..., : size[0], : size[1]])
        for down, right in ((0, 0), (step[1], step[0]))
    )
    flow = DisFlow()(current, previous)
    assert flow.shape == (2, 2, *size)
    assert flow.dtype == torch.float32
    inside = flow[..., 6:-6, 6:-6].flatten(2).median(dim=-1).values
    assert_close(inside, -torch.tensor(step).float().expand(2, 2), atol=0.1, rtol=0)
    error = (warp(previous, flow) - current)[..., 6:-6, 6:-6].abs().median()
    assert error < 0.05 + 0.2 * (current - previous)[..., 6:-6, 6:-6].abs().median()


@pytest.mark.parametrize("size", [(1, 1), (8, 100), (11, 40), (17, 500)])
def test_dense_inverse_search_of_small_frames(size):
    """OpenCV itself ends the process with some of these sizes, and tells no numbers for others."""
    frames = torch.randn(2, 2, 3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    flow = DisFlow()(*frames)
    assert flow.shape == (2, 2, *size)
    assert flow.dtype == torch.float64
    assert flow.isfinite().all()
    assert DisFlow()(frames[0], frames[0]).abs().max() < 0.1


def test_a_flow_without_its_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match=r"The flow 'dis' needs OpenCV: pip install 'dense_hf\[flow\]'"):
        DisFlow()


def test_a_config_takes_every_flow():
    assert {name: NetWarpConfig(flow=name).flow for name in FLOWS} == {"raft": "raft", "dis": "dis"}


def test_the_released_loss():
    found = case("vspw_etc_loss")
    meta, golden, flow = found.meta, found.golden, given_flow(found.meta)
    previous, current = found.pixels.unbind(1)
    shape = (meta["batch"], meta["num_labels"], meta["height"] // 8, meta["width"] // 8)
    logits = [2 * array(name, shape, meta["seed"]) for name in ("logits_current", "logits_previous")]
    for one in logits:
        one.requires_grad_(True)
    loss = TemporalConsistencyLoss(weight=1.0, compat="vspw")
    assert_close(warp(previous, flow, align_corners=False), golden["warped_previous_image"], **CLOSE)
    assert_close(loss.likeness(current, previous, flow), golden["mask"], **CLOSE)
    value = loss(*logits, current, previous, flow)
    assert value.item() == pytest.approx(meta["loss_temporal"], abs=2e-5)
    (meta["st_weight"] * value).backward()
    # nothing else looks at the frame before
    assert_close(logits[1].grad, golden["grad_logits_previous"], **CLOSE)
    exact = TemporalConsistencyLoss(weight=1.0)
    assert abs(exact(*logits, current, previous, flow).item() - meta["loss_temporal"]) > 1e-3


def test_a_still_picture_has_no_loss_and_a_flow_is_asked_for():
    asked = []

    def still(current, previous):
        asked.append(len(current))
        return torch.zeros(len(current), 2, *current.shape[-2:])

    loss, frames, logits = TemporalConsistencyLoss(flow=still), torch.randn(2, 3, 16, 24), torch.randn(2, 5, 4, 6)
    assert loss(logits, logits, frames, frames).item() == pytest.approx(0, abs=1e-12)
    assert asked == [2]
    with pytest.raises(ValueError, match=r"flow must be \[2, 2, 16, 24\]. Received: \[2, 2, 4, 6\]"):
        loss(logits, logits, frames, frames, torch.zeros(2, 2, 4, 6))
    with pytest.raises(ValueError, match=r"Received: 0\.1, 'v1'"):
        TemporalConsistencyLoss(compat="v1")
