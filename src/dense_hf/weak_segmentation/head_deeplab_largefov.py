"""Heads of the segmenters: DeepLab-LargeFOV (section 3.3.3) and DeepLabV3 (section 3.4.4).

B images, C channels of the backbone, D `head_hidden_size`, h x w features.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .configuration_deeplab_largefov import DeepLabLargeFOVConfig


def build_head(config: DeepLabLargeFOVConfig, in_channels: int) -> nn.Module:
    """All of the head but the class layer: [B, C, h, w] -> [B, D, h, w]."""
    return (LargeFOVHead if config.head == "largefov" else DeepLabV3Head)(config, in_channels)


class LargeFOVHead(nn.Sequential):
    """A dilated 3x3 and a 1x1 convolution, with ReLU and without bias. No dropout, unlike DeepLab's (released)."""

    def __init__(self, config: DeepLabLargeFOVConfig, in_channels: int):
        channels, (rate,) = config.head_hidden_size, config.atrous_rates  # ty: ignore[not-iterable]  never None after __init__
        super().__init__(
            nn.Conv2d(in_channels, channels, 3, padding=rate, dilation=rate, bias=False),  # ty: ignore[invalid-argument-type]
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1, bias=False),  # ty: ignore[invalid-argument-type]
            nn.ReLU(),
        )


class DeepLabV3Head(nn.Module):
    """Atrous spatial pyramid pooling: one map looked at from five distances.

    The thesis says "ResNet-101 based DeepLab-V3" and no more. All it leaves open is as in that paper (Chen et al.,
    "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017, sections 3.3 and 4): output stride 16 in
    training, multi-grid 1, 2, 4 in the last stage, a 1x1 and three 3x3 convolutions with rates 6, 12, 18 (doubled at
    output stride 8) beside a pooled image, 256 channels each, a 1x1 convolution of 256 behind them; all with batch
    norm, which is trained in the backbone, too, and therefore needs more than one image per batch.
    """

    def __init__(self, config: DeepLabLargeFOVConfig, in_channels: int):
        super().__init__()
        channels: int = config.head_hidden_size  # ty: ignore[invalid-assignment]  never None after __init__
        rates: list[int] = config.atrous_rates  # ty: ignore[invalid-assignment]  never None after __init__
        self.branches = nn.ModuleList([normalized(in_channels, channels, 1)])
        self.branches.extend(normalized(in_channels, channels, 3, rate) for rate in rates)
        self.pooled = normalized(in_channels, channels, 1)
        self.projection = normalized(channels * (len(rates) + 2), channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, D, h, w]."""
        pooled = self.pooled(F.adaptive_avg_pool2d(features, 1)).expand(-1, -1, *features.shape[-2:])
        return self.projection(torch.cat([*(branch(features) for branch in self.branches), pooled], dim=1))


def normalized(in_channels: int, channels: int, kernel_size: int, rate: int = 1) -> nn.Sequential:
    """A convolution that keeps the size, batch norm and ReLU."""
    padding = rate * (kernel_size // 2)
    convolution = nn.Conv2d(in_channels, channels, kernel_size, padding=padding, dilation=rate, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU())
