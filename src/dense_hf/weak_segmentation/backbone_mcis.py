"""The image encoder: the thesis' VGG-16 (section 3.3.3) or ResNet-38 (3.4.4), or any of transformers or timm.

B batch, H x W pixels of an image.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from transformers.backbone_utils import load_backbone
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BackboneOutput

from .configuration_affinity_net import AffinityNetConfig
from .configuration_mcis import MCISConfig
from .configuration_resnet38 import ResNet38Config
from .frozen_norms import freeze_batch_norms
from .resnet38 import ResNet38

CONVOLUTIONS = (2, 2, 3, 3, 3)  # of the five stages of VGG-16
FIRST_LAYERS = (0, 4, 9, 16, 23)  # of the stages, in torchvision's `vgg16().features`; all but the first are pools
NUM_HALVING_POOLS = 3


def build_backbone(config: MCISConfig | AffinityNetConfig) -> nn.Module:
    """The backbone of `config`, randomly initialised; MCIS reads its last feature map, AffinityNet three."""
    if config.backbone_config is None:
        return VGG16(config.num_channels, config.vgg_hidden_sizes)
    if isinstance(config.backbone_config, ResNet38Config):
        backbone = ResNet38(config.backbone_config)
    else:
        backbone = load_backbone(config)
    drop_blocks_behind_the_output(backbone)
    if config.freeze_backbone_batch_norm:
        freeze_batch_norms(backbone, config.backbone_config)
    return backbone


def drop_blocks_behind_the_output(backbone: nn.Module) -> None:
    """Remove the blocks of a timm network that its last feature map does not depend on.

    Some of timm's extractors keep and compute them: EfficientNet-Lite0 takes twice the time up to its fourth map.
    """
    network: Any = getattr(backbone, "_backbone", None)
    if network is None:
        return
    blocks, _, index = network.feature_info.get_dicts()[-1]["module"].rpartition(".")
    if index.isdigit() and blocks in dict(network.named_modules()):
        del network.get_submodule(blocks)[int(index) + 1 :]


class VGGStage(GradientCheckpointingLayer):
    """A pool, except in the first stage, and convolutions with ReLU.

    Layers are named by their place in torchvision's `vgg16().features`, which see [`rename_vgg`].

    Args:
        stage: 0 to 4.
        in_channels, channels: of the input and of every convolution.
    """

    def __init__(self, stage: int, in_channels: int, channels: int):
        super().__init__()
        layers: list[nn.Module] = []
        if 0 < stage <= NUM_HALVING_POOLS:
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
        elif stage > NUM_HALVING_POOLS:
            layers.append(nn.MaxPool2d(kernel_size=3, stride=1, padding=1))
        dilation = 2 if stage > NUM_HALVING_POOLS else 1
        for _ in range(CONVOLUTIONS[stage]):
            layers += [nn.Conv2d(in_channels, channels, 3, padding=dilation, dilation=dilation), nn.ReLU()]
            in_channels = channels
        for index, layer in enumerate(layers, start=FIRST_LAYERS[stage]):
            self.add_module(str(index), layer)

    def forward(self, hidden_state: Tensor) -> Tensor:
        """[B, in_channels, h, w] -> [B, channels, h', w'], where h' is h, or h // 2 behind a pool that halves."""
        for layer in self.children():
            hidden_state = layer(hidden_state)
        return hidden_state


class VGG16(nn.Module):
    """VGG-16 without batch norm whose output is 1/8 of the image: three pools halve, rounding down.

    The pool behind the fourth stage keeps the size, the fifth stage is dilated by 2 instead, and there is no fifth
    pool.

    Args:
        num_channels: of the image.
        hidden_sizes: channels of the first four stages; the fifth has those of the fourth.
    """

    def __init__(self, num_channels: int, hidden_sizes: Sequence[int]):
        super().__init__()
        self.channels = [*hidden_sizes, hidden_sizes[-1]]
        inputs = [num_channels, *self.channels[:-1]]
        self.stages = nn.ModuleList(map(VGGStage, range(len(CONVOLUTIONS)), inputs, self.channels))

    def forward(self, pixel_values: Tensor, **kwargs) -> BackboneOutput:
        """[B, num_channels, H, W] -> feature maps of the five stages, the last [B, C, H // 8, W // 8]."""
        if self.training and self.stages[0].gradient_checkpointing and not pixel_values.requires_grad:
            # reentrant checkpointing gives no gradients to a stage none of whose inputs has one
            pixel_values = pixel_values.detach().requires_grad_()
        maps = [pixel_values]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return BackboneOutput(feature_maps=tuple(maps[1:]))  # ty: ignore[invalid-argument-type]  upstream means any number


def rename_vgg(name: str) -> str:
    """Our name for a tensor of torchvision's `vgg16`: "features.17.weight" is "stages.3.17.weight" here.

    Its classifier, which is not here, keeps its names.
    """
    part, index, kind = name.split(".")
    if part != "features":
        return name
    return f"stages.{bisect_right(FIRST_LAYERS, int(index)) - 1}.{index}.{kind}"
