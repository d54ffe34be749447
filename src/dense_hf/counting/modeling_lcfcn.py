"""LCFCN: counting by one blob for each object (a baseline of thesis Table 2.3).

Laradji et al., "Where are the Blobs: Counting by Localization with Point Supervision" (2018); the network is FCN-8s
with VGG-16 (Long et al., 2015).

B images of H x W pixels, N annotated points of the fullest image, n blobs of an image.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.backbone_utils import filter_output_hidden_states
from transformers.utils.generic import can_return_tuple

from .baseline_losses import lcfcn_loss
from .configuration_lcfcn import LCFCNConfig
from .counter_interface import CounterPreTrainedModel, ObjectCountingOutput, read_labels, see_apart
from .counting_backbone import VGGTrunk
from .density_head import init_convolution

PADDING = 100  # of the first convolution, which keeps 7 x 7 cells for the first of the wide layers
# where the scores of the third and fourth stage, and at last those of the pixels, begin in the padded ones
OFFSETS = {"third": 9, "fourth": 5, "pixels": 31}
NO_BLOB = -100.0


class LCFCNForObjectCounting(CounterPreTrainedModel):
    """Paints a blob on each object; the number of blobs is the count.

    Example:

    ```python
    >>> from PIL import Image
    >>> from dense_hf import CounterImageProcessor, LCFCNConfig, LCFCNForObjectCounting

    >>> model, processor = LCFCNForObjectCounting(LCFCNConfig()).eval(), CounterImageProcessor()
    >>> processor.count_objects(model, Image.open("reef.jpg"))["count"]
    ```
    """

    config: LCFCNConfig

    def __init__(self, config: LCFCNConfig):
        super().__init__(config)
        widths = [stage[-1] for stage in config.stage_channels]
        self.backbone = VGGTrunk(config.num_channels, config.stage_channels, first_padding=PADDING)
        self.fc6 = nn.Conv2d(widths[4], config.fc_channels, kernel_size=7)
        self.fc7 = nn.Conv2d(config.fc_channels, config.fc_channels, kernel_size=1)
        self.dropout = nn.Dropout2d(config.dropout)
        self.score = nn.Conv2d(config.fc_channels, 1, kernel_size=1)
        self.score_fourth = nn.Conv2d(widths[3], 1, kernel_size=1)
        self.score_third = nn.Conv2d(widths[2], 1, kernel_size=1)
        self.upsample = nn.ConvTranspose2d(1, 1, kernel_size=4, stride=2, bias=False)
        self.upsample_fourth = nn.ConvTranspose2d(1, 1, kernel_size=4, stride=2, bias=False)
        self.upsample_third = nn.ConvTranspose2d(1, 1, kernel_size=16, stride=8, bias=False)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Upsampling starts bilinear, scores at 0, as released; other layers as PyTorch starts them."""
        if isinstance(module, nn.ConvTranspose2d):
            init.copy_(module.weight, _bilinear(module.kernel_size[0])[None, None])
        elif isinstance(module, nn.Conv2d) and module.out_channels == 1:
            init_convolution(module, 0.0)
        elif isinstance(module, nn.Conv2d):
            init_convolution(module, None)
        else:
            super()._init_weights(module)

    @can_return_tuple
    @filter_output_hidden_states
    def forward(
        self, pixel_values: Tensor, pixel_mask: Tensor | None = None, labels: Tensor | None = None, **kwargs
    ) -> ObjectCountingOutput:
        """Paint blobs.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch_size, 3, height, width)`): Normalized images or crops.
            pixel_mask (`torch.Tensor` of shape `(batch_size, height, width)`, *optional*):
                1 for pixels of the image, 0 for padding, which it does not see and where there are no blobs.
            labels (`torch.Tensor` of shape `(batch_size, N, 2 to 4)`, *optional*):
                Annotated points, padded with -100: x / width, y / height; other columns are not used.

        Returns:
            `blob_logits` of shape `(batch_size, 1, height, width)`, above 0 in blobs; with labels `loss` and
            `loss_dict`, and with `output_hidden_states=True` the features of the stages of the backbone.

        Raises:
            ValueError: labels of another shape, or that were not divided by the sides.
        """
        kwargs.pop("output_hidden_states", None)  # the decorator's; the maps are always there
        height, width = pixel_values.shape[-2:]
        logits, *states = see_apart(self._maps, pixel_values, pixel_mask)
        if pixel_mask is not None:
            logits = logits.masked_fill(pixel_mask[:, None] == 0, NO_BLOB)
        loss, terms = None, None
        if labels is not None:
            terms = lcfcn_loss(logits, read_labels(labels, (height, width)).points)
            loss = terms.pop("loss")
        return ObjectCountingOutput(loss=loss, loss_dict=terms, blob_logits=logits, hidden_states=tuple(states))

    def _maps(self, pixel_values: Tensor) -> list[Tensor]:
        """The logits of the pixels, and the features of the stages of the backbone."""
        states = self.backbone(pixel_values, ceil_mode=True)
        third, fourth, fifth = (F.max_pool2d(features, 2, ceil_mode=True) for features in states[2:])
        # 4096 channels of 7 x 7 cells take half the time in the usual order (measured)
        features = self.dropout(F.relu(self.fc6(fifth.contiguous())))
        features = self.dropout(F.relu(self.fc7(features)))
        scores = self.upsample(self.score(features))
        scores = self.upsample_fourth(scores + _cut(self.score_fourth(fourth), OFFSETS["fourth"], scores.shape[-2:]))
        scores = self.upsample_third(scores + _cut(self.score_third(third), OFFSETS["third"], scores.shape[-2:]))
        return [_cut(scores, OFFSETS["pixels"], pixel_values.shape[-2:]), *states]


def _cut(scores: Tensor, offset: int, size: Sequence[int]) -> Tensor:
    """[B, 1, h', w'] from `offset` on, of `size`."""
    return scores[:, :, offset : offset + size[0], offset : offset + size[1]]


def _bilinear(side: int) -> Tensor:
    """[side, side], weights of a transposed convolution that interpolates linearly."""
    center = (side - 1) / 2 if side % 2 else side // 2 - 0.5
    profile = 1 - (torch.arange(side) - center).abs() / ((side + 1) // 2)
    return torch.outer(profile, profile)


__all__ = ["LCFCNForObjectCounting"]
