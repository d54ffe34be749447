"""DSSI-Net: counting with features of three sizes of an image that send messages (a baseline of thesis Table 2.3).

Liu et al., "Crowd Counting with Deep Structured Scale Integration Network" (2019).

B images of H x W pixels; a size is the image at twice, once or half its sides. Features of different sizes of the
image meet where they have the same sides. N annotated points of the fullest image.
"""

from collections.abc import Iterator, Sequence
from functools import partial, reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.utils.generic import can_return_tuple

from .baseline_losses import multiscale_ssim_loss
from .configuration_dssinet import DSSINetConfig
from .counter_interface import CounterPreTrainedModel, ObjectCountingOutput, PointTargets, read_labels, see_apart
from .counting_backbone import VGGTrunk
from .density_head import init_convolution
from .density_targets import normalized_gaussian_map

STRIDE = 16  # of the coarsest features
STRIP_CELLS = 2**20  # of the enlarged image at once: 268 MB of features at full width
FIXED_SIGMA = 4.0


class MessagePassing(nn.Module):
    """Features of equal sides correct each other, several rounds with the same weights.

    In each round h_i = ReLU(h_i + PReLU(sum of 1x1 convolutions of all other h_j)).

    Args:
        channels: of the features.
        num_rounds: how often.
    """

    def __init__(self, channels: Sequence[int], num_rounds: int):
        super().__init__()
        self.num_rounds = num_rounds
        self.messages = nn.ModuleDict(
            {
                f"{source}_to_{target}": nn.Conv2d(of_source, of_target, kernel_size=1)
                for source, of_source in enumerate(channels)
                for target, of_target in enumerate(channels)
                if source != target
            }
        )
        self.activation = nn.PReLU()

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """[B, C_i, h, w] each -> the same shapes, in the list that was given, so that the old ones can go."""
        for _ in range(self.num_rounds):
            sums = []
            for target in range(len(features)):
                sources = [source for source in range(len(features)) if source != target]
                messages = (self.messages[f"{source}_to_{target}"](features[source]) for source in sources)
                sums.append(reduce(torch.add, messages))
            for target, feature in enumerate(features):
                # in place of the new tensor: those of a full-HD image are a gigabyte each
                features[target] = F.relu(self.activation(sums.pop(0)).add_(feature), inplace=True)
        return features


