"""IOCFormer (thesis section 2.4): counting by regression of points, helped by a density branch.

The density branch is section 2.4.1 (Eq. 2.1).

B batch (tiles), C feature channels, h x w feature map, S = h * w tokens, Q queries, M `d_model`, D
`density_hidden_size`, N annotated points (padded), K classes.
Points are (x, y, mean distance to the 3 nearest), in [0, 1] of the tile's side.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.models.conditional_detr.modeling_conditional_detr import (
    ConditionalDetrMLPPredictionHead,
    inverse_sigmoid,
)
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple, maybe_autocast

from .configuration_iocformer import IOCFormerConfig
from .counting_backbone import build_backbone
from .loss_iocformer import iocformer_loss
from .positions_iocformer import TokenPositions, at_least_float32, queries_on_grid
from .transformer_iocformer import IOCFormerDecoder, IOCFormerEncoder, IOCFormerPreTrainedModel


@dataclass
class IOCFormerObjectCountingOutput(ModelOutput):
    """Output of [`IOCFormerForObjectCounting`].

    Args:
        loss (`torch.Tensor` of shape `(1,)`, *optional*):
            Eq. 2.4, when `labels` are given.
        loss_dict (`dict[str, torch.Tensor]`, *optional*):
            Its terms before weighting: `loss_ce`, `loss_point`, `loss_density`, and `loss_ce_0`, `loss_point_0`, ...
            of the earlier decoder layers.
        logits (`torch.Tensor` of shape `(batch_size, num_queries, num_labels + 1)`, *optional*):
            Class scores before the sigmoid; channel k + 1 is class k. None without a regression branch.
        pred_points (`torch.Tensor` of shape `(batch_size, num_queries, 3)`, *optional*):
            (x, y, mean distance to the 3 nearest points), in [0, 1] of the tile. None without a regression branch.
        density_map (`torch.Tensor` of shape `(batch_size, num_labels, 2h, 2w)`, *optional*):
            Objects of each class per cell; its sum is the density branch's count. None without a density branch.
        auxiliary_outputs (`list[dict[str, torch.Tensor]]`, *optional*):
            `logits` and `pred_points` of each decoder layer but the last, when a loss is computed with
            `config.auxiliary_loss`.
        reference_points (`torch.Tensor` of shape `(1, num_queries, 2)`, *optional*):
            (x, y) around which each query looks.
        last_hidden_state (`torch.Tensor` of shape `(batch_size, num_queries, d_model)`, *optional*):
            Output of the decoder.
        encoder_last_hidden_state (`torch.Tensor` of shape `(batch_size, h * w, d_model)`, *optional*):
            Density-refined features F^L that the decoder reads.
        decoder_hidden_states, encoder_hidden_states (`tuple(torch.Tensor)`, *optional*):
            Input and output of every layer, with `output_hidden_states=True`.
        decoder_attentions, cross_attentions, encoder_attentions (`tuple(torch.Tensor)`, *optional*):
            Attention weights of every layer, with `output_attentions=True`.
    """

    loss: Tensor | None = None
    loss_dict: dict[str, Tensor] | None = None
    logits: Tensor | None = None
    pred_points: Tensor | None = None
    density_map: Tensor | None = None
    auxiliary_outputs: list[dict[str, Tensor]] | None = None
    reference_points: Tensor | None = None
    last_hidden_state: Tensor | None = None
    decoder_hidden_states: tuple[Tensor, ...] | None = None
    decoder_attentions: tuple[Tensor, ...] | None = None
    cross_attentions: tuple[Tensor, ...] | None = None
    encoder_last_hidden_state: Tensor | None = None
    encoder_hidden_states: tuple[Tensor, ...] | None = None
    encoder_attentions: tuple[Tensor, ...] | None = None


def upsample_tap_matrix(size: int, like: Tensor) -> Tensor:
    """A x2 bilinear upsampling (corners aligned) of one axis, as the three taps of a padded convolution see it.

    Entry `[p, tap * size + i]` is how much input sample `i` weighs in output sample `p` under that tap. The matrix is
    [2 size, 3 size], on the device and in the type of `like`.
    """
    identity = torch.eye(size, device=like.device)[:, None]
    upsampled = F.interpolate(identity, size=2 * size, mode="linear", align_corners=True)[:, 0].T
    padded = F.pad(upsampled, (0, 0, 1, 1))
    return torch.cat([padded[tap : tap + 2 * size] for tap in range(3)], dim=1).to(like.dtype)


class UpsampledConv2d(nn.Conv2d):
    """A 3x3 convolution of the x2 bilinearly upsampled input (corners aligned), computed at low resolution.

    Mixing channels commutes with interpolating pixels, so the nine taps run as one 1x1 convolution on [h, w] and two
    small matrices then place them on [2h, 2w]. The result is that of upsampling first, with a quarter of the
    multiplications: 0.94 s became 0.26 s for [8, 2048, 16, 16] to 256 channels (one thread, fp32).
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, kernel_size=3, padding=1)

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, out_channels, 2h, 2w]."""
        batch, _, height, width = input.shape
        # taps ordered (ky, out, kx), so that both contractions below read contiguous runs
        taps = self.weight.permute(2, 0, 3, 1).flatten(0, 2)[..., None, None]
        y = F.conv2d(input, taps).unflatten(1, (3, self.out_channels, 3))
        y = y.permute(0, 2, 1, 4, 3, 5).reshape(batch * self.out_channels, 3 * height, 3 * width)
        y = upsample_tap_matrix(height, y) @ (y @ upsample_tap_matrix(width, y).T)
        bias = self.bias[:, None, None]  # ty: ignore[not-subscriptable]  there is always one, see __init__
        return y.view(batch, self.out_channels, 2 * height, 2 * width) + bias


class DensityBranch(nn.Module):
    """Density-aware features F_d, the density map, and their projection for the encoder.

    Deviation from the text: the thesis has two 3x3 convolutions on h x w; the released code upsamples x2 first, so map
    and features are 2h x 2w.
    """

    def __init__(self, in_channels: int, d_model: int, hidden_size: int, project: bool, num_maps: int = 1):
        super().__init__()
        self.upsampled_conv = UpsampledConv2d(in_channels, d_model)
        self.conv = nn.Conv2d(d_model, hidden_size, kernel_size=3, padding=1)
        self.density_head = nn.Conv2d(hidden_size, num_maps, kernel_size=1)
        self.projection = (
            nn.Sequential(
                nn.Conv2d(hidden_size, hidden_size, kernel_size=1),
                nn.ReLU(),
                nn.Conv2d(hidden_size, d_model, kernel_size=1),
                nn.ReLU(),
            )
            if project
            else None
        )

    @torch.no_grad()
    def start_at(self, objects_per_cell: float | Sequence[float]) -> None:
        """Make the density map of each class this constant, whatever the image.

        From random weights the map starts at many times the usual count, and the way down closes nearly all ReLUs:
        after 600 steps only cells at the border of a tile were open (tree crowns, Adam, learning rate 3e-4).
        """
        weight, bias = self.density_head.parameters()
        weight.zero_()
        bias.copy_(bias.new_tensor(objects_per_cell))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """[B, C, h, w] -> the density map [B, K, 2h, 2w] and the projected features [B, M, h, w] (or None)."""
        density_features = F.relu(self.conv(F.relu(self.upsampled_conv(features))))
        density_map = F.relu(self.density_head(density_features))
        if self.projection is None:
            return density_map, None
        # The released code projects at 2h x 2w and keeps every second pixel. 1x1 convolutions see single pixels, so
        # keeping first gives the same numbers for a quarter of the work.
        return density_map, self.projection(density_features[..., ::2, ::2])


class IOCFormerForObjectCounting(IOCFormerPreTrainedModel):
    """IOCFormer, and CLTR when `config.density_branch` is False: tiles in, points and a density map out.

    Example:

    ```python
    >>> from PIL import Image
    >>> from dense_hf import IOCFormerConfig, IOCFormerForObjectCounting, IOCFormerImageProcessor

    >>> model, processor = IOCFormerForObjectCounting(IOCFormerConfig()).eval(), IOCFormerImageProcessor()
    >>> inputs = processor(Image.open("reef.jpg"), return_tensors="pt")
    >>> outputs = model(inputs.pixel_values)
    >>> processor.post_process_object_counting(outputs, inputs.original_sizes)[0]["count"]
    ```
    """

    def __init__(self, config: IOCFormerConfig):
        super().__init__(config)
        self.backbone = build_backbone(config)
        channels: int = self.backbone.channels[-1]  # ty: ignore[not-subscriptable, invalid-assignment]  a list of int
        self.density_branch = (
            DensityBranch(
                channels,
                config.d_model,
                config.density_hidden_size,
                config.uses_density_fusion,
                config.num_labels or 1,
            )
            if config.density_branch
            else None
        )
        if config.regression_branch:
            self.input_projection = nn.Conv2d(channels, config.d_model, kernel_size=1)
            self.feature_norm = nn.LayerNorm(config.d_model) if config.feature_norm else nn.Identity()
            self.position_embedding = TokenPositions(config)
            self.query_position_embeddings = nn.Embedding(config.num_queries, config.d_model)
            self.encoder = IOCFormerEncoder(config)
            self.decoder = IOCFormerDecoder(config)
            self.class_head = nn.Linear(config.d_model, (config.num_labels or 1) + 1)
            self.point_head = ConditionalDetrMLPPredictionHead(config.d_model, config.d_model, 3, num_layers=3)
        self.post_init()
        # FSDP looks for every class that is named, and fails where this configuration has none
        self._no_split_modules &= {type(module).__name__ for module in self.modules()}  # ty: ignore[unsupported-operator]  a set by now

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Heads start as in the released code: every score at 1 %, every point at its reference."""
        super()._init_weights(module)
        if self.config.regression_branch and module is self.class_head:
            init.constant_(module.bias, -math.log(99))
        elif self.config.regression_branch and module is self.point_head.layers[-1] and isinstance(module, nn.Linear):
            init.zeros_(module.weight)
            init.zeros_(module.bias)
        elif self.config.query_grid and isinstance(module, nn.Embedding):
            init.copy_(module.weight, queries_on_grid(self.config))

    @can_return_tuple
    def forward(
        self,
        pixel_values: Tensor,
        pixel_mask: Tensor | None = None,
        labels: Tensor | None = None,
        class_labels: Tensor | None = None,
        **kwargs,
    ) -> IOCFormerObjectCountingOutput:
        """Count.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch_size, 3, height, width)`): Normalised tiles.
            pixel_mask (`torch.Tensor` of shape `(batch_size, height, width)`, *optional*):
                1 for pixels of the image, 0 for padding. Not needed for the released tiling.
            labels (`torch.Tensor` of shape `(batch_size, N, 3)`, *optional*):
                Annotated points (x, y, mean distance to the 3 nearest), divided by the tile size, padded with -100.
            class_labels (`torch.Tensor` of shape `(batch_size, N)`, *optional*):
                The class of each annotated point, from 0 on; needed if the model has several.
        """
        if pixel_values.device.type == "cpu":  # the backbone takes 0.85 of the time (batch 4, one thread, fp32)
            pixel_values = pixel_values.contiguous(memory_format=torch.channels_last)
        features = self.backbone(pixel_values).feature_maps[-1]
        density_map, density_features = self.density_branch(features) if self.density_branch else (None, None)
        outputs = IOCFormerObjectCountingOutput(density_map=density_map)
        predictions = []
        if self.config.regression_branch:
            with_auxiliary = labels is not None and self.config.auxiliary_loss
            hidden_states = self._regress(outputs, features, density_features, pixel_mask, with_auxiliary, **kwargs)
            reference_points: Tensor = outputs.reference_points  # ty: ignore[invalid-assignment]  set by _regress
            predictions = [self._predict(state, reference_points) for state in hidden_states]
            outputs.logits, outputs.pred_points = predictions[0]
            if with_auxiliary:
                outputs.auxiliary_outputs = [
                    {"logits": logits, "pred_points": points} for logits, points in predictions[1:]
                ]
        if labels is not None:
            # with a local readout, a query is for what is at its place, wherever its point has come to so far: matches
            # that change from step to step teach the scores nothing
            places: Tensor | None = None
            if self.config.local_readout and outputs.reference_points is not None:
                places = outputs.reference_points[0]
            outputs.loss, outputs.loss_dict = iocformer_loss(
                predictions,
                density_map,
                labels,
                self.config,
                over_processes=self.training,
                places=places,
                class_labels=class_labels,
            )
        return outputs

    def _regress(
        self,
        outputs: IOCFormerObjectCountingOutput,
        features: Tensor,
        density_features: Tensor | None,
        pixel_mask: Tensor | None,
        with_auxiliary: bool,
        **kwargs,
    ) -> list[Tensor]:
        """Encode and decode into `outputs`; normed decoder states [B, Q, M], the last layer's first."""
        mask = None
        if pixel_mask is not None:
            mask = F.interpolate(pixel_mask[:, None].float(), size=features.shape[-2:])[:, 0].bool()
        positions = self.position_embedding(features, mask)
        token_mask = mask.flatten(1) if mask is not None else None
        encoded = self.encoder(
            self.feature_norm(self.input_projection(features).flatten(2).transpose(1, 2)),
            attention_mask=token_mask,
            spatial_position_embeddings=positions,
            density_features=density_features,
            **kwargs,
        )
        decoded = self.decoder(
            self.query_position_embeddings.weight[None],
            encoded.last_hidden_state,
            encoder_attention_mask=token_mask,
            spatial_position_embeddings=positions,
            memory_size=(features.shape[-2], features.shape[-1]),
            return_intermediate=with_auxiliary,
            **kwargs,
        )
        outputs.reference_points = decoded.reference_points
        outputs.last_hidden_state = decoded.last_hidden_state
        outputs.decoder_hidden_states = decoded.hidden_states
        outputs.decoder_attentions = decoded.attentions
        outputs.cross_attentions = decoded.cross_attentions
        outputs.encoder_last_hidden_state = encoded.last_hidden_state
        outputs.encoder_hidden_states = encoded.hidden_states
        outputs.encoder_attentions = encoded.attentions
        return [decoded.last_hidden_state, *(decoded.intermediate_hidden_states or ())]

    def _predict(self, hidden_states: Tensor, reference_points: Tensor) -> tuple[Tensor, Tensor]:
        """Scores [B, Q, K + 1] and points [B, Q, 3] of normed decoder states; heads are shared by all layers."""
        with maybe_autocast(hidden_states.device.type, enabled=False):
            hidden_states = hidden_states.to(self.class_head.weight.dtype)
            logits, points = self.class_head(hidden_states), at_least_float32(self.point_head(hidden_states))
            if self.config.local_readout:
                # everywhere what a logit is in the middle of the tile; near its border, many of them are few pixels
                centres = (reference_points + points[..., :2] / 4).clamp(0, 1)
            else:
                centres = (points[..., :2] + inverse_sigmoid(reference_points)).sigmoid()
            return logits, torch.cat([centres, points[..., 2:].sigmoid()], dim=-1)


__all__ = ["IOCFormerForObjectCounting", "IOCFormerPreTrainedModel"]
