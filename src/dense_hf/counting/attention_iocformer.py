"""The attentions of IOCFormer's layers, and how they are computed: fused, and with dropout on a CPU, too.

They are those of Conditional DETR in transformers. Fused attention of PyTorch knows no dropout on a CPU: it writes all
weights of all heads four times, and draws one random number at a time. Here the weights of one head exist at a time,
in the cache, the backward pass computes them again, and four elements share a random number. Attention among 700
queries, forward and backward, takes 0.33 of the time (batch 4, one thread, fp32), and keeps 1 byte a weight, not 9.

B batch, H heads, Q queries, S keys, M `d_model`, D and E widths of a head's keys and values.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.conditional_detr.modeling_conditional_detr import (
    ConditionalDetrDecoderCrossAttention,
    ConditionalDetrDecoderSelfAttention,
    ConditionalDetrMLP,
    ConditionalDetrSelfAttention,
    eager_attention_forward,
)

_LANES = 4  # numbers of 16 bits in one of 64


def drawn_numbers(size: int, p: float) -> tuple[Tensor, int]:
    """Random numbers of 16 bits, and the least one that stays: p is taken to the nearest 1 / 65536."""
    numbers = torch.empty(-(-size // _LANES), dtype=torch.int64).random_(-(2**63), None)
    return numbers.view(torch.int16)[:size], round(p * 2**16) - 2**15


def kept_share(least: int) -> float:
    """The probability that a number of `drawn_numbers` stays."""
    return 1 - (least + 2**15) / 2**16


class DroppedAttention(torch.autograd.Function):
    """softmax(query key^T) with dropout, times values; queries [B, H, Q, D] are scaled already."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, p: float) -> Tensor:
        """[B, H, Q, D], [B, H, S, D], [B, H, S, E] -> [B, Q, H, E]."""
        batch, heads, num_queries, _ = query.shape
        numbers, least = drawn_numbers(batch * heads * num_queries * key.shape[2], p)
        mask = (numbers >= least).view(torch.uint8).view(batch, heads, num_queries, -1)
        ctx.share = kept_share(least)
        output = query.new_empty(batch, num_queries, heads, value.shape[-1])
        sums = query.new_empty(batch, heads, num_queries, 1)
        weights, kept = query.new_empty(2, num_queries, key.shape[2]).unbind()
        for b in range(batch):
            for h in range(heads):
                torch.mm(query[b, h], key[b, h].T, out=weights)
                highest = weights.amax(dim=1, keepdim=True)
                total = weights.sub_(highest).exp_().sum(dim=1, keepdim=True)
                torch.add(highest, total.log(), out=sums[b, h])
                weights.mul_(kept.copy_(mask[b, h]))
                output[b, :, h] = torch.mm(weights, value[b, h]).div_(total.mul_(ctx.share))
        ctx.save_for_backward(query, key, value, mask, sums, output)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Gradients of what `forward` got."""
        query, key, value, mask, sums, output = ctx.saved_tensors
        of_query, of_key, of_value = (torch.empty_like(one) for one in (query, key, value))
        weights, of_weights, kept = query.new_empty(3, query.shape[2], key.shape[2]).unbind()
        for b in range(query.shape[0]):
            for h in range(query.shape[1]):
                own = gradient[b, :, h].contiguous()
                mean = (own * output[b, :, h]).sum(dim=1, keepdim=True)
                own.div_(ctx.share)
                kept.copy_(mask[b, h])
                torch.mm(query[b, h], key[b, h].T, out=weights)
                weights.sub_(sums[b, h]).exp_()
                torch.mm(own, value[b, h].T, out=of_weights)
                of_weights.mul_(kept).sub_(mean).mul_(weights)
                of_query[b, h] = torch.mm(of_weights, key[b, h])
                of_key[b, h] = torch.mm(of_weights.T, query[b, h])
                of_value[b, h] = torch.mm(weights.mul_(kept).T, own)
        return of_query, of_key, of_value, None


class DroppedReLU(torch.autograd.Function):
    """ReLU and dropout, whose result is all that the gradient needs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        """Any shape."""
        numbers, least = drawn_numbers(x.numel(), p)
        ctx.share = kept_share(least)
        result = torch.ge(numbers.view(x.shape), least, out=torch.empty_like(x)).mul_(x).relu_().div_(ctx.share)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """The gradient where the result is positive."""
        (result,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradient, result, 0).div_(ctx.share), None


def _is_dropped_here(x: Tensor, p: float) -> bool:
    """Whether the functions above take a dropout of p: in float32, on a CPU, not compiled."""
    return 0 < p < 1 and x.device.type == "cpu" and x.dtype == torch.float32 and not torch.compiler.is_compiling()


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, Tensor | None]:
    """The attention that the configuration names, where `sdpa` is whatever computes it fastest.

    Fused kernels want values as wide as keys. In cross-attention keys are twice as wide: values padded with zeros have
    a kernel, and the padding comes out as zeros: 0.15 s became 0.08 s a layer (batch 8, 700 queries, 256 tokens, one
    thread, fp32).

    Args:
        module: has `config`, `attention_dropout` and `scaling`.
        query: [B, Q, H, D].
        key: [B, S, H, D].
        value: [B, S, H, E].
        mask: of keys, as `create_bidirectional_mask` makes it.
        kwargs: of the attention function.

    Returns:
        [B, Q, H E] and the weights [B, H, Q, S], or None from a function that never has them.
    """
    dropout = module.attention_dropout if module.training else 0.0
    width, implementation = value.shape[-1], module.config._attn_implementation
    query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
    if implementation == "sdpa" and mask is None and _is_dropped_here(query, dropout):
        dropped: Any = DroppedAttention.apply(query * module.scaling, key, value, dropout)
        return dropped.flatten(2), None
    value = F.pad(value, (0, key.shape[-1] - width)) if key.shape[-1] != width else value
    function = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
    output, weights = function(module, query, key, value, mask, dropout=dropout, scaling=module.scaling, **kwargs)
    return output[..., :width].flatten(2), weights


