"""The two halves of IOCFormer's transformer: density-enhanced encoder (DETE, thesis section 2.4.2) and decoder.

Layers and position embeddings are those of Conditional DETR in transformers, on which CLTR and IOCFormer are built.
What is written here is what differs: where density features enter the encoder, and a decoder that hands each layer's
un-normed output on, as the released code does (with `auxiliary_loss=True` the decoder of transformers norms it in
between, which changes the result).

B batch, Q queries, M `d_model`, h x w feature map, S = h * w tokens.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutput, BaseModelOutputWithCrossAttentions
from transformers.models.conditional_detr.modeling_conditional_detr import (
    ConditionalDetrDecoderLayer,
    ConditionalDetrEncoderLayer,
    ConditionalDetrMLPPredictionHead,
)
from transformers.utils.generic import maybe_autocast, merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from .attention_iocformer import (
    IOCFormerCrossAttention,
    IOCFormerDecoderSelfAttention,
    IOCFormerEncoderSelfAttention,
    IOCFormerMLP,
)
from .configuration_iocformer import IOCFormerConfig
from .positions_iocformer import at_least_float32, code_points, read_grid, sample_map, tie


class DensityBlock(nn.Sequential):
    """Refines density features between two encoder layers (thesis: Convs in Eq. 2.3), [B, M, h, w] to the same.

    The thesis gives no kernel sizes; the released code has 3x3 and 1x1. Its two earlier variants have one 1x1.
    """

    def __init__(self, d_model: int, single_conv: bool):
        layers: list[nn.Module] = [nn.Conv2d(d_model, d_model, 1), nn.ReLU()]
        if not single_conv:
            layers = [nn.Conv2d(d_model, d_model, 3, padding=1), nn.ReLU(), *layers]
        super().__init__(*layers)


class IOCFormerPreTrainedModel(PreTrainedModel):
    """Weight initialisation of the released code and what the model is able to do."""

    config: IOCFormerConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    input_modalities = ("image",)  # ty: ignore[invalid-assignment]  as the image models of transformers say it
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False
    _no_split_modules = ["ConditionalDetrEncoderLayer", "ConditionalDetrDecoderLayer", "DensityBranch"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """PyTorch's own defaults, and N(0, 1) for queries (released code)."""
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            init.kaiming_uniform_(module.weight, a=5**0.5)
            if module.bias is not None:
                bound = module.weight[0].numel() ** -0.5
                init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight)
        else:
            super()._init_weights(module)


class IOCFormerTransformerModel(IOCFormerPreTrainedModel):
    """What encoder and decoder share: xavier weights, as in the released code.

    Only modules that own parameters are asked to initialise them, so this is decided one layer at a time.
    """

    layers: nn.ModuleList

    def _unbiased(self, layer: nn.Module) -> list[nn.Module]:
        """Projections of a layer whose biases start at zero."""
        raise NotImplementedError

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            init.xavier_uniform_(module.weight)
            unbiased = (projection for layer in self.layers for projection in self._unbiased(layer))
            if module.bias is not None and any(module is projection for projection in unbiased):
                init.zeros_(module.bias)


