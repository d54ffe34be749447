"""Cross-frame affinities (thesis sections 5.3.2 to 5.3.4) and what they retrieve from the references.

B clips, R reference frames, L scales (1/32 of the image first), C channels and P pixels of the target at a scale, N
tokens of a reference, S of them selected, E `decoder_hidden_size`, h x w features at 1/8 of the image.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .affinity_decoder_mrcfa import AffinityDecoder
from .configuration_mrcfa import MRCFAConfig
from .frame_decoder import weight_matrix
from .video_segmenter import FrameFeatures
from .video_session import State

# of images in the affinity decoder, on a CPU: 4 MB in fp32. One thread, MRCFA-B1 without its encoder: 0.19 s for
# 480 x 864 (2**17: 0.32 s, all at once: 0.21 s), 4.6 s for 1088 x 1920 (20 s, 11.9 s)
PIXELS_AT_ONCE = 2**20


class CrossFrameAffinity(nn.Module):
    """Keys and values of reference frames (Eq. 5.2, 5.9), and their products with the target (Eq. 5.1, 5.3).

    As released and unlike Eq. 5.2 and 5.9, keys are first reduced to the grid of the reference and then projected, and
    all projections have biases. Products are not scaled: behind the norms of the affinity decoder no scale is left.
    """

    def __init__(self, config: MRCFAConfig, widths: Sequence[int]):
        super().__init__()
        self.config = config
        widths = widths[::-1][: config.num_scales]
        self.queries = nn.ModuleList(nn.Linear(width, width) for width in widths)
        self.keys = nn.ModuleList(nn.Linear(width, width) for width in widths)
        # from 1/16 and 1/8 of the image to the grid of the reference
        sides = [config.reference_stride // stride for stride in (16, 8)]
        self.reductions = nn.ModuleList(
            nn.Conv2d(width, width, kernel_size=side, stride=side) for width, side in zip(widths[1:], sides)
        )
        width = config.decoder_hidden_size
        self.values = nn.Conv2d(width, width, kernel_size=sides[1], stride=sides[1])

    def remember(self, features: FrameFeatures) -> State:
        """What a reference frame offers: L times keys [B, N, C + 1], and values [B, N, E].

        (W_q f + b_q) . k = f . (W_q^T k) + b_q . k: the projection of the queries is multiplied into the few keys
        instead of the many pixels of the target. The last entry of a key is the second term. Keys at 1/32 keep the
        grid of their map, whatever the grid of the others.
        """
        keys = []
        for scale, (query, key) in enumerate(zip(self.queries, self.keys)):
            maps = features.maps[-1 - scale]
            reduced = self.reductions[scale - 1](maps) if scale else maps
            projected = key(reduced.flatten(2).transpose(1, 2))
            weight, bias = weight_matrix(query.get_parameter("weight")), query.get_parameter("bias")
            folded = torch.cat([weight, bias[:, None]], dim=1)
            keys.append(projected @ folded)
        return *keys, self.values(features.halved).flatten(2).transpose(1, 2)

    @staticmethod
    def affinity(pixels: Tensor, keys: Tensor) -> Tensor:
        """Eq. 5.3: the target [B, C, h_l, w_l] and folded keys [B, M, C + 1] -> [B, P, M]."""
        offset, keys = keys[..., -1], keys[..., :-1]
        return torch.baddbmm(offset[:, None], pixels.flatten(2).transpose(1, 2), keys.transpose(1, 2))

    def coarse_affinity(self, features: FrameFeatures, keys: Tensor) -> Tensor:
        """All affinities at 1/32: keys [B, R, N, C + 1] -> [B, P, R, N]."""
        return self.affinity(features.maps[-1], keys.flatten(1, 2)).unflatten(2, keys.shape[1:3])

    def to_reference_grid(self, coarse: Tensor, features: FrameFeatures) -> Tensor:
        """[..., N] for tokens at 1/32 -> [..., N] for those of the reference's grid."""
        grid = features.maps[-1 if self.config.reference_stride == 32 else -2].shape[-2:]
        return resize_tokens(coarse, features.maps[-1].shape[-2:], grid)


