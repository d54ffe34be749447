"""Coarse-to-fine feature assembling and cross-frame feature mining (thesis sections 4.3.2 and 4.3.3).

B clips, H x W feature pixels, E `decoder_hidden_size`, s window side, L windows, M context tokens of a window, c cells
a side that a pooled source has in a window.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.segformer.modeling_segformer import eager_attention_forward

from .configuration_cffm import CFFMConfig
from .context_layout_cffm import ContextLayout
from .position_bias_cffm import ContextPositionBias

OUTSIDE = -100.0  # added to the score of taps outside of the map (released code)
WINDOWS_AT_ONCE = 4


class WindowPooling(nn.Module):
    """FC of Eq. 4.2: one weight per position of a cell, shared by all channels, and one bias.

    Where s is not a multiple of c, the released code first shrinks the map so that it is (7 to 6 pixels for 2 or 3
    cells). That mixes no two windows, so both steps are one matrix per window.
    """

    def __init__(self, window_size: int, cells: int):
        super().__init__()
        self.window_size, self.cells, self.side = window_size, cells, window_size // cells
        self.weight = nn.Parameter(torch.full((1, self.side**2), 1 / self.side**2))
        self.bias = nn.Parameter(torch.zeros(1))

    def matrix(self) -> Tensor:
        """[c * c, s * s], from the pixels of a window to its cells."""
        identity = torch.eye(self.window_size, device=self.weight.device)
        shrink = F.interpolate(identity[None], size=self.cells * self.side, mode="linear", align_corners=False)
        shrink = shrink[0].T.unflatten(0, (self.cells, self.side)).to(self.weight.dtype)
        weight = self.weight.view(self.side, self.side)
        return torch.einsum("ab,uay,vbx->uvyx", weight, shrink, shrink).reshape(self.cells**2, self.window_size**2)

    def forward(self, windows: Tensor) -> Tensor:
        """[B, L, s * s, E] -> [B, L * c * c, E]."""
        return (self.matrix() @ windows + self.bias).flatten(1, 2)


class CrossFrameMiningLayer(GradientCheckpointingLayer):
    """Eq. 4.4-4.5: windows of the target attend to their context tokens; with the norms and the MLP of the code."""

    def __init__(self, config: CFFMConfig):
        super().__init__()
        width, window_size = config.decoder_hidden_size, config.window_size
        cells, taps = zip(*config.context_sources)
        self.config = config
        self.scaling = (width // config.num_attention_heads) ** -0.5
        self.layernorm_before = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.target_pooling = WindowPooling(window_size, cells[0])
        self.reference_pooling = nn.ModuleList(WindowPooling(window_size, c) for c in cells[1:])
        self.position_bias = ContextPositionBias(config.num_attention_heads, window_size, taps)
        self.query = nn.Linear(width, width) if config.cross_frame_mining else None
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)
        self.layernorm_after = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.mlp_in = nn.Linear(width, config.mlp_ratio * width)
        self.mlp_out = nn.Linear(config.mlp_ratio * width, width)

    def reference_tokens(self, pixels: Tensor, layout: ContextLayout, roles: Sequence[int]) -> list[Tensor]:
        """What a reference frame [B, H * W, E] offers in each of `roles`: keys and values [B, L * c * c, 2E]."""
        windows = self._windows(self.layernorm_before(pixels), layout)
        return [self.key_value(self.reference_pooling[role](windows)) for role in roles]

    def forward(self, pixels: Tensor, layout: ContextLayout, *references: Tensor) -> Tensor:
        """The target [B, H * W, E] and the tokens of its references [B, L * c * c, 2E] -> the target, enriched.

        References are arguments of their own, because gradient checkpointing does not look into lists.
        """
        normed = self.layernorm_before(pixels)
        windows = self._windows(normed, layout)
        own = self.key_value(normed)
        padding = self.key_value.bias.to(own.dtype).expand(pixels.shape[0], 1, -1)
        pooled = self.key_value(self.target_pooling(windows))
        bank = torch.cat([own, padding, torch.zeros_like(padding), pooled, *references], dim=1)
        pixels = pixels + self.output(self._attend(windows, bank, layout))
        return pixels + self.mlp_out(F.gelu(self.mlp_in(self.layernorm_after(pixels))))

    def _windows(self, normed: Tensor, layout: ContextLayout) -> Tensor:
        """[B, H * W, E] -> [B, L, s * s, E], zeros for padding."""
        padded = F.pad(normed, (0, 0, 0, 1))
        return padded.index_select(1, layout.windows).unflatten(1, (len(layout.contexts), -1))

    def _attend(self, windows: Tensor, bank: Tensor, layout: ContextLayout) -> Tensor:
        """Windows [B, L, s * s, E] attend to their rows of the bank -> [B, H * W, E]."""
        query = torch.zeros_like(windows) if self.query is None else self.query(windows)
        bias = self.position_bias().to(query.dtype)
        step = windows_at_once(query)
        parts = zip(query.split(step, dim=1), layout.contexts.split(step), layout.outside.split(step))
        mixed = [self._attend_some(some, bank, bias, contexts, outside) for some, contexts, outside in parts]
        return torch.cat(mixed, dim=1).flatten(1, 2).index_select(1, layout.pixels)

    def _attend_some(self, query: Tensor, bank: Tensor, bias: Tensor, contexts: Tensor, outside: Tensor) -> Tensor:
        """Queries [B, l, s * s, E] of l windows and their rows of `contexts` and `outside` -> the same shape."""
        batch_size, num_windows, heads = *query.shape[:2], self.config.num_attention_heads
        tokens = bank.index_select(1, contexts.flatten())
        tokens = tokens.view(batch_size * num_windows, contexts.shape[1], 2, heads, -1)
        key, value = tokens.permute(2, 0, 3, 1, 4)
        mask = (bias + OUTSIDE * outside[:, None, None]).repeat(batch_size, 1, 1, 1)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        by_head = query.flatten(0, 1).unflatten(-1, (heads, -1)).transpose(1, 2)
        mixed, _ = attend(self, by_head, key, value, mask, scaling=self.scaling)
        return mixed.reshape(query.shape)


def windows_at_once(query: Tensor) -> int:
    """How many windows [B, L, s * s, E] are attended to in one call.

    On a CPU a few: their keys, values and biases then stay in its caches. 0.13 s a layer became 0.06 s (480 x 864, one
    thread). Elsewhere, in training and in compiled graphs all.
    """
    if query.device.type != "cpu" or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return query.shape[1]
    return WINDOWS_AT_ONCE
