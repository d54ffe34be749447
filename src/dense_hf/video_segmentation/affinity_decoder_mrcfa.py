"""The affinity decoder: what the affinities of neighbouring pixels and of other scales say (thesis 5.3.2 and 5.3.3).

The affinity of one reference token to all pixels of the target is an image. M images (all selected tokens of all
references of all clips), c channels of each, h x w pixels. Images lie as [c, M, h, w] with the tokens innermost in
memory (channels last), as products of pixels and tokens come: convolutions with the same kernel for all tokens are
depthwise convolutions then, and norms over c, h and w are batch norms. One thread, 480 x 864, 606 tokens: 5 x 5
convolution 0.007 s instead of 0.18 s for the same as 606 images of one channel.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_mrcfa import MRCFAConfig


class ImageLayer(nn.Module):
    """Convolution, norm over all channels and pixels of each image, ReLU; one kernel for the images of all tokens.

    With `affinity_norm="reference"` the norm is over the images of all tokens of a reference.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, per_token: bool = True):
        super().__init__()
        self.per_token = per_token
        self.convolution = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        self.norm = nn.GroupNorm(1, out_channels)

    def forward(self, images: Tensor, tokens_per_reference: int) -> Tensor:
        """[c, M, h, w] -> [c', M, h, w]."""
        bias = self.convolution.get_parameter("bias")
        convolved = [self._convolve(images, kernels, bias[n]) for n, kernels in enumerate(self.convolution.weight)]
        if not self.per_token:
            return F.relu_(_norm_volumes(self.norm, torch.cat(convolved), tokens_per_reference))
        # not F.batch_norm, which refuses images of one pixel
        normed = torch.batch_norm(
            torch.cat(convolved), None, None, None, None, True, 0.0, self.norm.eps, torch.backends.cudnn.enabled
        )
        scale, shift = (parameter[:, None, None, None] for parameter in (self.norm.weight, self.norm.bias))
        return F.relu_((normed * scale).add_(shift))

    def _convolve(self, images: Tensor, kernels: Tensor, bias: Tensor) -> Tensor:
        """[c, M, h, w] and kernels [c, k, k] of one output channel -> [1, M, h, w]."""
        count, size = images.shape[1], kernels.shape[-1]

        def convolve(image: Tensor, kernel: Tensor, shift: Tensor | None = None) -> Tensor:
            return F.conv2d(image, kernel.expand(count, 1, size, size), shift, padding=size // 2, groups=count)

        (first, *others), (first_kernel, *other_kernels) = images.split(1), kernels.unbind()
        total = convolve(first, first_kernel, bias.expand(count))
        for image, kernel in zip(others, other_kernels):
            total = total + convolve(image, kernel)
        return total


class VolumeLayer(nn.Module):
    """The same with cubic kernels, and norms over all tokens of a reference (remark at Eq. 5.4)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int):
        super().__init__()
        self.convolution = nn.Conv3d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        self.norm = nn.GroupNorm(1, out_channels)

    def forward(self, images: Tensor, tokens_per_reference: int) -> Tensor:
        """[c, M, h, w] -> [c', M, h, w], the tokens of a reference side by side."""
        volumes = images.unflatten(1, (-1, tokens_per_reference)).transpose(0, 1)
        refined = F.relu(self.norm(self.convolution(volumes)))
        return refined.transpose(0, 1).flatten(1, 2)


def _norm_volumes(norm: nn.Module, images: Tensor, tokens_per_reference: int) -> Tensor:
    """A norm over all tokens, channels and pixels of each reference: [c, M, h, w] -> [c, M, h, w]."""
    volumes = images.unflatten(1, (-1, tokens_per_reference)).transpose(0, 1)
    return norm(volumes).transpose(0, 1).flatten(1, 2)


class AffinityBlock(nn.Module):
    """G of Eq. 5.5 and 5.6: layers that keep the number of channels but for the last; all but the first are 3 x 3."""

    def __init__(self, config: MRCFAConfig, in_channels: int, out_channels: int, kernel_size: int = 3):
        super().__init__()
        per_token = config.affinity_norm == "token"
        layer = VolumeLayer if config.affinity_convolution == "3d" else partial(ImageLayer, per_token=per_token)
        outs = [in_channels] * (config.affinity_depth - 1) + [out_channels]
        kernels = [kernel_size] + [3] * (config.affinity_depth - 1)
        self.layers = nn.ModuleList(layer(in_channels, out, kernel) for out, kernel in zip(outs, kernels))

    def forward(self, images: Tensor, tokens_per_reference: int) -> Tensor:
        """[c, M, h, w] -> [c', M, h, w]."""
        for layer in self.layers:
            images = layer(images, tokens_per_reference)
        return images


class AffinityDecoder(GradientCheckpointingLayer):
    """SAR refines the affinities of each scale (Eq. 5.5), MAA leads them from coarse to fine (Eq. 5.6).

    What leaves the decoder has one channel. Weights know nothing of the number of tokens, references or pixels.
    """

    def __init__(self, config: MRCFAConfig):
        super().__init__()
        width, scales = config.affinity_width, config.num_scales
        refined = width if config.use_maa and scales > 1 else 1
        self.refinements = nn.ModuleList()
        self.aggregations = nn.ModuleList()
        if config.use_sar:
            kernels = config.affinity_kernel_sizes[:scales]
            self.refinements.extend(AffinityBlock(config, 1, refined, kernel) for kernel in kernels)
        if config.use_maa:
            ins = [refined if config.use_sar else 1] + [width] * (scales - 2)
            outs = [width] * (scales - 2) + [1]
            self.aggregations.extend(AffinityBlock(config, i, o) for i, o in zip(ins[: scales - 1], outs))

    def forward(self, *affinities: Tensor, sizes: Sequence[Sequence[int]], tokens_per_reference: int) -> Tensor:
        """Refine affinities.

        Args:
            affinities: [1, M, h_l, w_l] for each of the L scales, the coarsest first.
            sizes: (h, w) at 1/32, 1/16 and 1/8 of the image, also of scales that have no affinities.
            tokens_per_reference: How many of the M images side by side belong to one reference.

        Returns:
            Affinities [1, M, h, w] at 1/8, not negative unless there is nothing but enlarging.
        """
        images = self._refine(0, affinities[0], tokens_per_reference)
        for scale, size in enumerate(sizes[1:], start=1):
            # corners on corners, only here (released code)
            images = F.interpolate(images, size=tuple(size), mode="bilinear", align_corners=True)
            if scale < len(affinities):
                images = images + self._refine(scale, affinities[scale], tokens_per_reference)
                if self.aggregations:
                    images = self.aggregations[scale - 1](images, tokens_per_reference)
        return images

    def _refine(self, scale: int, images: Tensor, tokens_per_reference: int) -> Tensor:
        return self.refinements[scale](images, tokens_per_reference) if self.refinements else images
