"""Parts of IOCFormer's loss against the same in another library."""

import pytest
import torch
from torchvision.ops import sigmoid_focal_loss as focal_loss_of_torchvision

from dense_hf.counting.loss_iocformer import sigmoid_focal_loss


@pytest.mark.parametrize("gamma", [0.5, 2.0, 3.0])
def test_the_focal_loss_is_that_of_torchvision(gamma):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 9, 3, generator=generator)
    targets = (torch.rand(2, 9, 3, generator=generator) > 0.7).float()
    ours = sigmoid_focal_loss(logits, targets, 0.25, gamma)
    torch.testing.assert_close(ours, focal_loss_of_torchvision(logits, targets, 0.25, gamma))
