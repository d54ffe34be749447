"""The image encoder: the thesis' VGG-16 (section 3.3.3), or any backbone of transformers or timm.

B batch, H x W pixels of an image.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from transformers.backbone_utils import load_backbone
from transformers.modeling_outputs import BackboneOutput

from .configuration_mcis import MCISConfig

CONVOLUTIONS = (2, 2, 3, 3, 3)  # of the five stages of VGG-16
NUM_HALVING_POOLS = 3


def build_backbone(config: MCISConfig) -> nn.Module:
    """The backbone of `config`, randomly initialised; its last feature map is what the model reads."""
    if config.backbone_config is None:
        return VGG16(config.num_channels, config.vgg_hidden_sizes)
    return load_backbone(config)


class VGG16(nn.Module):
    """VGG-16 without batch norm whose output is 1/8 of the image: three pools halve, rounding down.

    The pool behind the fourth stage keeps the size, the fifth stage is dilated by 2 instead, and there is no fifth
    pool. `features` has the layers at the places where torchvision's `vgg16().features` has them, so that ImageNet
    weights fit by name.

    Args:
        num_channels: of the image.
        hidden_sizes: channels of the first four stages; the fifth has those of the fourth.
    """

    def __init__(self, num_channels: int, hidden_sizes: Sequence[int]):
        super().__init__()
        widths = [*hidden_sizes, hidden_sizes[-1]]
        layers: list[nn.Module] = []
        starts = []
        channels = num_channels
        for stage, (width, count) in enumerate(zip(widths, CONVOLUTIONS)):
            starts.append(len(layers))
            if 0 < stage <= NUM_HALVING_POOLS:
                layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
            elif stage > NUM_HALVING_POOLS:
                layers.append(nn.MaxPool2d(kernel_size=3, stride=1, padding=1))
            dilation = 2 if stage > NUM_HALVING_POOLS else 1
            for _ in range(count):
                layers += [nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation), nn.ReLU()]
                channels = width
        self.features = nn.Sequential(*layers)
        self.stages = list(pairwise([*starts, len(layers)]))  # (first layer, layer after the last)
        self.channels = widths
        self.gradient_checkpointing = False  # set by `gradient_checkpointing_enable()`, with the function below

    def forward(self, pixel_values: Tensor, **kwargs) -> BackboneOutput:
        """[B, num_channels, H, W] -> feature maps of the five stages, the last [B, C, H // 8, W // 8]."""
        maps = []
        hidden_state = pixel_values
        for first, last in self.stages:
            stage = self.features[first:last]
            if self.gradient_checkpointing and self.training:
                hidden_state = self._gradient_checkpointing_func(stage.__call__, hidden_state)
            else:
                hidden_state = stage(hidden_state)
            maps.append(hidden_state)
        return BackboneOutput(feature_maps=tuple(maps))
