"""The layers that make a density map of features, for every density counter (Table 2.3).

B images, C channels, h x w features, S scales, K classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init

CONTEXT_SIZES = (1, 2, 3, 6)
ACTIVATIONS = {"abs": torch.abs, "relu": torch.relu}


@torch.no_grad()
def init_convolution(module: nn.Conv2d, std: float | None) -> None:
    """A convolution from N(0, std) with bias 0, or, where a method leaves that out, as PyTorch starts it."""
    if std is not None:
        init.normal_(module.weight, std=std)
        if module.bias is not None:
            init.zeros_(module.bias)
        return
    init.kaiming_uniform_(module.weight, a=5**0.5)
    if module.bias is not None:
        bound = module.weight[0].numel() ** -0.5
        init.uniform_(module.bias, -bound, bound)


class DensityHead(nn.Module):
    """3x3 convolutions with ReLU, after an upsampling by 2 if there is one, and a 1x1 convolution to the map.

    Args:
        in_channels: C.
        channels: of each 3x3 convolution.
        dilation: of them; their padding keeps the size.
        norm: whether a batch norm follows each (the authors' CAN).
        upsample: `None`, "nearest", or "bilinear" (corners aligned).
        activation: of the map: `None` (it may be negative), "abs" or "relu".
        num_maps: K.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        dilation: int = 1,
        norm: bool = False,
        upsample: str | None = None,
        activation: str | None = None,
        num_maps: int = 1,
    ):
        super().__init__()
        sizes = [in_channels, *channels]
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=dilation, dilation=dilation)
            for before, after in zip(sizes, sizes[1:])  # noqa: RUF007  ModuleList wants no generator of pairs
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(size) for size in channels) if norm else None
        self.output = nn.Conv2d(sizes[-1], num_maps, kernel_size=1)
        self.upsample, self.activation = upsample, activation

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, h, w] -> density map [B, K, h, w] and the features before it; twice the sides with an upsampling."""
        if self.upsample is not None:
            corners = {"align_corners": True} if self.upsample == "bilinear" else {}
            features = F.interpolate(features, scale_factor=2, mode=self.upsample, **corners)
        for index, conv in enumerate(self.convs):
            features = conv(features)
            if self.norms is not None:
                features = self.norms[index](features)
            features = F.relu(features)
        density = self.output(features)
        return (density if self.activation is None else ACTIVATIONS[self.activation](density)), features


class ContextNeck(nn.Module):
    """The context of CAN: features averaged over 1, 4, 9 and 36 fields, weighted by how they differ from the local.

    For each S: adaptive average pool to S x S, 1x1 convolution, bilinear up to h x w: s_S. The mean of all s_S with
    weights sigmoid(1x1 convolution of the difference to the features F) goes beside F.

    Args:
        channels: C.
        shared: the authors' form, with F - s_S, one weight layer with bias for all scales, and a 1x1 convolution back
            to C channels; otherwise that of the reimplementation which trains with SGD: s_S - F, a weight layer
            without bias for each scale, and 2 C channels come out. One cannot be converted to the other.

    The fields are shares of the input: padding or cutting an image changes its count.
    """

    def __init__(self, channels: int, shared: bool):
        super().__init__()
        self.shared = shared
        self.scale_convs = nn.ModuleList(nn.Conv2d(channels, channels, 1, bias=False) for _ in CONTEXT_SIZES)
        number = 1 if shared else len(CONTEXT_SIZES)
        self.weight_convs = nn.ModuleList(nn.Conv2d(channels, channels, 1, bias=shared) for _ in range(number))
        self.bottleneck = nn.Conv2d(2 * channels, channels, 1) if shared else None
        self.out_channels = channels if shared else 2 * channels

    def forward(self, features: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C or 2 C, h, w]."""
        size = features.shape[-2:]
        weighted, total = [], []
        for index, (fields, conv) in enumerate(zip(CONTEXT_SIZES, self.scale_convs)):
            pooled = conv(F.adaptive_avg_pool2d(features, fields))
            context = F.interpolate(pooled, size=size, mode="bilinear", align_corners=False)
            if self.shared:
                weight = self.weight_convs[0](features - context).sigmoid()
            else:
                weight = self.weight_convs[index](context - features).sigmoid()
            weighted.append(weight * context)
            total.append(weight)
        sums = torch.stack(total).sum(dim=0)
        mean = torch.stack(weighted).sum(dim=0) / (sums if self.shared else sums + 1e-12)
        if self.bottleneck is not None:
            return F.relu(self.bottleneck(torch.cat([mean, features], dim=1)))
        return torch.cat([features, mean], dim=1)


class KernelGenerator(nn.Sequential):
    """The network that makes the target of KDMG in training: a kernel for each place of an image.

    Args:
        in_channels: of the image.
        side: s, of a kernel, in cells of the density map (8 pixels).
        softmax: whether its values are a softmax, instead of being shifted to 0 and divided by their sum.
    """

    def __init__(self, in_channels: int, side: int, softmax: bool = False):
        layers: list[nn.Module] = []
        for channels in (32, 64, 128, 128):
            layers += [nn.Conv2d(in_channels, channels, 3, padding=1), nn.LeakyReLU(0.01), nn.MaxPool2d(2)]
            in_channels = channels
        super().__init__(*layers, nn.Conv2d(in_channels, side**2, 3, padding=1))
        self.softmax = softmax

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, s * s, H / 16, W / 16], each kernel with the sum 1."""
        values = super().forward(input)
        if self.softmax:
            return values.softmax(dim=1)
        values = values - values.min(dim=1, keepdim=True).values
        # the released code divides 0 by 0 where all values are equal
        return values / values.sum(dim=1, keepdim=True).clamp(min=1e-30)
