"""P2PNet: counting by proposals of points (a baseline of thesis Table 2.3).

Song et al., "Rethinking Counting and Localization in Crowds: A Purely Point-Based Framework" (2021).

B images of H x W pixels, h x w cells of the finer features, A proposals of a cell, Q = h * w * A, N annotated points
of the fullest image, K classes.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.backbone_utils import filter_output_hidden_states
from transformers.utils.generic import can_return_tuple

from .baseline_losses import point_matching_loss, points_per_process
from .configuration_p2pnet import P2PNetConfig
from .counter_interface import CounterPreTrainedModel, ObjectCountingOutput, PointTargets, read_labels, see_apart
from .counting_backbone import build_backbone
from .density_head import init_convolution

NO_OBJECT = -100.0


class ProposalHead(nn.Module):
    """Three convolutions, ReLU between them: numbers for each proposal of each cell.

    Args:
        channels: of the features.
        num_proposals: A.
        num_numbers: n.
    """

    def __init__(self, channels: int, num_proposals: int, num_numbers: int = 2):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.output = nn.Conv2d(channels, num_numbers * num_proposals, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, A * n, h, w]."""
        for conv in self.convs:
            features = F.relu(conv(features))
        return self.output(features)


class P2PNetForObjectCounting(CounterPreTrainedModel):
    """Proposes points; the number of those that are likely is the count.

    The released network has seven layers more, 3,606,272 numbers, which nothing is computed with. They are not here.

    Example:

    ```python
    >>> from PIL import Image
    >>> from dense_hf import CounterImageProcessor, P2PNetConfig, P2PNetForObjectCounting

    >>> model, processor = P2PNetForObjectCounting(P2PNetConfig()).eval(), CounterImageProcessor()
    >>> processor.count_objects(model, Image.open("reef.jpg"))["points"]
    ```
    """

    config: P2PNetConfig

    def __init__(self, config: P2PNetConfig):
        super().__init__(config)
        self.backbone = build_backbone(config)
        channels: list[int] = list(self.backbone.channels)  # ty: ignore[invalid-argument-type]  a list of int
        if len(channels) < 2:
            raise ValueError(f"The backbone must give two feature maps (out_indices). Received: {len(channels)}")
        width, number = config.hidden_size, config.anchor_rows * config.anchor_columns
        self.lateral_fine = nn.Conv2d(channels[-2], width, kernel_size=1)
        self.lateral_coarse = nn.Conv2d(channels[-1], width, kernel_size=1)
        self.smooth = nn.Conv2d(width, width, kernel_size=3, padding=1)
        self.regression_head = ProposalHead(width, number)
        self.class_head = ProposalHead(width, number, (config.num_labels or 1) + 1)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """As PyTorch starts convolutions (released)."""
        if isinstance(module, nn.Conv2d):
            init_convolution(module, None)
        else:
            super()._init_weights(module)

    @can_return_tuple
    @filter_output_hidden_states
    def forward(
        self,
        pixel_values: Tensor,
        pixel_mask: Tensor | None = None,
        labels: Tensor | None = None,
        class_labels: Tensor | None = None,
        **kwargs,
    ) -> ObjectCountingOutput:
        """Propose points.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch_size, 3, height, width)`):
                Normalized images or crops. 0 fills them up to multiples of `config.size_divisor`; proposals there are
                left out, unless `config.count_padding`.
            pixel_mask (`torch.Tensor` of shape `(batch_size, height, width)`, *optional*):
                1 for pixels of the image, 0 for padding, not seen, and proposals there have no object; with
                `count_padding`, those between an image and the next multiple of `size_divisor` may have one.
            labels (`torch.Tensor` of shape `(batch_size, N, 2 to 4)`, *optional*):
                Annotated points, padded with -100: x / width, y / height; other columns are not used.
            class_labels (`torch.Tensor` of shape `(batch_size, N)`, *optional*):
                The class of each annotated point, from 0 on; needed if the model has several.

        Returns:
            `logits` of shape `(batch_size, Q, num_labels + 1)` and `pred_points` of `(batch_size, Q, 2)`, with labels
            `loss` and `loss_dict`, and with `output_hidden_states=True` the features of the backbone and of the
            pyramid.

        Raises:
            ValueError: labels of another shape, or that were not divided by the sides.
        """
        kwargs.pop("output_hidden_states", None)  # the decorator's; the maps are always there
        kwargs.pop("image_short_sides", None)  # which crops have for the losses of other counters
        height, width = pixel_values.shape[-2:]
        divisor = self.config.size_divisor
        missing = (0, -width % divisor, 0, -height % divisor)
        filled, blocks = F.pad(pixel_values, missing), None
        if pixel_mask is not None:
            mask = F.pad(pixel_mask[:, None].to(filled), missing)
            filled = filled * mask  # an image sees 0 up to its own multiples, as it does alone
            blocks = F.interpolate(F.max_pool2d(mask, divisor), scale_factor=divisor, mode="nearest")[:, 0]
        logits, offsets, seen, *states = see_apart(partial(self._maps, **kwargs), filled, blocks)
        # float32 whatever the weights are: in bfloat16, places beyond 1024 px have steps of 8
        anchors = self._anchors(states[-1].shape[-2:], filled.shape[-2:]).to(pixel_values.device)
        logits = self._of_proposals(logits)
        if pixel_mask is not None:
            logits = _without_object(logits, self._of_proposals(seen)[..., 0] == 0)
        points = self._of_proposals(offsets).float() * self.config.offset_scale + anchors
        if not self.config.count_padding:
            inside = (anchors[:, 0] < width) & (anchors[:, 1] < height)
            logits, points, anchors = logits[:, inside], points[:, inside], anchors[inside]
            if pixel_mask is not None:
                x, y = anchors.long().unbind(dim=-1)
                logits = _without_object(logits, pixel_mask[:, y, x] == 0)
        loss, terms = None, None
        if labels is not None:
            number = self.config.num_labels or 1
            targets = read_labels(labels, (height, width), class_labels=class_labels, num_labels=number)
            terms = self._loss(logits, points, targets)
            loss = terms.pop("loss")
            if (
                self.training and self.config.compat
            ):  # processes of a distributed run wait for all gradients, be they 0
                loss = loss + 0 * points.sum()
        return ObjectCountingOutput(
            loss=loss,
            loss_dict=terms,
            logits=logits,
            # not by a tensor of both sides, which would be constants of an exported program
            pred_points=torch.stack([points[..., 0] / width, points[..., 1] / height], dim=-1),
            hidden_states=tuple(states),
        )

    def _maps(self, pixel_values: Tensor, **kwargs) -> list[Tensor]:
        """Scores and offsets of the proposals of each cell [b, A * n, h, w], ones, and features, see `forward`."""
        fine, coarse = self.backbone(pixel_values, **(kwargs | {"return_dict": True})).feature_maps[-2:]
        enlarged = F.interpolate(self.lateral_coarse(coarse), size=fine.shape[-2:], mode="nearest")
        features = self.smooth(self.lateral_fine(fine) + enlarged)
        seen = torch.ones_like(features[:, :1]).expand(
            -1, self.config.anchor_rows * self.config.anchor_columns, -1, -1
        )
        return [self.class_head(features), self.regression_head(features), seen, fine, coarse, features]

    def _of_proposals(self, maps: Tensor) -> Tensor:
        """[B, A * n, h, w] -> [B, Q, n]."""
        number = self.config.anchor_rows * self.config.anchor_columns
        return maps.permute(0, 2, 3, 1).unflatten(3, (number, -1)).flatten(1, 3)

    def _anchors(self, cells: Sequence[int], size: Sequence[int]) -> Tensor:
        """(x, y) in pixels from which offsets count, [Q, 2]: rows of cells, in a cell rows of proposals."""
        rows, columns = self.config.anchor_rows, self.config.anchor_columns
        y = (torch.arange(cells[0] * rows) + 0.5) * (size[0] / cells[0] / rows)
        x = (torch.arange(cells[1] * columns) + 0.5) * (size[1] / cells[1] / columns)
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # [h * rows, w * columns, 2]
        return grid.view(cells[0], rows, cells[1], columns, 2).transpose(1, 2).reshape(-1, 2)

    def _loss(self, logits: Tensor, points: Tensor, targets: PointTargets) -> dict[str, Tensor]:
        config = self.config
        return point_matching_loss(
            logits,
            points,
            targets.points,
            class_cost=config.class_cost,
            point_cost=config.point_cost,
            background_weight=config.background_coefficient,
            point_coefficient=config.point_loss_coefficient,
            num_points=points_per_process(targets.points, logits.device) if self.training else None,
            compat=config.compat,
            classes=targets.classes,
        )


def _without_object(logits: Tensor, where: Tensor) -> Tensor:
    """Logits [B, Q, K + 1] that say "no object" where [B, Q] is true."""
    return torch.cat([logits[..., :1], logits[..., 1:].masked_fill(where[..., None], NO_OBJECT)], dim=-1)


__all__ = ["P2PNetForObjectCounting"]
