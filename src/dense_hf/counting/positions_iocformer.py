"""Where tokens and queries of IOCFormer are, and how the decoder is told (thesis section 2.4.3).

As released, a decoder does not look near its reference until it has learned to (measured on 160 microscope images with
100 queries: 3 % of its attention within 24 px of 256 at the start, what chance would give, and the points of 500 steps
of training were fixed places that a classifier switches on and off):

- The fastest wave of the position code is as long as the tile, so that a token 4 cells away has a cosine of .96.
- Queries are coded [PE(x), PE(y)], tokens [PE(y), PE(x)], tokens at the far corner of their cell, not at its center.
- The projections that make queries and keys of these codes start unrelated.

With `config.position_scale` codes have that many waves a tile, both orders are the same, and tokens are at centers.

B batch, Q queries, M `d_model`, h x w feature map, S = h * w tokens. Points are (x, y) in [0, 1] of the tile.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.conditional_detr.modeling_conditional_detr import (
    ConditionalDetrSinePositionEmbedding,
    encode_sinusoidal_position_embedding,
)

from .configuration_iocformer import IOCFormerConfig

# Codes through xavier projections give equal places a logit of 1.2 (d_model 96, 8 heads), which 256 tokens together
# outweigh: a tied start multiplies it.
TIED_GAIN = 6.0
HEAD_REACH = 1 / 16  # of the tile, how far from the reference heads start to look: a cell of the released feature map


class TokenPositions(nn.Module):
    """The codes of the tokens of a feature map. No parameters."""

    def __init__(self, config: IOCFormerConfig):
        super().__init__()
        self.config = config
        self.released = ConditionalDetrSinePositionEmbedding(
            config.d_model // 2,
            temperature=config.position_temperature,  # ty: ignore[invalid-argument-type]  a float does as well
            normalize=True,
        )

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Codes [1 or B, S, M] for features [B, C, h, w], with a mask [B, h, w] of what is no padding.

        As released, positions count from the first valid token to the last; those of `position_scale` are places in
        the tile, as references are.
        """
        if self.config.position_scale is not None:
            return code_points(cell_centers(features), self.config)[None]
        rows = 1 if mask is None else mask.shape[0]
        codes = self.released(torch.Size([rows, *features.shape[1:]]), features.device, features.dtype, mask)
        # transformers keeps the last ones, unless it compiles; autograd refuses those of inference mode
        if not torch.compiler.is_compiling() and codes.is_inference() and not torch.is_inference_mode_enabled():
            codes = codes.clone()
        return codes.flatten(2).transpose(1, 2)


def at_least_float32(logits: Tensor) -> Tensor:
    """The same numbers, not in bfloat16, in which places of a tile have steps of a pixel; float64 stays."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def code_points(points: Tensor, config: IOCFormerConfig) -> Tensor:
    """The codes [..., M] of points [..., 2], [PE(y), PE(x)]; [PE(x), PE(y)] as released (no `position_scale`)."""
    scaled = points.flip(-1) if config.position_scale is None else points * config.position_scale
    return encode_sinusoidal_position_embedding(
        scaled,
        num_pos_feats=config.d_model // 2,
        temperature=config.position_temperature,  # ty: ignore[invalid-argument-type]  a float does as well
    )


def cell_centers(features: Tensor) -> Tensor:
    """(x, y) of the cells of a feature map [..., h, w], row by row: [S, 2]."""
    height, width = features.shape[-2:]
    rows, columns = (
        (torch.arange(size, dtype=features.dtype, device=features.device) + 0.5) / size for size in (height, width)
    )
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).flatten(0, 1)


def grid_points(number: int) -> Tensor:
    """That many points [number, 2], spread evenly: a square grid, or one in which some rows have one more."""
    rows = max(1, round(number**0.5))
    ends = [round(number * (row + 1) / rows) for row in range(rows)]
    points = [
        ((column + 0.5) / (end - start), (row + 0.5) / rows)
        for row, (start, end) in enumerate(zip([0, *ends], ends))
        for column in range(end - start)
    ]
    return torch.tensor(points)


def queries_on_grid(config: IOCFormerConfig) -> Tensor:
    """Query position embeddings [Q, M] that say where they are, for a `ref_point_head` that starts by `read_grid`.

    Nothing else tells queries apart, so that what one learns, its neighbors can use. The first two numbers are the
    logits of the reference, the others the code of the place.
    """
    points = grid_points(config.num_queries)
    return torch.cat([points.logit(), code_points(points, config)[:, 2:]], dim=1)


def read_grid(weight: Tensor, is_first: bool) -> Tensor:
    """The start of a weight of `ref_point_head`: ReLU(a) - ReLU(-a) of the first two numbers, which is themselves."""
    start = torch.zeros_like(weight)
    for axis in range(2):
        for unit, sign in ((2 * axis, 1.0), (2 * axis + 1, -1.0)):
            start[(unit, axis) if is_first else (axis, unit)] = sign
    return start


def tie(key_weight: Tensor, config: IOCFormerConfig) -> Tensor:
    """The start of `q_pos_sine_proj` for that of `k_pos_proj`: heads look at places around the reference.

    Values carry no positions, so a decoder all of whose heads look at one place could not tell on which side of it
    something is. A code of a moved place is a rotation of that of the place, which each head gets for its direction.
    """
    heads = config.decoder_attention_heads
    angles = torch.arange(heads) * (2 * math.pi / heads)
    moves = HEAD_REACH * torch.stack([angles.cos(), angles.sin()], dim=1)  # [heads, 2], (x, y)
    rows = [weight @ _move_codes(move, config) for weight, move in zip(key_weight.chunk(heads), moves.to(key_weight))]
    weight = TIED_GAIN * torch.cat(rows)
    # as released, the halves of the codes of queries are swapped
    return weight.roll(config.d_model // 2, dims=1) if config.position_scale is None else weight


def _move_codes(move: Tensor, config: IOCFormerConfig) -> Tensor:
    """The matrix [M, M] that makes the code [PE(y), PE(x)] of a point that of the point + `move` (x, y)."""
    half = config.d_model // 2
    waves = (config.position_scale or 1) / config.position_temperature ** (torch.arange(0, half, 2).to(move) / half)
    turns = (2 * math.pi * move.flip(0)[:, None] * waves).flatten()  # a pair of sine and cosine each
    cosines, sines = turns.cos(), turns.sin()
    return torch.block_diag(*torch.stack([cosines, sines, -sines, cosines], dim=1).view(-1, 2, 2))


def sample_map(feature_map: Tensor, points: Tensor) -> Tensor:
    """A map [B, M, h, w] at points [1 or B, Q, 2], bilinear between the centers of cells: [B, Q, M]."""
    places = (2 * points - 1).to(feature_map.dtype).expand(feature_map.shape[0], -1, -1)[:, None]
    sampled = F.grid_sample(feature_map, places, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled[:, :, 0].transpose(1, 2)