class IOCFormerEncoder(IOCFormerTransformerModel):
    """Transformer layers over image tokens, each merged with refined density features (`config.density_fusion`)."""

    _can_record_outputs = {"hidden_states": ConditionalDetrEncoderLayer, "attentions": IOCFormerEncoderSelfAttention}

    def __init__(self, config: IOCFormerConfig):
        super().__init__(config)
        fusion = config.density_fusion if config.uses_density_fusion else "none"
        # Eq. 2.3 read literally ends at F^L after L - 1 layers, though the text speaks of L; the released code has L.
        num_layers = config.encoder_layers - (fusion == "thesis")
        num_blocks = {"none": 0, "thesis": num_layers - 1}.get(fusion, num_layers)
        self.layers = nn.ModuleList(
            ConditionalDetrEncoderLayer(config)  # ty: ignore[invalid-argument-type]  it reads only fields that ours has
            for _ in range(num_layers)
        )
        with torch.random.fork_rng(devices=[]):  # weights are drawn in `post_init`: those of a seed stay as they were
            for layer in self.layers:
                layer.self_attn = IOCFormerEncoderSelfAttention(
                    config,  # ty: ignore[invalid-argument-type]  as above
                    config.d_model,
                    config.encoder_attention_heads,
                    config.attention_dropout,
                )
                layer.mlp = IOCFormerMLP(config, config.d_model, config.encoder_ffn_dim)  # ty: ignore[invalid-argument-type]
        self.density_blocks = nn.ModuleList(
            DensityBlock(config.d_model, single_conv=fusion in ("merge", "merge2")) for _ in range(num_blocks)
        )
        # one norm for all merges (released code; not in the text)
        self.density_layernorm = nn.LayerNorm(config.d_model) if fusion == "released" else nn.Identity()
        self.fusion = fusion
        self.post_init()

    def _unbiased(self, layer: nn.Module) -> list[nn.Module]:
        """Projections whose biases start at zero, as those of `nn.MultiheadAttention`."""
        return list(layer.get_submodule("self_attn").children())

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        inputs_embeds: Tensor,
        attention_mask: Tensor | None = None,
        spatial_position_embeddings: Tensor | None = None,
        density_features: Tensor | None = None,
        **kwargs,
    ) -> BaseModelOutput:
        """Tokens [B, S, M], mask [B, S] (1 = valid), positions [1 or B, S, M], density features [B, M, h, w]."""
        mask = None
        if attention_mask is not None:
            mask = create_bidirectional_mask(
                config=self.config, inputs_embeds=inputs_embeds, attention_mask=attention_mask
            )

        def run(layer: nn.Module, tokens: Tensor, positions: Tensor | None = spatial_position_embeddings) -> Tensor:
            return layer(tokens, mask, spatial_position_embeddings=positions, **kwargs)

        fuse = getattr(self, f"_fuse_{self.fusion}")
        hidden_states = fuse(run, inputs_embeds, density_features, spatial_position_embeddings)
        return BaseModelOutput(last_hidden_state=hidden_states)

    def _fuse_none(self, run, tokens: Tensor, density: Tensor, positions: Tensor) -> Tensor:
        for layer in self.layers:
            tokens = run(layer, tokens)
        return tokens

    def _fuse_released(self, run, tokens: Tensor, density: Tensor, positions: Tensor) -> Tensor:
        """Eq. 2.3 as released: L layers, L + 1 merges, before the first layer and (refined) after each one."""
        tokens = tokens + _to_tokens(density)
        for layer, block in zip(self.layers, self.density_blocks):
            density = block(density)
            tokens = run(layer, tokens) + self.density_layernorm(_to_tokens(density))
        return tokens

    # without the norm (an identity here) and with 1x1 blocks this is the released code's second variant
    _fuse_merge2 = _fuse_released

    def _fuse_merge(self, run, tokens: Tensor, density: Tensor, positions: Tensor) -> Tensor:
        """The released code's first variant: refine, then merge before each layer."""
        tokens = tokens + _to_tokens(density)
        for layer, block in zip(self.layers, self.density_blocks):
            density = block(density)
            tokens = run(layer, tokens + _to_tokens(density))
        return tokens

    def _fuse_thesis(self, run, tokens: Tensor, density: Tensor, positions: Tensor) -> Tensor:
        """Eq. 2.2 and 2.3 as printed: positions join the stream once, density features merge before each layer."""
        tokens = run(self.layers[0], tokens + _to_tokens(density) + positions, None)
        for layer, block in zip(self.layers[1:], self.density_blocks):
            density = block(density)
            tokens = run(layer, tokens + _to_tokens(density), None)
        return tokens


def _to_tokens(feature_map: Tensor) -> Tensor:
    """[B, M, h, w] -> [B, S, M] (Rs in Eq. 2.2)."""
    return feature_map.flatten(2).transpose(1, 2)


@dataclass
class IOCFormerDecoderOutput(BaseModelOutputWithCrossAttentions):
    """Decoder output.

    Args:
        last_hidden_state (`torch.Tensor` of shape `(batch_size, num_queries, d_model)`):
            Normed output of the last layer.
        intermediate_hidden_states (`tuple` of `torch.Tensor` of that shape, *optional*):
            Normed outputs of the layers before it, for the auxiliary losses.
        reference_points (`torch.Tensor` of shape `(1, num_queries, 2)`):
            (x, y) in [0, 1] around which each query looks.
    """

    intermediate_hidden_states: tuple[Tensor, ...] | None = None
    reference_points: Tensor | None = None