class AffinityMining(CrossFrameAffinity):
    """MRCFA: select tokens, mine the relations among their affinities, retrieve their values."""

    def __init__(self, config: MRCFAConfig, widths: Sequence[int]):
        super().__init__(config, widths)
        self.decoder = AffinityDecoder(config)

    def forward(self, features: FrameFeatures, references: Sequence[State]) -> tuple[Tensor, list[Tensor]]:
        """Eq. 5.7-5.8.

        Args:
            features: The target's.
            references: R states of `remember`.

        Returns:
            The merged features [B, E, h, w] that the target is classified by, and the R retrieved ones
            [B, E, h, w] among them.
        """
        *keys, values = (torch.stack(tokens, dim=1) for tokens in zip(*references))
        affinities, indices = self.selected_affinities(features, keys)
        tokens = gather_tokens(values, indices)
        # one reference at a time where memory is not kept for gradients: [P, S] is what grows with the image
        count = len(references) if _is_traced(tokens) else 1
        parts = zip(
            affinities[0].split(count, dim=2),
            tokens.split(count, dim=1),
            *(k.split(count, dim=1) for k in affinities[1:]),
        )
        retrieved = [self._retrieve(features, *part) for part in parts]
        return merge(features, torch.cat(retrieved, dim=1))

    def _retrieve(self, features: FrameFeatures, coarse: Tensor, tokens: Tensor, *keys: Tensor) -> Tensor:
        """Eq. 5.7: affinities [B, P, R, S] at 1/32, tokens [B, R, S, E] and keys at finer scales -> [B, R, P, E]."""
        refined, scale = self.refine(features, coarse, *keys), self.config.affinity_scale
        attention = (refined if scale == 1 else scale * refined).softmax(dim=-1)  # not in the equation
        return attention.transpose(1, 2) @ tokens

    def selected_affinities(self, features: FrameFeatures, keys: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """L times keys [B, R, N, C + 1] -> affinities at 1/32 [B, P, R, S], and keys for those at finer scales
        [B, R, S, C + 1]; numbers [B, R, S] of the selected tokens.
        """
        coarse = self.coarse_affinity(features, keys[0])
        importance = self.to_reference_grid(token_importance(coarse, self.config), features)
        indices = select_tokens(importance, self.config.token_selection_ratio)
        coarse = self.to_reference_grid(coarse, features)
        coarse = coarse.gather(3, indices[:, None].expand(-1, coarse.shape[1], -1, -1))
        return [coarse, *(gather_tokens(finer, indices) for finer in keys[1:])], indices

    def refine(self, features: FrameFeatures, coarse: Tensor, *keys: Tensor) -> Tensor:
        """The results of `selected_affinities` -> refined affinities [B, P, R, S] at 1/8.

        Finer affinities are computed for a few tokens at a time and forgotten once they are refined.
        """
        sizes = [maps.shape[-2:] for maps in features.maps[:0:-1]]
        num_references, num_tokens = coarse.shape[2:]
        together = self.config.affinity_convolution == "3d" or self.config.affinity_norm == "reference"
        count = 1 if together else num_parts(coarse, features.halved)
        columns = coarse.flatten(2).chunk(count, dim=2)
        rows = zip(*(finer.flatten(1, 2).chunk(count, dim=1) for finer in keys)) if keys else [()] * len(columns)
        refined = []
        for some, finer in zip(columns, rows):
            affinities = [some, *(self.affinity(maps, key) for maps, key in zip(features.maps[-2::-1], finer))]
            images = [_as_images(affinity, size) for affinity, size in zip(affinities, sizes)]
            images = self.decoder(*images, sizes=sizes, tokens_per_reference=num_tokens)
            refined.append(_as_columns(images, coarse.shape[0]))
        return torch.cat(refined, dim=2).unflatten(2, (num_references, num_tokens))


def merge(features: FrameFeatures, retrieved: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Eq. 5.8, at 1/8: retrieved [B, R, P, E] -> merged [B, E, h, w], and R times [B, E, h, w]."""
    size = features.halved.shape[-2:]
    merged = retrieved.mean(dim=1).transpose(1, 2).unflatten(2, size) + features.halved
    return merged, [one.transpose(1, 2).unflatten(2, size) for one in retrieved.unbind(1)]


def num_parts(affinity: Tensor, halved: Tensor) -> int:
    """In how many parts the tokens of `affinity` [B, P, R, S] go through the affinity decoder.

    On a CPU in many: images of [h, w] pixels then stay in its caches. Elsewhere, in training and in graphs in one.
    """
    if _is_traced(affinity):
        return 1
    images = affinity.shape[0] * affinity.shape[2] * affinity.shape[3]
    return -(-images * halved.shape[-2] * halved.shape[-1] // PIXELS_AT_ONCE)


def _is_traced(tensor: Tensor) -> bool:
    """Whether loops that save memory or caches would only slow things down."""
    return tensor.device.type != "cpu" or torch.is_grad_enabled() or torch.compiler.is_compiling()


def _as_images(affinity: Tensor, size: Sequence[int]) -> Tensor:
    """[B, P, M] -> [1, B * M, *size], tokens innermost in memory."""
    pixels = affinity.transpose(0, 1).flatten(1).unflatten(0, tuple(size))
    return pixels[None].permute(0, 3, 1, 2)  # in this order, or strides do not say that channels come last


def _as_columns(images: Tensor, batch_size: int) -> Tensor:
    """[1, B * M, h, w] -> [B, P, M]."""
    return images[0].permute(1, 2, 0).flatten(0, 1).unflatten(1, (batch_size, -1)).transpose(0, 1)


def token_importance(affinity: Tensor, config: MRCFAConfig) -> Tensor:
    """Eq. 5.10-5.11: affinity [B, P, R, N] at 1/32 -> importance [B, R, N] of each reference token."""
    if config.importance == "mean":
        return affinity.mean(dim=1)
    return affinity.topk(min(config.importance_topk, affinity.shape[1]), dim=1).values.sum(dim=1)


def select_tokens(importance: Tensor, ratio: float) -> Tensor:
    """Numbers [B, R, S] of the most important tokens [B, R, N], ascending: part `ratio`, rounded down, at least one.

    One mask serves all scales and the values. Only 3D convolutions see the order.
    """
    count = max(int(importance.shape[-1] * ratio), 1)
    return importance.topk(count, dim=-1).indices.sort(dim=-1).values


def gather_tokens(tokens: Tensor, indices: Tensor) -> Tensor:
    """Tokens [B, R, N, c] at `indices` [B, R, S] -> [B, R, S, c]."""
    return tokens.gather(2, indices[..., None].expand(-1, -1, -1, tokens.shape[-1]))


def resize_tokens(values: Tensor, old: Sequence[int], new: Sequence[int]) -> Tensor:
    """[B, ..., N] of a grid of `old` = (height, width) tokens -> [B, ..., N'] of the grid `new`, bilinear."""
    if tuple(old) == tuple(new):
        return values
    maps = values.flatten(1, -2).unflatten(-1, tuple(old))
    maps = F.interpolate(maps, size=tuple(new), mode="bilinear", align_corners=False)
    return maps.flatten(2).view(*values.shape[:-1], -1)
