"""MCNN: counting by three columns of convolutions (a baseline of thesis Table 2.3).

Zhang et al., "Single-Image Crowd Counting via Multi-Column Convolutional Neural Network" (2016).

B images of c channels and H x W pixels, h = H // 4 and w = W // 4 cells, N annotated points of the fullest image.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.backbone_utils import filter_output_hidden_states
from transformers.utils.generic import can_return_tuple

from .configuration_mcnn import MCNNConfig
from .counter_interface import CounterPreTrainedModel, ObjectCountingOutput, PointTargets, read_labels, see_apart
from .density_head import init_convolution
from .density_targets import gaussian_map, normalized_gaussian_map

STRIDE = 4
FIXED_SIGMA = 4.0


class MCNNColumn(nn.Module):
    """Four convolutions with ReLU; the first two are followed by a pool that halves.

    Args:
        num_channels: of the image.
        channels, kernels: of the convolutions.
    """

    def __init__(self, num_channels: int, channels: list[int], kernels: list[int]):
        super().__init__()
        inputs = [num_channels, *channels[:-1]]
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, kernel, padding=kernel // 2)
            for before, after, kernel in zip(inputs, channels, kernels)
        )

    def forward(self, hidden_state: Tensor) -> Tensor:
        """[B, c, H, W] -> [B, channels, h, w]."""
        for index, conv in enumerate(self.convs):
            hidden_state = F.relu(conv(hidden_state))
            if index < 2:
                hidden_state = F.max_pool2d(hidden_state, 2)
        return hidden_state


class MCNNForObjectCounting(CounterPreTrainedModel):
    """Counts the objects of an image as the sum of a density map.

    Example:

    ```python
    >>> from PIL import Image
    >>> from dense_hf import CounterImageProcessor, MCNNConfig, MCNNForObjectCounting

    >>> model = MCNNForObjectCounting(MCNNConfig()).eval()
    >>> processor = CounterImageProcessor(**model.config.processor_settings)
    >>> processor.count_objects(model, Image.open("reef.jpg"))["count"]
    ```
    """

    config: MCNNConfig

    def __init__(self, config: MCNNConfig):
        super().__init__(config)
        columns = zip(config.column_channels, config.column_kernels)
        self.columns = nn.ModuleList(MCNNColumn(config.num_channels, list(one), list(two)) for one, two in columns)
        self.output = nn.Conv2d(sum(column[-1] for column in config.column_channels), 1, kernel_size=1)
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
        self,
        pixel_values: Tensor,
        pixel_mask: Tensor | None = None,
        labels: Tensor | None = None,
        image_points: Tensor | None = None,
        **kwargs,
    ) -> ObjectCountingOutput:
        """Count.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch_size, num_channels, height, width)`):
                Images or crops, with values from 0 to 255.
            pixel_mask (`torch.Tensor` of shape `(batch_size, height, width)`, *optional*):
                1 for pixels of the image, 0 for padding, which it does not see and where nothing is counted.
            labels (`torch.Tensor` of shape `(batch_size, N, 2 to 4)`, *optional*):
                Annotated points, padded with -100: x / width, y / height; other columns are not used.
            image_points (`torch.Tensor` of shape `(batch_size, 2 + M, 2)`, *optional*):
                Two corners and all points of the images that crops were cut out of, as `labels`, padded with NaN.

        Returns:
            `density_map` of shape `(batch_size, 1, height // 4, width // 4)`, with labels `loss` and `loss_dict`, and
            with `output_hidden_states=True` the features of the columns.

        Raises:
            ValueError: labels of another shape, or that were not divided by the sides.
        """
        kwargs.pop("output_hidden_states", None)  # the decorator's; the maps are always there
        density_map, *states = see_apart(self._maps, pixel_values, pixel_mask)
        loss, terms = None, None
        if labels is not None:
            loss = self._loss(density_map, read_labels(labels, pixel_values.shape[-2:], image_points=image_points))
            terms = {"loss_density": loss.detach()}
        return ObjectCountingOutput(loss=loss, loss_dict=terms, density_map=density_map, hidden_states=tuple(states))

    def _maps(self, pixel_values: Tensor) -> list[Tensor]:
        """The density map, and the features of the columns."""
        states = [column(pixel_values) for column in self.columns]
        density_map = self.output(torch.cat(states, dim=1))
        if self.config.output_activation == "relu":
            density_map = F.relu(density_map)
        return [density_map, *states]

    def _loss(self, density_map: Tensor, targets: PointTargets) -> Tensor:
        """Squared errors against Gaussians around the points."""
        maps = []
        for image in range(len(targets.points)):
            points, size, window = targets.whole(image)
            if self.config.target == "adaptive":
                target = gaussian_map(points, size, None, STRIDE, "bilinear", dots="points", window=window)
                maps.append(target)
            else:
                whole = normalized_gaussian_map(points, size, FIXED_SIGMA, window)[None, None]
                maps.append(F.interpolate(whole, size=density_map.shape[-2:], mode="bilinear")[0, 0] * STRIDE**2)
        target = torch.stack(maps)[:, None].to(density_map)
        return F.mse_loss(density_map.float(), target.float(), reduction=self.config.loss_reduction)


__all__ = ["MCNNForObjectCounting"]