class IOCFormerDecoder(IOCFormerTransformerModel):
    """Conditional DETR decoder over learned queries (thesis section 2.4.3)."""

    _can_record_outputs = {
        "hidden_states": ConditionalDetrDecoderLayer,
        "attentions": OutputRecorder(IOCFormerDecoderSelfAttention, layer_name="self_attn", index=1),
        "cross_attentions": OutputRecorder(IOCFormerCrossAttention, layer_name="encoder_attn", index=1),
    }

    def __init__(self, config: IOCFormerConfig):
        super().__init__(config)
        self.layers = nn.ModuleList(
            ConditionalDetrDecoderLayer(config)  # ty: ignore[invalid-argument-type]  as in the encoder
            for _ in range(config.decoder_layers)
        )
        heads, dropout = config.decoder_attention_heads, config.attention_dropout
        for index, layer in enumerate(self.layers):
            layer.encoder_attn = IOCFormerCrossAttention(config, config.d_model, heads, dropout)  # ty: ignore[invalid-argument-type]
            if index:  # only the first layer adds query positions to the content
                layer.encoder_attn.q_pos_proj = None  # ty: ignore[invalid-assignment]  as in transformers
            with torch.random.fork_rng(devices=[]):  # as in the encoder
                layer.self_attn = IOCFormerDecoderSelfAttention(config, config.d_model, heads, dropout)  # ty: ignore[invalid-argument-type]
                layer.mlp = IOCFormerMLP(config, config.d_model, config.decoder_ffn_dim)  # ty: ignore[invalid-argument-type]
        self.layernorm = nn.LayerNorm(config.d_model)
        self.query_scale = ConditionalDetrMLPPredictionHead(config.d_model, config.d_model, config.d_model, 2)
        self.ref_point_head = ConditionalDetrMLPPredictionHead(config.d_model, config.d_model, 2, 2)
        if config.local_readout:
            self.local_conv = nn.Conv2d(config.d_model, config.d_model, kernel_size=3, padding=1)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """As in the encoder, and what `tied_position_start` and `query_grid` begin with."""
        super()._init_weights(module)
        if not isinstance(module, nn.Linear):
            return
        if self.config.tied_position_start:
            for layer in self.layers:
                keys: Any = layer.get_submodule("encoder_attn.k_pos_proj")
                if module is layer.get_submodule("encoder_attn.q_pos_sine_proj"):  # which is initialised after keys
                    init.copy_(module.weight, tie(keys.weight, self.config))
                    init.copy_(module.bias, keys.bias)
            if module is self.query_scale.layers[-1]:
                init.zeros_(module.weight)
                init.ones_(module.bias)
        if self.config.query_grid and any(module is layer for layer in self.ref_point_head.layers):
            init.copy_(module.weight, read_grid(module.weight, module is self.ref_point_head.layers[0]))
            init.zeros_(module.bias)

    def _unbiased(self, layer: nn.Module) -> list[nn.Module]:
        """Projections whose biases start at zero (released code)."""
        return [layer.get_submodule("self_attn.o_proj"), layer.get_submodule("encoder_attn.o_proj")]

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        query_position_embeddings: Tensor,
        encoder_hidden_states: Tensor,
        encoder_attention_mask: Tensor | None = None,
        spatial_position_embeddings: Tensor | None = None,
        memory_size: tuple[int, int] | None = None,
        return_intermediate: bool = False,
        **kwargs,
    ) -> IOCFormerDecoderOutput:
        """Query positions [1, Q, M], memory [B, S, M], its mask [B, S] (1 = valid) and positions [1 or B, S, M].

        `memory_size`, (h, w), is for `config.local_readout`.
        """
        with maybe_autocast(query_position_embeddings.device.type, enabled=False):
            reference_points = at_least_float32(self.ref_point_head(query_position_embeddings)).sigmoid()
        if self.config.local_readout and memory_size is not None:
            memory = encoder_hidden_states.transpose(1, 2).unflatten(2, memory_size)
            hidden_states = sample_map(memory + self.local_conv(memory), reference_points)
        else:
            hidden_states = encoder_hidden_states.new_zeros(1, *query_position_embeddings.shape[1:])
            hidden_states = hidden_states.expand(encoder_hidden_states.shape[0], -1, -1)
        mask = None
        if encoder_attention_mask is not None:
            mask = create_bidirectional_mask(
                config=self.config, inputs_embeds=hidden_states, attention_mask=encoder_attention_mask
            )

        # As released, queries are [PE(x), PE(y)] though tokens are [PE(y), PE(x)]; `q_pos_sine_proj` learns around it.
        sine_embeddings = code_points(reference_points, self.config).to(hidden_states.dtype)

        intermediate = []
        for index, layer in enumerate(self.layers):
            query_sine_embed = sine_embeddings * self.query_scale(hidden_states) if index else sine_embeddings
            hidden_states = layer(
                hidden_states,
                None,
                spatial_position_embeddings,
                query_position_embeddings,
                query_sine_embed,
                encoder_hidden_states,  # positional, so that gradient checkpointing sees it
                encoder_attention_mask=mask,
                is_first=index == 0,
                **kwargs,
            )
            if return_intermediate and index < len(self.layers) - 1:
                intermediate.append(self.layernorm(hidden_states))

        return IOCFormerDecoderOutput(
            last_hidden_state=self.layernorm(hidden_states),
            intermediate_hidden_states=tuple(intermediate) or None,
            reference_points=reference_points,
        )
