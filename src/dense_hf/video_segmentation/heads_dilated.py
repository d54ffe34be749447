"""The heads of PSPNet and OCRNet in three steps, so that clips can mix frames between them (Tables 4.1 and 5.6).

`prepare` is what a pixel needs, `context` what a frame knows as a whole, `mix` what pixels make of a context, their
own frame's or a mean of several; `classify` reads that.

N frames, C and h x w the last map of the backbone, D `hidden_size`, K labels, s a pooling size.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .configuration_dilated import DilatedVideoConfig

Context = tuple[Tensor, ...]


class ConvNorm(nn.Module):
    """Convolution that keeps the size, batch norm, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, kernel_size: int = 1, bias: bool = True):
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel_size, padding=kernel_size // 2, bias=bias)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, maps: Tensor) -> Tensor:
        """[N, channels_in, h, w] -> [N, channels_out, h, w]."""
        return F.relu(self.norm(self.conv(maps)))


class ClassifierHead(nn.Module):
    """A 3x3 layer and a classifier: deep supervision of the last but one map, and the end of the pyramid head."""

    def __init__(self, config: DilatedVideoConfig, channels: int, bias: bool):
        super().__init__()
        self.layer = ConvNorm(channels, config.hidden_size, 3, bias=bias)
        self.dropout = nn.Dropout2d(config.classifier_dropout_prob)
        self.classifier = nn.Conv2d(config.hidden_size, num_labels(config), 1)

    def forward(self, maps: Tensor) -> Tensor:
        """[N, channels, h, w] -> [N, K, h, w]."""
        return self.classifier(self.dropout(self.layer(maps)))


class PyramidHead(nn.Module):
    """Pyramid pooling: every pixel sees means of its frame over cells of several sizes."""

    needs_scores = False

    def __init__(self, config: DilatedVideoConfig, channels: int):
        super().__init__()
        self.pool_sizes = tuple(config.pool_sizes)
        width = config.hidden_size
        self.branches = nn.ModuleList(ConvNorm(channels, width, bias=False) for _ in self.pool_sizes)
        self.num_mixed = channels + len(self.pool_sizes) * width
        self.output = ClassifierHead(config, self.num_mixed, bias=False)

    def prepare(self, features: Tensor) -> Tensor:
        """The map as it is, [N, C, h, w]."""
        return features

    def context(self, prepared: Tensor, scores: Tensor | None) -> Context:
        """[N, C, s, s] for each s."""
        return tuple(F.adaptive_avg_pool2d(prepared, size) for size in self.pool_sizes)

    def mix(self, prepared: Tensor, context: Context) -> Tensor:
        """[N, C + D * sizes, h, w]."""
        size = prepared.shape[-2:]
        pyramid = [
            F.interpolate(branch(pooled), size=size, mode="bilinear", align_corners=False)
            for branch, pooled in zip(self.branches, context)
        ]
        return torch.cat([prepared, *pyramid], dim=1)

    def classify(self, mixed: Tensor) -> Tensor:
        """Logits [N, K, h, w]."""
        return self.output(mixed)


class ObjectContextHead(nn.Module):
    """Object-contextual representations: every pixel attends to the mean features of the classes in its frame."""

    needs_scores = True

    def __init__(self, config: DilatedVideoConfig, channels: int):
        super().__init__()
        width: int = config.hidden_size
        keys: int = config.key_size
        self.layer = ConvNorm(channels, width, 3)
        self.query = nn.Sequential(ConvNorm(width, keys), ConvNorm(keys, keys))
        self.key = nn.Sequential(ConvNorm(width, keys), ConvNorm(keys, keys))
        self.value = ConvNorm(width, keys)
        self.up = ConvNorm(keys, width)
        self.fuse = ConvNorm(2 * width, width)
        self.dropout = nn.Dropout2d(config.classifier_dropout_prob)
        self.classifier = nn.Conv2d(width, num_labels(config), 1)
        self.num_mixed = width

    def prepare(self, features: Tensor) -> Tensor:
        """[N, C, h, w] -> [N, D, h, w]."""
        return self.layer(features)

    def context(self, prepared: Tensor, scores: Tensor | None) -> Context:
        """One tensor [N, D, K]: the pixels of the frame, weighted by a softmax over them of the class's scores."""
        if scores is None:
            raise ValueError("The context of a frame needs the scores of its pixels. Received: None")
        shares = scores.flatten(2).softmax(dim=2)
        return ((shares @ prepared.flatten(2).transpose(1, 2)).transpose(1, 2),)

    def mix(self, prepared: Tensor, context: Context) -> Tensor:
        """[N, D, h, w]."""
        classes = context[0][..., None]
        query = self.query(prepared).flatten(2).transpose(1, 2)
        key, value = self.key(classes).flatten(2), self.value(classes).flatten(2)
        attention = (query @ key * key.shape[1] ** -0.5).softmax(dim=2)
        attended = (attention @ value.transpose(1, 2)).transpose(1, 2).unflatten(2, prepared.shape[-2:])
        return self.dropout(self.fuse(torch.cat([self.up(attended), prepared], dim=1)))

    def classify(self, mixed: Tensor) -> Tensor:
        """Logits [N, K, h, w]."""
        return self.classifier(mixed)


def build_head(config: DilatedVideoConfig, channels: int) -> PyramidHead | ObjectContextHead:
    """The head that the config names, for the last map of the backbone."""
    return PyramidHead(config, channels) if config.head == "ppm" else ObjectContextHead(config, channels)


def num_labels(config: DilatedVideoConfig) -> int:
    """K."""
    return config.num_labels  # ty: ignore[invalid-explicit-return]  always a number
