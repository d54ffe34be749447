"""ResNet-38: few blocks, but wide ones (thesis section 3.4.4, reference [196]).

Written from the paper: Wu, Shen, van den Hengel, "Wider or Deeper: Revisiting the ResNet Model for Visual Recognition"
(2016), model A1. 38 layers have weights: the first convolution, 2 in each of 15 blocks, 3 in each of 2 bottlenecks,
and a class layer, which has no place in a backbone.

B batch, H x W pixels of an image, h x w features, w `config.width`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BackboneOutput

from .configuration_resnet38 import ResNet38Config


@dataclass(frozen=True)
class WideStage:
    """Blocks of one kind.

    Attributes:
        channels: of the convolutions of a block, in units of `config.width`; three make a bottleneck.
        depth: number of blocks.
        stride: of the first block.
        first_dilation, dilation: of the 3x3 convolutions; the first one of a stage comes before the place where the
            network for classification halves, and keeps the dilation that it has there.
        dropout: which number of `config.dropout` it has.
    """

    channels: tuple[int, ...]
    depth: int
    stride: int = 1
    first_dilation: int = 1
    dilation: int = 1
    dropout: int | None = None


STAGES = (  # B2 to B7 of the paper
    WideStage((2, 2), 3, stride=2),
    WideStage((4, 4), 3, stride=2),
    WideStage((8, 8), 6, stride=2),
    WideStage((8, 16), 3, dilation=2),
    WideStage((8, 16, 32), 1, dilation=4, dropout=0),
    WideStage((16, 32, 64), 1, dilation=4, dropout=1),
)
KERNELS = {2: (3, 3), 3: (1, 3, 1)}  # of a block, by the number of its convolutions
FIRST_MAP = 3  # the stage whose activated input is the first feature map


class WideBlock(GradientCheckpointingLayer):
    """Norm, ReLU and convolution, two or three times, added to the input.

    Where channels or size change, the input goes through a 1x1 convolution behind the first norm and ReLU.

    Args:
        in_channels: of the input.
        channels, kernels, dilations: of the convolutions.
        stride: of the first of them.
        dropout: share of channels, in front of all but the first.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        kernels: Sequence[int],
        dilations: Sequence[int],
        stride: int = 1,
        dropout: float = 0.0,
    ):
        super().__init__()
        inputs = [in_channels, *channels[:-1]]
        self.norms = nn.ModuleList(map(nn.BatchNorm2d, inputs))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(
                inputs[i],
                channels[i],
                kernels[i],
                stride=stride if i == 0 else 1,
                padding=kernels[i] // 2 * dilations[i],
                dilation=dilations[i],
                bias=False,
            )
            for i in range(len(channels))
        )
        self.dropout = nn.Dropout2d(dropout)
        self.shortcut = None
        if stride != 1 or in_channels != channels[-1]:
            self.shortcut = nn.Conv2d(in_channels, channels[-1], 1, stride=stride, bias=False)

    def forward(self, hidden_state: Tensor) -> tuple[Tensor, Tensor]:
        """[B, in_channels, h, w] -> the result [B, channels[-1], h', w'], and the input behind norm and ReLU."""
        activated = F.relu(self.norms[0](hidden_state))
        branch = self.convolutions[0](activated)
        for norm, convolution in zip(self.norms[1:], self.convolutions[1:]):
            branch = convolution(self.dropout(F.relu(norm(branch))))
        return branch + (hidden_state if self.shortcut is None else self.shortcut(activated)), activated


class ResNet38(nn.Module):
    """ResNet-38 whose output is 1/8 of the image, rounded up: three stages halve, the others are dilated instead.

    Its feature maps are those that AffinityNet reads, all behind norm and ReLU: of B4 (8 w channels), of B5 (16 w) and
    of the last stage (64 w); 512, 1024 and 4096 channels. The first two do not depend on what comes behind them.
    """

    def __init__(self, config: ResNet38Config):
        super().__init__()
        width = config.width
        self.stem = nn.Conv2d(config.num_channels, width, 3, padding=1, bias=False)
        self.stages = nn.ModuleList()
        inputs = width
        for stage in STAGES:
            channels, kernels = [width * factor for factor in stage.channels], KERNELS[len(stage.channels)]
            blocks = nn.ModuleList()
            for index in range(stage.depth):
                dilations = [stage.dilation] * len(channels)
                if index == 0:
                    dilations[0] = stage.first_dilation
                share = 0.0 if stage.dropout is None else config.dropout[stage.dropout]
                stride = stage.stride if index == 0 else 1
                blocks.append(WideBlock(inputs, channels, kernels, dilations, stride, share))
                inputs = channels[-1]
            self.stages.append(blocks)
        self.norm = nn.BatchNorm2d(inputs)
        self.channels = [width * STAGES[FIRST_MAP - 1].channels[-1], width * STAGES[FIRST_MAP].channels[-1], inputs]

    def forward(self, pixel_values: Tensor, **kwargs) -> BackboneOutput:
        """[B, num_channels, H, W] -> three feature maps, each [B, ..., ceil(H / 8), ceil(W / 8)]."""
        hidden_state, maps = self.stem(pixel_values), []
        for stage in self.stages:
            for index, block in enumerate(stage):  # ty: ignore[invalid-argument-type]  a list of modules
                hidden_state, activated = block(hidden_state)
                if index == 0:
                    maps.append(activated)
        maps = [*maps[FIRST_MAP : FIRST_MAP + 2], F.relu(self.norm(hidden_state))]
        return BackboneOutput(feature_maps=tuple(maps))  # ty: ignore[invalid-argument-type]  upstream means any number


# names of the parts of a block in the PyTorch conversions of the published weights -> ours
PARTS = {
    "conv_branch1": "shortcut",
    "bn_branch2a": "norms.0",
    "conv_branch2a": "convolutions.0",
    "bn_branch2b1": "norms.1",
    "conv_branch2b1": "convolutions.1",
    "bn_branch2b2": "norms.2",
    "conv_branch2b2": "convolutions.2",
}


def rename_resnet38(name: str) -> str:
    """Our name for a tensor of a PyTorch conversion of the published weights; others are returned unchanged.

    "b5_1.conv_branch2a.weight" is "stages.3.1.convolutions.0.weight" here.
    """
    module, _, field = name.rpartition(".")
    if module in ("conv1a", "bn7"):
        return f"{'stem' if module == 'conv1a' else 'norm'}.{field}"
    block, _, part = module.partition(".")
    stage, _, index = block.removeprefix("b").partition("_")
    if not block.startswith("b") or not stage.isdigit() or part not in PARTS:
        return name
    return f"stages.{int(stage) - 2}.{index or 0}.{PARTS[part]}.{field}"
