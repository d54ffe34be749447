"""IOCFormer (thesis section 2.4): counting by regression of points, helped by a density branch.

B batch (tiles), h x w feature map, S = h * w tokens, Q queries, M `d_model`, N annotated points (padded).
Points are (x, y, mean distance to the 3 nearest), in [0, 1] of the tile's side.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.models.conditional_detr.modeling_conditional_detr import (
    ConditionalDetrMLPPredictionHead,
    ConditionalDetrSinePositionEmbedding,
    inverse_sigmoid,
)
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from .configuration_iocformer import IOCFormerConfig
from .counting_backbone import build_backbone
from .density_iocformer import DensityBranch
from .loss_iocformer import iocformer_loss
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
        logits (`torch.Tensor` of shape `(batch_size, num_queries, 2)`, *optional*):
            Class scores before the sigmoid; channel 1 is the object. None without a regression branch.
        pred_points (`torch.Tensor` of shape `(batch_size, num_queries, 3)`, *optional*):
            (x, y, mean distance to the 3 nearest points), in [0, 1] of the tile. None without a regression branch.
        density_map (`torch.Tensor` of shape `(batch_size, 1, 2h, 2w)`, *optional*):
            Objects per cell; its sum is the density branch's count. None without a density branch.
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
            DensityBranch(channels, config.d_model, config.density_hidden_size, project=config.uses_density_fusion)
            if config.density_branch
            else None
        )
        if config.regression_branch:
            self.input_projection = nn.Conv2d(channels, config.d_model, kernel_size=1)
            self.position_embedding = ConditionalDetrSinePositionEmbedding(config.d_model // 2, normalize=True)
            self.query_position_embeddings = nn.Embedding(config.num_queries, config.d_model)
            self.encoder = IOCFormerEncoder(config)
            self.decoder = IOCFormerDecoder(config)
            self.class_head = nn.Linear(config.d_model, 2)
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

    @can_return_tuple
    def forward(
        self,
        pixel_values: Tensor,
        pixel_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs,
    ) -> IOCFormerObjectCountingOutput:
        """Count.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch_size, 3, height, width)`): Normalised tiles.
            pixel_mask (`torch.Tensor` of shape `(batch_size, height, width)`, *optional*):
                1 for pixels of the image, 0 for padding. Not needed for the released tiling.
            labels (`torch.Tensor` of shape `(batch_size, N, 3)`, *optional*):
                Annotated points (x, y, mean distance to the 3 nearest), divided by the tile size, padded with -100.
        """
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
            outputs.loss, outputs.loss_dict = iocformer_loss(
                predictions, density_map, labels, self.config, over_processes=self.training
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
        mask, positions_for = None, 1  # one set of positions serves the whole batch unless padding differs
        if pixel_mask is not None:
            mask = F.interpolate(pixel_mask[:, None].float(), size=features.shape[-2:])[:, 0].bool()
            positions_for = len(mask)
        positions = self.position_embedding(
            torch.Size([positions_for, *features.shape[1:]]), features.device, features.dtype, mask
        )
        # transformers keeps the last ones, unless it compiles; autograd refuses those of inference mode
        if not torch.compiler.is_compiling() and positions.is_inference() and not torch.is_inference_mode_enabled():
            positions = positions.clone()
        positions = positions.flatten(2).transpose(1, 2)
        token_mask = mask.flatten(1) if mask is not None else None
        encoded = self.encoder(
            self.input_projection(features).flatten(2).transpose(1, 2),
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
        """Scores [B, Q, 2] and points [B, Q, 3] of normed decoder states; heads are shared by all layers."""
        points = self.point_head(hidden_states)
        centres = points[..., :2] + inverse_sigmoid(reference_points)
        return self.class_head(hidden_states), torch.cat([centres, points[..., 2:]], dim=-1).sigmoid()


__all__ = ["IOCFormerForObjectCounting", "IOCFormerPreTrainedModel"]