class DSSINetForObjectCounting(CounterPreTrainedModel):
    """Counts the objects of an image as the sum of a density map of its own size.

    Example:

    ```python
    >>> from PIL import Image
    >>> from dense_hf import CounterImageProcessor, DSSINetConfig, DSSINetForObjectCounting

    >>> model = DSSINetForObjectCounting(DSSINetConfig.pruned()).eval()
    >>> processor = CounterImageProcessor(**model.config.processor_settings)
    >>> processor.count_objects(model, Image.open("reef.jpg"))["count"]
    ```
    """

    config: DSSINetConfig

    def __init__(self, config: DSSINetConfig):
        super().__init__(config)
        self.backbone = VGGTrunk(config.num_channels, config.stage_channels)
        # one slope for each convolution of the trunk; of the second and third stage the last one is never used
        self.slopes = nn.ModuleList(nn.ModuleList(nn.PReLU() for _ in stage) for stage in config.stage_channels)
        one, two, three, four = (stage[-1] for stage in config.stage_channels)
        meeting = ((two, one), (three, two, one), (four, three, two), (four, three))
        self.passing = nn.ModuleList(MessagePassing(channels, config.num_rounds) for channels in meeting)
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(sum(channels), config.head_channels, kernel_size=1),
                nn.ReLU(),
                nn.Conv2d(config.head_channels, 1, kernel_size=3, padding=1),
            )
            for channels in ((four,), *reversed(meeting))
        )
        self.refinements = nn.ModuleList(nn.Conv2d(1, 1, kernel_size=3, padding=1) for _ in meeting)
        self.activation = nn.PReLU()
        for stage in (1, 2):
            self.slopes[stage][-1].requires_grad_(False)  # ty: ignore[not-subscriptable]  a ModuleList
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """From a narrow normal distribution; slopes as PyTorch starts them."""
        if isinstance(module, nn.Conv2d):
            init_convolution(module, self.config.initializer_range)
        elif isinstance(module, nn.PReLU):
            init.constant_(module.weight, 0.25)
        else:
            super()._init_weights(module)

    @can_return_tuple
    def forward(
        self,
        pixel_values: Tensor,
        pixel_mask: Tensor | None = None,
        labels: Tensor | None = None,
        image_points: Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> ObjectCountingOutput:
        """Count.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch_size, 3, height, width)`):
                Normalized images or crops. 0 fills up sides that are no multiples of 16; nothing is counted there.
            pixel_mask (`torch.Tensor` of shape `(batch_size, height, width)`, *optional*):
                1 for pixels of the image, 0 for padding, which it does not see and where nothing is counted.
            labels (`torch.Tensor` of shape `(batch_size, N, 2 to 4)`, *optional*):
                Annotated points, padded with -100: x / width, y / height; other columns are not used.
            image_points (`torch.Tensor` of shape `(batch_size, 2 + M, 2)`, *optional*):
                Two corners and all points of the images that crops were cut out of, as `labels`, padded with NaN.

        Returns:
            `density_map` of shape `(batch_size, 1, height, width)`, with labels `loss` and `loss_dict`, and with
            `output_hidden_states=True` the features that the five heads read, from the finest to the coarsest.

        Raises:
            ValueError: labels of another shape, or that were not divided by the sides.
        """
        keep = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        height, width = pixel_values.shape[-2:]
        density_map, *states = see_apart(partial(self._maps, keep=bool(keep)), pixel_values, pixel_mask)
        loss, terms = None, None
        if labels is not None:
            terms = self._loss(density_map, read_labels(labels, (height, width), image_points=image_points))
            loss = terms.pop("loss")
        return ObjectCountingOutput(
            loss=loss, loss_dict=terms, density_map=density_map, hidden_states=tuple(states) if keep else None
        )

    def _maps(self, pixel_values: Tensor, keep: bool) -> list[Tensor]:
        """The density map, and if they are kept the features that the heads read."""
        height, width = pixel_values.shape[-2:]
        filled = F.pad(pixel_values, (0, -width % STRIDE, 0, -height % STRIDE))
        states, own = [], []
        for head, features in zip(reversed(self.heads), self._features(filled)):
            own.append(head(features))  # at once: of a large image, the features of all heads are gigabytes
            if keep:
                states.append(features)
        density_map = self.activation(own.pop())
        for refinement in self.refinements:
            finer = F.interpolate(density_map, scale_factor=2, mode="bilinear")
            density_map = own.pop() + refinement(finer)
            density_map = self.activation(density_map) if own else F.relu(density_map)
        return [density_map[..., :height, :width], *states]

    def _features(self, pixels: Tensor) -> Iterator[Tensor]:
        """[B, 3, H, W] -> features [B, C, h, w] with all of the sides of the image, 1/2, 1/4, 1/8 and 1/16."""
        small = self._convolutions(F.interpolate(pixels, scale_factor=0.5, mode="bilinear"), 0)
        # without names, since the largest features are let go of within
        large, middle = self.passing[0](
            [self._convolutions(self._enlarged_stage(pixels), 1), self._convolutions(pixels, 0)]
        )
        yield torch.cat([large, middle], dim=1)
        large, middle, small = self.passing[1]([self._stage(large, 2), self._stage(middle, 1), small])
        yield torch.cat([large, middle, small], dim=1)
        large, middle, small = self.passing[2]([self._stage(large, 3), self._stage(middle, 2), self._stage(small, 1)])
        yield torch.cat([large, middle, small], dim=1)
        middle, small = self.passing[3]([self._stage(middle, 3), self._stage(small, 2)])
        yield torch.cat([middle, small], dim=1)
        yield self.slopes[3][-1](self._stage(small, 3))  # ty: ignore[not-subscriptable]  a ModuleList

    def _enlarged_stage(self, pixels: Tensor) -> Tensor:
        """The first stage of the image at twice its sides, and the pool behind it: [B, C, H, W].

        Without gradients it is computed strip by strip: as a whole it has 4 times the cells of the largest features
        after it, 2 GB for a full-HD image.
        """
        enlarged = F.interpolate(pixels, scale_factor=2, mode="bilinear")
        height, width = pixels.shape[-2:]
        at_once = torch.is_grad_enabled() or torch.compiler.is_compiling()
        rows = height if at_once else max(1, STRIP_CELLS // (4 * len(pixels) * width))
        if rows >= height:
            return F.max_pool2d(self.slopes[0][-1](self._convolutions(enlarged, 0)), 2)  # ty: ignore[not-subscriptable]
        strips = []
        for first in range(0, height, rows):
            last = min(first + rows, height)
            # two rows more on each side, for two convolutions of 3 x 3
            above, below = min(2, 2 * first), min(2, 2 * (height - last))
            features = self._convolutions(enlarged[:, :, 2 * first - above : 2 * last + below], 0)
            features = self.slopes[0][-1](features[:, :, above : features.shape[2] - below])  # ty: ignore[not-subscriptable]
            strips.append(F.max_pool2d(features, 2))
        return torch.cat(strips, dim=2)

    def _stage(self, features: Tensor, stage: int) -> Tensor:
        """A pool and the convolutions of a stage, the last one without its slope."""
        return self._convolutions(F.max_pool2d(features, 2), stage)

    def _convolutions(self, features: Tensor, stage: int) -> Tensor:
        convs = list(self.backbone.stages[stage].values())  # ty: ignore[not-callable]  a ModuleDict
        for index, conv in enumerate(convs):
            features = conv(features)
            if index < len(convs) - 1:
                features = self.slopes[stage][index](features)  # ty: ignore[not-subscriptable]  a ModuleList
        return features

    def _loss(self, density_map: Tensor, targets: PointTargets) -> dict[str, Tensor]:
        sigma = FIXED_SIGMA if self.config.target == "fixed" else None
        images = [targets.whole(image) for image in range(len(targets.points))]
        target = torch.stack([normalized_gaussian_map(points, size, sigma, window) for points, size, window in images])
        return multiscale_ssim_loss(density_map, target[:, None].to(density_map))


__all__ = ["DSSINetForObjectCounting"]
