"""The loss of a clip against the same sum written plainly."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from dense_hf.video_segmentation.clip_loss import clip_loss

IGNORED = 255


def plain(logits, labels):
    """[M, K, h, w] against [M, H, W], one map after the other; ignored pixels count in the mean."""
    losses = [
        F.cross_entropy(
            F.interpolate(one[None].float(), size=truth.shape, mode="bilinear", align_corners=False),
            truth[None].long(), ignore_index=IGNORED, reduction="sum",
        )
        for one, truth in zip(logits, labels, strict=True)
    ]  # fmt: skip
    return sum(losses) / labels.numel()


@pytest.mark.parametrize("frames", ["all", "target"])
@pytest.mark.parametrize("maps", [0, 1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_the_plain_sum(frames, maps, dtype):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 5, (2, 4, 12, 10), generator=generator).to(torch.uint8)
    labels[labels == 4] = IGNORED
    auxiliary = torch.randn(2, 4, 4, 3, 4, generator=generator).to(dtype).requires_grad_()
    target = torch.randn(2, maps, 4, 6, 5, generator=generator).to(dtype).requires_grad_() if maps else None
    config = SimpleNamespace(
        auxiliary_loss_frames=frames, auxiliary_loss_weight=0.3, semantic_loss_ignore_index=IGNORED
    )
    loss, terms = clip_loss(config, auxiliary, target, labels)
    first = 0 if frames == "all" else 3
    expected = {"loss_auxiliary": plain(auxiliary[:, first:].flatten(0, 1), labels[:, first:].flatten(0, 1))}
    total = expected["loss_auxiliary"]
    if target is not None:
        own = labels[:, -1:].expand(-1, maps, -1, -1).flatten(0, 1)
        expected["loss_target"] = plain(target.flatten(0, 1), own)
        total = expected["loss_target"] + 0.3 * expected["loss_auxiliary"]
    assert terms.keys() == expected.keys()
    for name, term in terms.items():
        assert term.dtype == torch.float32
        torch.testing.assert_close(term, expected[name], rtol=1e-6, atol=0)
    torch.testing.assert_close(loss, total, rtol=1e-6, atol=0)
    given = [auxiliary] if target is None else [auxiliary, target]
    for ours, theirs in zip(torch.autograd.grad(loss, given), torch.autograd.grad(total, given), strict=True):
        torch.testing.assert_close(ours, theirs)
    with torch.no_grad():
        torch.testing.assert_close(clip_loss(config, auxiliary, target, labels)[0], loss.detach())
