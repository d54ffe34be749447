"""MSPSNet: counting by dots at four resolutions, the network of MPS (a baseline of thesis Table 2.3).

Zand et al., "Multiscale Crowd Counting and Localization By Multitask Point Supervision" (2022).

B images of H x W pixels, N annotated points of the fullest image.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.backbone_utils import filter_output_hidden_states
from transformers.utils.generic import can_return_tuple

from .baseline_losses import DOT_WEIGHTS, multiscale_dots_loss
from .configuration_mspsnet import BRANCH_STAGES, MSPSNetConfig
from .counter_interface import CounterPreTrainedModel, ObjectCountingOutput, read_labels, see_apart
from .counting_backbone import VGGTrunk
from .density_head import init_convolution

_leaky_relu = partial(F.leaky_relu, negative_slope=0.01)


class DotBranch(nn.Module):
    """Dilated convolutions with leaky ReLU, a map of them, and the way down to the resolution where branches meet.

    Args:
        in_channels: of the features.
        channels: of the convolutions.
        num_halvings: how often the features are halved.
    """

    def __init__(self, in_channels: int, channels: list[int], num_halvings: int):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=2, dilation=2)
            for before, after in zip([in_channels, *channels[:-1]], channels)
        )
        self.output = nn.Conv2d(channels[-1], 1, kernel_size=1)
        self.halvings = nn.ModuleList(
            nn.Conv2d(channels[-1], channels[-1], kernel_size=2, stride=2) for _ in range(num_halvings)
        )

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """[B, in_channels, h, w] -> a map [B, 1, h, w], and features [B, C, h // 2^k, w // 2^k]."""
        for conv in self.convs:
            features = _leaky_relu(conv(features))
        dots = self.output(features)
        for conv in self.halvings:
            features = _leaky_relu(conv(features))
        return dots, features


class MSPSNetForObjectCounting(CounterPreTrainedModel):
    """Counts the objects of an image as the sum of a coarse density map, which three finer ones help to learn.

    Example:

    ```python
    >>> from PIL import Image
    >>> from dense_hf import CounterImageProcessor, MSPSNetConfig, MSPSNetForObjectCounting

    >>> model = MSPSNetForObjectCounting(MSPSNetConfig()).eval()
    >>> processor = CounterImageProcessor(**model.config.processor_settings)
    >>> processor.count_objects(model, Image.open("reef.jpg"))["count"]
    ```
    """

    config: MSPSNetConfig

    def __init__(self, config: MSPSNetConfig):
        super().__init__(config)
        stages = config.stage_channels
        self.backbones = nn.ModuleList(VGGTrunk(config.num_channels, stages[:number]) for number in BRANCH_STAGES)
        self.branches = nn.ModuleList(
            DotBranch(stages[number - 1][-1], list(channels), num_halvings=halvings)
            for halvings, (number, channels) in enumerate(zip(BRANCH_STAGES, config.branch_channels), start=1)
        )
        self.output = nn.Conv2d(sum(channels[-1] for channels in config.branch_channels), 1, kernel_size=1)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """From a narrow normal distribution (released)."""
        if isinstance(module, nn.Conv2d):
            init_convolution(module, self.config.initializer_range)
        else:
            super()._init_weights(module)

    @can_return_tuple
    @filter_output_hidden_states
    def forward(
        self, pixel_values: Tensor, pixel_mask: Tensor | None = None, labels: Tensor | None = None, **kwargs
    ) -> ObjectCountingOutput:
        """Count.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch_size, 3, height, width)`): Normalized images or crops.
            pixel_mask (`torch.Tensor` of shape `(batch_size, height, width)`, *optional*):
                1 for pixels of the image, 0 for padding, which it does not see and where nothing is counted.
            labels (`torch.Tensor` of shape `(batch_size, N, 2 to 4)`, *optional*):
                Annotated points, padded with -100: x / width, y / height; other columns are not used.

        Returns:
            `density_map` of shape `(batch_size, 1, height // 16, width // 16)`; `auxiliary_outputs`, the maps of the
            branches by the names `stride_8`, `stride_4` and `stride_2`; with labels `loss` and `loss_dict`, and with
            `output_hidden_states=True` the features of the branches.

        Raises:
            ValueError: labels of another shape, or that were not divided by the sides.
        """
        kwargs.pop("output_hidden_states", None)  # the decorator's; the maps are always there
        density_map, *others = see_apart(self._maps, pixel_values, pixel_mask)
        maps = dict(zip(DOT_WEIGHTS, others[: len(self.branches)]))
        loss, terms = None, None
        if labels is not None:
            targets = read_labels(labels, pixel_values.shape[-2:])
            all_maps = {**maps, "fused": density_map}
            terms = multiscale_dots_loss(all_maps, targets.points, targets.size, compat=self.config.compat)
            loss = terms.pop("loss")
        return ObjectCountingOutput(
            loss=loss,
            loss_dict=terms,
            density_map=density_map,
            auxiliary_outputs=maps,
            hidden_states=tuple(others[len(self.branches) :]),
        )

    def _maps(self, pixel_values: Tensor) -> list[Tensor]:
        """The density map, the maps of the branches, and their features."""
        maps, states = [], []
        for backbone, branch in zip(self.backbones, self.branches):
            dots, features = branch(backbone(pixel_values, activation=_leaky_relu)[-1])
            maps.append(dots)
            states.append(features)
        return [self.output(torch.cat(states, dim=1)), *maps, *states]


__all__ = ["MSPSNetForObjectCounting"]
