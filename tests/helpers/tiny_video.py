"""What small models for tests have in common: an encoder of one block a stage, clips and labels."""

import torch
from torch import Tensor
from torch.nn import functional as F

TINY_ENCODER = {
    "hidden_sizes": [8, 8, 16, 16],
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 1, 2, 2],
    "mlp_ratios": [2, 2, 2, 2],
}


def random_clip(num_frames: int = 4, size: tuple[int, int] = (64, 96), batch_size: int = 2, seed: int = 0) -> Tensor:
    """[B, T, 3, height, width]."""
    return torch.randn(batch_size, num_frames, 3, *size, generator=torch.Generator().manual_seed(seed))


def random_labels(clip: Tensor, num_labels: int = 5, seed: int = 0) -> Tensor:
    """[B, T, height, width], some of it 255."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, num_labels + 1, (*clip.shape[:2], *clip.shape[-2:]), generator=generator)
    return labels.masked_fill(labels == num_labels, 255)


def plain_mean(logits: Tensor, labels: Tensor) -> Tensor:
    """Every pixel by hand; ignored ones count as zero."""
    enlarged = F.interpolate(logits.flatten(0, 1), labels.shape[-2:], mode="bilinear").unflatten(0, labels.shape[:2])
    scores = enlarged.log_softmax(2).gather(2, labels.clamp(max=logits.shape[2] - 1)[:, :, None])[:, :, 0]
    return -(scores * (labels != 255)).mean()
