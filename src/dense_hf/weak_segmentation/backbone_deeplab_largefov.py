"""The image encoder: the released ResNet-101 with dilated stages, or any backbone of transformers or timm.

It is the ResNet of transformers with some strides taken out and dilations put in, so its tensors have the names of
`transformers.ResNetBackbone`.
"""

from collections.abc import Iterator

from torch import nn
from transformers import ResNetBackbone, ResNetConfig
from transformers.backbone_utils import load_backbone

from .configuration_deeplab_largefov import DeepLabLargeFOVConfig
from .frozen_norms import freeze_batch_norms

STAGES = ("stage1", "stage2", "stage3", "stage4")


def build_segmenter_backbone(config: DeepLabLargeFOVConfig) -> nn.Module:
    """The backbone of `config`, randomly initialised; its last feature map is what the model reads."""
    backbone = build_resnet(config) if config.backbone_config is None else load_backbone(config)
    if config.freeze_backbone_batch_norm:
        freeze_batch_norms(backbone, config.backbone_config)
    return backbone


def build_resnet(config: DeepLabLargeFOVConfig) -> ResNetBackbone:
    """ResNet with `config.output_stride`; feature maps are those of its four stages."""
    resnet = ResNetConfig(
        num_channels=config.num_channels,
        embedding_size=config.resnet_embedding_size,
        hidden_sizes=list(config.resnet_hidden_sizes),
        depths=list(config.resnet_depths),
        downsample_in_bottleneck=config.downsample_in_bottleneck,
        out_features=list(STAGES),  # ty: ignore[unknown-argument]  goes through __post_init__
    )
    backbone = ResNetBackbone(resnet)
    stride, dilation = 4, 1  # behind the first stage
    limit: int = config.output_stride  # ty: ignore[invalid-assignment]  never None after __init__
    for stage in backbone.encoder.stages[1:]:
        if stride < limit:
            stride *= 2
        else:
            dilation = dilate(stage, dilation)
    factors: list[int] = config.multi_grid  # ty: ignore[invalid-assignment]  never None after __init__
    for block, factor in zip(backbone.encoder.stages[-1].layers, factors):  # ty: ignore[invalid-argument-type]
        set_dilation(block.layer[1].convolution, block.layer[1].convolution.dilation[0] * factor)
    return backbone


def dilate(stage: nn.Module, dilation: int) -> int:
    """Take the stride of 2 out of a stage whose input is dilated by `dilation`, and return the new dilation.

    What stands behind the stride sees a map that is twice as fine, and is dilated by twice as much, so that at every
    second place nothing changes. With the stride in the 1x1 convolution these are all 3x3 convolutions (released; thus
    res4 and res5 have 2 and 4 in all blocks); with the stride in the first of them, all but that one.
    """
    for convolution in convolutions(stage):
        behind = convolution.stride == (1, 1)
        convolution.stride = (1, 1)
        if convolution.kernel_size == (3, 3):
            set_dilation(convolution, 2 * dilation if behind else dilation)
    return 2 * dilation


def set_dilation(convolution: nn.Conv2d, dilation: int) -> None:
    """Of a 3x3 convolution, padded so that it keeps the size."""
    convolution.dilation = convolution.padding = (dilation, dilation)


def convolutions(module: nn.Module) -> Iterator[nn.Conv2d]:
    """All of a module's."""
    return (part for part in module.modules() if isinstance(part, nn.Conv2d))
