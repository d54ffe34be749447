"""From one frame's encoder maps to fused features and logits: SegFormer's decoder, computed at the maps' own sizes.

N frames, C_i channels of map i (1/4, 1/8, 1/16 and 1/32 of the image), h x w the size of the first, E
`decoder_hidden_size`, K labels.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .configuration_video import VideoSegmentationConfig

SMALLEST_IMAGE = 32  # pixels a side below which the sequence reduction of a Mix Transformer has nothing to reduce


def weight_matrix(weight: Tensor) -> Tensor:
    """The weight of a linear layer as a matrix of numbers. Those of torchao, of 8 bits, know nothing but `linear`."""
    if type(weight) in (Tensor, nn.Parameter):
        return weight
    return F.linear(torch.eye(weight.shape[1], dtype=weight.dtype, device=weight.device), weight).T


class FrameDecoder(nn.Module):
    """SegFormer's decoder: project every map to E channels, enlarge, concatenate, fuse, batch norm, ReLU.

    Projection, enlarging and fusing are linear, so a map can be multiplied by both matrices at its own size and be
    enlarged afterwards, and the sum of four maps takes the place of the map of 4 E channels. The product of the
    matrices costs 2 % of a frame of 480 x 864 and is differentiable, so training does the same.

    Args:
        config: of the model.
        widths: C_i of the encoder's maps, finest first.
    """

    def __init__(self, config: VideoSegmentationConfig, widths: Sequence[int]):
        super().__init__()
        self.projections = nn.ModuleList(nn.Linear(width, config.decoder_hidden_size) for width in widths)
        self.fuse = nn.Conv2d(
            len(widths) * config.decoder_hidden_size, config.decoder_hidden_size, kernel_size=1, bias=False
        )
        self.batch_norm = nn.BatchNorm2d(config.decoder_hidden_size)
        self.dropout = nn.Dropout2d(config.classifier_dropout_prob)
        num_labels: int = config.num_labels  # ty: ignore[invalid-assignment]  always a number
        self.classifier = nn.Conv2d(config.decoder_hidden_size, num_labels, kernel_size=1)

    def forward(self, feature_maps: tuple[Tensor, ...]) -> Tensor:
        """Maps [N, C_i, h_i, w_i], finest first -> fused features [N, E, h, w]."""
        # the released code concatenates the coarsest map first
        slices = self.fuse.weight[:, :, 0, 0].chunk(len(self.projections), dim=1)[::-1]
        weights = [weight_matrix(self.projections.get_parameter(f"{n}.weight")) for n in range(len(self.projections))]
        matrices = [part @ weight for part, weight in zip(slices, weights)]
        # a constant stays the same when enlarged, so the biases of all maps add up
        biases = [part @ self.projections.get_parameter(f"{n}.bias") for n, part in enumerate(slices)]
        bias = torch.stack(biases).sum(dim=0)
        if not self.training:
            norm: Any = self.batch_norm  # perhaps wrapped by peft, whose wrapper has no `get_buffer`
            scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            matrices = [scale[:, None] * matrix for matrix in matrices]
            bias = scale * (bias - norm.running_mean) + norm.bias
        fused = F.conv2d(feature_maps[0], matrices[0][:, :, None, None], bias)
        for feature_map, matrix in zip(feature_maps[1:], matrices[1:]):
            projected = F.conv2d(feature_map, matrix[:, :, None, None])
            fused += resize(projected, fused.shape[-2:])
        return F.relu_(self.batch_norm(fused) if self.training else fused)

    def classify(self, features: Tensor) -> Tensor:
        """Fused features [N, E, h, w] -> logits [N, K, h, w] of the frames on their own."""
        return self.classifier(self.dropout(features))


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """[N, c, h, w] -> [N, c, *size], bilinear as everywhere in the released code."""
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


def halve(features: Tensor) -> Tensor:
    """[N, E, h, w] -> [N, E, h // 2, w // 2], bilinear without antialiasing; for even sizes the mean of 2 x 2."""
    height, width = features.shape[-2:]
    return resize(features, (max(height // 2, 1), max(width // 2, 1)))


def pad(frames: Tensor, divisor: int) -> Tensor:
    """[N, 3, height, width] -> padded right and below, with zeros, to multiples of the divisor and what is needed."""
    missing = [max(-size % divisor, SMALLEST_IMAGE - size, 0) for size in frames.shape[-2:]]
    return F.pad(frames, (0, missing[1], 0, missing[0])) if any(missing) else frames


def crop(logits: Tensor, size: Sequence[int]) -> Tensor:
    """[..., h, w] -> what belongs to an image of `size`: a quarter, rounded up, in the usual order of memory."""
    return logits[..., : -(-size[0] // 4), : -(-size[1] // 4)].contiguous()