class IOCFormerEncoderSelfAttention(ConditionalDetrSelfAttention):
    """Attention among tokens, as its parent."""

    def forward(  # ty: ignore[incompatible-method-override]
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_embeddings: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens [B, S, M] and their positions [1 or B, S, M]."""
        placed = hidden_states if position_embeddings is None else hidden_states + position_embeddings
        states = (
            layer(x).unflatten(-1, (-1, self.head_dim))
            for layer, x in ((self.q_proj, placed), (self.k_proj, placed), (self.v_proj, hidden_states))
        )
        output, weights = attend(self, *states, attention_mask, **kwargs)
        return self.o_proj(output), weights


class IOCFormerDecoderSelfAttention(ConditionalDetrDecoderSelfAttention):
    """Attention among queries, as its parent.

    Rows of a batch that are one row expanded, as in front of the first layer, are computed once, where there is no
    dropout and nobody can ask for the weights.
    """

    def forward(  # ty: ignore[incompatible-method-override]
        self,
        hidden_states: Tensor,
        query_position_embeddings: Tensor,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Queries [B, Q, M] and their positions [1 or B, Q, M]."""
        rows = hidden_states.shape[0]  # `len` would make it a constant of an exported program
        is_fused = self.config._attn_implementation == "sdpa"
        if hidden_states.stride(0) == 0 and is_fused and attention_mask is None and not self.training:
            hidden_states = hidden_states[:1]
        query = self.q_content_proj(hidden_states) + self.q_pos_proj(query_position_embeddings)
        key = self.k_content_proj(hidden_states) + self.k_pos_proj(query_position_embeddings)
        states = (x.unflatten(-1, (-1, self.head_dim)) for x in (query, key, self.v_proj(hidden_states)))
        output, weights = attend(self, *states, attention_mask, **kwargs)
        return self.o_proj(output).expand(rows, -1, -1), weights


class IOCFormerCrossAttention(ConditionalDetrDecoderCrossAttention):
    """Attention of queries to tokens over content and position side by side, as its parent."""

    def forward(  # ty: ignore[incompatible-method-override]  fused kernels return None for the weights
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        query_sine_embed: Tensor,
        encoder_position_embeddings: Tensor,
        query_position_embeddings: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Queries [1 or B, Q, M] with sine embedding likewise, memory [B, S, M] with positions [1 or B, S, M]."""
        query, key = self.queries_and_keys(
            hidden_states,
            encoder_hidden_states,
            query_sine_embed,
            encoder_position_embeddings,
            query_position_embeddings,
        )
        value = self._heads(self.v_proj(encoder_hidden_states))
        output, weights = attend(self, query, key, value, attention_mask, **kwargs)
        return self.o_proj(output), weights

    def queries_and_keys(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        query_sine_embed: Tensor,
        encoder_position_embeddings: Tensor,
        query_position_embeddings: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Content and position side by side, [B, Q, heads, 2 M / heads] and [B, S, heads, 2 M / heads]."""
        query_content = self.q_content_proj(hidden_states)
        key_content = self.k_content_proj(encoder_hidden_states)
        key_position = self.k_pos_proj(encoder_position_embeddings)
        if query_position_embeddings is not None:  # first layer
            query_content = query_content + self.q_pos_proj(query_position_embeddings)
            key_content = key_content + key_position
        query_position = self.q_pos_sine_proj(query_sine_embed)
        rows = (encoder_hidden_states.shape[0], -1, -1, -1)
        query, key = (
            torch.cat([self._heads(content).expand(rows), self._heads(position).expand(rows)], dim=-1)
            for content, position in ((query_content, query_position), (key_content, key_position))
        )
        return query, key

    def _heads(self, x: Tensor) -> Tensor:
        """[B, n, M] -> [B, n, heads, M / heads]."""
        return x.unflatten(-1, (self.num_attention_heads, -1))


class IOCFormerMLP(ConditionalDetrMLP):
    """The two linear maps behind an attention, as its parent."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        """[B, n, M] -> [B, n, M]."""
        hidden = self.fc1(hidden_states)
        p = self.activation_dropout if self.training else 0.0
        if isinstance(self.activation_fn, nn.ReLU) and _is_dropped_here(hidden, p):
            hidden: Any = DroppedReLU.apply(hidden, p)
        else:
            hidden = F.dropout(self.activation_fn(hidden), p=p)
        return F.dropout(self.fc2(hidden), p=self.dropout, training=self.training)
